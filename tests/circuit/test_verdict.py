"""Verdicts: equal to plain loops, calibrated, and powerful at the number of examples that they call for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mi.circuit import statistics, verdict
from mi.circuit.curve import PERCENTAGES
from mi.circuit.measured import Measured, measured, quantity
from mi.circuit.statistics import Estimate
from mi.circuit.verdict import CANNOT_TELL, FINE, REGRESSION, Rule, Settings
from tests.circuit.random_graphs import SEEDS, generator
from tests.oracle import selection as oracle

RUNS = 1000
TOLERANCE = 0.02
QUICK = Settings(resamples=500)
DROP = Rule("max-drop", "faithfulness", TOLERANCE)


def pair(rng, n, drop, templates=0, noise=0.5, share=0.9, between=0.0):
    """An old and a new report whose true faithfulness is `share` and `share - drop`. What an example, or its template,
    does to the metric it does to both; each circuit has noise of its own."""
    group = np.arange(n) % templates if templates else np.arange(n)
    names = tuple(f"t{g}" for g in group) if templates else ("",) * n
    keys = tuple((str(i), str(i)) for i in range(n))
    empty = -3 + rng.normal(size=n)
    clean = 4 + rng.normal(size=n)
    old = share * clean + (1 - share) * empty + noise * rng.normal(size=n)
    new = old - drop * (clean - empty) + noise * rng.normal(size=n)
    if templates:
        new = new + between * rng.normal(size=templates)[group]
    return tuple(Measured(np.stack([circuit, clean, empty]), ((None, None),), keys, names) for circuit in (new, old))


def verdicts(rng, runs, n, drop, **world):
    return [verdict.judge_drop(DROP, *pair(rng, n, drop, **world), QUICK) for _ in range(runs)]


def at_most(k, n, share):
    """Whether k of n is compatible with a rate of at most `share`: the lower end of its binomial interval."""
    return stats.binomtest(int(k), n).proportion_ci(0.99).low <= share


def at_least(k, n, share):
    return stats.binomtest(int(k), n).proportion_ci(0.99).high >= share


@pytest.mark.parametrize(
    "world", [{"n": 60}, {"n": 80, "templates": 16, "between": 0.2}], ids=["examples", "templates"]
)
def test_false_alarms_are_rare(world):
    """At the bound itself, the worst case: neither a regression nor an all-clear in more than 5 of 100."""
    found = [judged.verdict for judged in verdicts(generator("fresh"), RUNS, drop=TOLERANCE, **world)]
    assert at_most(found.count(REGRESSION), RUNS, 0.05)
    assert at_most(found.count(FINE), RUNS, 0.05)
    assert found.count(CANNOT_TELL) > 0.85 * RUNS


def test_false_alarms_are_rare_where_the_examples_are_others():
    rng = generator("fresh")
    found = []
    for _ in range(400):
        (new, _), (_, old) = pair(rng, 80, TOLERANCE), pair(rng, 60, TOLERANCE)
        found.append(verdict.judge_drop(DROP, new, old, QUICK))
    assert not any(judged.paired for judged in found)
    said = [judged.verdict for judged in found]
    assert at_most(said.count(REGRESSION), 400, 0.05) and at_most(said.count(FINE), 400, 0.05)


@pytest.mark.parametrize("drop", [0.035, 0.005], ids=["a regression", "fine"])
@pytest.mark.parametrize("world", [{}, {"templates": 20}], ids=["examples", "templates"])
def test_the_number_of_examples_that_is_called_for_is_enough(drop, world):
    """Pilots that cannot tell say a number; in the world that they believe in, it tells 80 of 100 times."""
    rng = generator("fresh")
    pilots = [judged for judged in verdicts(rng, 60, n=40, drop=drop, **world) if judged.verdict == CANNOT_TELL]
    assert len(pilots) > 10
    runs = told = 0
    for judged in pilots:
        if judged.needed is None or judged.needed.examples is None or judged.needed.examples > 400:
            continue
        wanted = REGRESSION if judged.estimate.value > TOLERANCE else FINE
        repeated = verdicts(rng, 20, n=judged.needed.examples, drop=judged.estimate.value, **world)
        told += sum(each.verdict == wanted for each in repeated)
        runs += 20
    assert runs >= 100
    assert at_least(told, runs, 0.8)


def test_where_templates_differ_more_examples_of_them_are_not_called_for():
    judged = verdicts(generator(3), 40, 200, 0.03, templates=12, between=0.3, noise=0.01)
    needed = [each.needed for each in judged if each.verdict == CANNOT_TELL]
    assert len(needed) > 20
    assert sum(each.examples is None and each.templates > 12 for each in needed if each) > 0.9 * len(needed)


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("seed", SEEDS[:3] + SEEDS[-1:])
def test_the_interval_of_a_drop_equals_plain_loops(seed, clustered):
    rng = generator(seed)
    new, old = pair(rng, 24, 0.01, templates=12 if clustered else 0)
    judged = verdict.judge_drop(DROP, new, old, Settings(resamples=200, seed=7))
    units = [[i for i in range(24) if new.templates[i] == name] for name in sorted(set(new.templates))]
    units = units if clustered else [[i] for i in range(24)]
    draw = np.random.default_rng(7)
    drops = []
    for drawn in np.concatenate([draw.integers(0, len(units), size=(100, len(units))) for _ in range(2)]):
        rows = [i for unit in drawn for i in units[unit]]
        f = [oracle.faithfulness(*([each.columns[row][i] for i in rows] for row in range(3))) for each in (new, old)]
        drops.append(f[1] - f[0])
    t = stats.t.ppf(0.975, len(units) - 1) * math.sqrt(len(units) / (len(units) - 1))
    tail = 100 * stats.norm.cdf(-t)
    assert judged.estimate.low == pytest.approx(np.percentile(drops, tail), abs=2e-5)
    assert judged.estimate.high == pytest.approx(np.percentile(drops, 100 - tail), abs=2e-5)
    f = [oracle.faithfulness(*(row.tolist() for row in each.columns)) for each in (new, old)]
    assert (judged.new, judged.old, judged.estimate.value) == pytest.approx((f[0], f[1], f[1] - f[0]), abs=1e-12)


def test_the_quantile_is_students():
    for p in (0.9, 0.95, 0.975, 0.995):
        for dof in (9, 12, 30, 200, 5000):
            assert verdict.student(p, dof) == pytest.approx(stats.t.ppf(p, dof), rel=1e-3)


def test_examples_are_matched_by_id_and_digest_in_any_order():
    rng = generator(1)
    new, old = pair(rng, 30, 0.01)
    order = rng.permutation(30)
    shuffled = old.rows(order)
    assert (verdict.aligned(new, shuffled).columns == old.columns).all()
    edited = Measured(old.columns, old.places, (("0", "other"), *old.keys[1:]), old.templates)
    assert verdict.aligned(new, edited) is None
    assert verdict.aligned(new, old.rows(range(29))) is None
    paired = verdict.judge_drop(DROP, new, old, QUICK)
    unpaired = verdict.judge_drop(DROP, new, shuffled, QUICK)
    assert (paired.paired, unpaired.paired) == (True, False)
    assert unpaired.estimate.high - unpaired.estimate.low > paired.estimate.high - paired.estimate.low


@pytest.mark.parametrize(
    ("kind", "bound", "low", "high", "says"),
    [
        ("max-drop", 0.02, -0.1, 0.02, FINE),
        ("max-drop", 0.02, 0.021, 0.1, REGRESSION),
        ("max-drop", 0.02, 0.02, 0.1, CANNOT_TELL),
        ("max-drop", 0.0, 0.0, 0.0, FINE),
        ("min", 0.9, 0.9, 1.0, FINE),
        ("min", 0.9, 0.8, 0.89, REGRESSION),
        ("min", 0.9, 0.8, 0.9, CANNOT_TELL),
        ("max", 0.1, 0.0, 0.1, FINE),
        ("max", 0.1, 0.11, 0.2, REGRESSION),
        ("max", 0.1, 0.1, 0.2, CANNOT_TELL),
    ],
)
def test_where_the_interval_lies_decides(kind, bound, low, high, says):
    assert verdict.verdict(Rule(kind, "x", bound), Estimate((low + high) / 2, low, high)) == says


def test_few_templates_are_not_drawn_and_few_examples_say_nothing():
    rng = generator(2)
    few, _ = pair(rng, 60, 0.0, templates=9)
    many, _ = pair(rng, 60, 0.0, templates=10)
    assert statistics.clusters(few.templates) is None
    assert statistics.clusters(many.templates) == many.templates
    new, old = pair(rng, 9, 0.0)
    judged = verdict.judge_drop(DROP, new, old, QUICK)
    assert (judged.verdict, judged.why) == (CANNOT_TELL, "9 examples are too few for an interval: 10 is the least")


def test_a_model_that_does_nothing_cannot_be_told():
    new, old = pair(generator(4), 40, 0.0)
    flat = new.columns.copy()
    flat[1] = flat[2]
    nothing = Measured(flat, new.places, new.keys, new.templates)
    judged = verdict.judge_drop(DROP, nothing, old, QUICK)
    assert (judged.verdict, judged.new) == (CANNOT_TELL, None)
    assert judged.old == pytest.approx(0.9, abs=0.05)
    assert "less than 3 standard errors" in judged.why
    flat[1] += 0.01 * generator(5).normal(size=40)  # next to nothing: a number, but none to be told
    assert verdict.judge_drop(DROP, Measured(flat, new.places, new.keys, new.templates), old, QUICK).new is None
    bound = verdict.judge_bound(Rule("min", "clean", -9), nothing, QUICK)
    assert bound.verdict == FINE  # a plain mean needs no difference


def curve(rng, n):
    """Records of a report of a curve, as `mi score` writes them."""
    clean, empty = 4 + rng.normal(size=n), rng.normal(size=n)
    records = []
    for mode in ("signed", "absolute"):
        for nominal in PERCENTAGES:
            value = nominal * clean + (1 - nominal) * empty + 0.1 * rng.normal(size=n)
            records += [
                {"id": str(i), "mode": mode, "nominal": nominal, "value": value[i], "clean": clean[i], "corrupted": c}
                for i, c in enumerate(empty)
            ]
    return records


@pytest.mark.parametrize("seed", SEEDS[:2] + SEEDS[-1:])
def test_areas_are_those_of_the_curve(seed):
    rng = generator(seed)
    records = curve(rng, 20)
    blocks = rng.permutation(2 * len(PERCENTAGES))  # the order of the circuits is of no interest
    report = measured([records[20 * block + i] for block in blocks for i in range(20)], "x")
    of = {}
    for mode in ("signed", "absolute"):
        at = [[r for r in records if (r["mode"], r["nominal"]) == (mode, nominal)] for nominal in PERCENTAGES]
        keys = ("value", "clean", "corrupted")
        of[mode] = oracle.areas([oracle.faithfulness(*([r[key] for r in rows] for key in keys)) for rows in at])
    means = report.columns.mean(axis=1)
    for name, mode in (("cpr", "signed"), ("cmd", "absolute"), ("cpr-log", "signed"), ("average", "signed")):
        assert float(quantity(report, name)(means)) == pytest.approx(of[mode][name], abs=1e-12)


def test_a_rise_of_cmd_is_a_drop():
    rng = generator(5)
    report = measured(curve(rng, 30), "x")
    worse = report.columns.copy()
    worse[10:20] -= 0.5  # absolute circuits do less
    new = Measured(worse, report.places, report.keys, report.templates)
    judged = verdict.judge_drop(Rule("max-drop", "cmd", 0.02), new, report, QUICK)
    assert judged.verdict == REGRESSION
    assert judged.estimate.value == pytest.approx(judged.new - judged.old)
    assert judged.new > judged.old

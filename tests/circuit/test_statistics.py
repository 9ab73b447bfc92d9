"""Faithfulness and its intervals: equal to plain loops, paired, covering, and silent where nothing can be said."""

import numpy as np
import pytest

from mi.circuit import statistics
from mi.circuit.curve import AREAS
from tests.circuit.random_graphs import SEEDS, generator
from tests.oracle import selection as oracle


def metrics(rng, n, k=3, gap=3.0, noise=1.0):
    """Per-example values of k circuits, of the whole model and of the empty circuit, correlated within an example."""
    difficulty = rng.normal(size=n)
    clean = gap + difficulty + noise * rng.normal(size=n)
    empty = difficulty + noise * rng.normal(size=n)
    share = np.linspace(0.2, 0.9, k)[:, None]
    return share * clean + (1 - share) * empty + noise * rng.normal(size=(k, n)), clean, empty


def percentile(values, q):
    """Linear interpolation between the sorted values."""
    values = sorted(values)
    place = (len(values) - 1) * q / 100
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (place - below) * (values[above] - values[below])


def resamples_by_loop(n_units, resamples, seed):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, n_units, size=(1, n_units))[0].tolist() for _ in range(resamples)]


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("seed", SEEDS[:4] + SEEDS[-1:])
def test_faithfulness_equals_plain_loops(seed, clustered):
    rng = generator(seed)
    n, k = int(rng.integers(5, 30)), 3
    value, clean, empty = metrics(rng, n, k)
    clusters = [f"t{i}" for i in rng.integers(0, 4, size=n)] if clustered else None
    units = [[i for i in range(n) if clusters[i] == name] for name in sorted(set(clusters))] if clustered else None
    units = units or [[i] for i in range(n)]
    found = statistics.faithfulness(value, clean, empty, clusters=clusters, resamples=250, seed=7)
    draws = [[i for unit in drawn for i in units[unit]] for drawn in resamples_by_loop(len(units), 250, 7)]
    for circuit, estimate in zip(value.tolist(), found, strict=True):
        assert estimate.value == pytest.approx(oracle.faithfulness(circuit, clean.tolist(), empty.tolist()), abs=1e-12)
        values = [
            oracle.faithfulness([circuit[i] for i in d], [clean[i] for i in d], [empty[i] for i in d]) for d in draws
        ]
        assert estimate.low == pytest.approx(percentile(values, 2.5), abs=1e-10)
        assert estimate.high == pytest.approx(percentile(values, 97.5), abs=1e-10)


@pytest.mark.parametrize("seed", SEEDS[:2] + SEEDS[-1:])
def test_areas_equal_plain_loops(seed):
    rng = generator(seed)
    n = int(rng.integers(5, 20))
    signed, clean, empty = metrics(rng, n, 10)
    absolute = signed + rng.normal(size=signed.shape)
    found = statistics.areas(signed, absolute, clean, empty, resamples=150, seed=5)
    assert list(found) == list(AREAS)

    def by_loop(runs, d):
        return oracle.areas(
            [oracle.faithfulness([run[i] for i in d], [clean[i] for i in d], [empty[i] for i in d]) for run in runs]
        )

    draws = resamples_by_loop(n, 150, 5)
    for runs, names in ((signed, ["cpr", "cpr-log", "cpr-capped", "average"]), (absolute, ["cmd", "cmd-log"])):
        point, values = by_loop(runs, range(n)), [by_loop(runs, d) for d in draws]
        for name in names:
            assert found[name].value == pytest.approx(point[name], abs=1e-10)
            assert found[name].low == pytest.approx(percentile([v[name] for v in values], 2.5), abs=1e-9)
            assert found[name].high == pytest.approx(percentile([v[name] for v in values], 97.5), abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_numbers_give_the_same_estimates_alone_or_together(seed):
    value, clean, empty = metrics(generator(seed), 40)
    together = statistics.faithfulness(value, clean, empty)
    assert together == statistics.faithfulness(value, clean, empty)
    assert together == [statistics.faithfulness(row[None], clean, empty)[0] for row in value]
    assert together != statistics.faithfulness(value, clean, empty, seed=1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_change_of_unit_changes_nothing(seed):
    value, clean, empty = metrics(generator(seed), 30)
    plain = statistics.faithfulness(value, clean, empty)
    moved = statistics.faithfulness(-3 * value + 7, -3 * clean + 7, -3 * empty + 7)
    for a, b in zip(plain, moved, strict=True):
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=1e-9)


def test_model_and_empty_circuit_have_no_uncertainty():
    _, clean, empty = metrics(np.random.default_rng(0), 30)
    whole, nothing = statistics.faithfulness(np.stack([clean, empty]), clean, empty)
    assert whole == statistics.Estimate(1.0, 1.0, 1.0)
    assert nothing == statistics.Estimate(0.0, 0.0, 0.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_resampling_is_paired(seed):
    """Examples differ widely, but in each the circuit does half of what the model does: f is known almost exactly."""
    rng = generator(seed)
    clean, empty = rng.normal(20, 10, size=50), rng.normal(0, 1, size=50)
    circuit = (clean + empty) / 2 + 0.01 * rng.normal(size=50)
    estimate = statistics.faithfulness(circuit[None], clean, empty)[0]
    assert estimate.low <= estimate.value <= estimate.high
    assert 0 < estimate.high - estimate.low < 0.005
    model = statistics.means({"m": clean})["m"]
    assert model.high - model.low > 2


@pytest.mark.parametrize("seed", SEEDS)
def test_whole_templates_are_drawn(seed):
    """Copies of an example are no new evidence: the interval of templates is that of one example each."""
    rng = generator(seed)
    value, clean, empty = metrics(rng, 12)
    names = np.array([f"t{i:02d}" for i in range(12)])
    copies = np.repeat(np.arange(12), 7)
    shuffled = rng.permutation(copies)
    alone = statistics.faithfulness(value, clean, empty)
    clustered = statistics.faithfulness(value[:, shuffled], clean[shuffled], empty[shuffled], clusters=names[shuffled])
    for a, b in zip(alone, clustered, strict=True):
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=1e-9)
    plain = statistics.faithfulness(value[:, shuffled], clean[shuffled], empty[shuffled])
    assert plain[1].high - plain[1].low < 0.7 * (alone[1].high - alone[1].low)


@pytest.mark.parametrize("seed", ["fresh", "fresh again"])
def test_intervals_cover(seed):
    """About 95 of 100 intervals hold the truth. The bounds are five standard errors of the simulation wide."""
    rng = generator(seed)
    runs, n, truth = 400, 60, np.linspace(0.1, 0.8, 10)
    covered = {"f": 0, "cpr": 0, "cmd": 0, "mean": 0}
    exact = oracle.areas(truth.tolist())
    for _ in range(runs):
        clean = 2 + rng.normal(size=n) + rng.standard_t(5, size=n)
        empty = rng.normal(size=n)
        value = truth[:, None] * clean + (1 - truth)[:, None] * empty + 0.7 * rng.standard_t(5, size=(10, n))
        f = statistics.faithfulness(value[4:5], clean, empty, resamples=1000)[0]
        areas = statistics.areas(value, value, clean, empty, resamples=1000)
        model = statistics.means({"m": clean}, resamples=1000)["m"]
        covered["f"] += f.low <= truth[4] <= f.high
        covered["cpr"] += areas["cpr"].low <= exact["cpr"] <= areas["cpr"].high
        covered["cmd"] += areas["cmd"].low <= exact["cmd"] <= areas["cmd"].high
        covered["mean"] += model.low <= 2 <= model.high
    print(covered)
    assert all(0.87 < count / runs < 0.99 for count in covered.values())


@pytest.mark.parametrize("seed", ["fresh"])
def test_intervals_over_templates_cover_where_plain_ones_do_not(seed):
    rng = generator(seed)
    runs, groups, each = 300, 40, 8
    clusters = [f"t{i}" for i in range(groups) for _ in range(each)]
    covered = {"plain": 0, "clustered": 0}
    for _ in range(runs):
        shift = np.repeat(rng.normal(size=groups), each)
        clean, empty = 3 + rng.normal(size=groups * each), rng.normal(size=groups * each)
        circuit = 0.5 * clean + 0.5 * empty + shift
        for name, labels in (("plain", None), ("clustered", clusters)):
            f = statistics.faithfulness(circuit[None], clean, empty, clusters=labels, resamples=1000)[0]
            covered[name] += f.low <= 0.5 <= f.high
    print(covered)
    assert covered["plain"] / runs < 0.75
    assert 0.85 < covered["clustered"] / runs < 0.995


def test_undetermined_is_under_three_standard_errors():
    """Differences 0 and 2, n of them half and half: mean 1, standard error 1 / sqrt(n - 1)."""
    for n, told_apart in ((8, False), (10, True), (12, True)):
        clean, empty = np.array([0.0, 2.0] * (n // 2)) + 5, np.full(n, 5.0)
        reason = statistics.undetermined(clean, empty)
        assert (reason is None) == told_apart, n
        assert (statistics.undetermined(empty, clean) is None) == told_apart, n
    assert statistics.undetermined(np.array([5.0, 7.0] * 4), np.full(8, 5.0)) == (
        "the metric of the whole model and of the empty circuit differ by 1 with a standard error of 0.378 "
        "over 8 examples: less than 3 standard errors"
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_undetermined_equals_plain_loops(seed):
    rng = generator(seed)
    for _ in range(200):
        n = int(rng.integers(2, 12))
        clean, empty = rng.normal(0.9, 1, size=n), rng.normal(0, 0.3, size=n)
        square = 0.0  # of the standard error: two means, as if of different examples
        for column in (clean.tolist(), empty.tolist()):
            centre = sum(column) / n
            square += sum((x - centre) ** 2 for x in column) / (n - 1) / n
        mean, error = sum(clean.tolist()) / n - sum(empty.tolist()) / n, square**0.5
        assert (statistics.undetermined(clean, empty) is None) == (abs(mean) >= 3 * error)
        copies = np.repeat(np.arange(n), 3)
        names = [f"t{i}" for i in copies]
        assert (statistics.undetermined(clean[copies], empty[copies], names) is None) == (abs(mean) >= 3 * error)


def test_a_paired_difference_does_not_certify_a_task_that_the_model_cannot_do():
    """Every example moves by 0.2 exactly, while the metric itself scatters by 1."""
    scatter = np.array([-1.0, 1.0] * 20)
    assert statistics.undetermined(scatter, scatter + 0.2) is not None
    assert statistics.undetermined(scatter, scatter + 2.0) is None


def test_undetermined_where_there_is_nothing_to_tell_apart():
    same = np.full(5, 2.0)
    assert "differ by 0" in statistics.undetermined(same, same)
    assert statistics.undetermined(same, same - 1) is None
    assert statistics.undetermined(np.ones(1), np.zeros(1)) == "1 example cannot give a standard error"
    assert (
        statistics.undetermined(np.ones(3), np.zeros(3), ["t", "t", "t"]) == "1 template cannot give a standard error"
    )
    assert statistics.undetermined(np.ones(0), np.zeros(0)) == "0 examples cannot give a standard error"


def test_a_resample_without_faithfulness_is_left_out():
    """One example in four moves nothing: some resamples draw it alone, and 0 / 0 must not reach the interval."""
    clean, empty = np.array([0.0, 1.0, 1.0, 1.0]), np.zeros(4)
    assert statistics.undetermined(clean, empty) is None
    estimate = statistics.faithfulness(np.array([[0.0, 0.4, 0.5, 0.6]]), clean, empty)[0]
    assert 0.4 <= estimate.low < estimate.value < estimate.high <= 0.6


def test_clusters_must_name_every_example():
    with pytest.raises(ValueError, match="2 clusters for 3 examples"):
        statistics.faithfulness(np.ones((1, 3)), np.ones(3), np.zeros(3), clusters=["a", "b"])

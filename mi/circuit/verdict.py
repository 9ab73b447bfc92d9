"""Verdicts on reports: numbers of every example and a rule in; fine, regression or cannot tell out.

A rule bounds a number of the new report (`min`, `max`), or by how much it may be worse than in the old one
(`max-drop`). The interval decides: fine if all of it is on the right side of the bound, a regression if all of it is on
the wrong side, cannot tell otherwise. Intervals are bootstrap percentiles. On the same examples both reports are
recomputed from one draw, so that what makes an example hard for both cancels. Whole templates are drawn where there are
enough of them. Percentiles of few units are too narrow; they are taken further out, as Student's t is wider than the
normal (Hesterberg 2015, "What teachers should know about the bootstrap", expanded percentile interval).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from mi.circuit.measured import LESS_IS_BETTER, PLAIN, Measured, quantity
from mi.circuit.statistics import LEVEL, RESAMPLES, SEED, Estimate, clusters, resampled_sums, undetermined

FINE, REGRESSION, CANNOT_TELL = "fine", "regression", "cannot tell"
LEAST_UNITS = 10  # examples: fewer get no verdict
POWER = 0.85  # of the number of examples that is called for: 80 % are promised, and the error is an estimate
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Rule:
    """`max-drop`, `min` or `max`; the name of a number; its bound."""

    kind: str
    name: str
    bound: float


@dataclass(frozen=True)
class Settings:
    """How intervals are made."""

    level: float = LEVEL
    resamples: int = RESAMPLES
    seed: int = SEED


@dataclass(frozen=True)
class Needed:
    """What would tell, if the estimate is the truth: examples of the same templates, else of so many templates."""

    examples: int | None
    templates: int | None = None


@dataclass(frozen=True)
class Judged:
    """One rule applied: the verdict, and the number (or the drop) that it was judged by."""

    rule: Rule
    verdict: str
    new: float | None = None
    old: float | None = None
    estimate: Estimate | None = None  # of the drop for max-drop, of the number itself otherwise
    n: int = 0
    paired: bool | None = None  # None: nothing was compared
    why: str = ""  # it cannot be told, where it is not the interval that says so
    needed: Needed | None = None


def aligned(new: Measured, old: Measured) -> Measured | None:
    """The old report with its examples in the order of the new one's, or None: they are not the same examples."""
    if sorted(new.keys) != sorted(old.keys):
        return None
    of_new = sorted(range(new.n), key=lambda i: new.keys[i])
    of_old = sorted(range(old.n), key=lambda i: old.keys[i])
    place = dict(zip(of_new, of_old, strict=True))
    return old.rows([place[i] for i in range(new.n)])


def judge_bound(rule: Rule, new: Measured, settings: Settings) -> Judged:
    """`min` or `max`."""
    return _judged(rule, (new,), settings, None, lambda values: values[0])


def judge_drop(rule: Rule, new: Measured, old: Measured, settings: Settings) -> Judged:
    """`max-drop`: how much worse the new number is. `old` in the order of `new` if the examples are the same."""
    worse = -1.0 if rule.name in LESS_IS_BETTER else 1.0
    return _judged(rule, (new, old), settings, new.keys == old.keys, lambda values: worse * (values[1] - values[0]))


def judge_stored(rule: Rule, new: Mapping[str, float], old: Mapping[str, float] | None) -> Judged:
    """By the intervals that the reports hold: for numbers that their examples do not give. Two intervals are compared
    as if they were of independent and normal numbers."""
    value, before = float(new["value"]), None if old is None else float(old["value"])
    if old is None or before is None:
        estimate = Estimate(value, float(new["low"]), float(new["high"]))
    else:
        worse = -1.0 if rule.name in LESS_IS_BETTER else 1.0
        drop = worse * (before - value)
        half = math.hypot(*((float(each["high"]) - float(each["low"])) / 2 for each in (new, old)))
        estimate = Estimate(drop, drop - half, drop + half)
    n = int(new.get("n", 0))
    return Judged(rule, verdict(rule, estimate), value, before, estimate, n, None if old is None else False)


def verdict(rule: Rule, estimate: Estimate) -> str:
    """Where the interval lies. An interval of no width is on the right side of the bound when it touches it."""
    low, high = estimate.low, estimate.high
    if rule.kind == "min":
        low, high, bound = -high, -low, -rule.bound
    else:
        bound = rule.bound
    if high <= bound:
        return FINE
    return REGRESSION if low > bound else CANNOT_TELL


def _judged(
    rule: Rule,
    reports: Sequence[Measured],
    settings: Settings,
    paired: bool | None,
    combine: Callable[[Sequence[Any]], Any],
) -> Judged:
    """`combine` makes the judged number of the numbers of the reports."""
    of = [quantity(each, rule.name) for each in reports]
    points = [float(f(each.columns.mean(axis=1))) for f, each in zip(of, reports, strict=True)]
    first, before = points[0], points[1] if len(points) > 1 else None
    new = reports[0]
    by = [clusters(each.templates) for each in reports]
    why = _nothing_to_say(rule, reports, by)
    if why:
        told = [_told(rule, each, names, value) for each, names, value in zip(reports, by, points, strict=True)]
        return Judged(rule, CANNOT_TELL, told[0], told[1] if before is not None else None, None, new.n, paired, why)
    least = min(_count(each, names) for each, names in zip(reports, by, strict=True))

    def draws(by: Sequence[Sequence[str] | None]) -> np.ndarray:
        found = combine([f(m) for f, m in zip(of, _resampled(reports, by, bool(paired), settings), strict=True)])
        return found[np.isfinite(found)]  # a resample in which the model does nothing has no faithfulness

    drawn = draws(by)
    estimate = interval(float(combine(points)), drawn, settings.level, least)
    said = verdict(rule, estimate)
    needed = None
    if said == CANNOT_TELL:
        alone = float(draws([None] * len(reports)).std()) if by[0] is not None else None
        margin = abs(estimate.value - rule.bound)
        needed = examples_needed(margin, float(drawn.std()), alone, new.n, least, settings.level)
    return Judged(rule, said, first, before, estimate, new.n, paired, needed=needed)


def _told(rule: Rule, report: Measured, drawn: Sequence[str] | None, value: float) -> float | None:
    """A report's own number, where it has one: a ratio to next to nothing is none."""
    ratio = rule.name not in PLAIN and undetermined(report.columns[-2], report.columns[-1], drawn) is not None
    return None if ratio or not math.isfinite(value) else value


def _nothing_to_say(rule: Rule, reports: Sequence[Measured], drawn: Sequence[Sequence[str] | None]) -> str | None:
    """Why no interval can be given, or None."""
    for each, names in zip(reports, drawn, strict=True):
        if each.n < LEAST_UNITS:
            return f"{each.n} examples are too few for an interval: {LEAST_UNITS} is the least"
        if rule.name not in PLAIN and (why := undetermined(each.columns[-2], each.columns[-1], names)):
            return why
    return None


def _count(report: Measured, names: Sequence[str] | None) -> int:
    """How many units are drawn."""
    return report.n if names is None else len(set(names))


def _resampled(
    reports: Sequence[Measured], drawn: Sequence[Sequence[str] | None], paired: bool, settings: Settings
) -> list[np.ndarray]:
    """The means of every report under every resample, each [B, K + 2]: from one draw if they are paired."""
    if not paired:
        return [
            _means(each.columns, names, settings, settings.seed + index)
            for index, (each, names) in enumerate(zip(reports, drawn, strict=True))
        ]
    together = _means(np.vstack([each.columns for each in reports]), drawn[0], settings, settings.seed)
    return np.split(together, np.cumsum([len(each.columns) for each in reports])[:-1], axis=1)


def _means(columns: np.ndarray, names: Sequence[str] | None, settings: Settings, seed: int) -> np.ndarray:
    sums, counts = resampled_sums(columns, names, settings.resamples, seed)
    return sums / counts[:, None]


def interval(value: float, draws: np.ndarray, level: float, n_units: int) -> Estimate:
    """The expanded percentile interval of draws from `n_units` examples or templates."""
    quantile = student(0.5 + level / 2, n_units - 1) * math.sqrt(n_units / (n_units - 1))
    tail = 100 * _NORMAL.cdf(-quantile)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Estimate(value, float(low), float(high))


def student(p: float, dof: int) -> float:
    """The quantile of Student's t, by the expansion in 1 / dof about the normal (Abramowitz and Stegun 26.7.5): right
    to three digits from 9 degrees of freedom on."""
    x = _NORMAL.inv_cdf(p)
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return x + sum(term / dof**power for power, term in enumerate(terms, start=1))


def examples_needed(
    margin: float, error: float, error_alone: float | None, n: int, n_units: int, level: float
) -> Needed | None:
    """How many examples tell 80 times of 100, if the number is what it seems to be, `margin` from its bound.

    The interval must then lie on one side: margin >= (z_level + z_power) * standard error. `error` is that of n
    examples in `n_units` templates, `error_alone` the one that examples without templates would have. The two give the
    variance between templates, which no number of examples of the same templates takes away.
    """
    reach = student(0.5 + level / 2, n_units - 1) * math.sqrt(n_units / (n_units - 1)) + _NORMAL.inv_cdf(POWER)
    wanted = (margin / reach) ** 2  # the variance that tells
    if not wanted > 0 or not error > 0:
        return None
    if error_alone is None:
        return Needed(_round_up(n * error**2 / wanted))
    between = max(0.0, (error**2 - error_alone**2) / (1 / n_units - 1 / n))
    within = max(0.0, n * error_alone**2 - between)
    left = wanted - between / n_units
    if left > wanted / 10:
        return Needed(_round_up(max(within / left, n)))
    return Needed(None, _round_up(n_units * error**2 / wanted))  # each with as many examples as now


def _round_up(number: float) -> int:
    """To two digits: the number is an estimate."""
    scale = 10 ** max(0, math.floor(math.log10(max(number, 1))) - 1)
    return math.ceil(number / scale) * scale

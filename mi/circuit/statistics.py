"""Faithfulness with its uncertainty: per-example metric values in, estimates with intervals out.

Faithfulness is f(C) = (m(C) - m(0)) / (m(M) - m(0)), where m is the mean of the metric over the examples, M the whole
model (`clean`) and 0 the circuit without edges under the same ablation (`empty`). Intervals come from a paired
bootstrap: each resample draws examples with replacement (whole templates, where `clusters` names them) and recomputes
m(M), m(0) and every m(C) from the same draw, so circuits of one call, and of two calls on the same examples, are
compared draw by draw. The seed is fixed and the sums are plain loops, not a threaded library's: the same numbers give
the same bytes. An interval is the 2.5th to the 97.5th percentile of the resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mi.circuit.curve import AREAS, PERCENTAGES

RESAMPLES = 2000
SEED = 20240229
LEVEL = 0.95
STANDARD_ERRORS = 3.0  # nearer than this, m(M) and m(0) are not told apart
LEAST_CLUSTERS = 10  # fewer templates cannot be drawn from: examples are drawn, and intervals are of these templates
_BLOCK = 100  # resamples drawn at once, so that memory does not grow with their number


@dataclass(frozen=True)
class Estimate:
    """A number and its interval."""

    value: float
    low: float
    high: float


def faithfulness(
    value: np.ndarray,
    clean: np.ndarray,
    empty: np.ndarray,
    *,
    clusters: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> list[Estimate]:
    """One estimate for each circuit. `value` is [K, N]; ask `undetermined` first."""
    point, draws = _faithfulness(value, clean, empty, clusters, resamples, seed)
    return _estimates(point, draws, level)


def areas(
    signed: np.ndarray,
    absolute: np.ndarray,
    clean: np.ndarray,
    empty: np.ndarray,
    *,
    x: Sequence[float] = PERCENTAGES,
    clusters: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> dict[str, Estimate]:
    """Every area of the curve, from circuits [sizes, N] chosen by signed score and by magnitude."""
    curves = {
        True: _faithfulness(signed, clean, empty, clusters, resamples, seed),
        False: _faithfulness(absolute, clean, empty, clusters, resamples, seed),
    }
    estimates: dict[str, Estimate] = {}
    for name, (area, by_sign) in AREAS.items():
        point, draws = curves[by_sign]
        estimates[name] = _estimates(area(point, x)[None], area(draws, x)[:, None], level)[0]
    return estimates


def gap(
    here: tuple[np.ndarray, np.ndarray, np.ndarray],
    there: tuple[np.ndarray, np.ndarray, np.ndarray],
    of: Callable[[np.ndarray], np.ndarray] = lambda f: f,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> Estimate:
    """f there minus f here, on two sets of examples that are drawn independently of each other.

    Each is (value [K, N], clean [N], empty [N]); ``of`` makes one number of f [..., K], such as an area of the curve.
    """
    points, draws = zip(
        *(
            _faithfulness(value, clean, empty, None, resamples, seed + number)
            for number, (value, clean, empty) in enumerate((here, there))
        ),
        strict=True,
    )
    n = min(map(len, draws))  # resamples in which M and 0 are equal are left out
    apart = np.ravel(of(draws[1][:n]) - of(draws[0][:n]))[:, None]
    point = np.ravel(of(points[1]) - of(points[0]))
    return _estimates(point, apart, level)[0]


def clusters(templates: Sequence[str]) -> Sequence[str] | None:
    """What is drawn whole: the templates of the examples, or None where examples are drawn."""
    there = set(templates)
    return templates if "" not in there and LEAST_CLUSTERS <= len(there) < len(templates) else None


def means(
    columns: Mapping[str, np.ndarray],
    *,
    clusters: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> dict[str, Estimate]:
    """The mean of each column of per-example values [N], with its interval."""
    values = np.stack([np.asarray(column, dtype=np.float64) for column in columns.values()])
    sums, counts = resampled_sums(values, clusters, resamples, seed)
    return dict(zip(columns, _estimates(values.mean(axis=1), sums / counts[:, None], level), strict=True))


def undetermined(clean: np.ndarray, empty: np.ndarray, clusters: Sequence[str] | None = None) -> str | None:
    """Why faithfulness means nothing here, or None: m(M) and m(0) must differ by three standard errors.

    The error is that of two independent means, although the examples are the same. A paired error would be smaller, and
    would certify a difference that is tiny beside the spread of the metric, as on a task that the model cannot do.
    """
    columns = np.stack([np.asarray(clean, dtype=np.float64), np.asarray(empty, dtype=np.float64)])
    n = columns.shape[1]
    group, n_groups = _groups(n, clusters)
    units = "example" if clusters is None else "template"
    if n_groups < 2:
        return f"{n_groups} {units}{'s' * (n_groups != 1)} cannot give a standard error"
    means = columns.mean(axis=1)
    spread = sum(
        float(np.sum(np.bincount(group, weights=column - mean, minlength=n_groups) ** 2))
        for column, mean in zip(columns, means, strict=True)
    )
    error = float(np.sqrt(n_groups / (n_groups - 1) * spread) / n)
    difference = float(means[0] - means[1])
    if difference != 0 and abs(difference) >= STANDARD_ERRORS * error:
        return None
    return (
        f"the metric of the whole model and of the empty circuit differ by {difference:.3g} with a standard error of "
        f"{error:.3g} over {n_groups} {units}s: less than {STANDARD_ERRORS:g} standard errors"
    )


def _faithfulness(
    value: np.ndarray,
    clean: np.ndarray,
    empty: np.ndarray,
    clusters: Sequence[str] | None,
    resamples: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """f of every circuit [K], and of every circuit in every resample [B, K]."""
    values = np.vstack([value, clean, empty]).astype(np.float64)  # [K + 2, N]
    sums, _ = resampled_sums(values, clusters, resamples, seed)
    # a ratio of differences of means is a ratio of differences of sums: the sizes of a resample cancel
    circuit, model, nothing = sums[:, :-2], sums[:, -2:-1], sums[:, -1:]
    usable = (model != nothing)[:, 0]  # a resample in which M and 0 are equal has no f
    draws = (circuit - nothing)[usable] / (model - nothing)[usable]
    mean = values.mean(axis=1)
    return (mean[:-2] - mean[-1]) / (mean[-2] - mean[-1]), draws


def resampled_sums(
    values: np.ndarray, clusters: Sequence[str] | None, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of each row of `values` [M, N] over resampled examples [B, M], and the number of examples drawn [B]."""
    n = values.shape[1]
    group, n_groups = _groups(n, clusters)
    by_group = np.stack([np.bincount(group, weights=row, minlength=n_groups) for row in values])  # [M, G]
    members = np.bincount(group, minlength=n_groups)
    rng = np.random.default_rng(seed)
    sums, counts = [], []
    for first in range(0, resamples, _BLOCK):
        block = min(_BLOCK, resamples - first)
        drawn = rng.integers(0, n_groups, size=(block, n_groups)) + n_groups * np.arange(block)[:, None]
        times = np.bincount(drawn.ravel(), minlength=block * n_groups).reshape(block, n_groups)  # [b, G]
        sums.append(np.einsum("bg,mg->bm", times.astype(np.float64), by_group, optimize=False))
        counts.append(times @ members)
    return np.concatenate(sums), np.concatenate(counts)


def _groups(n: int, clusters: Sequence[str] | None) -> tuple[np.ndarray, int]:
    """The unit that each example is drawn with, and the number of units: examples, or their clusters."""
    if clusters is None:
        return np.arange(n), n
    if len(clusters) != n:
        raise ValueError(f"{len(clusters)} clusters for {n} examples")
    names, group = np.unique(np.asarray(clusters), return_inverse=True)
    return group, len(names)


def _estimates(point: np.ndarray, draws: np.ndarray, level: float) -> list[Estimate]:
    """Points [K] with the percentiles of their draws [B, K]."""
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(draws, [tail, 100 - tail], axis=0)
    return [Estimate(float(p), float(a), float(b)) for p, a, b in zip(point, low, high, strict=True)]

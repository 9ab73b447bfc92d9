"""How well a ranking finds a circuit that is known: scores and true edges in, areas under the ROC curve out.

Three areas, because published numbers mean different things by the same word (spec D4, D5):

- `auroc`: every edge is ranked, ties count half. The chance that a true edge stands above one that is not.
- `pessimistic`: ACDC's. Between two thresholds the curve takes the lower right way, so ties count against the ranking.
- `mib`: of the MIB benchmark. Greedy circuits of ten sizes; no point at (0, 0), and x is scaled to end at 1.

`truth` is bool [E]. It must hold both kinds: with nothing to find, or nothing to avoid, there is no curve.
"""

from __future__ import annotations

import math

import numpy as np

from mi.circuit.curve import PERCENTAGES
from mi.circuit.graph import Graph
from mi.circuit.prune import connected
from mi.circuit.select import greedy
from mi.circuit.stability import RESAMPLES, resampled
from mi.circuit.statistics import LEVEL, Estimate
from mi.errors import MiError


def auroc(scores: np.ndarray, truth: np.ndarray, absolute: bool = True) -> float:
    """Area under the ROC curve of all edges, by magnitude or by signed score; ties count half.

    An infinite score (an edge that no threshold removes) ranks above all others.
    """
    value, true = _checked(scores, truth, absolute)
    n_true = int(true.sum())
    n_false = len(true) - n_true
    below = float(average_ranks(value)[true].sum()) - n_true * (n_true + 1) / 2  # Mann and Whitney's U
    return below / (n_true * n_false)


def auroc_interval(
    scores: np.ndarray,
    truth: np.ndarray,
    shards: np.ndarray,
    shard_n: np.ndarray,
    absolute: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate:
    """`auroc` with its interval over the examples: percentiles over scores whose shards are drawn again."""
    draws = [auroc(drawn, truth, absolute) for drawn in resampled(shards, shard_n, resamples, seed)]
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Estimate(auroc(scores, truth, absolute), float(low), float(high))


def pessimistic(scores: np.ndarray, truth: np.ndarray, absolute: bool = True) -> float:
    """ACDC's area of a ranking: edges of equal score enter together, at the threshold that they share."""
    false, hits = points(scores, truth, absolute).T
    return pessimistic_area(false / false[-1], hits / hits[-1])


def points(scores: np.ndarray, truth: np.ndarray, absolute: bool = True) -> np.ndarray:
    """The ROC curve in counts, int [n, 2]: false and true edges above each threshold, from none to all."""
    value, true = _checked(scores, truth, absolute)
    order = np.argsort(-value, kind="stable")
    last = np.flatnonzero(np.append(value[order][1:] != value[order][:-1], True))  # of each group of ties
    hits = np.append(0, np.cumsum(true[order])[last])
    return np.stack([np.append(0, last + 1) - hits, hits], axis=1)


def pessimistic_area(fpr: np.ndarray, tpr: np.ndarray) -> float:
    """ACDC's area of points, such as those of a sweep over tau: sum of (1 - FPR_{i+1}) (TPR_{i+1} - TPR_i)."""
    fpr, tpr = np.asarray(fpr, dtype=np.float64), np.asarray(tpr, dtype=np.float64)
    order = np.lexsort((tpr, fpr))
    return float(((1 - fpr[order][1:]) * np.diff(tpr[order])).sum())


def mib(graph: Graph, scores: np.ndarray, truth: np.ndarray) -> float:
    """The MIB benchmark's area: greedy circuits of ten sizes by magnitude, pruned; trapezoid over FPR / last FPR.

    It underestimates: without the point (0, 0) what lies left of the smallest circuit is lost. A size is the float
    product rounded up, as the benchmark's loop does it.
    """
    return mib_area(mib_points(graph, scores, truth), int(np.count_nonzero(truth)))


def mib_points(graph: Graph, scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """False and true edges of the benchmark's ten circuits, int [10, 2]."""
    _, true = _checked(scores, truth, absolute=True)
    counts = []
    for fraction in PERCENTAGES:
        kept = connected(graph, greedy(graph, scores, min(graph.n_edges, math.ceil(fraction * graph.n_edges))))
        counts.append((np.count_nonzero(kept & ~true), np.count_nonzero(kept & true)))
    return np.array(counts)


def mib_area(counts: np.ndarray, n_true: int) -> float:
    """The benchmark's area of its points: x is the share of the false edges that the largest circuit has."""
    false, hits = np.asarray(counts, dtype=np.float64).T
    if not false[-1]:
        raise MiError("no circuit of any size holds a false edge: the MIB area has nothing to scale by")
    x, y = false / false[-1], hits / n_true
    return float(((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum())


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, the smallest first; equal values share the mean of their ranks. float64 [n]."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[group]


def _checked(scores: np.ndarray, truth: np.ndarray, absolute: bool) -> tuple[np.ndarray, np.ndarray]:
    """What is ranked, float64, and the truth, bool; refuses what has no curve."""
    value, true = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=bool)
    if value.shape != true.shape:
        raise MiError(f"{value.size} scores and a truth about {true.size} edges", "they belong to different graphs")
    if np.isnan(value).any():
        raise MiError("a score is not a number", "it has no place in a ranking")
    if true.all() or not true.any():
        share = "every edge" if true.any() else "no edge"
        raise MiError(f"{share} is true, so there is no ROC curve", "the truth must have edges of both kinds")
    return np.abs(value) if absolute else value, true

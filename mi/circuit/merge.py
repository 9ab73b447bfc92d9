"""Several rankings made one: vectors of scores in, one vector out (spec B15: the best entry of the shared task is an
ensemble).

`mean`, `min` and `max` are of the scores themselves, signs included. Scores of one metric are in its units, whatever
the method, so they are taken as they are; where methods or metrics differ in scale, each file is first divided by the
mean magnitude of its scores (`scale`), which makes its average edge weigh 1.

`rank-mean` needs no scale: a unit counts for its rank by magnitude among n, ties sharing the mean of their ranks, over
n and with the sign of its score. So each file's own order is kept, by magnitude and by signed score, and files that
disagree about a sign cancel. A score of 0 counts 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mi.circuit.roc import average_ranks
from mi.errors import MiError

RULES: dict[str, Callable[..., np.ndarray]] = {
    "mean": np.mean,
    "min": np.min,
    "max": np.max,
    "rank-mean": np.mean,
}


def merged(scores: Sequence[np.ndarray], rule: str, scales: Sequence[float] | None = None) -> np.ndarray:
    """One vector out of several, float64 [n]. What one of them does not score (NaN) is not scored."""
    stacked = np.stack([np.asarray(vector, dtype=np.float64).ravel() for vector in scores])  # [files, n]
    if scales is not None:
        stacked /= np.asarray(scales)[:, None]
    if rule == "rank-mean":
        stacked = np.stack([signed_ranks(vector) for vector in stacked])
    return RULES[rule](stacked, axis=0)


def scale(scores: np.ndarray) -> float:
    """The mean magnitude of what is scored."""
    size = float(np.nanmean(np.abs(np.asarray(scores, dtype=np.float64)))) if (~np.isnan(scores)).any() else 0.0
    if not size:
        raise MiError("every score is 0, so there is no scale to divide by", "leave this file out, or --normalise away")
    return size


def signed_ranks(scores: np.ndarray) -> np.ndarray:
    """Rank by magnitude over n, with the sign of the score, float64 [n] in [-1, 1]. NaN stays NaN."""
    ranks = np.full(len(scores), np.nan)
    there = ~np.isnan(scores)
    if there.any():
        ranks[there] = np.sign(scores[there]) * average_ranks(np.abs(scores[there])) / np.count_nonzero(there)
    return ranks


def merged_shards(shards: Sequence[np.ndarray], scales: Sequence[float] | None = None) -> np.ndarray:
    """Sums over the same shards of the mean of several scores, float64 [S, n]: the mean is linear."""
    total = np.zeros(shards[0].shape, dtype=np.float64)
    for index, sums in enumerate(shards):
        total += np.asarray(sums, dtype=np.float64) / (1.0 if scales is None else scales[index])
    return total / len(shards)

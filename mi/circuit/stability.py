"""What a ranking owes to the examples that happened to be drawn: scores of shards in, the stability of each unit out.

A resample draws as many shards as there are, with replacement, and takes the mean over their examples: the score that
the unit would have had on other examples of the same kind (spec C6d, D7.2). No model is needed: the sums over shards
are stored with the scores.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mi.circuit.levels import Units
from mi.circuit.select import top
from mi.errors import MiError

RESAMPLES = 1000
_BLOCK = 1 << 24  # numbers held at once


def resampled(shards: np.ndarray, shard_n: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Scores under each resample, float64 [n], one after the other. `shards` are sums [S, n]."""
    n_shards = len(shard_n)
    if n_shards < 2:
        raise MiError(f"{n_shards} shard cannot be resampled", "attribute more examples: each shard holds at least one")
    sums, sizes = np.asarray(shards, dtype=np.float64), np.asarray(shard_n, dtype=np.float64)
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // max(1, sums.shape[1]))
    for first in range(0, resamples, block):
        drawn = rng.integers(0, n_shards, size=(min(block, resamples - first), n_shards))
        times = np.stack([np.bincount(row, minlength=n_shards) for row in drawn]).astype(np.float64)  # [b, S]
        # not a threaded library's product: the same shards give the same bytes
        yield from np.einsum("bs,sn->bn", times, sums, optimize=False) / (times @ sizes)[:, None]


def sign_stability(
    scores: np.ndarray, shards: np.ndarray, shard_n: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """In which share of the resamples each unit has the sign that its score has, float64 [n]. A score of 0 has none."""
    sign = np.sign(np.asarray(scores, dtype=np.float64))
    same = np.zeros(len(sign))
    for drawn in resampled(shards, shard_n, resamples, seed):
        same += (np.sign(drawn) == sign) & (sign != 0)
    return same / resamples


def inclusion(
    units: Units,
    n: int,
    shards: np.ndarray,
    shard_n: np.ndarray,
    absolute: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
    drop: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """In which share of the resamples each unit is among the n best, float64 [n_units]; and how alike resamples are.

    Units in `drop`, unscored ones among them, are never chosen. The second number is the mean Jaccard index of the n
    best of one resample and of the next.
    """
    times = np.zeros(units.n)
    alike: list[float] = []
    before: np.ndarray | None = None
    for drawn in resampled(shards, shard_n, resamples, seed):
        chosen = top(units, drawn, n, absolute, drop=drop)
        times += chosen
        if before is not None:
            either = np.count_nonzero(chosen | before)
            alike.append(float(np.count_nonzero(chosen & before) / either) if either else 1.0)
        before = chosen
    return times / resamples, float(np.mean(alike)) if alike else 1.0

"""Stability over resampled shards, against plain loops over the same draws."""

from itertools import pairwise

import numpy as np
import pytest

from mi.circuit import stability
from mi.circuit.levels import Units
from mi.circuit.transformer import transformer_graph
from mi.errors import MiError
from tests.circuit.random_graphs import SEEDS, generator
from tests.oracle import selection as oracle

GRAPH = transformer_graph(1, 2)


def shards_of(rng, n_shards, n=GRAPH.n_edges):
    sizes = rng.integers(1, 5, size=n_shards)
    sums = rng.normal(size=(n_shards, n)) * sizes[:, None] + rng.normal(size=n) * sizes[:, None]
    return sums, sizes, (sums.sum(axis=0) / sizes.sum())


def loops(sums, sizes, resamples, seed):
    """The scores of each resample: shards drawn with replacement, their sums over their examples."""
    rng = np.random.default_rng(seed)
    for draw in rng.integers(0, len(sizes), size=(resamples, len(sizes))).tolist():
        n = sum(int(sizes[s]) for s in draw)
        yield [sum(float(sums[s][e]) for s in draw) / n for e in range(sums.shape[1])]


@pytest.mark.parametrize("seed", SEEDS)
def test_sign_and_inclusion_equal_the_loops(seed):
    rng = generator(seed)
    sums, sizes, scores = shards_of(rng, int(rng.integers(2, 7)))
    scores[3], sums[:, 3] = 0.0, 0.0  # no sign, in any resample
    n, resamples, absolute = int(rng.integers(0, GRAPH.n_edges + 1)), 40, bool(rng.integers(2))
    same, among, sets = [0] * len(scores), [0] * len(scores), []
    for drawn in loops(sums, sizes, resamples, 11):
        for e, value in enumerate(drawn):
            same[e] += value * scores[e] > 0
        sets.append(oracle.top(drawn, n, absolute))
        for e in sets[-1]:
            among[e] += 1
    sign = stability.sign_stability(scores, sums, sizes, resamples, seed=11)
    assert sign.tolist() == pytest.approx([count / resamples for count in same])
    share, alike = stability.inclusion(Units(GRAPH), n, sums, sizes, absolute, resamples, seed=11)
    assert share.tolist() == pytest.approx([count / resamples for count in among])
    jaccard = [len(a & b) / len(a | b) if a | b else 1.0 for a, b in pairwise(sets)]
    assert alike == pytest.approx(sum(jaccard) / len(jaccard))


def test_a_resample_is_a_mean_over_the_examples_of_its_shards():
    sums, sizes, _ = shards_of(np.random.default_rng(3), 5)
    for drawn, expected in zip(stability.resampled(sums, sizes, 20, seed=4), loops(sums, sizes, 20, 4), strict=True):
        assert drawn.tolist() == pytest.approx(expected)


def test_blocks_do_not_change_the_draws(monkeypatch):
    sums, sizes, scores = shards_of(np.random.default_rng(0), 5)
    whole = stability.sign_stability(scores, sums, sizes, 50, seed=3)
    monkeypatch.setattr(stability, "_BLOCK", 3 * GRAPH.n_edges)
    assert stability.sign_stability(scores, sums, sizes, 50, seed=3).tolist() == whole.tolist()
    assert stability.sign_stability(scores, sums, sizes, 50, seed=4).tolist() != whole.tolist()


def test_what_every_shard_agrees_on_is_certain():
    sums = np.array([[1.0, -2.0, 1.0], [3.0, -0.5, -1.0], [2.0, -1.0, 0.0]])
    share = stability.sign_stability(np.array([2.0, -1.2, 0.001]), sums, np.array([1, 1, 1]))
    assert share[:2].tolist() == [1, 1] and share[2] < 0.7


def test_dropped_units_take_no_place():
    sums, sizes, _ = shards_of(np.random.default_rng(1), 4)
    drop = np.zeros(GRAPH.n_edges, dtype=bool)
    drop[np.argmax(np.abs(sums.sum(axis=0)))] = True
    share, _ = stability.inclusion(Units(GRAPH), 2, sums, sizes, drop=drop, resamples=30)
    assert share[drop] == 0 and share.sum() == pytest.approx(2)


def test_one_shard_cannot_be_resampled():
    with pytest.raises(MiError, match="1 shard cannot be resampled"):
        stability.sign_stability(np.ones(3), np.ones((1, 3)), np.array([4]))

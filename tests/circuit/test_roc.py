"""Areas under the ROC curve against pairs, steps and trapezoids in plain loops, and against cases done by hand."""

import math

import numpy as np
import pytest

from mi.circuit import roc, stability
from mi.circuit.graph import explicit_graph
from mi.circuit.transformer import transformer_graph
from mi.errors import MiError
from tests.circuit.random_graphs import SEEDS, any_graph, generator, pairs_of, random_scores, roots_of
from tests.oracle import selection as oracle


def truth_of(rng, n):
    while True:
        truth = rng.random(n) < rng.choice([0.1, 0.5])
        if truth.any() and not truth.all():
            return truth


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_areas_of_a_ranking_equal_the_loops(seed, absolute):
    rng = generator(seed)
    for _ in range(30):
        n = int(rng.integers(2, 40))
        scores, truth = random_scores(rng, n), truth_of(rng, n)
        plain = scores.astype(float).tolist()
        assert roc.auroc(scores, truth, absolute) == pytest.approx(oracle.auroc(plain, truth.tolist(), absolute))
        expected = oracle.pessimistic(plain, truth.tolist(), absolute)
        assert roc.pessimistic(scores, truth, absolute) == pytest.approx(expected)
        assert roc.pessimistic(scores, truth, absolute) <= roc.auroc(scores, truth, absolute) + 1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_the_area_of_mib_equals_the_loops(seed):
    rng = generator(seed)
    for _ in range(25):
        graph = any_graph(rng)
        if graph.n_edges < 2:
            continue
        scores, truth = random_scores(rng, graph.n_edges), truth_of(rng, graph.n_edges)
        expected = oracle.mib_auroc(pairs_of(graph), scores.astype(float).tolist(), truth.tolist(), roots_of(graph))
        if math.isnan(expected):
            with pytest.raises(MiError, match="nothing to scale by"):
                roc.mib(graph, scores, truth)
        else:
            assert roc.mib(graph, scores, truth) == pytest.approx(expected)


def test_by_hand():
    truth = np.array([True, False, True, False])
    assert roc.auroc([4, 3, 2, 1], truth) == 0.75  # of four pairs, (2, 3) stands the wrong way
    assert roc.auroc([4, 2, 2, 1], truth) == 0.875  # and now it is a tie
    assert roc.auroc([-4, 3, 2, 1], truth) == 0.75
    assert roc.auroc([-4, 3, 2, 1], truth, absolute=False) == 0.25
    assert roc.auroc([math.inf, 3, math.inf, 1], truth) == 1.0
    assert roc.auroc([1, 1, 1, 1], truth) == 0.5
    assert roc.pessimistic([4, 3, 2, 1], truth) == 0.75
    assert roc.pessimistic([4, 2, 2, 1], truth) == 0.75  # both of the tie come in at FPR 1/2
    assert roc.pessimistic([1, 1, 1, 1], truth) == 0.0
    assert roc.pessimistic([2, 1, 2, 1], truth) == 1.0


def test_the_area_of_points_takes_them_in_any_order():
    fpr, tpr = [1.0, 0.0, 0.25, 0.25], [1.0, 0.0, 0.5, 0.75]
    assert roc.pessimistic_area(fpr, tpr) == 0.75 * 0.5 + 0.75 * 0.25 + 0
    assert roc.pessimistic_area(fpr[::-1], tpr[::-1]) == roc.pessimistic_area(fpr, tpr)


def test_the_area_of_mib_has_no_point_at_zero():
    """A perfect ranking of 10 parallel edges, 2 of them true: circuits of 1 (up to 10 %), 2, 5 and 10 edges."""
    nodes = ["input", "logits"]
    receivers = [f"r{i}" for i in range(9)] + ["logits"]
    graph = explicit_graph(nodes, receivers, [1] * 10, np.array([[0] * 10, list(range(10))]))
    truth = np.arange(10) < 2
    # (FPR, TPR): (0, 1/2) seven times, (0, 1), (3/8, 1), (1, 1): all of the area lies right of the first true edges
    assert roc.mib(graph, np.arange(10, 0, -1.0), truth) == pytest.approx(1.0)
    # worst first: sizes 1, 2, 5 hold false edges only, 10 all: (1/8, 0), (2/8, 0), (5/8, 0), (1, 1)
    assert roc.mib(graph, np.arange(1, 11.0), truth) == pytest.approx(3 / 8 / 2)
    # a true edge, then false ones: (0, 1/2), (1/8, 1/2), (4/8, 1/2), (1, 1)
    mixed = np.array([10, 1, 9, 8, 7, 6, 5, 4, 3, 2.0])
    assert roc.mib(graph, mixed, truth) == pytest.approx(4 / 8 * 1 / 2 + 4 / 8 * 3 / 4)


def test_average_ranks():
    assert roc.average_ranks(np.array([3.0, 1.0, 3.0, 2.0, 3.0])).tolist() == [4.0, 1.0, 4.0, 2.0, 4.0]


def test_the_interval_is_that_of_resampled_shards():
    rng = np.random.default_rng(0)
    graph = transformer_graph(1, 2)
    truth = truth_of(rng, graph.n_edges)
    sums, sizes = rng.normal(size=(6, graph.n_edges)) + truth, np.array([1, 2, 1, 1, 3, 1])
    scores = sums.sum(axis=0) / sizes.sum()
    draws = [oracle.auroc(d.tolist(), truth.tolist(), True) for d in stability.resampled(sums, sizes, 100, seed=5)]
    found = roc.auroc_interval(scores, truth, sums, sizes, resamples=100, seed=5)
    assert found.value == roc.auroc(scores, truth)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])))
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("scores", "truth", "says"),
    [
        ([1, 2], [True, True], "every edge is true"),
        ([1, 2], [False, False], "no edge is true"),
        ([1, 2], [True, False, True], "2 scores and a truth about 3 edges"),
        ([1, math.nan], [True, False], "not a number"),
    ],
)
def test_what_has_no_curve_is_refused(scores, truth, says):
    for area in (roc.auroc, roc.pessimistic):
        with pytest.raises(MiError, match=says):
            area(np.array(scores, dtype=float), np.array(truth))

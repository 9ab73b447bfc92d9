"""The integer program against all subsets of tiny graphs, at every level and with every condition."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from mi.circuit import ilp, select
from mi.circuit.levels import Units
from mi.circuit.prune import connected
from mi.circuit.transformer import transformer_graph
from mi.errors import RunError, UsageError
from tests.circuit.random_graphs import SEEDS, generator, pairs_of, random_graph, random_scores, roots_of
from tests.oracle import selection as oracle


def tiny(rng, most=11):
    """A random graph with so few edges that every subset can be tried."""
    while True:
        graph = random_graph(rng)
        if 0 < graph.n_edges <= most:
            return graph


def whole(graph, strict=False):
    """Whether pruning would leave a set of edges as it is."""
    edges, roots = pairs_of(graph), roots_of(graph)
    prune = oracle.prune_strictly if strict else oracle.prune
    return lambda subset: prune(edges, subset, roots) == subset


def few_of_no_use(scores, most):
    return lambda subset: sum(scores[unit] <= 0 for unit in subset) <= most


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_edges_equal_the_best_of_all_subsets(seed, absolute):
    rng = generator(seed)
    for _ in range(8):
        graph = tiny(rng)
        scores, budget = random_scores(rng, graph.n_edges), int(rng.integers(1, graph.n_edges + 1))
        strict = bool(rng.integers(2))
        worth = [oracle.value_of(score, absolute) for score in scores.astype(float).tolist()]
        expected = oracle.best_subset(worth, budget, whole(graph, strict))
        found = ilp.best(Units(graph), scores, budget, absolute, strict=strict)
        assert found.total == pytest.approx(expected, abs=1e-6)
        assert found.total == pytest.approx(sum(worth[e] for e in np.flatnonzero(found.mask)))
        assert np.count_nonzero(found.mask) <= budget
        assert (connected(graph, found.mask, strict) == found.mask).all()
        assert found.gap < 1e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_nodes_equal_the_best_of_all_subsets(seed):
    rng = generator(seed)
    for _ in range(8):
        graph = tiny(rng, most=40)
        edges, roots, units = pairs_of(graph), roots_of(graph), Units(graph, "node")
        scores = random_scores(rng, units.n).astype(np.float64)
        scores[rng.random(units.n) < 0.2] = np.nan
        absolute = bool(rng.integers(2))
        scored = np.flatnonzero(~np.isnan(scores)).tolist()
        free = {graph.nodes[i] for i in range(units.n) if np.isnan(scores[i])}
        worth = [oracle.value_of(float(scores[i]), absolute) for i in scored]

        def on_paths(subset, graph=graph, edges=edges, roots=roots, scored=scored, free=free):
            nodes = {graph.nodes[scored[place]] for place in subset}
            return nodes <= oracle.prune_nodes(edges, nodes | free, roots)

        budget = int(rng.integers(0, len(scored) + 1))
        expected = oracle.best_subset(worth, budget, on_paths)
        found = ilp.best(units, scores, budget, absolute)
        chosen = set(np.flatnonzero(found.mask).tolist())
        assert found.total == pytest.approx(expected, abs=1e-6)
        assert found.total == pytest.approx(sum(oracle.value_of(scores[i], absolute) for i in chosen & set(scored)))
        assert len(chosen & set(scored)) <= budget
        names = {graph.nodes[i] for i in chosen}
        assert names == oracle.prune_nodes(edges, names | free, roots)  # every unscored node that has a place is there


@pytest.mark.parametrize("seed", SEEDS)
def test_neurons_equal_the_best_of_all_subsets(seed):
    rng = generator(seed)
    for _ in range(4):
        graph = tiny(rng, most=8)
        width = max(1, 9 // graph.n_sources)
        units = Units(graph, "neuron", width)
        edges, roots = pairs_of(graph), roots_of(graph)
        worth = np.abs(rng.normal(size=units.n)).tolist()

        def on_paths(subset, graph=graph, edges=edges, roots=roots, width=width):
            nodes = {graph.nodes[unit // width] for unit in subset}
            return nodes == oracle.prune_nodes(edges, nodes, roots)

        budget = int(rng.integers(1, units.n + 1))
        found = ilp.best(units, np.array(worth).reshape(units.shape), budget)
        assert found.total == pytest.approx(oracle.best_subset(worth, budget, on_paths), abs=1e-6)
        assert np.count_nonzero(found.mask) <= budget


@pytest.mark.parametrize("seed", SEEDS)
def test_a_ratio_bounds_the_scores_that_are_not_positive(seed):
    rng = generator(seed)
    for _ in range(8):
        graph = tiny(rng)
        edges, roots = pairs_of(graph), roots_of(graph)
        scores, budget = random_scores(rng, graph.n_edges), int(rng.integers(1, graph.n_edges + 1))
        ratio = float(rng.choice([0.3, 0.5, 1.0]))
        possible = oracle.prune(edges, set(range(len(edges))), roots)
        least = min(floor(Fraction(repr(ratio)) * budget), sum(scores[e] > 0 for e in possible))
        plain = [abs(score) for score in scores.astype(float).tolist()]
        expected = oracle.best_subset(plain, budget, whole(graph), few_of_no_use(scores, budget - least))
        assert ilp.best(Units(graph), scores, budget, ratio=ratio).total == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_kept_and_dropped_edges(seed):
    rng = generator(seed)
    for _ in range(8):
        graph = tiny(rng)
        edges, roots = pairs_of(graph), roots_of(graph)
        scores = random_scores(rng, graph.n_edges)
        keep, drop = rng.random(graph.n_edges) < 0.2, rng.random(graph.n_edges) < 0.3
        keep &= ~drop
        budget = int(rng.integers(np.count_nonzero(keep), graph.n_edges + 1))
        left = oracle.prune(edges, set(np.flatnonzero(~drop).tolist()), roots)
        wanted = set(np.flatnonzero(keep).tolist()) & left
        worth = [abs(score) for score in scores.astype(float).tolist()]

        def fine(subset, edges=edges, roots=roots, wanted=wanted, left=left):
            return wanted <= subset <= left and oracle.prune(edges, subset, roots) == subset

        if wanted and not oracle.best_subset([1.0] * len(worth), budget, fine):
            with pytest.raises(UsageError, match="no circuit of this size holds all that --keep names"):
                ilp.best(Units(graph), scores, budget, keep=keep, drop=drop)
            continue
        found = ilp.best(Units(graph), scores, budget, keep=keep, drop=drop)
        assert found.total == pytest.approx(oracle.best_subset(worth, budget, fine), abs=1e-6)
        assert wanted <= set(np.flatnonzero(found.mask).tolist()) <= left


def test_it_is_never_worse_than_any_other_rule_and_always_the_same():
    rng = np.random.default_rng(5)
    graph = transformer_graph(3, 3)
    for _ in range(3):
        scores = rng.standard_t(2, size=graph.n_edges)
        for budget in (5, 20):
            found = ilp.best(Units(graph), scores, budget)
            assert (ilp.best(Units(graph), scores, budget).mask == found.mask).all()
            for rule in (select.top, select.greedy):
                other = select.exact_size(graph, scores, budget, rule=rule).mask
                assert np.abs(scores[other]).sum() <= found.total + 1e-9


def test_small_scores_are_told_apart():
    """HiGHS stops at an absolute gap of 1e-6: scores of 1e-9 must not all look alike to it."""
    rng = np.random.default_rng(6)
    graph = transformer_graph(2, 2)
    scores = rng.normal(size=graph.n_edges)
    large, small = (ilp.best(Units(graph), scores * scale, 9) for scale in (1.0, 1e-9))
    assert (large.mask == small.mask).all()
    assert small.total == pytest.approx(large.total * 1e-9)


def test_what_is_not_solved_in_time_is_refused_with_how_far_it_came():
    scores = np.random.default_rng(7).normal(size=(graph := transformer_graph(6, 8)).n_edges)
    with pytest.raises(RunError, match=r"was not solved in 0\.001 s: no circuit was found|so far sums to") as caught:
        ilp.best(Units(graph), scores, 50, time_limit=0.001)
    assert "--time-limit" in caught.value.hint


def test_a_graph_in_which_nothing_is_left_gives_nothing():
    graph = transformer_graph(1, 1)
    found = ilp.best(Units(graph), np.ones(graph.n_edges), 3, drop=np.ones(graph.n_edges, dtype=bool))
    assert not found.mask.any() and (found.total, found.gap) == (0.0, 0.0)

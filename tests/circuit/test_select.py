"""Selection equals the plain loops, ties included, on random graphs that need not be transformers."""

from fractions import Fraction

import numpy as np
import pytest

from mi.circuit import select
from mi.circuit.prune import connected
from mi.circuit.transformer import transformer_graph
from mi.errors import MiError
from tests.circuit.random_graphs import SEEDS, any_graph, generator, pairs_of, random_scores, roots_of
from tests.oracle import selection as oracle


def kept(mask):
    return set(np.flatnonzero(mask).tolist())


def forced(scores, keep, drop, absolute):
    """Scores under which the oracle, which has no keep and drop, ranks as they demand; and the edges that are left."""
    values = [oracle.value_of(float(score), absolute) for score in scores]
    values = [float("inf") if k else value for value, k in zip(values, keep, strict=True)]
    return values, [edge for edge in range(len(values)) if not drop[edge]]


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_top_and_threshold_equal_the_loops(seed, absolute):
    rng = generator(seed)
    for _ in range(60):
        graph = any_graph(rng)
        scores = random_scores(rng, graph.n_edges)
        n = int(rng.integers(0, graph.n_edges + 1))
        assert kept(select.top(graph, scores, n, absolute)) == oracle.top(scores.tolist(), n, absolute)
        limit = float(rng.choice(scores)) if rng.random() < 0.5 and len(scores) else float(rng.normal())
        expected = oracle.threshold(scores.tolist(), limit, absolute)
        assert kept(select.threshold(graph, scores, limit, absolute)) == expected


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_greedy_equals_the_loop(seed, absolute):
    rng = generator(seed)
    for _ in range(40):
        graph = any_graph(rng)
        scores = random_scores(rng, graph.n_edges)
        n = int(rng.integers(0, graph.n_edges + 1))
        expected = oracle.greedy(pairs_of(graph), scores.tolist(), n, absolute)
        assert kept(select.greedy(graph, scores, n, absolute)) == expected


@pytest.mark.parametrize("rule", ["top", "threshold", "greedy"])
@pytest.mark.parametrize("seed", SEEDS)
def test_kept_edges_come_first_and_dropped_edges_never(seed, rule):
    rng = generator(seed)
    for _ in range(40):
        graph = any_graph(rng)
        scores = random_scores(rng, graph.n_edges)
        absolute = bool(rng.integers(2))
        keep, drop = rng.random(graph.n_edges) < 0.1, rng.random(graph.n_edges) < 0.3
        values, left = forced(scores, keep, drop, absolute)
        n = int(rng.integers(np.count_nonzero(keep & ~drop), graph.n_edges + 1))
        arguments = (graph, scores, n, absolute, keep, drop)
        left_values = [values[edge] for edge in left]
        if rule == "top":
            mask, expected = select.top(*arguments), oracle.top(left_values, n, False)
        elif rule == "greedy":
            left_edges = [pairs_of(graph)[edge] for edge in left]
            mask, expected = select.greedy(*arguments), oracle.greedy(left_edges, left_values, n, False)
        else:
            mask = select.threshold(graph, scores, 0.5, absolute, keep, drop)
            expected = oracle.threshold(left_values, 0.5, False)
        assert kept(mask) == {left[place] for place in expected}


@pytest.mark.parametrize("rule", ["top", "greedy"])
@pytest.mark.parametrize("seed", SEEDS)
def test_exact_size_finds_the_best_of_all_nominal_sizes(seed, rule):
    rng = generator(seed)
    for _ in range(25):
        graph = any_graph(rng)
        scores, absolute = random_scores(rng, graph.n_edges), bool(rng.integers(2))
        edges, plain = pairs_of(graph), scores.tolist()
        budget = int(rng.integers(0, graph.n_edges + 1))

        def choose(n, edges=edges, plain=plain, absolute=absolute):
            return oracle.top(plain, n, absolute) if rule == "top" else oracle.greedy(edges, plain, n, absolute)

        size, nominal = oracle.exact_size(edges, choose, budget, graph.n_edges, roots_of(graph))
        found = select.exact_size(graph, scores, budget, absolute, rule=getattr(select, rule))
        assert (np.count_nonzero(found.mask), found.nominal) == (size, nominal)
        assert kept(found.mask) == oracle.prune(edges, choose(nominal), roots_of(graph))


@pytest.mark.parametrize("seed", SEEDS)
def test_exact_size_respects_kept_and_dropped_edges(seed):
    rng = generator(seed)
    for _ in range(40):
        graph = any_graph(rng)
        scores = random_scores(rng, graph.n_edges)
        keep, drop = rng.random(graph.n_edges) < 0.1, rng.random(graph.n_edges) < 0.3
        keep &= ~drop
        budget = int(rng.integers(np.count_nonzero(keep), graph.n_edges + 1))
        mask = select.exact_size(graph, scores, budget, True, keep, drop).mask
        assert np.count_nonzero(mask) <= budget
        assert not (mask & drop).any()
        assert not (connected(graph, keep) & ~mask).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pruned_selection_is_a_subset_on_paths_and_grows_with_n(seed):
    rng = generator(seed)
    for _ in range(20):
        graph = any_graph(rng)
        scores = random_scores(rng, graph.n_edges)
        for rule in (select.top, select.greedy):
            smaller = np.zeros(graph.n_edges, dtype=bool)
            for n in range(graph.n_edges + 1):
                chosen = rule(graph, scores, n)
                pruned = connected(graph, chosen)
                assert np.count_nonzero(chosen) <= n
                assert not (pruned & ~chosen).any()
                assert not (smaller & ~pruned).any()
                assert kept(pruned) == oracle.on_a_path(pairs_of(graph), kept(pruned), roots_of(graph))
                smaller = pruned


def test_ties_go_to_the_first_edge():
    graph = transformer_graph(2, 2)
    scores = np.where(np.arange(graph.n_edges) % 2 == 0, 1.0, -1.0).astype(np.float32)
    assert kept(select.top(graph, scores, 5)) == {0, 1, 2, 3, 4}
    assert kept(select.top(graph, scores, 3, absolute=False)) == {0, 2, 4}
    assert select.ranked(scores, np.ones(graph.n_edges, dtype=bool)).tolist() == list(range(graph.n_edges))


def test_the_rank_order_is_by_value_then_by_edge():
    scores = np.array([1, -3, 2, 3, 0], dtype=np.float32)
    mask = np.array([True, True, True, True, False])
    assert select.ranked(scores, mask).tolist() == [1, 3, 2, 0]
    assert select.ranked(scores, mask, absolute=False).tolist() == [3, 2, 0, 1]


def test_a_limit_is_compared_with_the_score_as_it_is():
    """In float32, 0.1 is a little more than 0.1 and reaches a limit of 0.1; 0.7 is a little less and does not."""
    graph = transformer_graph(1, 1)
    scores = np.zeros(graph.n_edges, dtype=np.float32)
    scores[0], scores[1] = 0.1, 0.7
    assert kept(select.threshold(graph, scores, 0.1)) == {0, 1}
    assert kept(select.threshold(graph, scores, 0.7)) == set()


@pytest.mark.parametrize("n", [-1, 9])
@pytest.mark.parametrize("rule", [select.top, select.greedy, select.exact_size])
def test_a_size_that_the_graph_does_not_have_is_refused(rule, n):
    graph = transformer_graph(1, 1)
    with pytest.raises(MiError, match="the graph has 8"):
        rule(graph, np.zeros(8, dtype=np.float32), n)


@pytest.mark.parametrize("rule", [select.top, select.greedy, select.exact_size])
def test_more_kept_edges_than_the_size_is_refused(rule):
    graph = transformer_graph(1, 1)
    with pytest.raises(MiError, match="3 edges are always kept, more than the 2"):
        rule(graph, np.zeros(8, dtype=np.float32), 2, keep=np.arange(8) < 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rule", [select.top, select.greedy, select.exact_size, select.threshold])
def test_a_score_that_is_not_a_number_is_named(rule, value):
    graph = transformer_graph(1, 1)
    scores = np.zeros(8, dtype=np.float32)
    scores[[2, 5]] = value
    with pytest.raises(MiError, match=r"input->a0.h0<v> is -?(nan|inf), and 1 more"):
        rule(graph, scores, 2)


@pytest.mark.parametrize("shape", [(7,), (9,), (2, 4), (0,)])
def test_scores_of_another_graph_are_refused(shape):
    graph = transformer_graph(1, 1)
    with pytest.raises(MiError, match="for a graph of 8 edges") as caught:
        select.top(graph, np.zeros(shape, dtype=np.float32), 2)
    assert caught.value.code == 3


def test_sizes_are_whole_numbers_of_edges():
    assert select.nominal_size(32_491, 0.1) == 3249
    assert select.nominal_size(100, 0.29) == 29  # 0.29 * 100 is 28.999999999999996
    assert select.nominal_size(262, 0.001) == 0
    assert select.nominal_size(262, 1) == 262
    assert select.percent_size(1000, 0.7) == 7  # 0.7 / 100 * 1000 is 6.999999999999999
    assert select.percent_size(32_491, 10) == 3249
    assert select.percent_size(262, 100) == 262


@pytest.mark.parametrize("seed", SEEDS)
def test_a_ratio_of_positive_scores_equals_the_loop_and_grows_with_n(seed):
    rng = generator(seed)
    for _ in range(40):
        graph = any_graph(rng)
        scores = random_scores(rng, graph.n_edges)
        ratio = float(rng.choice([0.0, 1.0, 0.3, 0.5, 0.7]))
        before = np.zeros(graph.n_edges, dtype=bool)
        for n in range(graph.n_edges + 1):
            mask = select.positive(graph, scores, n, ratio)
            assert kept(mask) == oracle.positive(scores.tolist(), n, Fraction(repr(ratio)))
            assert not (before & ~mask).any()
            before = mask


def test_a_ratio_of_positive_scores_takes_them_in_place_of_larger_negative_ones():
    graph = transformer_graph(1, 1)
    scores = np.array([-9, -8, 1, -7, 2, 0, -6, 0.5][: graph.n_edges], dtype=np.float32)
    assert kept(select.positive(graph, scores, 4, 0.5)) == {0, 1, 2, 4}
    assert kept(select.positive(graph, scores, 4, 0.25)) == {0, 1, 3, 4}
    assert kept(select.positive(graph, scores, 4, 0.0)) == {0, 1, 3, 6}
    assert kept(select.positive(graph, scores, 5, 1.0)) == {0, 1, 2, 4, 7}  # there are three positive ones
    keep = np.arange(graph.n_edges) == 5
    assert kept(select.positive(graph, scores, 3, 0.5, keep=keep)) == {0, 4, 5}


@pytest.mark.parametrize("seed", SEEDS)
def test_exact_size_with_a_ratio_or_strictly_is_the_best_of_all_sizes(seed):
    rng = generator(seed)
    for _ in range(20):
        graph = any_graph(rng)
        scores, budget = random_scores(rng, graph.n_edges), int(rng.integers(0, graph.n_edges + 1))
        strict, ratio = bool(rng.integers(2)), 0.5 if rng.random() < 0.5 else None
        sizes = []
        for n in range(graph.n_edges + 1):
            chosen = select.top(graph, scores, n) if ratio is None else select.positive(graph, scores, n, ratio)
            sizes.append(np.count_nonzero(connected(graph, chosen, strict)))
        found = select.exact_size(graph, scores, budget, ratio=ratio, strict=strict)
        assert np.count_nonzero(found.mask) == max(size for size in sizes if size <= budget)
        assert found.nominal == sizes.index(np.count_nonzero(found.mask))
        larger = [size for size in sizes if size > budget]
        assert found.above == (min(larger) if larger and np.count_nonzero(found.mask) < budget else None)

"""Pruning: the two searches equal the fixpoint loop, and both equal "lies on a path"."""

import numpy as np
import pytest

from mi.circuit.graph import explicit_graph
from mi.circuit.prune import connected, fed_by, nodes_of
from mi.circuit.transformer import transformer_graph
from tests.circuit.random_graphs import SEEDS, any_graph, generator, pairs_of, roots_of
from tests.oracle import selection as oracle


def kept(mask):
    return set(np.flatnonzero(mask).tolist())


@pytest.mark.parametrize("seed", SEEDS)
def test_the_searches_equal_the_fixpoint(seed):
    rng = generator(seed)
    for _ in range(150):
        graph = any_graph(rng)
        mask = rng.random(graph.n_edges) < rng.random()
        before = mask.copy()
        pruned = connected(graph, mask)
        edges = pairs_of(graph)
        assert pruned.dtype == bool
        assert pruned.shape == (graph.n_edges,)
        assert kept(pruned) == oracle.prune(edges, kept(mask), roots_of(graph))
        assert kept(pruned) == oracle.on_a_path(edges, kept(mask), roots_of(graph))
        assert (connected(graph, pruned) == pruned).all()
        assert (mask == before).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_long_chain_with_dead_ends(seed):
    """A path through every node; dead ends and edges out of nothing fall away one after another in a loop."""
    rng = generator(seed)
    n = 200
    nodes = ["input", *(f"n{i}" for i in range(n)), "logits"]
    pairs = [(i, i + 1) for i in range(n + 1)]
    graph = explicit_graph(nodes, nodes[1:], range(1, n + 2), np.array([(s, t - 1) for s, t in pairs]).T)
    assert connected(graph, np.ones(n + 1, dtype=bool)).all()
    broken = np.ones(n + 1, dtype=bool)
    broken[rng.integers(n + 1)] = False
    assert not connected(graph, broken).any()


def test_a_graph_of_millions_of_edges():
    graph = transformer_graph(48, 25)
    mask = np.zeros(graph.n_edges, dtype=bool)
    path = ["input->a3.h1<k>", "a3.h1->m3", "m3->a40.h24<v>", "a40.h24->logits"]
    mask[[graph.edge_index(name) for name in path]] = True
    with_dead_ends = mask.copy()
    with_dead_ends[[graph.edge_index(name) for name in ("input->m7", "m9->logits", "a3.h1->a5.h0<q>")]] = True
    assert (connected(graph, with_dead_ends) == mask).all()
    assert connected(graph, np.ones(graph.n_edges, dtype=bool)).all()
    without_input = graph.source != 0
    assert not connected(graph, without_input).any()


def test_a_head_needs_no_value_edge():
    graph = transformer_graph(1, 1)
    mask = np.zeros(graph.n_edges, dtype=bool)
    mask[[graph.edge_index("input->a0.h0<q>"), graph.edge_index("a0.h0->logits")]] = True
    assert (connected(graph, mask) == mask).all()


def test_a_node_that_reads_nothing_starts_a_path():
    graph = explicit_graph(["input", "error", "logits"], ["logits"], [2], np.array([[0, 1], [0, 0]]))
    mask = np.array([False, True])
    assert (connected(graph, mask) == mask).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_nodes_of_a_circuit(seed):
    rng = generator(seed)
    for _ in range(50):
        graph = any_graph(rng)
        mask = rng.random(graph.n_edges) < rng.random()
        pairs = [pairs_of(graph)[e] for e in kept(mask)]
        writes = {source for source, _ in pairs}
        names = writes | {name for _, r in pairs if len(own := oracle.nodes_of(r)) == 1 for name in own}
        assert {graph.nodes[i] for i in np.flatnonzero(nodes_of(graph, mask))} == names
        fed = {name for _, receiver in pairs for name in oracle.nodes_of(receiver)}
        assert {graph.nodes[i] for i in np.flatnonzero(fed_by(graph, mask))} == fed


@pytest.mark.parametrize("seed", SEEDS)
def test_strict_pruning_equals_the_loop(seed):
    rng = generator(seed)
    for _ in range(150):
        graph = any_graph(rng)
        mask = rng.random(graph.n_edges) < rng.choice([0.3, 0.6, 0.9])
        expected = oracle.prune_strictly(pairs_of(graph), np.flatnonzero(mask).tolist(), roots_of(graph))
        strict = connected(graph, mask, strict=True)
        assert set(np.flatnonzero(strict).tolist()) == expected
        assert not (strict & ~connected(graph, mask)).any()


def test_a_head_without_values_is_dropped_with_all_that_needs_it():
    graph = transformer_graph(2, 1)
    names = ["input->a0.h0<v>", "a0.h0->a1.h0<q>", "input->m0", "m0->a1.h0<k>", "a1.h0->logits", "input->logits"]
    mask = np.zeros(graph.n_edges, dtype=bool)
    mask[[graph.edge_index(name) for name in names]] = True
    assert np.count_nonzero(connected(graph, mask)) == 6
    assert [graph.edge_name(e) for e in np.flatnonzero(connected(graph, mask, strict=True))] == ["input->logits"]
    mask[graph.edge_index("m0->a1.h0<v>")] = True
    assert np.count_nonzero(connected(graph, mask, strict=True)) == 7

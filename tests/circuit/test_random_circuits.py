"""Random circuits: of the wanted size, connected, different, and any edge may be in one."""

import numpy as np
import pytest

from mi.circuit.prune import connected
from mi.circuit.random_circuits import _edges_between, _edges_of_a_new_node, random_circuit, random_circuits
from mi.circuit.transformer import transformer_graph
from mi.errors import MiError
from tests.circuit.random_graphs import SEEDS, any_graph, generator, pairs_of, random_graph, roots_of, some_transformer
from tests.oracle import selection as oracle


def kept(mask):
    return set(np.flatnonzero(mask).tolist())


@pytest.mark.parametrize("seed", SEEDS)
def test_every_size_of_a_transformer_is_met(seed):
    rng = generator(seed)
    for _ in range(4):
        graph = some_transformer(rng)
        for size in range(graph.n_edges + 1):
            mask = random_circuit(graph, size, rng)
            assert np.count_nonzero(mask) == size
            assert kept(mask) == oracle.on_a_path(pairs_of(graph), kept(mask))


@pytest.mark.parametrize("seed", SEEDS)
def test_any_graph_gives_a_connected_circuit_that_is_not_too_large(seed):
    rng = generator(seed)
    for _ in range(60):
        graph = random_graph(rng)
        most = np.count_nonzero(connected(graph, np.ones(graph.n_edges, dtype=bool)))
        size = int(rng.integers(0, graph.n_edges + 1))
        mask = random_circuit(graph, size, rng)
        assert np.count_nonzero(mask) <= size
        assert kept(mask) == oracle.on_a_path(pairs_of(graph), kept(mask), roots_of(graph))
        if size >= most:
            assert np.count_nonzero(mask) == most


@pytest.mark.parametrize("seed", SEEDS)
def test_what_can_join_a_circuit(seed):
    """The edges that are on a path of it at once, and pairs that are if no one edge is."""
    rng = generator(seed)
    for _ in range(60):
        graph = any_graph(rng)
        mask, order = connected(graph, rng.random(graph.n_edges) < rng.random()), rng.permutation(graph.n_edges)

        def joins(*edges, graph=graph, mask=mask):
            larger = mask.copy()
            larger[list(edges)] = True
            return kept(larger) == oracle.on_a_path(pairs_of(graph), kept(larger), roots_of(graph))

        one_by_one = {edge for edge in range(graph.n_edges) if not mask[edge] and joins(edge)}
        assert set(_edges_between(graph, mask, order).tolist()) == one_by_one
        pair = _edges_of_a_new_node(graph, mask, order).tolist()
        if pair:
            assert joins(*pair)
            assert not {*pair} & one_by_one
        else:
            left = [edge for edge in range(graph.n_edges) if not mask[edge] and edge not in one_by_one]
            assert not any(joins(a, b) for a in left for b in left)


def test_a_path_that_cannot_be_halved():
    """Only chains of three edges lead to the sink: two edges are no circuit."""
    chain = transformer_graph(2, 1, attention_only=True)
    legal = np.zeros(chain.n_edges, dtype=bool)
    legal[[chain.edge_index(name) for name in ("input->a0.h0<q>", "a0.h0->a1.h0<k>", "a1.h0->logits")]] = True
    from mi.circuit.graph import explicit_graph

    graph = explicit_graph(chain.nodes, chain.receivers, chain.receiver_node, chain.edges[:, legal])
    sizes = [np.count_nonzero(random_circuit(graph, size, np.random.default_rng(0))) for size in range(4)]
    assert sizes == [0, 0, 0, 3]


@pytest.mark.parametrize("size", [1, 2, 3, 10, 200, 3249, 16_245])
def test_baselines_for_a_real_shape(size):
    graph = transformer_graph(12, 12)
    masks = list(random_circuits(graph, size, 4, seed=size))
    assert [np.count_nonzero(mask) for mask in masks] == [size] * 4
    assert all((connected(graph, mask) == mask).all() for mask in masks)
    if size >= 10:
        assert len({mask.tobytes() for mask in masks}) == 4


def test_small_circuits_are_not_clumps():
    """Circuits of 200 edges spread over many nodes, as pruned random edges do, instead of filling up a few."""
    graph = transformer_graph(48, 25)
    for mask in random_circuits(graph, 200, 3, seed=1):
        assert len(np.unique(graph.source[mask])) > 60


@pytest.mark.parametrize("seed", SEEDS)
def test_every_edge_may_be_drawn(seed):
    graph = transformer_graph(2, 2)
    rng = generator(seed)
    drawn = sum(random_circuit(graph, 8, rng).astype(int) for _ in range(400))
    assert (drawn > 0).all()


def test_the_seed_decides():
    graph = transformer_graph(3, 4)
    first, again, other = (np.stack(list(random_circuits(graph, 26, 5, seed=seed))) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("size", [-1, 263])
def test_a_size_that_the_graph_does_not_have_is_refused(size):
    with pytest.raises(MiError, match="the graph has 262"):
        next(random_circuits(transformer_graph(3, 4), size, 1))

"""Random circuits for baselines: a graph and a size in, connected circuits of that size out.

A random circuit is what random scores would select: edges in a random order, the longest prefix that leaves at most the
wanted number of edges after pruning. The next edge closes paths that overshoot; random parts of them are added while
they fit. What is then still missing is met by random edges between nodes of the circuit, or by random nodes with an
edge into and out of it. Every edge lies on a path from a root to the sink. The size is met exactly in any transformer;
in a graph that has no such edges left the result is smaller, never larger.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mi.circuit.graph import Graph
from mi.circuit.prune import connected, fed_by
from mi.circuit.select import longest_prefix, prefix
from mi.errors import MiError


def random_circuits(graph: Graph, size: int, n: int, seed: int = 0) -> Iterator[np.ndarray]:
    """n independent random circuits of `size` edges, each bool [E]."""
    if not 0 <= size <= graph.n_edges:
        raise MiError(f"a circuit of {size} edges was asked for, the graph has {graph.n_edges}")
    rng = np.random.default_rng(seed)
    for _ in range(n):
        yield random_circuit(graph, size, rng)


def random_circuit(graph: Graph, size: int, rng: np.random.Generator) -> np.ndarray:
    """One random circuit of `size` edges, bool [E]."""
    order = rng.permutation(graph.n_edges)
    mask = _grown(graph, order, size, rng)
    while (missing := size - np.count_nonzero(mask)) > 0:
        added = _edges_between(graph, mask, order)[:missing]
        if not len(added):
            room = mask if missing >= 2 else _without_a_spare_edge(graph, mask, order)
            if room is None or not len(added := _edges_of_a_new_node(graph, room, order)):
                break
            mask = room
        mask[added] = True
    return mask


def _without_a_spare_edge(graph: Graph, mask: np.ndarray, order: np.ndarray) -> np.ndarray | None:
    """The circuit less the first edge, in random order, that no other edge needs; None if all are needed."""
    for edge in order[mask[order]]:
        lighter = mask.copy()
        lighter[edge] = False
        if (connected(graph, lighter) == lighter).all():
            return lighter
    return None


def _grown(graph: Graph, order: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """The largest circuit of at most `size` edges that prefixes of `order`, and of its jump past `size`, give."""
    jump = graph.n_edges + 1
    while True:
        n = longest_prefix(graph, order, size)
        mask = prefix(graph, order, n)
        if n == len(order) or np.count_nonzero(mask) == size:
            return mask
        closing = order[n]  # every edge of the jump is on a path through this one
        rest = prefix(graph, order, n + 1) & ~mask
        if np.count_nonzero(rest) >= jump:
            return mask
        jump = int(np.count_nonzero(rest))
        rest[closing] = False
        order = np.concatenate([np.flatnonzero(mask), [closing], rng.permutation(np.flatnonzero(rest))])


def _ends(graph: Graph, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nodes of a circuit that an added edge may leave (it feeds them) and enter (they write), each bool [n_nodes].

    They differ where nodes share a receiver: what feeds one of them feeds all.
    """
    leaves, enters = fed_by(graph, mask) | graph.roots, np.zeros(len(graph.nodes), dtype=bool)
    enters[graph.source[mask]] = True
    leaves[graph.sink], enters[graph.sink] = False, True
    return leaves, enters


def _edges_between(graph: Graph, mask: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The edges that can join the circuit one by one: both their nodes are on its paths."""
    leaves, enters = _ends(graph, mask)
    return order[(leaves[graph.source] & graph.into(enters) & ~mask)[order]]


def _edges_of_a_new_node(graph: Graph, mask: np.ndarray, order: np.ndarray) -> np.ndarray:
    """An edge into and an edge out of the first node, in random order, that two edges connect; or nothing."""
    leaves, enters = _ends(graph, mask)
    into_circuit = graph.into(enters)
    into = order[(leaves[graph.source] & ~into_circuit)[order]]
    out = order[(~leaves[graph.source] & into_circuit)[order]]
    writes = np.zeros(len(graph.nodes), dtype=bool)
    writes[graph.source[out]] = True
    reachable = graph.into(writes)[into]
    if not reachable.any():
        return into[:0]
    first = into[np.argmax(reachable)]
    return np.array([first, out[np.argmax(np.isin(graph.source[out], graph.readers(int(first))))]])

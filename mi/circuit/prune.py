"""Pruning: a set of edges in, the part of it that lies on paths from a root to the sink out.

A node stays while it has a kept edge coming in and a kept edge going out; an edge stays while both its nodes do. In a
graph without cycles the fixpoint of that rule is: an edge stays if its source is reached from a root and its target
reaches the sink, both through kept edges. So two searches over the table replace the loop.
"""

from __future__ import annotations

import numpy as np

from mi.circuit.graph import Graph


def connected(graph: Graph, mask: np.ndarray) -> np.ndarray:
    """The edges of `mask` that lie on a path from a root to the sink, bool [E]."""
    kept = np.flatnonzero(mask)
    source, target = graph.source[kept], graph.target[kept]
    sink = np.zeros(len(graph.nodes), dtype=bool)
    sink[graph.sink] = True
    on_path = _reached(source, target, graph.roots)[source] & _reached(target, source, sink)[target]
    pruned = np.zeros(graph.n_edges, dtype=bool)
    pruned[kept[on_path]] = True
    return pruned


def nodes_of(graph: Graph, mask: np.ndarray) -> np.ndarray:
    """The nodes that an edge of `mask` touches, bool [n_nodes]."""
    nodes = np.zeros(len(graph.nodes), dtype=bool)
    nodes[graph.source[mask]] = True
    nodes[graph.target[mask]] = True
    return nodes


def _reached(tail: np.ndarray, head: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The nodes reached from `start` along edges tail -> head, bool [n_nodes]. Each edge is followed once."""
    reached = start.copy()
    while len(tail):
        follows = reached[tail]
        if not follows.any():
            break
        reached[head[follows]] = True
        tail, head = tail[~follows], head[~follows]
    return reached

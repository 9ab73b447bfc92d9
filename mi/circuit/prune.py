"""Pruning: a set of edges in, the part of it that lies on paths from a root to the sink out.

A node stays while it has a kept edge coming in and a kept edge going out; an edge stays while both its nodes do. In a
graph without cycles the fixpoint of that rule is: an edge stays if its source is reached from a root and its target
reaches the sink, both through kept edges. So two searches over the table replace the loop, one forward and one backward
among the edges that the first has reached. An edge into a receiver that several nodes share stays while it leads into
one of them that does.
"""

from __future__ import annotations

import numpy as np

from mi.circuit.graph import Graph


def connected(graph: Graph, mask: np.ndarray, strict: bool = False) -> np.ndarray:
    """The edges of `mask` that lie on a path from a root to the sink, bool [E].

    `strict`: a node that has a receiver <v> is there only while an edge into that receiver is kept. A head that is fed
    through q or k alone moves where it looks and has nothing of its own to look at.
    """
    kept, target = graph.ways(mask)
    source = graph.source[kept]
    feeds = graph.feeds(kept, target) if strict else np.ones(len(kept), dtype=bool)
    fed = _reached(source[feeds], target[feeds], graph.roots)
    between = fed[source] & fed[target]
    source, target, kept = source[between], target[between], kept[between]
    sink = np.zeros(len(graph.nodes), dtype=bool)
    sink[graph.sink] = True
    pruned = np.zeros(graph.n_edges, dtype=bool)
    pruned[kept[_reached(target, source, sink)[target]]] = True
    return pruned


def nodes_of(graph: Graph, mask: np.ndarray) -> np.ndarray:
    """The nodes that an edge of `mask` touches, bool [n_nodes]; of those that share a receiver, the ones that write."""
    nodes = np.zeros(len(graph.nodes), dtype=bool)
    nodes[graph.source[mask]] = True
    alone = np.ones(len(graph.receivers), dtype=bool)
    alone[graph.shared[0]] = False
    nodes[graph.target[mask & alone[graph.edges[1]]]] = True
    return nodes


def fed_by(graph: Graph, mask: np.ndarray) -> np.ndarray:
    """The nodes that an edge of `mask` leads into, whether they write or not, bool [n_nodes]."""
    nodes = np.zeros(len(graph.nodes), dtype=bool)
    nodes[graph.ways(mask)[1]] = True
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

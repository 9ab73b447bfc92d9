"""Shell patterns over names: a pattern in, the edges that it means out.

A pattern with an arrow means edges: `a9.*->logits`, `input->*<v>`; its right side may name a receiver or a whole node
(`m0->a9.h9` means all three of the head's inputs). A pattern without an arrow means nodes or receivers, and so every
edge that goes into or out of them.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence

import numpy as np

from mi.circuit.graph import Graph
from mi.circuit.names import ARROW
from mi.errors import UsageError


def matching(graph: Graph, patterns: Iterable[str], flag: str = "") -> np.ndarray:
    """The edges that at least one pattern means, bool [E]. A pattern that means nothing is refused."""
    matched = np.zeros(graph.n_edges, dtype=bool)
    for pattern in patterns:
        edges = _match(graph, pattern)
        if not edges.any():
            example = f"{graph.nodes[0]}{ARROW}{graph.receivers[-1]}"
            raise UsageError(
                f"{flag} {pattern!r} matches no edge or node of the graph".lstrip(),
                f"a node is called {graph.nodes[0]}, an edge {example}; put patterns in quotes",
            )
        matched |= edges
    return matched


def _match(graph: Graph, pattern: str) -> np.ndarray:
    left, arrow, right = pattern.partition(ARROW)
    sources = _names(graph.nodes, left)
    if not arrow:
        return sources[graph.source] | _receivers(graph, left)[graph.edges[1]]
    return sources[graph.source] & _receivers(graph, right)[graph.edges[1]]


def _receivers(graph: Graph, pattern: str) -> np.ndarray:
    """Receivers that match by their own name or by that of their node, bool [n_receivers]."""
    return _names(graph.receivers, pattern) | _names(graph.nodes, pattern)[graph.receiver_node]


def _names(names: Sequence[str], pattern: str) -> np.ndarray:
    match = re.compile(fnmatch.translate(pattern)).match
    return np.array([match(name) is not None for name in names], dtype=bool)

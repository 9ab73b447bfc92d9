"""Shell patterns over names: a pattern in, the edges, nodes or neurons that it means out.

A pattern with an arrow means edges: `a9.*->logits`, `input->*<v>`; its right side may name a receiver or a whole node
(`m0->a9.h9` means all three of the head's inputs). A pattern without an arrow means nodes or receivers, and so every
edge that goes into or out of them. Where nodes are chosen, a pattern means nodes; where neurons are, `m3` means all
neurons of m3 and `m3/1?` ten of them.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence

import numpy as np

from mi.circuit.graph import Graph
from mi.circuit.levels import Units, units_of
from mi.circuit.names import ARROW
from mi.errors import UsageError


def matching(of: Graph | Units, patterns: Iterable[str], flag: str = "") -> np.ndarray:
    """The units (edges, where a graph is given) that at least one pattern means, bool [n]. One that means nothing is
    refused."""
    units = units_of(of)
    graph = units.graph
    matched = np.zeros(units.n, dtype=bool)
    for pattern in patterns:
        found = _match(graph, pattern) if units.level == "edge" else _match_nodes(units, pattern)
        if not found.any():
            raise UsageError(
                f"{flag} {pattern!r} matches no {_what(units)} of the graph".lstrip(),
                f"{_example(units)}; put patterns in quotes",
            )
        matched |= found
    return matched


def _what(units: Units) -> str:
    return "edge or node" if units.level == "edge" else units.level


def _example(units: Units) -> str:
    first = units.graph.nodes[0]
    if units.level == "edge":
        return f"a node is called {first}, an edge {first}{ARROW}{units.graph.receivers[-1]}"
    return (
        f"a node is called {first}" if units.level == "node" else f"a neuron is called {first}/0, all of them {first}"
    )


def _match(graph: Graph, pattern: str) -> np.ndarray:
    left, arrow, right = pattern.partition(ARROW)
    sources = _names(graph.nodes, left)
    if not arrow:
        return sources[graph.source] | _receivers(graph, left)[graph.edges[1]]
    return sources[graph.source] & _receivers(graph, right)[graph.edges[1]]


def _match_nodes(units: Units, pattern: str) -> np.ndarray:
    """Nodes by their name, or neurons by the name of their node and by their own."""
    names = units.graph.nodes[: units.graph.n_sources]
    nodes = _names(names, pattern)
    if units.level == "node":
        return nodes
    found = np.repeat(nodes, units.width).reshape(units.shape)
    node, slash, neuron = pattern.rpartition("/")
    if slash:
        found |= _names(names, node)[:, None] & _names([str(i) for i in range(units.width)], neuron)
    return found.ravel()


def _receivers(graph: Graph, pattern: str) -> np.ndarray:
    """Receivers that match by their own name or by that of a node of theirs, bool [n_receivers]."""
    nodes = _names(graph.nodes, pattern)
    found = _names(graph.receivers, pattern) | nodes[graph.receiver_node]
    found[graph.shared[0, nodes[graph.shared[1]]]] = True
    return found


def _names(names: Sequence[str], pattern: str) -> np.ndarray:
    match = re.compile(fnmatch.translate(pattern)).match
    return np.array([match(name) is not None for name in names], dtype=bool)

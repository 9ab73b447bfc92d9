"""Levels: what is scored, and so kept or dropped, one by one. A level and a graph in, its units out; a mask over units
in, the circuit that they make out.

- `edge`: the unit is an edge, in the graph's order.
- `node`: the unit is a source. Keeping it keeps all its outgoing edges.
- `neuron`: the unit is one of the d dimensions of what a source writes. A source is there while one of its neurons is;
  its edges then carry the kept dimensions of what it computes, and the replacement's values in the others.

Units are numbered: edges in edge order, sources in node order, neuron j of source s as s * d + j. A graph has no cell
that no edge stands for, so counts are of true edges (the reference counts whole rows of its dense mask).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mi.circuit.graph import Graph
from mi.circuit.prune import connected
from mi.errors import MiError

LEVELS = ("edge", "node", "neuron")


@dataclass(frozen=True, eq=False)
class Units:
    """What may be chosen at one level of a graph. `width` is d, at the level of neurons only."""

    graph: Graph
    level: str = "edge"
    width: int = 0

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise MiError(f"no level is called {self.level!r}", f"levels are {', '.join(LEVELS)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a vector of scores as a stream holds it."""
        if self.level == "edge":
            return (self.graph.n_edges,)
        return (self.graph.n_sources,) if self.level == "node" else (self.graph.n_sources, self.width)

    @cached_property
    def n(self) -> int:
        return int(np.prod(self.shape))

    @cached_property
    def writer(self) -> np.ndarray:
        """The node that writes each unit, int [n]."""
        if self.level == "edge":
            return self.graph.source
        sources = np.arange(self.graph.n_sources)
        return sources if self.level == "node" else np.repeat(sources, self.width)

    def name(self, unit: int) -> str:
        """`a0.h1->a3.h5<q>`, `a3.h5`, or `m3/17` for neuron 17 of m3."""
        if self.level == "edge":
            return self.graph.edge_name(unit)
        node = self.graph.nodes[int(self.writer[unit])]
        return node if self.level == "node" else f"{node}/{unit % self.width}"

    def records(self, units: np.ndarray, scores: np.ndarray) -> list[dict[str, Any]]:
        """How a stream spells these units and their scores. A unit that nobody scored has no score."""
        values = [{} if math.isnan(score) else {"score": score} for score in scores.ravel()[units].tolist()]
        nodes = self.graph.nodes
        if self.level == "edge":
            sources, receivers = self.graph.edges[:, units].tolist()
            ends = zip(sources, receivers, values, strict=True)
            return [{"src": nodes[s], "dst": self.graph.receivers[r], **value} for s, r, value in ends]
        writers = zip(self.writer[units].tolist(), values, strict=True)
        if self.level == "node":
            return [{"node": nodes[w], **value} for w, value in writers]
        of_node = (units % self.width).tolist()
        return [{"node": nodes[w], "unit": u, **value} for (w, value), u in zip(writers, of_node, strict=True)]

    def edges(self, mask: np.ndarray) -> np.ndarray:
        """The edges that a set of units keeps before anything is pruned, bool [E]."""
        return mask if self.level == "edge" else self.written(mask)[self.graph.source]

    def written(self, mask: np.ndarray) -> np.ndarray:
        """The nodes of which at least one unit is kept, bool [n_nodes]."""
        nodes = np.zeros(len(self.graph.nodes), dtype=bool)
        nodes[self.writer[mask]] = True
        return nodes

    def pruned(self, mask: np.ndarray, strict: bool = False) -> np.ndarray:
        """The units of `mask` that lie on a path from a root to the sink, bool [n]."""
        left = connected(self.graph, self.edges(mask), strict)
        if self.level == "edge":
            return left
        alive = np.zeros(len(self.graph.nodes), dtype=bool)
        alive[self.graph.source[left]] = True
        return mask & alive[self.writer]

    def circuit(self, mask: np.ndarray, strict: bool = False) -> Circuit:
        """The circuit of a set of units, pruned."""
        left = self.pruned(mask, strict)
        edges = connected(self.graph, self.edges(left), strict)
        neurons = left.reshape(self.shape) if self.level == "neuron" else None
        return Circuit(self.graph, edges, neurons, self.level)


@dataclass(frozen=True, eq=False)
class Circuit:
    """The edges of a circuit, and where it is finer than edges the neurons that they carry.

    `neurons[s, j]` says whether edges out of source s carry what the circuit computes in dimension j; the other
    dimensions carry their replacement on every edge. None: all edges carry all dimensions.
    """

    graph: Graph
    edges: np.ndarray  # bool [E]
    neurons: np.ndarray | None = None  # bool [n_src, d]
    level: str = "edge"

    @property
    def n_edges(self) -> int:
        return int(np.count_nonzero(self.edges))

    @property
    def weighted_edges(self) -> float:
        """Sum over the edges of the share of their source's neurons that they carry (spec A5)."""
        if self.neurons is None:
            return float(self.n_edges)
        per_source = np.bincount(self.graph.source[self.edges], minlength=self.graph.n_sources)
        return float(per_source @ self.neurons.sum(axis=1)) / self.neurons.shape[1]


def units_of(graph: Graph | Units) -> Units:
    """A graph stands for its edges."""
    return graph if isinstance(graph, Units) else Units(graph)

"""The graph as a table: nodes, receivers and edges as arrays. Nothing here knows what a transformer is.

In: the table, or the head of a stream. Out: names, indices, a digest, the part of a head that names the graph.

- `nodes`: the sources in an order in which every edge runs forward, then the sink (`logits`) last.
- `receivers`: what nodes read with; `receiver_node[r]` is the node that receiver r belongs to, the first one where
  several nodes share it. A node without receivers reads nothing: it is a root, as `input` is.
- `shared[:, i]`: a receiver and one more node that reads with it. Most graphs have none.
- `edges[:, e]`: source node and receiver of edge e. Scores and masks are vectors in this order.

An edge leads into every node that its receiver belongs to: it has that many *ways*.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from mi.circuit.names import ARROW, parse, parse_edge
from mi.errors import MiError


def _not_shared() -> np.ndarray:
    return np.zeros((2, 0), dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Graph:
    """A table of edges. Equal graphs have equal digests; `builder` and `params` only say how it was made."""

    builder: str
    params: Mapping[str, Any]
    nodes: tuple[str, ...]
    receivers: tuple[str, ...]
    receiver_node: np.ndarray  # int32 [n_receivers]
    edges: np.ndarray  # int32 [2, E]
    shared: np.ndarray = field(default_factory=_not_shared)  # int32 [2, n]

    def __post_init__(self) -> None:
        for array in (self.receiver_node, self.edges, self.shared):
            array.flags.writeable = False

    @property
    def n_sources(self) -> int:
        return len(self.nodes) - 1

    @property
    def n_edges(self) -> int:
        return self.edges.shape[1]

    @property
    def sink(self) -> int:
        """Index of the node that every circuit leads to."""
        return len(self.nodes) - 1

    @cached_property
    def source(self) -> np.ndarray:
        """The node that writes each edge, int32 [E]."""
        return self.edges[0]

    @cached_property
    def target(self) -> np.ndarray:
        """The node that reads each edge, the first one where several do (`ways` has all), int32 [E]."""
        return self.receiver_node[self.edges[1]]

    @cached_property
    def roots(self) -> np.ndarray:
        """Nodes that read nothing, bool [n_nodes]."""
        roots = np.ones(len(self.nodes), dtype=bool)
        roots[self.receiver_node] = False
        roots[self.shared[1]] = False
        return roots

    @cached_property
    def _more_ways(self) -> tuple[np.ndarray, np.ndarray]:
        """Edges into shared receivers, and each one's further nodes."""
        order = np.argsort(self.edges[1], kind="stable")
        bounds = np.searchsorted(self.edges[1][order], [self.shared[0], self.shared[0] + 1])
        into = [order[start:stop] for start, stop in bounds.T.tolist()]
        nodes = [np.full(len(edges), node) for edges, node in zip(into, self.shared[1].tolist(), strict=True)]
        nothing = np.zeros(0, dtype=np.int64)
        return np.concatenate([nothing, *into]), np.concatenate([nothing, *nodes])

    def ways(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Edge and node of every way of the edges of `mask`: first one of each edge, then those of shared receivers."""
        edges = np.flatnonzero(mask)
        if not self.shared.size:
            return edges, self.target[edges]
        more, nodes = self._more_ways
        also = mask[more]
        return np.concatenate([edges, more[also]]), np.concatenate([self.target[edges], nodes[also]])

    @cached_property
    def every_way(self) -> tuple[np.ndarray, np.ndarray]:
        """Edge and node of every way of the graph."""
        return self.ways(np.ones(self.n_edges, dtype=bool))

    def into(self, nodes: np.ndarray) -> np.ndarray:
        """The edges that lead into at least one of `nodes` (bool [n_nodes]), bool [E]."""
        found = np.asarray(nodes[self.target])
        if self.shared.size:
            more, others = self._more_ways
            found[more[nodes[others]]] = True
        return found

    def readers(self, edge: int) -> list[int]:
        """The nodes that read an edge."""
        receiver = self.edges[1, edge]
        return [int(self.receiver_node[receiver]), *self.shared[1, self.shared[0] == receiver].tolist()]

    @cached_property
    def reader_names(self) -> dict[str, list[str]]:
        """The nodes of every shared receiver, by name."""
        names: dict[str, list[str]] = {}
        for receiver, node in self.shared.T.tolist():
            first = self.nodes[int(self.receiver_node[receiver])]
            names.setdefault(self.receivers[receiver], [first]).append(self.nodes[node])
        return names

    @cached_property
    def _into_values(self) -> np.ndarray:
        """The edges into <v>, bool [E]."""
        return np.array([parse(name).branch == "v" for name in self.receivers], dtype=bool)[self.edges[1]]

    @cached_property
    def _has_values(self) -> np.ndarray:
        """The nodes that such an edge leads into, bool [n_nodes]."""
        nodes = np.zeros(len(self.nodes), dtype=bool)
        nodes[self.ways(self._into_values)[1]] = True
        return nodes

    def feeds(self, edges: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """Which ways can feed their node on their own: those into <v> where the node has such edges, bool [n]."""
        return np.asarray(self._into_values[edges] | ~self._has_values[nodes])

    @cached_property
    def digest(self) -> str:
        """sha256 over the table, not over how it was built."""
        digest = hashlib.sha256(b"mi graph 1\n")
        for names in (self.nodes, self.receivers):
            digest.update(("\n".join(names) + "\n\n").encode())
        # A graph that shares no receiver has the digest that it had before receivers could be shared.
        for array in (self.receiver_node, self.edges, *([self.shared] if self.shared.size else [])):
            digest.update(np.ascontiguousarray(array, dtype="<i4").tobytes())
        return digest.hexdigest()

    def edge_name(self, index: int) -> str:
        source, receiver = self.edges[:, index]
        return f"{self.nodes[source]}{ARROW}{self.receivers[receiver]}"

    def edge_names(self) -> tuple[str, ...]:
        """All names in edge order. Made once, on demand: millions of strings for a large model."""
        return self._edge_names

    @cached_property
    def _edge_names(self) -> tuple[str, ...]:
        sources = [name + ARROW for name in self.nodes]
        return tuple(
            sources[s] + self.receivers[r] for s, r in zip(self.edges[0].tolist(), self.edges[1].tolist(), strict=True)
        )

    def find(self, sources: Sequence[str], receivers: Sequence[str]) -> np.ndarray:
        """Index of the edge from each source to each receiver, or -1 where the graph has none, int64 [n]."""
        node, receiver = self._node_index, self._receiver_index
        ends = [(node.get(s, -1), receiver.get(r, -1)) for s, r in zip(sources, receivers, strict=True)]
        source, into = np.array(ends, dtype=np.int64).reshape(-1, 2).T
        wanted = source * len(self.receivers) + into
        keys, order = self._sorted_keys
        place = np.searchsorted(keys, wanted)
        place[place == len(keys)] = 0
        found = (source >= 0) & (into >= 0) & (len(keys) > 0)
        found[found] = keys[place[found]] == wanted[found]
        wanted[found] = order[place[found]]
        wanted[~found] = -1
        return wanted

    def node_index(self, name: str) -> int:
        """Index of a node, or -1 where the graph has none of that name."""
        return self._node_index.get(name, -1)

    def edge_index(self, name: str) -> int:
        edge = parse_edge(name)
        index = int(self.find([str(edge.source)], [str(edge.receiver)])[0])
        if index < 0:
            raise MiError(f"{name} is no edge of this graph", f"the graph is {self.describe()}")
        return index

    @cached_property
    def _node_index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.nodes)}

    @cached_property
    def _receiver_index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.receivers)}

    @cached_property
    def _sorted_keys(self) -> tuple[np.ndarray, np.ndarray]:
        """One number for each (source, receiver), sorted, and the edges in that order."""
        keys = self.edges[0].astype(np.int64) * len(self.receivers) + self.edges[1]
        order = np.argsort(keys, kind="stable")
        return keys[order], order

    def describe(self) -> str:
        """The graph in a few words, for messages."""
        shape = " ".join(f"{key}={value}" for key, value in self.params.items() if value is not None)
        return f"{self.builder} {shape}".rstrip() + f" with {self.n_edges} edges"

    def head(self) -> dict[str, Any]:
        """What the head of a stream says about the graph. An explicit graph's table goes into the blob `graph`."""
        if self.builder == "explicit":
            return {"builder": "explicit", "blob": "graph", "digest": self.digest}
        return {"builder": self.builder, "params": dict(self.params), "digest": self.digest}

    def table(self) -> dict[str, np.ndarray]:
        """The table as plain arrays, for a blob."""
        return {
            "nodes": _names_to_bytes(self.nodes),
            "receivers": _names_to_bytes(self.receivers),
            "receiver_node": self.receiver_node,
            "edges": self.edges,
            **({"shared": self.shared} if self.shared.size else {}),
        }


def explicit_graph(
    nodes: Sequence[str],
    receivers: Sequence[str],
    receiver_node: Sequence[int] | np.ndarray,
    edges: np.ndarray,
    shared: np.ndarray | None = None,
) -> Graph:
    """A graph that is only a table. Refuses a table in which an edge does not run forward or occurs twice."""
    graph = Graph(
        "explicit",
        {},
        tuple(nodes),
        tuple(receivers),
        np.array(receiver_node, dtype=np.int32),
        np.array(edges, dtype=np.int32).reshape(2, -1),
        _not_shared() if shared is None else np.array(shared, dtype=np.int32).reshape(2, -1),
    )
    _check(graph)
    return graph


def from_head(head: Mapping[str, Any], table: Mapping[str, np.ndarray] | None = None) -> Graph:
    """Rebuild the graph that a head names, without a model. `table` is the blob of an explicit graph."""
    from mi.circuit.transformer import transformer_graph  # the builders import this module

    builder = head.get("builder")
    if builder == "transformer":
        try:
            graph = transformer_graph(**head["params"])
        except (KeyError, TypeError) as error:
            raise MiError(f"the head's graph is not a transformer's: {error}", "was the head edited?") from error
    elif builder == "explicit":
        if table is None:
            raise MiError("the graph is explicit and its table is missing", "read the stream together with its blobs")
        names = [bytes(np.asarray(table[key], dtype=np.uint8)).decode().split("\n") for key in ("nodes", "receivers")]
        graph = explicit_graph(names[0], names[1], table["receiver_node"], table["edges"], table.get("shared"))
    elif builder == "sites":
        raise MiError(
            "these are scores of sites, which are joined by no edges: there is no circuit to choose",
            "mi view shows them; edges are scored by mi attribute of a decoder language model",
        )
    else:
        raise MiError(f"no builder makes a graph of kind {builder!r}", "this mi knows transformer and explicit")
    if graph.digest != head.get("digest"):
        raise MiError(
            f"the graph in the head does not match its digest: {graph.describe()} has {graph.digest[:12]}, "
            f"the head says {str(head.get('digest'))[:12]}",
            "the head was edited, or another version of mi built the graph: make the stream again",
        )
    return graph


def _names_to_bytes(names: Sequence[str]) -> np.ndarray:
    return np.frombuffer("\n".join(names).encode(), dtype=np.uint8)


def _check(graph: Graph) -> None:
    """Refuse a table that is not a graph, with the first thing that is wrong."""
    for kind, names in (("node", graph.nodes), ("receiver", graph.receivers)):
        for name in names:
            parse(name)
        if len(set(names)) < len(names):
            raise MiError(f"the graph's table names a {kind} twice", "every name must be unique")
    if len(graph.receiver_node) != len(graph.receivers):
        raise MiError(
            f"the graph's table has {len(graph.receivers)} receivers but {len(graph.receiver_node)} owners of one"
        )
    of_nodes = np.concatenate([graph.receiver_node, graph.shared[1]])
    of_receivers = np.concatenate([graph.edges[1], graph.shared[0]])
    inside = _within(of_nodes, len(graph.nodes)) and _within(graph.edges[0], graph.n_sources)
    if not inside or not _within(of_receivers, len(graph.receivers)):
        raise MiError(
            "the graph's table has an index that is out of range", "the last node is the sink: it never writes"
        )
    pairs = np.concatenate([np.stack([np.arange(len(graph.receivers)), graph.receiver_node]), graph.shared], axis=1)
    if len(np.unique(pairs, axis=1).T) < pairs.shape[1]:
        raise MiError("the graph's table gives a receiver to one node twice", "list each node of a shared one once")
    edges, nodes = graph.every_way
    backward = edges[graph.source[edges] >= nodes]
    if len(backward):
        raise MiError(f"the edge {graph.edge_name(backward[0])} runs backward", "list the nodes in topological order")
    keys, order = graph._sorted_keys
    repeated = np.flatnonzero(keys[1:] == keys[:-1])
    if len(repeated):
        raise MiError(f"the graph's table has the edge {graph.edge_name(order[repeated[0]])} twice")


def _within(indices: np.ndarray, bound: int) -> bool:
    return bool(((indices >= 0) & (indices < bound)).all())

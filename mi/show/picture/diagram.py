"""What a picture of a circuit shows: a stream of edges in; nodes in ranks and links with their scores out.

A rank is a node's longest way from a root in the whole graph's table: attention and MLP of a layer follow each other in
a sequential model and share a rank in a parallel one, without anybody knowing what a layer is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mi.circuit import reading
from mi.circuit.graph import Graph
from mi.circuit.names import ARROW, parse
from mi.circuit.select import ranked
from mi.errors import MiError
from mi.io import chain
from mi.io.stream import Stream
from mi.show.head import one_line
from mi.show.numbers import count, number

SHOWN = ("src", "dst", "node", "unit", "score")  # fields of a record that have a place of their own


@dataclass(frozen=True)
class Node:
    """A box. `kind`: root, sink, head (it reads with q, k and v) or plain."""

    name: str
    rank: int
    kind: str
    score: float | None = None
    says: str = ""


@dataclass(frozen=True)
class Link:
    """An edge, or several as one. `port` is the branch it goes into, or nothing. An edge into a receiver that nodes
    share is a link to each of them."""

    source: int
    target: int
    port: str
    score: float | None
    name: str
    says: str = ""

    @property
    def size(self) -> float:
        return abs(self.score or 0.0)


@dataclass(frozen=True)
class Diagram:
    """Nodes in the graph's order; links with the largest magnitude first. `total`: how many edges the stream has."""

    title: str
    about: str  # one line below the title
    made_by: str  # the pipeline, as a line of shell
    nodes: Sequence[Node]
    links: Sequence[Link]
    total: int

    @property
    def largest(self) -> float:
        return max((link.size for link in self.links), default=0.0)


def diagram(stream: Stream, top: int | None = None) -> Diagram:
    """The `top` largest edges of a circuit or of scores (None: all)."""
    graph = reading.graph_of(stream)
    kept, score, extra = _edges(stream, graph)
    order = ranked(np.nan_to_num(score), kept).tolist()
    chosen = order[:top]
    if not chosen:
        raise MiError("there is no edge to draw", "the circuit is empty: prune less", place=stream.origin)
    ways = _ways(graph, chosen)
    nodes, index = _nodes(graph, ways, _node_scores(stream))
    place = {edge: f"{number:,} of {len(order):,}" for number, edge in enumerate(chosen, start=1)}
    links = [
        _link(graph, edge, (index[source], index[target]), score[edge], place[edge], extra.get(edge, {}))
        for edge, source, target in ways
    ]
    said = about(stream.head, len(chosen), len(order), graph.n_edges)
    if len(ways) > len(chosen):
        said += "; an edge that heads share is drawn to each"
    return Diagram(one_line(stream.head), said, chain.pipeline(stream.head), nodes, links, len(order))


def about(head: Mapping[str, Any], shown: int, total: int, whole: int) -> str:
    """How much of what, scored how, on what."""
    known = head.get("attribution", {})
    parts = [f"the {shown:,} largest of {total:,} edges" if shown < total else count(total, "edge")]
    parts[0] += f", of the model's {whole:,}"
    method = " ".join(str(known[key]) for key in ("method", "metric") if key in known)
    if method:
        parts.append(method + (f", {known['steps']} steps" if known.get("steps") else ""))
    if "n" in known:
        parts.append(count(known["n"], "example") + (f" of {known['split']}" if known.get("split") else ""))
    return "; ".join(parts)


def by_layer(whole: Diagram) -> Diagram:
    """Heads of a layer as one node, and the links between two nodes as one: width is the sum of magnitudes, the sign
    that of the sum."""
    key = [node.name.partition(".")[0] if node.kind == "head" else node.name for node in whole.nodes]
    names = list(dict.fromkeys(key))
    place = {name: number for number, name in enumerate(names)}
    members: dict[str, list[Node]] = {name: [] for name in names}
    for name, node in zip(key, whole.nodes, strict=True):
        members[name].append(node)
    nodes = [_group(name, members[name]) for name in names]
    bundles: dict[tuple[int, int, str], list[Link]] = {}
    for link in whole.links:
        ends = place[key[link.source]], place[key[link.target]], link.port
        bundles.setdefault(ends, []).append(link)
    links = [_bundle(nodes, ends, links) for ends, links in bundles.items()]
    links.sort(key=lambda link: -link.size)
    return replace(whole, nodes=nodes, links=links, about=f"{whole.about}; heads of a layer as one")


def _edges(stream: Stream, graph: Graph) -> tuple[np.ndarray, np.ndarray, Mapping[int, Mapping[str, Any]]]:
    """Which edges there are, their scores (NaN: none), and what else the stream says of an edge."""
    score = np.full(graph.n_edges, np.nan)
    if stream.kind == "scores":
        found = reading.scored_edges(stream, graph)
        kept = found.listed if found.listed is not None else ~np.isnan(found.scores)
        return kept, found.scores.astype(np.float64), found.records or {}
    kept = reading.circuit(stream, graph).edges
    records = [record for record in stream.records if "src" in record]
    edges = graph.find([r["src"] for r in records], [r["dst"] for r in records]).tolist()
    for edge, record in zip(edges, records, strict=True):
        score[edge] = math.nan if record.get("score") is None else record["score"]
    return kept, score, dict(zip(edges, records, strict=True))


def _node_scores(stream: Stream) -> dict[str, float]:
    """Of a circuit of nodes or neurons: the score of a node, of neurons their sum."""
    found: dict[str, float] = {}
    for record in stream.records:
        if "node" in record and record.get("score") is not None:
            found[record["node"]] = found.get(record["node"], 0.0) + record["score"]
    return found


def _ways(graph: Graph, edges: Sequence[int]) -> list[tuple[int, int, int]]:
    """Each edge with its source and a node that reads it: of those that share a receiver, the ones that write one of
    these edges; all of them where none does."""
    writes = set(graph.source[edges].tolist())
    made = []
    for edge, source in zip(edges, graph.source[edges].tolist(), strict=True):
        nodes = graph.readers(edge) if graph.shared.size else [int(graph.target[edge])]
        made += [(edge, source, node) for node in [node for node in nodes if node in writes] or nodes]
    return made


def _nodes(
    graph: Graph, ways: Sequence[tuple[int, int, int]], scores: Mapping[str, float]
) -> tuple[list[Node], dict[int, int]]:
    """The nodes that edges touch, with ranks that leave no rank empty, and the place of each in the list."""
    used = sorted({node for _, source, target in ways for node in (source, target)})
    way = _longest_way(graph)
    ranks = {rank: place for place, rank in enumerate(sorted({int(way[node]) for node in used}))}
    branched = np.array([parse(name).branch is not None for name in graph.receivers], dtype=bool)
    heads = {*graph.receiver_node[branched].tolist(), *graph.shared[1, branched[graph.shared[0]]].tolist()}
    made = []
    for node in used:
        kind = "root" if graph.roots[node] else "sink" if node == graph.sink else "head" if node in heads else "plain"
        name = graph.nodes[node]
        score = scores.get(name)
        says = "" if score is None else f"score {number(score)}"
        made.append(Node(name, ranks[int(way[node])], kind, score, says))
    return made, {node: place for place, node in enumerate(used)}


def _longest_way(graph: Graph) -> np.ndarray:
    """Edges on the longest way from a root to each node, int [n_nodes]. Nodes are listed in topological order."""
    edges, nodes = graph.every_way
    order = np.argsort(graph.source[edges], kind="stable")
    source, target = graph.source[edges][order], nodes[order]
    first = np.searchsorted(source, np.arange(len(graph.nodes) + 1))
    way = np.zeros(len(graph.nodes), dtype=np.int64)
    for node in range(graph.n_sources):
        reached = target[first[node] : first[node + 1]]
        way[reached] = np.maximum(way[reached], way[node] + 1)
    return way


def _link(graph: Graph, edge: int, ends: tuple[int, int], score: float, place: str, record: Mapping[str, Any]) -> Link:
    receiver = graph.receivers[int(graph.edges[1, edge])]
    scored = not math.isnan(score)
    more = [f"{key} {_short(value)}" for key, value in record.items() if key not in SHOWN]
    says = "\n".join([f"score {number(float(score))}, {place}" if scored else "unscored", *more])
    port = parse(receiver).branch or ""
    return Link(*ends, port, float(score) if scored else None, graph.edge_name(edge), says)


def _short(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)[:60]


def _group(name: str, members: Sequence[Node]) -> Node:
    if len(members) == 1 and members[0].name == name:
        return members[0]
    heads = ", ".join(node.name for node in members[:12]) + (", …" if len(members) > 12 else "")
    return Node(name, members[0].rank, members[0].kind, says=f"{count(len(members), 'head')}: {heads}")


def _bundle(nodes: Sequence[Node], ends: tuple[int, int, str], links: Sequence[Link]) -> Link:
    source, target, port = ends
    name = f"{nodes[source].name}{ARROW}{nodes[target].name}" + (f"<{port}>" if port else "")
    links = list({link.name: link for link in links}.values())  # heads of a layer may share an edge
    scores = [link.score for link in links if link.score is not None]
    strongest = max(links, key=lambda link: link.size)
    says = [count(len(links), "edge")]
    if not scores:
        return Link(source, target, port, None, name, says[0])
    net, size = math.fsum(scores), math.fsum(abs(score) for score in scores)
    says += [f"sum {number(net)}, of magnitudes {number(size)}", f"largest: {strongest.name} {number(strongest.score)}"]
    return Link(source, target, port, math.copysign(size, net), name, "\n".join(says))

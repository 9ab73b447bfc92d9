"""Graph, scores and circuit of a stream: a verified stream in, tables and vectors out.

A `scores` stream holds one vector in a blob; after a filter such as jq it holds a record per edge, node or neuron
instead, and a `circuit` always does. What the records do not list may not be chosen. Errors name the line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mi.circuit import partial
from mi.circuit.graph import Graph, from_head
from mi.circuit.levels import LEVELS, Circuit, Units
from mi.circuit.select import check_scores
from mi.errors import MiError
from mi.io import blobs
from mi.io.blobs import BF16, Array
from mi.io.stream import Stream


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores in the order of the units. `listed` and `records` are there where the stream has a record per unit."""

    units: Units
    scores: np.ndarray  # float [n]; NaN: nobody scored it; 0 where no record lists the unit
    listed: np.ndarray | None = None  # bool [n]
    records: dict[int, dict[str, Any]] | None = None  # by unit, with every field that the stream had
    shards: np.ndarray | None = None  # float [S, n]: sums over disjoint parts of the examples
    shard_n: np.ndarray | None = None  # int [S]: how many examples each part has

    @property
    def n_scored(self) -> int:
        """How many units compete for a place: what a percentage is of."""
        return self.units.n - int(np.count_nonzero(np.isnan(self.scores)))


def graph_of(stream: Stream) -> Graph:
    """The graph that the head names, rebuilt and checked against its digest."""
    table = {key: plain(a) for name in graph_blobs(stream) for key, a in blobs.load(stream, name).items()}
    try:
        return from_head(stream.head["graph"], table or None)
    except MiError as error:
        raise MiError(error.fact, error.hint, place=stream.origin) from error


def graph_blobs(stream: Stream) -> list[str]:
    """The blobs that hold the graph's table: one for an explicit graph, none for a graph that is built."""
    graph = stream.head["graph"]
    return [str(graph.get("blob"))] if graph.get("builder") == "explicit" else []


def level_of(stream: Stream) -> str:
    """The level of a stream's scores, or of what its circuit was chosen from."""
    said = stream.head.get("selection") if stream.kind == "circuit" else stream.head.get("attribution")
    level = (said or {}).get("level", "edge")
    if level not in LEVELS:
        raise MiError(f"the level {level!r} is not one that this mi knows", place=f"{stream.origin}:1")
    return str(level)


def units_of(stream: Stream) -> Units:
    """What a stream scores one by one."""
    graph, level = graph_of(stream), level_of(stream)
    return Units(graph, level, _width(stream, graph) if level == "neuron" else 0)


def selector_of(stream: Stream) -> str:
    """How these scores ask to be chosen from where nobody says otherwise: top, or greedy (information flow routes)."""
    partial.refuse(stream.head, stream.origin)
    selector = (stream.head.get("attribution") or {}).get("selector", "top")
    if selector not in ("top", "greedy"):
        raise MiError(f"the selector {selector!r} is not one that this mi knows", place=f"{stream.origin}:1")
    return str(selector)


def circuit(stream: Stream, graph: Graph) -> Circuit:
    """The circuit of a stream, at whatever level.

    A record of an edge keeps the edge, one of a node all its outgoing edges. Records of neurons say that of a source
    only these dimensions are kept; where the stream lists no edges, they keep its outgoing edges too. What nodes and
    neurons leave without a path is pruned; listed edges are taken as they are.
    """
    by_level = {level: [i for i, r in enumerate(stream.records) if level_of_record(r) == level] for level in LEVELS}
    edges = np.zeros(graph.n_edges, dtype=bool)
    edges[_units(stream, Units(graph), by_level["edge"])] = True
    whole = np.zeros(graph.n_sources, dtype=bool)
    whole[_units(stream, Units(graph, "node"), by_level["node"])] = True
    neurons: np.ndarray | None = None
    if by_level["neuron"] or level_of(stream) == "neuron":
        units = Units(graph, "neuron", _width(stream, graph))
        part = np.zeros(units.n, dtype=bool)
        part[_units(stream, units, by_level["neuron"])] = True
        neurons = part.reshape(units.shape)
        limited = np.zeros(graph.n_sources, dtype=bool)
        limited[units.writer[part]] = True
        if not by_level["edge"]:
            whole |= limited
        neurons |= ~limited[:, None]
    level = max((name for name in LEVELS if by_level[name]), key=LEVELS.index, default=level_of(stream))
    if whole.any():
        edges |= Units(graph, "node").circuit(whole).edges
    if neurons is not None:
        writes = np.zeros(graph.n_sources, dtype=bool)
        writes[graph.source[edges]] = True
        neurons &= writes[:, None]
    return Circuit(graph, edges, neurons, level)


def circuit_of(stream: Stream, graph: Graph) -> np.ndarray:
    """The edges of a circuit stream, bool [E]. Refuses a circuit of neurons, which edges alone do not describe."""
    found = circuit(stream, graph)
    if found.neurons is not None:
        raise MiError("this is a circuit of neurons; a circuit of edges or nodes is needed", place=stream.origin)
    return found.edges


def scored_edges(stream: Stream, graph: Graph) -> Scored:
    """`scored`, of edges only."""
    found = scored(stream, graph)
    if found.units.level != "edge":
        raise MiError(f"these are scores of {found.units.level}s; scores of edges are needed", place=stream.origin)
    return found


def scored(stream: Stream, graph: Graph) -> Scored:
    """The scores of a stream, from its records where it has any, else from its blob."""
    partial.refuse(stream.head, stream.origin)
    if stream.records or stream.kind == "circuit":
        return _from_records(stream, graph)
    if "scores" not in stream.blobs:
        raise MiError(
            "the stream holds no scores: neither a blob nor a record of an edge",
            "`mi view --json FILE` lists what is scored; did a filter take it all?",
            place=stream.origin,
        )
    level = level_of(stream)
    arrays = blobs.load(stream, "scores")
    if level not in arrays:
        held = ", ".join(sorted(arrays)) or "nothing"
        raise MiError(f"the scores are not scores of {level}s (the blob holds {held})", place=stream.origin)
    values = plain(arrays[level])
    units = Units(graph, level, values.shape[-1] if level == "neuron" and values.ndim else 0)
    check_scores(units, values, place=stream.origin)
    shards, shard_n = arrays.get(f"{level}_shards"), arrays.get("shard_n")
    if shards is None or shard_n is None:
        return Scored(units, values.ravel())
    sums, sizes = plain(shards), plain(shard_n)
    if sums.shape != (len(sizes), *units.shape):
        raise MiError(
            f"the shards have the shape {list(sums.shape)}, not {[len(sizes), *units.shape]}", place=stream.origin
        )
    return Scored(units, values.ravel(), shards=sums.reshape(len(sizes), -1), shard_n=sizes)


def plain(array: Array) -> np.ndarray:
    return array.float32() if isinstance(array, BF16) else array


def _from_records(stream: Stream, graph: Graph) -> Scored:
    """Scores that are spelled as records, all of one level."""
    level = level_of_record(stream.records[0]) if stream.records else level_of(stream)
    other = next((i for i, record in enumerate(stream.records) if level_of_record(record) != level), None)
    if other is not None:
        raise MiError(
            f"the record is of {_a(level_of_record(stream.records[other]))}, those before it of {_a(level)}",
            "edges, nodes and neurons are not ranked together",
            place=stream.place(other),
        )
    units = Units(graph, level, _width(stream, graph) if level == "neuron" else 0)
    found = _units(stream, units, list(range(len(stream.records))))
    scores = np.zeros(units.n, dtype=np.float64)
    for index, (unit, record) in enumerate(zip(found.tolist(), stream.records, strict=True)):
        value = record.get("score")
        if value is None and level != "edge":
            scores[unit] = np.nan
            continue
        try:
            scores[unit] = float(value)  # type: ignore[arg-type]  # what is no number is refused here
        except TypeError as error:
            raise MiError(
                f"{units.name(unit)} has no score", "ranking needs a finite number", place=stream.place(index)
            ) from error
    listed = np.zeros(units.n, dtype=bool)
    listed[found] = True
    return Scored(units, scores, listed, dict(zip(found.tolist(), stream.records, strict=True)))


def level_of_record(record: dict[str, Any]) -> str:
    """What a record is of; the schema has seen to it that it is of something."""
    if "src" in record:
        return "edge"
    return "neuron" if "unit" in record else "node"


def _units(stream: Stream, units: Units, indices: list[int]) -> np.ndarray:
    """The unit that each of these records names, int64 [n]; refuses unknown units and units named twice."""
    records = [stream.records[index] for index in indices]
    if units.level == "edge":
        found = units.graph.find([r["src"] for r in records], [r["dst"] for r in records])
    else:
        found = np.array([_node(units, record) for record in records], dtype=np.int64)
    unknown = np.flatnonzero(found < 0)
    if len(unknown):
        index = indices[int(unknown[0])]
        raise MiError(
            f"{spelled(stream.records[index])} is no {units.level} of this graph ({units.graph.describe()})",
            "the records belong to another graph, or were edited",
            place=stream.place(index),
        )
    first = np.unique(found, return_index=True)[1]
    if len(first) < len(found):
        again = int(np.setdiff1d(np.arange(len(found)), first)[0])
        raise MiError(f"{units.name(int(found[again]))} is listed twice", place=stream.place(indices[again]))
    return found


def _node(units: Units, record: dict[str, Any]) -> int:
    """The number of a node or a neuron, or -1."""
    node = units.graph.node_index(str(record["node"]))
    if not 0 <= node < units.graph.n_sources:
        return -1
    if units.level == "node":
        return node
    unit = record["unit"]
    return node * units.width + unit if 0 <= unit < units.width else -1


def spelled(record: dict[str, Any]) -> str:
    """The name of what a record is of: `m0->m3`, `m3`, `m3/17`."""
    level = level_of_record(record)
    if level == "edge":
        return f"{record['src']}->{record['dst']}"
    return str(record["node"]) if level == "node" else f"{record['node']}/{record['unit']}"


def _width(stream: Stream, graph: Graph) -> int:
    """How many neurons a source has: what the head says, else the graph's d_model."""
    width = (stream.head.get("selection") or {}).get("width") or graph.params.get("d_model")
    if not width:
        raise MiError("nothing says how many neurons a node has", "the head needs selection.width", place=stream.origin)
    return int(width)


def _a(level: str) -> str:
    return f"an {level}" if level == "edge" else f"a {level}"

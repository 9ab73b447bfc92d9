"""Between streams and the graphs of other tools: a `ScoredGraph` to what a stream holds, and a stream to one.

Membership (what a file puts into its circuit) travels with scores in a blob of its own, so that a file that came in
goes out as it was. Whatever chooses or changes scores leaves that blob behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mi.circuit import reading
from mi.circuit.graph import Graph
from mi.circuit.levels import LEVELS, Circuit, Units
from mi.circuit.mib import ScoredGraph, of_circuit
from mi.circuit.transformer import of_single_heads, shares_receivers
from mi.errors import MiError, UsageError
from mi.io import blobs
from mi.io.stream import Stream

MEMBERSHIP = "membership"
Made = tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]  # parts of a head, records, tensors by blob


def scores_stream(made: ScoredGraph, form: str, level: str | None, place: str) -> Made:
    """A stream of the scores of a file."""
    chosen = level or made.level
    if chosen not in made.scores:
        held = ", ".join(made.scores) or "none"
        raise MiError(
            f"the file holds no scores of {chosen}s (it has: {held})", "--circuit reads what it marks", place=place
        )
    tensors: dict[str, Any] = {"scores": dict(made.scores)}
    if any(flags.any() for flags in made.members.values()) or "neuron" in made.members:
        tensors[MEMBERSHIP] = dict(made.members)
    head = {"kind": "scores", "attribution": {"method": "imported", "from": form, "level": chosen}}
    return head, [], {**tensors, **_table(made.graph)}


def circuit_stream(made: ScoredGraph, form: str, place: str) -> Made:
    """A stream of the circuit that a file marks."""
    if not any(flags.any() for flags in made.members.values()):
        raise MiError("the file puts nothing into a circuit", "its scores can be read without --circuit", place=place)
    graph, neurons = made.graph, made.members.get("neuron")
    kept = made.members.get("edge", np.zeros(graph.n_edges, dtype=bool)).copy()
    if neurons is not None:
        some = np.array([row.any() for row in neurons], dtype=bool)
        kept &= some[graph.source]  # an edge that carries nothing of its source is none
    records = _records(Units(graph), np.flatnonzero(kept), made.scores.get("edge"))
    selection: dict[str, Any] = {"rule": "imported", "from": form, "level": "edge", "edges": graph.n_edges}
    if neurons is not None:
        whole = np.array([row.all() for row in neurons], dtype=bool)
        part = neurons & ~whole[:, None]
        part[np.setdiff1d(np.arange(graph.n_sources), graph.source[kept])] = False
        units = Units(graph, "neuron", neurons.shape[1])
        records += _records(units, np.flatnonzero(part), made.scores.get("neuron"))
        selection["width"] = units.width
    selection["realised"] = int(np.count_nonzero(kept))
    return {"kind": "circuit", "selection": selection}, records, _table(graph)


def _records(units: Units, chosen: np.ndarray, scores: np.ndarray | None) -> list[dict[str, Any]]:
    values = np.full(units.n, np.nan) if scores is None else scores.astype(np.float64).ravel()
    return units.records(chosen, values)


def _table(graph: Graph) -> dict[str, Any]:
    return {"graph": graph.table()} if graph.builder == "explicit" else {}


def of_stream(stream: Stream, ranking: Stream | None = None) -> ScoredGraph:
    """What a stream of scores, or a circuit, says. `ranking`: the scores that a circuit was chosen by."""
    graph = reading.graph_of(stream)
    if stream.kind == "scores":
        if ranking is not None:
            raise UsageError("--scores is of a circuit, and these are scores", "leave it away", place=stream.origin)
        return ScoredGraph(graph, _scores(stream, graph), _members(stream, graph))
    circuit = reading.circuit(stream, graph)
    if ranking is None:
        return of_circuit(circuit, _of_records(stream, graph, circuit))
    of_ranking = reading.graph_of(ranking)
    if shares_receivers(stream.head["graph"]) and not shares_receivers(ranking.head["graph"]):
        graph, part_of = of_single_heads(graph)
        circuit = Circuit(graph, circuit.edges[part_of], circuit.neurons, circuit.level)
    if of_ranking.digest != graph.digest:
        raise MiError("these scores are of another graph than the circuit", place=ranking.origin)
    return of_circuit(circuit, _scores(ranking, graph))


def _scores(stream: Stream, graph: Graph) -> Mapping[str, np.ndarray]:
    if stream.records:
        found = reading.scored(stream, graph)
        return {found.units.level: found.scores.reshape(found.units.shape)}
    checked = reading.scored(stream, graph)  # the level that counts is there, of the right size, and finite
    arrays = {name: reading.plain(array) for name, array in blobs.load(stream, "scores").items() if name in LEVELS}
    width = arrays["neuron"].shape[-1] if "neuron" in arrays else 0
    fits = {name: array for name, array in arrays.items() if array.shape == Units(graph, name, width).shape}
    return {**fits, checked.units.level: checked.scores.reshape(checked.units.shape)}


def _members(stream: Stream, graph: Graph) -> dict[str, np.ndarray]:
    if MEMBERSHIP not in stream.blobs or stream.records:
        return {}
    arrays = {name: reading.plain(array) for name, array in blobs.load(stream, MEMBERSHIP).items() if name in LEVELS}
    for name, array in arrays.items():
        if array.dtype != bool or array.shape != Units(graph, name, array.shape[-1] if name == "neuron" else 0).shape:
            raise MiError(
                f"the membership of {name}s does not fit the graph", "make the stream again", place=stream.origin
            )
    return arrays


def _of_records(stream: Stream, graph: Graph, circuit: Circuit) -> dict[str, np.ndarray]:
    """The scores that a circuit's records carry; what the circuit left out has the score 0."""
    width = circuit.neurons.shape[1] if circuit.neurons is not None else 0
    by_level: dict[str, list[Mapping[str, Any]]] = {}
    for record in stream.records:
        level = "edge" if "src" in record else "neuron" if "unit" in record else "node"
        by_level.setdefault(level, []).append(record)
    scores: dict[str, np.ndarray] = {}
    for level, records in by_level.items():
        units = Units(graph, level, width)
        values = np.zeros(units.n)
        values[_numbers(units, records)] = [record.get("score") or 0.0 for record in records]
        scores[level] = values.reshape(units.shape)
    return scores


def _numbers(units: Units, records: list[Mapping[str, Any]]) -> np.ndarray:
    """The units that records name; reading the circuit has seen to it that they are there."""
    if units.level == "edge":
        return units.graph.find([record["src"] for record in records], [record["dst"] for record in records])
    nodes = np.array([units.graph.node_index(record["node"]) for record in records], dtype=np.int64)
    if units.level == "node":
        return nodes
    within: np.ndarray = np.array([record["unit"] for record in records], dtype=np.int64)
    return nodes * units.width + within

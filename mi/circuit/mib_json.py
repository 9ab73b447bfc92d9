"""The benchmark's JSON graphs: bytes in, `ScoredGraph` out, and back to the reference's very bytes.

Edges are named one by one, in the order of the graph, in Python's default style. The reference cannot write JSON of
nodes and neurons, though it reads it. Two of its habits are kept, because its reader needs them: `logits` has no score,
and every head repeats the neurons of all heads of its layer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import orjson

from mi.circuit.graph import Graph
from mi.circuit.mib import EXPECTED, ScoredGraph, config, graph_of, meaningful, width
from mi.errors import MiError


def to_json(made: ScoredGraph) -> bytes:
    """The file. Its bytes are those of Python's `json.dumps`, without building a million dictionaries for it."""
    cfg = json.dumps(config(made.graph, width(made)))
    nodes = json.dumps(dict(_nodes(made)))
    edges = ", ".join(_edges(made))
    return f'{{"cfg": {cfg}, "nodes": {nodes}, "edges": {{{edges}}}}}'.encode()


def _edges(made: ScoredGraph) -> Iterator[str]:
    graph = made.graph
    scores = made.scores.get("edge", np.zeros(graph.n_edges)).astype(np.float64).tolist()
    kept = made.members.get("edge", np.zeros(graph.n_edges, dtype=bool)).tolist()
    spelled = ("false", "true")
    for name, score, inside in zip(graph.edge_names(), scores, kept, strict=True):
        yield f'"{name}": {{"score": {score!r}, "in_graph": {spelled[inside]}}}'


def _nodes(made: ScoredGraph) -> Iterator[tuple[str, dict[str, Any]]]:
    graph = made.graph
    inside = made.members.get("node", np.zeros(graph.n_sources, dtype=bool)).tolist()
    scores = made.scores["node"].astype(np.float64).tolist() if "node" in made.scores else None
    parts = {"neurons": made.members.get("neuron"), "neurons_scores": made.scores.get("neuron")}
    if parts["neurons_scores"] is not None and parts["neurons"] is None:  # readers take both or neither
        parts["neurons"] = np.zeros(parts["neurons_scores"].shape, dtype=bool)
    for index, name in enumerate(graph.nodes[:-1]):
        entry: dict[str, Any] = {"in_graph": inside[index]}
        if scores is not None:
            entry["score"] = scores[index]
        for key, array in parts.items():
            if array is not None:
                wide = array if array.dtype == bool else array.astype(np.float64)
                entry[key] = wide[_slice(graph, index)].tolist()
        yield name, entry
    yield graph.nodes[-1], {"in_graph": True}


def _slice(graph: Graph, index: int) -> slice | int:
    """Where the reference looks for the neurons of a node: a head's are those of all heads of its layer."""
    heads, width = graph.params["n_heads"], graph.params["n_heads"] + 1
    place = (index - 1) % width
    if index == 0 or place == heads:
        return index
    return slice(index - place, index - place + heads)


def from_json(data: bytes, place: str) -> ScoredGraph:
    """Read a file. Edges that it leaves out have the score 0 and are not in the circuit, as in the reference's reader.

    Raises:
        MiError: it is no such file, names an edge or a node that its graph lacks, or holds what is no number.
    """
    value = _parsed(data, place)
    nodes, edges = value.get("nodes"), value.get("edges")
    if not isinstance(nodes, dict) or not isinstance(edges, dict):
        raise MiError("no graph of the benchmark: nodes or edges are missing", EXPECTED, place=place)
    graph = graph_of(value.get("cfg"), len(edges), place)
    scores, members = _read_edges(graph, edges, place)
    more_scores, more_members = _read_nodes(graph, nodes, place)
    return ScoredGraph(graph, meaningful(scores | more_scores), members | more_members)


def _parsed(data: bytes, place: str) -> dict[str, Any]:
    try:
        value = _loaded(data)
    except (ValueError, RecursionError) as error:
        raise MiError(f"not JSON: {error}", EXPECTED, place=place) from None
    if not isinstance(value, dict):
        raise MiError("no graph of the benchmark: no JSON object", EXPECTED, place=place)
    return value


def _loaded(data: bytes) -> Any:
    """By the fast reader; what it minds, such as the NaN of a node that nobody scored, Python's own may read."""
    try:
        return orjson.loads(data)
    except ValueError:
        return json.loads(data)


def _read_edges(
    graph: Graph, edges: Mapping[str, Any], place: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    names = tuple(edges)
    if names == graph.edge_names():  # as every whole file lists them
        found = np.arange(graph.n_edges)
    else:
        ends = [name.partition("->") for name in names]
        found = graph.find([source for source, _, _ in ends], [receiver for _, _, receiver in ends])
        _check_known(found, list(names), graph, "edge", place)
    values, flags = _plain(edges) or _one_by_one(edges, place)
    scores, inside = np.zeros(graph.n_edges), np.zeros(graph.n_edges, dtype=bool)
    scores[found], inside[found] = values, flags
    return {"edge": _narrow(scores)}, {"edge": inside}


def _one_by_one(edges: Mapping[str, Any], place: str) -> tuple[list[float], list[bool]]:
    flags = [_flag(name, entry, place) for name, entry in edges.items()]
    return [_number(name, entry, "score", place, 0.0) for name, entry in edges.items()], flags


def _plain(edges: Mapping[str, Any]) -> tuple[list[float], list[bool]] | None:
    """Scores and flags where every edge has both and nothing is wrong with any: a million edges at once."""
    try:
        values = [entry["score"] for entry in edges.values()]
        flags = [entry["in_graph"] for entry in edges.values()]
    except (TypeError, KeyError):
        return None
    fine = set(map(type, values)) <= {float} and set(map(type, flags)) <= {bool} and np.isfinite(values).all()
    return (values, flags) if fine else None


def _read_nodes(
    graph: Graph, nodes: Mapping[str, Any], place: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    sink = graph.nodes[-1]
    listed = {name: entry for name, entry in nodes.items() if name != sink}
    found = np.array([graph.node_index(name) for name in listed], dtype=np.int64)
    _check_known(found, list(listed), graph, "node", place)
    inside = np.zeros(graph.n_sources, dtype=bool)
    inside[found] = [_flag(name, entry, place) for name, entry in listed.items()]
    members, scores = {"node": inside}, {}
    if any("score" in entry for entry in listed.values()):
        values = np.full(graph.n_sources, np.nan)
        values[found] = [_number(name, entry, "score", place, np.nan) for name, entry in listed.items()]
        scores["node"] = _narrow(values)
    shape = (graph.n_sources, int(graph.params["d_model"]))
    for key, into, empty in (("neurons", members, False), ("neurons_scores", scores, np.nan)):
        if any(key in entry for entry in listed.values()):
            _check_width(listed, key, shape[1], place)
            array = np.full(shape, empty)
            for index, (name, entry) in zip(found.tolist(), listed.items(), strict=True):
                if key in entry:
                    _fill(array, _slice(graph, index), entry[key], f"{key} of {name}", place)
            into["neuron"] = array if array.dtype == bool else _narrow(array)
    return scores, members


def _check_width(nodes: Mapping[str, Any], key: str, width: int, place: str) -> None:
    """Find out that lists have another length than cfg says before room is made for what cfg says."""
    for name, entry in nodes.items():
        row = entry.get(key, ())
        row = row[0] if isinstance(row, list) and row and isinstance(row[0], list) else row
        if key in entry and not (isinstance(row, list) and len(row) == width):
            raise MiError(f"the {key} of {name} are not {width} numbers for each node", place=place)


def _fill(array: np.ndarray, where: slice | int, value: Any, what: str, place: str) -> None:
    try:
        given = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        given = np.empty(0)
    if given.shape != array[where].shape:
        raise MiError(f"the {what} are not {' x '.join(map(str, array[where].shape))} numbers", place=place)
    array[where] = given


def _check_known(found: np.ndarray, names: list[str], graph: Graph, what: str, place: str) -> None:
    unknown = np.flatnonzero((found < 0) | (found >= (graph.n_edges if what == "edge" else graph.n_sources)))
    if len(unknown):
        name = names[int(unknown[0])][:80]
        raise MiError(f"{name} is no {what} of the graph that cfg describes ({graph.describe()})", place=place)


def _number(name: str, entry: Mapping[str, Any], key: str, place: str, missing: float) -> float:
    value = entry.get(key, missing)
    try:
        number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else np.inf
    except OverflowError:
        number = np.inf
    if np.isinf(number) or (np.isnan(number) and not np.isnan(missing)):
        shown = value if isinstance(value, float) else json.dumps(value)
        raise MiError(f"the {key} of {name} is {str(shown)[:40]}", "a score is a finite number", place=place)
    return number


def _flag(name: str, entry: Any, place: str) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("in_graph"), bool):
        raise MiError(f"{name[:80]} has no in_graph flag", EXPECTED, place=place)
    return bool(entry["in_graph"])


def _narrow(values: np.ndarray) -> np.ndarray:
    """float32 where that loses nothing, as with every file of the reference."""
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    same = np.array_equal(narrow.astype(np.float64), values, equal_nan=True)
    return narrow if same else values

"""The benchmark's `.pt` graphs: bytes in, `ScoredGraph` out, and back. Dense matrices [source, receiver]; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mi.circuit.graph import Graph
from mi.circuit.mib import ScoredGraph, config, graph_of, meaningful, width
from mi.errors import MiError
from mi.io import torch_file

REQUIRED = ("cfg", "src_nodes", "dst_nodes", "edges_in_graph", "nodes_in_graph")


def to_pt(made: ScoredGraph) -> bytes:
    """The file that `torch.load` reads."""
    graph = made.graph
    inside = made.members.get("node", np.zeros(graph.n_sources, dtype=bool))
    values: dict[str, Any] = {
        "cfg": config(graph, width(made)),
        "src_nodes": list(graph.nodes[:-1]),
        "dst_nodes": list(graph.receivers),
        "edges_scores": _dense(graph, made.scores.get("edge"), np.float32),
        "edges_in_graph": _dense(graph, made.members.get("edge"), bool),
        "nodes_in_graph": inside,
    }
    if "node" in made.scores:
        values["nodes_scores"] = made.scores["node"].astype(np.float32)
    neurons, scores = made.members.get("neuron"), made.scores.get("neuron")
    if neurons is not None or scores is not None:
        shape = next(array.shape for array in (neurons, scores) if array is not None)
        values["neurons_in_graph"] = neurons if neurons is not None else np.zeros(shape, dtype=bool)
        values["neurons_scores"] = (scores if scores is not None else np.full(shape, np.nan)).astype(np.float32)
    return torch_file.write(values)


def _dense(graph: Graph, values: np.ndarray | None, dtype: Any) -> np.ndarray:
    dense = np.zeros((graph.n_sources, len(graph.receivers)), dtype=dtype)
    if values is not None:
        dense[graph.edges[0], graph.edges[1]] = values
    return dense


def from_pt(data: bytes, place: str) -> ScoredGraph:
    """Read a file, without torch and without running what it holds. Cells that no edge stands for are left out."""
    value = torch_file.read(data, place)
    if not isinstance(value, dict) or not all(name in value for name in REQUIRED):
        missing = [name for name in REQUIRED if not isinstance(value, dict) or name not in value]
        raise MiError(f"no graph of the benchmark: {', '.join(missing)} missing", place=place)
    graph = graph_of(value["cfg"], int(np.size(value["edges_in_graph"])), place)
    if not _same(value["src_nodes"], graph.nodes[:-1]) or not _same(value["dst_nodes"], graph.receivers):
        raise MiError("its sources or receivers do not stand in the order of the benchmark", place=place)
    dense = (graph.n_sources, len(graph.receivers))
    cells = tuple(graph.edges)
    scores: dict[str, np.ndarray] = {}
    if "edges_scores" in value:
        scores["edge"] = _array(value, "edges_scores", dense, place)[cells]
    members = {
        "edge": _array(value, "edges_in_graph", dense, place)[cells] != 0,
        "node": _array(value, "nodes_in_graph", dense[:1], place) != 0,
    }
    wide = (graph.n_sources, int(graph.params["d_model"]))
    if "nodes_scores" in value:
        scores["node"] = _array(value, "nodes_scores", dense[:1], place)
    if "neurons_in_graph" in value:
        members["neuron"] = _array(value, "neurons_in_graph", wide, place) != 0
    if "neurons_scores" in value:
        scores["neuron"] = _array(value, "neurons_scores", wide, place)
    _check_finite(graph, scores, place)
    return ScoredGraph(graph, meaningful(scores) if "edge" in scores else scores, members)


def _same(given: Any, names: Iterable[str]) -> bool:
    return isinstance(given, list) and given == list(names)


def _array(value: Mapping[str, Any], name: str, shape: tuple[int, ...], place: str) -> np.ndarray:
    array = value[name]
    if not isinstance(array, np.ndarray) or array.shape != shape:
        found = list(array.shape) if isinstance(array, np.ndarray) else type(array).__name__
        raise MiError(f"{name} is {found}, not {list(shape)}", place=place)
    return array


def _check_finite(graph: Graph, scores: Mapping[str, np.ndarray], place: str) -> None:
    """NaN says of nodes and neurons that nobody scored them; of an edge it is a fault."""
    for level, values in scores.items():
        bad = np.argwhere(np.isinf(values) | (np.isnan(values) if level == "edge" else False))
        if len(bad):
            index = int(bad[0][0])
            name = graph.edge_name(index) if level == "edge" else graph.nodes[index]
            raise MiError(f"a score of {name} is not finite", "a score is a finite number", place=place)

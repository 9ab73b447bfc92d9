"""Sparse feature circuits: the `.pt` of their discovery script, features of dictionaries in, an explicit graph out.

`nodes` gives for each submodule (`embed`, `attn_3`, `mlp_3`, `resid_3`) the effects of its features and of its error,
`edges[upstream][downstream]` a sparse matrix [.., downstream, .., upstream] of weights, in which the error is the last
row and column; with positions, each axis of features has one of positions before it. `y` is the metric.

A feature is called `mlp_3/f1021`, the error `mlp_3/error`, with a position `mlp_3@5/f1021`; the metric is `logits`.
Everything that has an edge is a node. The scores of nodes are their effects, those of edges their weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mi.circuit.graph import explicit_graph
from mi.circuit.mib import ScoredGraph
from mi.errors import MiError
from mi.io import torch_file
from mi.io.torch_file import Object, Sparse

METRIC, SINK = "y", "logits"
_SUBMODULE = re.compile(r"(attn|mlp|resid)_(\d{1,6})")
_IN_LAYER = ("attn", "mlp", "resid")
_EXPECTED = "the file of a sparse feature circuit has nodes and edges, by submodule"
MOST_EDGES = 50_000_000
Node = tuple[str, int, int]  # submodule, position (-1: none), feature (-1: the error)


def read(data: bytes, place: str) -> ScoredGraph:
    """The graph of what the file lists; all of it is in the circuit."""
    value = torch_file.read(data, place)
    nodes, edges = (value.get(name) for name in ("nodes", "edges")) if isinstance(value, Mapping) else (None, None)
    if not isinstance(nodes, Mapping) or not isinstance(edges, Mapping):
        raise MiError("no sparse feature circuit: nodes or edges are missing", _EXPECTED, place=place)
    sizes = {name: _size(name, node, place) for name, node in nodes.items() if name != METRIC}
    weights = _weights(edges, sizes, place)
    if not weights:
        raise MiError("no edge is listed", "lower its thresholds, and save it again", place=place)
    if not all(np.isfinite(weight) for weight in weights.values()):
        raise MiError("a weight is not finite", place=place)
    ordered = sorted({end for edge in weights for end in edge if end[0] != METRIC}, key=_rank)
    try:
        effects = {node: _effect(nodes[node[0]], node) for node in ordered}
    except IndexError:
        raise MiError("its edges speak of more positions than its nodes have", _EXPECTED, place=place) from None
    return _graph(ordered, weights, effects)


def _graph(
    ordered: list[Node], weights: Mapping[tuple[Node, Node], float], effects: Mapping[Node, float]
) -> ScoredGraph:
    """Every node that is not a root reads with one receiver of its own name."""
    number = {node: index for index, node in enumerate(ordered)}
    names = [_name(node) for node in ordered]
    read_by = sorted({number.get(into, len(ordered)) for _, into in weights})
    receivers = [[*names, SINK][node] for node in read_by]
    place_of = {node: index for index, node in enumerate(read_by)}
    pairs = [(number[source], place_of[number.get(into, len(ordered))]) for source, into in weights]
    graph = explicit_graph([*names, SINK], receivers, read_by, np.array(pairs).T)
    kept = np.ones(graph.n_edges, dtype=bool)
    scores = {
        "edge": np.array(list(weights.values()), dtype=np.float32),
        "node": np.array([effects[node] for node in ordered], dtype=np.float32),
    }
    return ScoredGraph(graph, scores, {"edge": kept, "node": np.ones(graph.n_sources, dtype=bool)})


def _rank(node: Node) -> tuple[int, int, int, int]:
    """Topological order: by layer, and in a layer attention, MLP, residual stream."""
    match = _SUBMODULE.fullmatch(node[0])
    place = (-1, 0) if match is None else (int(match[2]), _IN_LAYER.index(match[1]))
    return (*place, node[1], node[2] if node[2] >= 0 else 1 << 62)


def _name(node: Node) -> str:
    submodule, position, feature = node
    at = "" if position < 0 else f"@{position}"
    return f"{submodule}{at}/{'error' if feature < 0 else f'f{feature}'}"


def _size(name: Any, node: Any, place: str) -> int:
    """How many features a submodule has."""
    known = name == "embed" or (isinstance(name, str) and _SUBMODULE.fullmatch(name))
    act = node.fields.get("act") if isinstance(node, Object) else None
    if not known or not isinstance(act, np.ndarray) or act.ndim not in (1, 2):
        raise MiError(f"{str(name)[:80]!r} holds no effects of features", _EXPECTED, place=place)
    return int(act.shape[-1])


def _effect(node: Object, which: Node) -> float:
    """The effect of one feature, or of the error."""
    _, position, feature = which
    array = node.fields.get("resc") if feature < 0 else node.fields["act"]
    if not isinstance(array, np.ndarray) or (array.ndim > 1 and position < 0):
        return 0.0
    row = array[position] if position >= 0 and array.ndim > 1 else array
    value = float(row.ravel()[max(feature, 0)])
    return value if np.isfinite(value) else 0.0


def _weights(edges: Mapping[Any, Any], sizes: Mapping[str, int], place: str) -> dict[tuple[Node, Node], float]:
    found: dict[tuple[Node, Node], float] = {}
    for upstream, below in edges.items():
        if not isinstance(below, Mapping):
            raise MiError("edges are not a dictionary of dictionaries", _EXPECTED, place=place)
        for downstream, weight in below.items():
            if upstream not in sizes or (downstream not in sizes and downstream != METRIC):
                raise MiError(f"the edges {upstream}->{downstream} join no submodules", _EXPECTED, place=place)
            indices, values, shape = _coordinates(weight, f"{upstream}->{downstream}", place)
            if len(found) + len(values) > MOST_EDGES:
                raise MiError(f"more than {MOST_EDGES:,} edges", "raise its thresholds, and save it again", place=place)
            up, down = sizes[upstream], sizes.get(downstream, 0)
            if not down and len(shape) == 2 and shape[0] == 1:  # the metric is one number
                indices, shape = indices[1:], shape[1:]
            _check_shape(shape, up, down, f"{upstream}->{downstream}", place)
            for at, value in zip(indices.T.tolist(), values.tolist(), strict=True):
                if value:
                    into, source = _ends(at, len(shape), up, down)
                    found[((upstream, *source), (downstream, *into))] = value
    return found


def _coordinates(weight: Any, what: str, place: str) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    if isinstance(weight, Sparse):
        return weight.indices, weight.values, weight.shape
    if isinstance(weight, Object) and isinstance(weight.fields.get("act"), np.ndarray):
        error = weight.fields.get("resc")
        parts = [weight.fields["act"], *([error] if isinstance(error, np.ndarray) else [])]
        weight = np.concatenate(parts, axis=-1)
    if isinstance(weight, np.ndarray):
        at = np.nonzero(weight)
        return np.array(at), weight[at], weight.shape
    raise MiError(f"the edges {what} are no tensor", _EXPECTED, place=place)


def _check_shape(shape: tuple[int, ...], up: int, down: int, what: str, place: str) -> None:
    """The last axis is the upstream features and their error; before it stand what is read, and positions."""
    with_positions = len(shape) == (4 if down else 2) and (not down or shape[0] == shape[2])
    plain = len(shape) == (2 if down else 1)
    rows = shape[-3 if with_positions and down else -2] if down and len(shape) > 1 else down + 1
    if not (with_positions or plain) or shape[-1] not in (up, up + 1) or rows not in (down, down + 1):
        raise MiError(f"the edges {what} have the shape {list(shape)}, for {down} and {up} features", place=place)


def _ends(at: list[int], n_axes: int, up: int, down: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(position, feature) of what reads and of what writes."""
    feature = -1 if at[-1] == up else at[-1]
    if not down:  # the metric: nothing, or a position before the features
        return (-1, 0), (at[0] if n_axes == 2 else -1, feature)
    read = -1 if at[-3 if n_axes == 4 else -2] == down else at[-3 if n_axes == 4 else -2]
    if n_axes == 4:
        return (at[0], read), (at[2], feature)
    return (-1, read), (-1, feature)

"""Scores of AutoCircuit: a dictionary of tensors, one for each module that reads, saved by torch.

The key is TransformerLens' hook of the readers (`blocks.3.hook_q_input`, `blocks.3.hook_mlp_in`, the last
`hook_resid_post`), the tensor [sources] or [heads, sources], with every source that comes before. A tensor with token
positions in front has its positions summed by magnitude, as a receiver here is one for all positions. `hook_attn_in`
stands for query, key and value at once: all three get its score. Files of several tasks and methods hold such
dictionaries inside dictionaries, and `--key` chooses one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mi.circuit.importers.edges import Shape
from mi.circuit.mib import ScoredGraph, check_size
from mi.errors import MiError, UsageError
from mi.io import torch_file

_HOOK = re.compile(r"blocks\.(\d{1,6})\.hook_(q_input|k_input|v_input|attn_in|mlp_in|resid_post)")
_EXPECTED = "AutoCircuit's scores map hooks such as blocks.0.hook_q_input to tensors"


def read(data: bytes, shape: Shape, place: str, key: str | None = None) -> ScoredGraph:
    """The graph with its scores; nothing says what is in a circuit."""
    modules = _chosen(torch_file.read(data, place), key, place)
    tensors = {_hook(name, place): _tensor(name, value, place) for name, value in modules.items()}
    layers = 1 + max(layer for layer, _ in tensors)
    widths = {array.shape[-2] for (_, what), array in tensors.items() if what.endswith("_input") or what == "attn_in"}
    if len(widths) != 1:
        raise MiError("the heads of its modules differ in number, or it has none", _EXPECTED, place=place)
    mlps, heads = any(what == "mlp_in" for _, what in tensors), widths.pop()
    check_size(layers, heads, sum(array.size for array in tensors.values()), place)
    whole = shape.completed(layers, heads, mlps, whole=True, place=place)
    graph = whole.graph()
    scores = np.zeros(graph.n_edges, dtype=np.float32)
    for (layer, what), array in tensors.items():
        for receiver, values in _receivers(layer, what, array):
            scores[_incoming(graph, receiver, len(values), place)] = values
    if not np.isfinite(scores).all():
        raise MiError(f"the score of {graph.edge_name(int(np.argmin(np.isfinite(scores))))} is not finite", place=place)
    return ScoredGraph(graph, {"edge": scores})


def _chosen(value: Any, key: str | None, place: str) -> Mapping[str, Any]:
    """The dictionary of tensors, in as many dictionaries as there are; keys are joined by `/`."""
    found = dict(_dictionaries(value, ""))
    if not found:
        raise MiError("no dictionary of tensors", _EXPECTED, place=place)
    if key is None and len(found) > 1:
        raise UsageError(
            f"it holds {len(found)} sets of scores: {', '.join(found)}", "choose one by --key", place=place
        )
    if key is not None and key not in found:
        raise UsageError(
            f"it holds no scores {key!r}", f"--key is one of {', '.join(filter(None, found))}", place=place
        )
    return found[key] if key is not None else next(iter(found.values()))


def _dictionaries(value: Any, path: str) -> list[tuple[str, Mapping[str, Any]]]:
    if not isinstance(value, Mapping) or path.count("/") > 3:
        return []
    if value and all(isinstance(name, str) and _HOOK.fullmatch(name) for name in value):
        return [(path, value)]
    inner = ((f"{path}/{name}" if path else str(name), item) for name, item in value.items())
    return [found for name, item in inner for found in _dictionaries(item, name)]


def _hook(name: str, place: str) -> tuple[int, str]:
    match = _HOOK.fullmatch(name)
    if match is None:
        raise MiError(f"{name[:80]!r} is no module that reads the residual stream", _EXPECTED, place=place)
    return int(match[1]), match[2]


def _tensor(name: str, value: Any, place: str) -> np.ndarray:
    """[sources] or [heads, sources]."""
    wanted = 1 if name.endswith(("mlp_in", "resid_post")) else 2
    if not isinstance(value, np.ndarray) or value.ndim not in (wanted, wanted + 1) or value.dtype.kind not in "fiu":
        raise MiError(f"{name} is no tensor of {'sources' if wanted == 1 else 'heads by sources'}", place=place)
    array = value.astype(np.float64)
    return np.abs(array).sum(axis=0) if array.ndim > wanted else array


def _receivers(layer: int, what: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    if what == "mlp_in":
        return [(f"m{layer}", array)]
    if what == "resid_post":
        return [("logits", array)]
    branches = "qkv" if what == "attn_in" else what[0]
    return [(f"a{layer}.h{head}<{branch}>", row) for head, row in enumerate(array) for branch in branches]


def _incoming(graph: Any, receiver: str, n: int, place: str) -> np.ndarray:
    """The edges into a receiver, in the order of their sources."""
    found: np.ndarray = graph.find(graph.nodes[:n], [receiver] * n)
    before = int(np.count_nonzero(graph.edges[1] == graph.receivers.index(receiver)))
    if (found < 0).any() or n != before:
        fact = f"{receiver} has {n} sources in the file, and {before} in the graph ({graph.describe()})"
        raise MiError(fact, "is it a factorised graph, and of this model?", place=place)
    return found

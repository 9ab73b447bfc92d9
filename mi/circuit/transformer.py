"""The graph of a transformer: shape in, table out. The only place that knows the index arithmetic.

Nodes are `input`, then layer by layer the heads and the MLP, then `logits`. Every head reads at three receivers (all q
of a layer, then all k, then all v), an MLP and the logits at one. A receiver reads every source before it in the
residual stream; in a parallel block the MLP does not see the heads of its own layer. Edges are listed as EAP-IG creates
them: layer by layer, source by source, head by head, q k v; then every source of the MLP (in a parallel block each
source's edge to the MLP follows its edges to the heads); at the end the sources of the logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from mi.circuit.graph import Graph
from mi.circuit.names import BRANCHES
from mi.errors import MiError

MOST_EDGES = 1 << 30  # int32 [2, E] is 8 GB then; the largest models there are have 400 million


def layer_receivers(n_heads: int) -> int:
    """How many receivers a layer has: q, k and v of each head, and the MLP's."""
    return 3 * n_heads + 1


def n_sources(n_layers: int, n_heads: int) -> int:
    return 1 + n_layers * (n_heads + 1)


def n_receivers(n_layers: int, n_heads: int) -> int:
    return 1 + n_layers * layer_receivers(n_heads)


def n_edges(n_layers: int, n_heads: int) -> int:
    """Of blocks in sequence: layer by layer its heads read what comes before it, its MLP these heads too."""
    before = n_layers + (n_heads + 1) * n_layers * (n_layers - 1) // 2  # sources before each layer, over all of them
    return before * layer_receivers(n_heads) + n_layers * n_heads + n_sources(n_layers, n_heads)


def most_edges(n_layers: int, n_heads: int) -> int:
    """A bound on the number of edges: half of the pairs of a source and a receiver, and those of one layer."""
    sources, receivers = n_sources(n_layers, n_heads), n_receivers(n_layers, n_heads)
    return sources * (receivers + 3 * n_heads + 2) // 2 + sources


def contradicted(graph: Graph, cfg: Mapping[str, Any]) -> str | None:
    """The first entry of a MIB file's `cfg` that says something else than the graph's own shape."""
    ours = {**graph.params, "parallel_attn_mlp": graph.params.get("parallel")}
    known = ("n_layers", "n_heads", "parallel_attn_mlp")
    return next(
        (name for name in known if ours.get(name) is not None and cfg.get(name, ours[name]) != ours[name]), None
    )


@lru_cache(maxsize=8)
def transformer_graph(
    n_layers: int,
    n_heads: int,
    parallel: bool = False,
    d_model: int | None = None,
    attention_only: bool = False,
) -> Graph:
    """The graph of a model with `n_layers` blocks of `n_heads` query heads. `d_model` is recorded, not used."""
    if n_layers < 1 or n_heads < 1:
        raise MiError(f"a transformer of {n_layers} layers and {n_heads} heads has no graph", "both must be at least 1")
    if most_edges(n_layers, n_heads) > MOST_EDGES:
        raise MiError(f"a transformer of {n_layers} layers and {n_heads} heads has more edges than memory would hold")
    params: dict[str, object] = {
        "n_layers": int(n_layers),
        "n_heads": int(n_heads),
        "parallel": bool(parallel),
        "d_model": None if d_model is None else int(d_model),
    }
    if attention_only:
        params["attention_only"] = True
    nodes = tuple(_nodes(n_layers, n_heads, attention_only))
    receivers, receiver_node = _receivers(n_layers, n_heads, attention_only)
    edges = _edges(n_layers, n_heads, parallel, attention_only)
    return Graph("transformer", params, nodes, receivers, receiver_node, edges)


def _nodes(n_layers: int, n_heads: int, attention_only: bool) -> Iterator[str]:
    yield "input"
    for layer in range(n_layers):
        yield from (f"a{layer}.h{head}" for head in range(n_heads))
        if not attention_only:
            yield f"m{layer}"
    yield "logits"


def _receivers(n_layers: int, n_heads: int, attention_only: bool) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the receivers and, for each, the index of its node."""
    width = n_heads + (not attention_only)  # nodes of a layer
    names: list[str] = []
    owners: list[int] = []
    for layer in range(n_layers):
        first = 1 + layer * width
        for branch in BRANCHES:
            names += [f"a{layer}.h{head}<{branch}>" for head in range(n_heads)]
            owners += range(first, first + n_heads)
        if not attention_only:
            names.append(f"m{layer}")
            owners.append(first + n_heads)
    names.append("logits")
    owners.append(1 + n_layers * width)
    return tuple(names), np.array(owners, dtype=np.int32)


def _edges(n_layers: int, n_heads: int, parallel: bool, attention_only: bool) -> np.ndarray:
    """Source index and receiver index of every edge, int32 [2, E]."""
    width = n_heads + (not attention_only)
    stride = 3 * n_heads + (not attention_only)  # receivers of a layer
    # q, k, v of head 0, then of head 1, ...: receivers lie q-major, edges are listed head-major
    branches_of_heads = (np.arange(3)[None, :] * n_heads + np.arange(n_heads)[:, None]).ravel()
    blocks: list[np.ndarray] = []
    for layer in range(n_layers):
        before = 1 + layer * width
        heads = layer * stride + branches_of_heads
        mlp = np.array([] if attention_only else [layer * stride + 3 * n_heads], dtype=heads.dtype)
        if parallel:
            blocks.append(_all_pairs(before, np.append(heads, mlp)))
        else:
            blocks.append(_all_pairs(before, heads))
            blocks.append(_all_pairs(before + n_heads, mlp))
    blocks.append(_all_pairs(1 + n_layers * width, np.array([n_layers * stride])))
    return np.concatenate(blocks, axis=1)


def _all_pairs(n_sources: int, receivers: np.ndarray) -> np.ndarray:
    """Every source below `n_sources` into every one of `receivers`, source by source, int32 [2, n]."""
    sources = np.repeat(np.arange(n_sources, dtype=np.int32), len(receivers))
    return np.stack([sources, np.tile(receivers.astype(np.int32), n_sources)])

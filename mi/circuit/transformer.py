"""The graph of a transformer: shape in, table out. The only place that knows the index arithmetic.

Nodes are `input`, then layer by layer the heads and the MLP, then `logits`. Every head reads at three receivers (all q
of a layer, then all k, then all v), an MLP and the logits at one. A receiver reads every source before it in the
residual stream; in a parallel block the MLP does not see the heads of its own layer. Edges are listed as EAP-IG creates
them: layer by layer, source by source, head by head, q k v; then every source of the MLP (in a parallel block each
source's edge to the MLP follows its edges to the heads); at the end the sources of the logits.

With `n_kv_heads`, the query heads that share a key and a value head (consecutive ones) share its two receivers,
`a3.kv1<k>` and `a3.kv1<v>`: edges are then listed group by group, the q of its heads, k, v.
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
    n_kv_heads: int | None = None,
) -> Graph:
    """The graph of a model with `n_layers` blocks of `n_heads` query heads. `d_model` is recorded, not used.

    `n_kv_heads`: heads that share keys and values share the receivers of those; None: each has its own.
    """
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
    if n_kv_heads is not None:
        if not 1 <= n_kv_heads <= n_heads or n_heads % n_kv_heads:
            raise MiError(f"{n_heads} heads do not share {n_kv_heads} keys and values evenly")
        if n_kv_heads == n_heads:  # nothing is shared: the graph of every other model
            n_kv_heads = None
        else:
            params["n_kv_heads"] = int(n_kv_heads)
    nodes = tuple(_nodes(n_layers, n_heads, attention_only))
    receivers, receiver_node, shared = _receivers(n_layers, n_heads, n_kv_heads, attention_only)
    edges = _edges(n_layers, n_heads, n_kv_heads or n_heads, parallel, attention_only)
    return Graph("transformer", params, nodes, receivers, receiver_node, edges, shared)


def shares_receivers(graph: Mapping[str, Any]) -> bool:
    """Whether the graph that a head names is one of shared keys and values."""
    return (graph.get("params") or {}).get("n_kv_heads") is not None


def head_receiver(layer: int, head: int, branch: str, group: int | None = None) -> str:
    """The name of what a head reads with; `group`: of the heads that share it, if any do."""
    shared = group is not None and branch != "q"
    return f"a{layer}.kv{group}<{branch}>" if shared else f"a{layer}.h{head}<{branch}>"


def of_single_heads(graph: Graph) -> tuple[Graph, np.ndarray]:
    """The graph in which each head has receivers of its own, and for each edge of it the edge of this one that it is a
    part of, int64 [E]: a circuit of this graph is a circuit of that one, a score is not its parts' scores."""
    params = dict(graph.params)
    size = params["n_heads"] // params.pop("n_kv_heads")
    own = transformer_graph(**params)
    names: dict[str, str] = {}
    for layer in range(params["n_layers"]):
        for head in range(params["n_heads"]):
            for branch in BRANCHES:
                names[head_receiver(layer, head, branch)] = head_receiver(layer, head, branch, head // size)
    receivers = [names.get(name, name) for name in own.receivers]
    sources = [own.nodes[source] for source in own.source.tolist()]
    return own, graph.find(sources, [receivers[receiver] for receiver in own.edges[1].tolist()])


def _nodes(n_layers: int, n_heads: int, attention_only: bool) -> Iterator[str]:
    yield "input"
    for layer in range(n_layers):
        yield from (f"a{layer}.h{head}" for head in range(n_heads))
        if not attention_only:
            yield f"m{layer}"
    yield "logits"


def _receivers(
    n_layers: int, n_heads: int, n_kv_heads: int | None, attention_only: bool
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Names of the receivers; for each the index of its node, its first one if it has several; their other nodes."""
    width = n_heads + (not attention_only)  # nodes of a layer
    size = n_heads // (n_kv_heads or n_heads)  # of a group
    names: dict[str, int] = {}  # with the place of each
    owners: list[int] = []
    shared: list[tuple[int, int]] = []

    def add(name: str, node: int) -> None:
        if name in names:
            shared.append((names[name], node))
            return
        names[name] = len(owners)
        owners.append(node)

    for layer in range(n_layers):
        first = 1 + layer * width
        for branch in BRANCHES:
            for head in range(n_heads):
                group = None if n_kv_heads is None else head // size
                add(head_receiver(layer, head, branch, group), first + head)
        if not attention_only:
            add(f"m{layer}", first + n_heads)
    add("logits", 1 + n_layers * width)
    others = np.array(shared, dtype=np.int32).reshape(-1, 2).T
    return tuple(names), np.array(owners, dtype=np.int32), np.ascontiguousarray(others)


def _edges(n_layers: int, n_heads: int, n_kv_heads: int, parallel: bool, attention_only: bool) -> np.ndarray:
    """Source index and receiver index of every edge, int32 [2, E]."""
    width = n_heads + (not attention_only)
    of_heads = n_heads + 2 * n_kv_heads
    stride = of_heads + (not attention_only)  # receivers of a layer
    # q, k, v of head 0, then of head 1, ...: receivers lie q-major, edges are listed head-major (or group-major)
    groups = np.arange(n_kv_heads)[:, None]
    queries = np.arange(n_heads).reshape(n_kv_heads, -1)
    branches_of_heads = np.concatenate([queries, n_heads + groups, n_heads + n_kv_heads + groups], axis=1).ravel()
    blocks: list[np.ndarray] = []
    for layer in range(n_layers):
        before = 1 + layer * width
        heads = layer * stride + branches_of_heads
        mlp = np.array([] if attention_only else [layer * stride + of_heads], dtype=heads.dtype)
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

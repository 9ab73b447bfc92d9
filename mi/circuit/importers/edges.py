"""What the readers of edge lists share: pairs of names in the grammar of `mi` in, a `ScoredGraph` out.

Most files do not say how large the model is. Then the graph is the one that was asked for, or the smallest that has all
the layers and heads that the file names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mi.circuit.graph import Graph
from mi.circuit.mib import ScoredGraph, check_size
from mi.circuit.transformer import transformer_graph
from mi.errors import MiError, UsageError

_NODE = re.compile(r"a(\d{1,6})\.h(\d{1,6})|m(\d{1,6})")


@dataclass(frozen=True)
class Shape:
    """What is known of the model beside the file; None: nobody said it."""

    n_layers: int | None = None
    n_heads: int | None = None
    parallel: bool = False
    d_model: int | None = None
    attention_only: bool | None = None

    def graph(self) -> Graph:
        assert self.n_layers is not None and self.n_heads is not None
        return transformer_graph(
            self.n_layers, self.n_heads, self.parallel, self.d_model, attention_only=bool(self.attention_only)
        )

    def completed(self, layers: int, heads: int, mlps: bool, *, whole: bool, place: str) -> Shape:
        """This shape with what a file shows of it. `whole`: the file names every layer and head that there is."""
        if self.n_layers is None or self.n_heads is None:
            if not whole:
                fact = "the file does not say how many layers and heads the model has"
                raise UsageError(fact, "name it with -m, or give --layers and --heads", place=place)
            only = not mlps if self.attention_only is None else self.attention_only
            return Shape(layers, heads, self.parallel, self.d_model, only)
        if layers > self.n_layers or heads > self.n_heads:
            fact = f"it has layer {layers - 1} and head {heads - 1}, and the model {self.n_layers} layers of "
            raise MiError(f"{fact}{self.n_heads} heads", "is it a circuit of this model?", place=place)
        return self


def of_config(config: Mapping[str, Any], name: str) -> Shape:
    """What the config.json of a model says."""

    def of(*keys: str) -> int:
        found = next((config[key] for key in keys if isinstance(config.get(key), int)), None)
        if found is None:
            raise MiError(f"{name}/config.json does not say {keys[0]}", place="-m")
        return int(found)

    layers, heads = of("num_hidden_layers", "n_layer", "num_layers"), of("num_attention_heads", "n_head", "num_heads")
    return Shape(layers, heads, side_by_side(config), of("hidden_size", "n_embd"), False)


def side_by_side(config: Mapping[str, Any]) -> bool:
    """Whether attention and MLP of a block read the same, as the families of models say it."""
    family = config.get("model_type")
    if family == "falcon":
        return bool(config.get("new_decoder_architecture") or config.get("parallel_attn", True))
    return family == "gptj" or bool(config.get("use_parallel_residual", family == "gpt_neox"))


def extent(names: Iterable[str]) -> tuple[int, int, bool]:
    """How many layers and heads these names speak of, and whether any is an MLP's."""
    layers = heads = 0
    mlps = False
    for name in set(names):
        match = _NODE.match(name)
        if match:
            mlps |= match[3] is not None
            layers = max(layers, int(match[1] or match[3] or 0) + 1)
            heads = max(heads, int(match[2] or 0) + 1)
    return layers, max(heads, 1), mlps


def scored(
    edges: Sequence[tuple[str, str]],
    values: Sequence[float],
    kept: Sequence[bool],
    shape: Shape,
    *,
    whole: bool,
    place: str,
) -> ScoredGraph:
    """The graph in which these edges have these scores, and those that are kept are in the circuit."""
    layers, heads, mlps = extent(name for edge in edges for name in edge)
    if shape.n_layers is None:
        check_size(layers, heads, len(edges), place)
    graph = shape.completed(layers, heads, mlps, whole=whole, place=place).graph()
    found = graph.find([source for source, _ in edges], [receiver for _, receiver in edges])
    unknown = np.flatnonzero(found < 0)
    if len(unknown):
        source, receiver = edges[int(unknown[0])]
        raise MiError(f"{source}->{receiver} is no edge of the graph ({graph.describe()})", place=place)
    if not np.isfinite(np.asarray(values, dtype=np.float64)).all():
        bad = edges[int(np.argmin(np.isfinite(np.asarray(values, dtype=np.float64))))]
        raise MiError(f"the score of {bad[0]}->{bad[1]} is not finite", place=place)
    scores, inside = np.zeros(graph.n_edges, dtype=np.float32), np.zeros(graph.n_edges, dtype=bool)
    scores[found], inside[found] = values, kept
    writes = np.zeros(graph.n_sources, dtype=bool)
    writes[graph.source[inside]] = True
    return ScoredGraph(graph, {"edge": scores}, {"edge": inside, "node": writes})

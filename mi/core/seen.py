"""The run that exact patching patches, as far as its patches go on from it: model and ids in, what was seen out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mi.core import ports
from mi.core.adapters import Adapter, Layer
from mi.core.executor import Edit, Executor, Port
from mi.core.model import Model
from mi.core.receivers import join, projection_ports, split


@dataclass(frozen=True)
class Seen:
    """The base run at the positions from the first difference on, a layer an entry."""

    stream: list[Float[Tensor, "batch pos d_model"]]  # before each block, and after the last
    projected: list[list[Float[Tensor, "batch pos head d_head"]]]  # q, k and v of each query head
    attended: list[Float[Tensor, "batch pos d_model"]]  # what all heads of a layer write, with b_O


def record(model: Model, executor: Executor, ids: Tensor, read: Tensor, first: int) -> Seen:
    adapter, kept = model.adapter, {}

    def keep(port: Port) -> Edit:
        def function(value: Tensor) -> None:
            kept[port] = value[:, first:]

        return Edit(port, function)

    layers = adapter.layers
    stream = [*(ports.stream(layer) for layer in layers), Port(adapter.roles.final_norm, "in")]
    attended = [ports.attended(layer) for layer in layers]
    projected = [projection_ports(adapter, layer) for layer in layers]
    every = (*stream, *attended, *(port for own in projected for port in own))
    with torch.inference_mode():
        executor.run(ids, [keep(port) for port in every], read)
    return Seen(
        [kept[port] for port in stream],
        [by_query_head(layer, [kept[p] for p in own]) for layer, own in zip(layers, projected, strict=True)],
        [kept[port] for port in attended],
    )


def by_query_head(layer: Layer, outputs: Sequence[Tensor]) -> list[Tensor]:
    """q, k and v, each head's own: grouped keys and values are repeated (spec A3)."""
    parts = split(layer, outputs)
    return [p if p.shape[-2] == layer.n_heads else p.repeat_interleave(layer.groups, dim=-2) for p in parts]


def give(adapter: Adapter, layer: Layer, parts: Sequence[Float[Tensor, "row pos head d_head"]]) -> list[Edit]:
    """Edits that replace the projections' outputs."""
    given = join(layer, [part.flatten(-2) for part in parts])
    return [
        Edit(port, lambda _, value=value: value, replaces=True)  # type: ignore[misc]
        for port, value in zip(projection_ports(adapter, layer), given, strict=True)
    ]

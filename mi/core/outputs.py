"""What the nodes of the graph write, in the form that costs least: embeddings, each head's z, each MLP's output.

A head's output in the residual stream is ``z @ W_O`` (without b_O, which belongs to no node), so z, of width d_head,
stands for it until a contraction needs the wide form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mi.core.adapters import Adapter, Layer
from mi.core.executor import Edit, Port
from mi.core.layout import Layout


@dataclass
class Outputs:
    """Outputs of every node in one run; any of batch and pos may be 1 (a replacement that does not depend on it)."""

    embed: Float[Tensor, "batch pos d_model"]
    z: list[Float[Tensor, "batch pos heads_x_d_head"]]
    mlp: list[Float[Tensor, "batch pos d_model"]]

    def map(self, function: Callable[[Tensor], Tensor]) -> Outputs:
        return Outputs(function(self.embed), [function(z) for z in self.z], [function(m) for m in self.mlp])


def ports(adapter: Adapter) -> tuple[Port, list[Port], list[Port]]:
    """Where the nodes' outputs are: the embedding, each layer's z, each MLP."""
    roles = adapter.roles
    z = [Port(f"{roles.blocks}.{layer.index}.{roles.heads_out}", "in") for layer in adapter.layers]
    mlp = [Port(f"{roles.blocks}.{layer.index}.{roles.mlp}", "out") for layer in adapter.layers]
    return Port(roles.embed, "out"), z, mlp


class Recorder:
    """Edits that keep every node's output of a run and change nothing."""

    def __init__(self, adapter: Adapter) -> None:
        self._embed, self._z, self._mlp = ports(adapter)
        self._kept: dict[Port, Tensor] = {}

    def edits(self) -> list[Edit]:
        return [Edit(port, self._keep(port)) for port in (self._embed, *self._z, *self._mlp)]

    def _keep(self, port: Port) -> Callable[[Tensor], None]:
        def keep(value: Tensor) -> None:
            self._kept[port] = value.detach()

        return keep

    def outputs(self) -> Outputs:
        kept = self._kept
        return Outputs(kept[self._embed], [kept[port] for port in self._z], [kept[port] for port in self._mlp])


def write_sources(
    adapter: Adapter, places: Layout, outputs: Outputs, into: Float[Tensor, "source batch pos d_model"]
) -> None:
    """The wide form of ``outputs``, a source a row in the graph's order; of the first ones only, if there are fewer
    rows: whole layers, with or without the MLP of the last.
    """
    into[places.input].copy_(outputs.embed)
    for layer, rows, z, mlp in zip(adapter.layers, places.layers, outputs.z, outputs.mlp, strict=True):
        if rows.heads[0] >= len(into):
            return
        by_head = z.unflatten(-1, (layer.n_heads, layer.d_head))
        write_heads(layer, by_head, into[rows.heads[0] : rows.heads[-1] + 1])
        if rows.mlp < len(into):
            into[rows.mlp].copy_(mlp)


def write_heads(
    layer: Layer,
    z: Float[Tensor, "batch pos head d_head"],
    into: Float[Tensor, "written batch pos d_model"],
    heads: list[int] | None = None,
) -> None:
    """What the heads of a layer (or the chosen ones) write: z_h W_O,h."""
    weight = layer.output_weight
    if heads is not None and len(heads) < layer.n_heads:
        z, weight = z[:, :, heads], weight[heads]
    by_head = z.flatten(0, 1).transpose(0, 1).to(into.dtype)  # [head, batch*pos, d_head]
    torch.bmm(by_head, weight.to(into.dtype), out=into.view(len(weight), by_head.shape[1], -1))

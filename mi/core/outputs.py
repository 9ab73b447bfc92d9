"""What the nodes of the graph write, in the form that costs least: embeddings, each head's z, each MLP's output.

A head's output in the residual stream is ``z @ W_O`` (without b_O, which belongs to no node), so z, of width d_head,
stands for it until a contraction needs the wide form. Where a norm stands between the heads and the stream, the wide
form of a difference goes through that norm's Jacobian (spec A4); an MLP's output is what comes out of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mi.core import norms, ports
from mi.core.adapters import Adapter, Layer
from mi.core.executor import Edit, Port
from mi.core.layout import Layout


@dataclass
class PostNorm:
    """One layer's norm between the heads and the stream at a point where its Jacobian is taken."""

    at: norms.Normalised
    scale_constant: bool = False


@dataclass
class Outputs:
    """Outputs of every node in one run; any of batch and pos may be 1 (a replacement that does not depend on it).

    ``post_norms``: of differences, by layer, the norms that what the heads write goes through as if they were linear.
    """

    embed: Float[Tensor, "batch pos d_model"]
    z: list[Float[Tensor, "batch pos heads_x_d_head"]]
    mlp: list[Float[Tensor, "batch pos d_model"]]
    post_norms: list[PostNorm] | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Outputs:
        return Outputs(
            function(self.embed),
            [function(z) for z in self.z],
            [function(m) for m in self.mlp],
            None if self.post_norms is None else [_mapped(norm, function) for norm in self.post_norms],
        )


def _mapped(norm: PostNorm, function: Callable[[Tensor], Tensor]) -> PostNorm:
    at = norms.Normalised(function(norm.at.xhat), function(norm.at.inverse_sigma))
    return PostNorm(at, norm.scale_constant)


def post_norms(
    adapter: Adapter, z: Sequence[Tensor], dtype: torch.dtype, scale_constant: bool = False
) -> list[PostNorm] | None:
    """The norms between heads and stream in the run that these z are of; None where there are none."""
    if not adapter.has_post_norms:
        return None
    return [
        PostNorm(norms.normalise(layer.attention_post_norm, layer.attended(own), dtype), scale_constant)
        for layer, own in zip(adapter.layers, z, strict=True)
    ]


def source_ports(adapter: Adapter) -> tuple[Port, list[Port], list[Port]]:
    """Where the nodes' outputs are: the embedding, each layer's z, each MLP."""
    layers = adapter.layers
    z = [ports.z(layer) for layer in layers]
    return Port(adapter.roles.embed, "out"), z, [ports.mlp_out(layer) for layer in layers]


class Recorder:
    """Edits that keep every node's output of a run and change nothing."""

    def __init__(self, adapter: Adapter) -> None:
        self._embed, self._z, self._mlp = source_ports(adapter)
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
    for layer, rows, mlp in zip(adapter.layers, places.layers, outputs.mlp, strict=True):
        if rows.heads[0] >= len(into):
            return
        write_differences(layer, outputs, into[rows.heads[0] : rows.heads[-1] + 1])
        if rows.mlp < len(into):
            into[rows.mlp].copy_(mlp)


def write_differences(layer: Layer, outputs: Outputs, into: Float[Tensor, "head batch pos d_model"]) -> None:
    """What the heads of a layer write, gone through the post-norm where ``outputs`` say how."""
    write_heads(layer, outputs.z[layer.index].unflatten(-1, (layer.n_heads, layer.d_head)), into)
    if outputs.post_norms is not None:
        post = outputs.post_norms[layer.index]
        norms.push(layer.attention_post_norm, post.at, into, post.scale_constant)


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

"""Scores of nodes and neurons: <difference of the source's output, gradient at that output>, over positions; for
neurons without the sum over d_model.

    AtP, NAP:  S(u) = mean_x <a'_u - a_u, dl/d a_u>,   the sum over the node's edges of their EAP scores

A head's output enters the residual stream through the attention's output, so the gradient there serves all heads of a
layer. ``--compat mib`` takes an MLP's gradient at its *input*, as the reference's code does (spec B0 row 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mi.core import ports
from mi.core.adapters import Adapter, Layer
from mi.core.executor import Edit, Port
from mi.core.model import Model
from mi.core.outputs import Outputs, write_heads
from mi.core.wide import total, zeros


@dataclass
class SourceGradients:
    """Gradients at what the sources write, summed over runs; those of a layer's heads are one tensor."""

    embed: Float[Tensor, "batch pos d_model"]
    attention: list[Float[Tensor, "batch pos d_model"]]
    mlp: list[Float[Tensor, "batch pos d_model"]]


class SourceRecorder:
    """Edits that keep, in one forward with grad mode on, what the sources write; then its gradients."""

    def __init__(self, adapter: Adapter, dtype: torch.dtype, at_mlp_input: bool = False) -> None:
        self._dtype, self._n_layers = dtype, adapter.n_layers
        layers = adapter.layers
        self._ports = [Port(adapter.roles.embed, "out"), *(ports.attended(layer) for layer in layers)]
        self._copied = [ports.mlp_stream(layer) for layer in layers] if at_mlp_input else []
        self._ports += self._copied or [ports.mlp_out(layer) for layer in layers]
        self._kept: dict[Port, Tensor] = {}

    def edits(self) -> list[Edit]:
        return [Edit(port, self._keep(port)) for port in self._ports]

    def _keep(self, port: Port) -> Callable[[Tensor], Tensor | None]:
        def keep(value: Tensor) -> Tensor | None:
            # A copy is read by the norm alone, so that the gradient is of the way through the MLP.
            kept = value.clone() if port in self._copied else value
            self._kept[port] = kept
            return kept if port in self._copied else None

        return keep

    def pull(self, loss: Float[Tensor, " batch"], weight: float, total: SourceGradients | None) -> SourceGradients:
        """Add ``weight`` times this run's gradients to ``total`` (or start one)."""
        found = torch.autograd.grad(loss.sum(), [self._kept[port] for port in self._ports])
        self._kept.clear()
        fresh = [gradient.to(self._dtype) * weight for gradient in found]
        if total is not None:
            old = [total.embed, *total.attention, *total.mlp]
            fresh = [before.add_(now) for before, now in zip(old, fresh, strict=True)]
        return SourceGradients(fresh[0], fresh[1 : 1 + self._n_layers], fresh[1 + self._n_layers :])


def node_scores(model: Model, difference: Outputs, gradients: SourceGradients) -> Float[Tensor, "batch source"]:
    """Of every node of each example, in float64. Heads are contracted in d_head: <dz, W_O g>."""
    places = model.layout
    n = len(gradients.embed)
    scores = zeros((n, places.n_sources), gradients.embed.device)
    scores[:, places.input] = _inner(difference.embed, gradients.embed)
    for layer, rows in zip(model.adapter.layers, places.layers, strict=True):
        narrow = _narrowed(model, layer, gradients.attention[layer.index])
        products = (difference.z[layer.index] * narrow).unflatten(-1, (layer.n_heads, layer.d_head))
        scores[:, rows.heads[0] : rows.heads[-1] + 1] = total(products, (1, 3))
        scores[:, rows.mlp] = _inner(difference.mlp[layer.index], gradients.mlp[layer.index])
    return scores


def _narrowed(
    model: Model, layer: Layer, gradient: Float[Tensor, "batch pos d_model"]
) -> Float[Tensor, "batch pos heads_x_d_head"]:
    """W_O g of every head; weights are taken to the dtype of scores for as many heads at a time as fit the budget."""
    weight, dtype = layer.output_weight, model.compute_dtype  # [head, d_head, d_model]
    if weight.dtype == dtype:
        return gradient @ weight.flatten(0, 1).T
    at_once = max(1, model.budget.least_chunk // (weight[0].numel() * dtype.itemsize))
    made = gradient.new_empty(*gradient.shape[:2], len(weight) * layer.d_head)
    for start in range(0, len(weight), at_once):
        part = weight[start : start + at_once].flatten(0, 1)
        made[..., start * layer.d_head : start * layer.d_head + len(part)] = gradient @ part.to(dtype).T
    return made


def _inner(a: Float[Tensor, "batch pos d_model"], b: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, " batch"]:
    return total(a * b, (1, 2))


def neuron_scores(
    model: Model, difference: Outputs, gradients: SourceGradients
) -> Float[Tensor, "batch source d_model"]:
    """Of every dimension that a node writes, of each example, in float64."""
    places, adapter = model.layout, model.adapter
    shape = (len(gradients.embed), places.n_sources, adapter.d_model)
    scores = zeros(shape, gradients.embed.device)
    scores[:, places.input] = total(difference.embed * gradients.embed, 1)
    for layer, rows in zip(adapter.layers, places.layers, strict=True):
        out = scores[:, rows.heads[0] : rows.heads[-1] + 1]
        _head_neurons(model, layer, difference.z[layer.index], gradients.attention[layer.index], out)
        by_dimension = difference.mlp[layer.index] * gradients.mlp[layer.index]
        scores[:, rows.mlp] = total(by_dimension, 1)
    return scores


def _head_neurons(
    model: Model,
    layer: Layer,
    z: Float[Tensor, "batch pos heads_x_d_head"],
    gradient: Float[Tensor, "batch pos d_model"],
    out: Float[Tensor, "batch head d_model"],
) -> None:
    """Heads are made wide for as many positions at a time as fit the budget."""
    batch, length, d_model = gradient.shape
    per_position = batch * layer.n_heads * d_model * gradient.element_size()
    size = max(1, model.budget.least_chunk // per_position)
    for start in range(0, length, size):
        part = z[:, start : start + size].unflatten(-1, (layer.n_heads, layer.d_head))
        wide = torch.empty(layer.n_heads, *part.shape[:2], d_model, dtype=gradient.dtype, device=gradient.device)
        write_heads(layer, part, wide)
        products = wide * gradient[:, start : start + size]
        out += total(products, 2).transpose(0, 1)

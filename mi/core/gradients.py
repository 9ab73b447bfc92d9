"""Gradients of the loss at every receiver of the graph, summed over interpolation steps in a form that stays small.

A head reads q, k and v through a norm and a projection. Its gradient in the residual stream is d_model wide for each
of 3 n_heads receivers; what is kept instead is d_head wide: g / sigma, and for each step the norm's direction xhat
with the coefficient c of its correction (`norms`):

    J^T W^T g = C(gamma W)^T (g / sigma) - xhat * c,      c = <g, W (gamma * xhat)> / (d_model * sigma)

so steps add up before the wide product is made, once, in `contraction`. This is exact algebra, not an approximation.
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
from mi.core.receivers import by_receiver, projection_ports


@dataclass
class HeadGradients:
    """One layer's heads, summed over steps. Receivers are q of every head, then k, then v."""

    narrow: Float[Tensor, "receiver batch pos d_head"]  # sum of g / sigma
    xhat: list[Float[Tensor, "batch pos d_model"]]  # one a step; none where sigma is a constant
    correction: list[Float[Tensor, "batch pos receiver"]]  # c, one a step


@dataclass
class ReceiverGradients:
    """Gradients at the receivers of a batch, by layer: all of them, or those after some point of the model."""

    heads: dict[int, HeadGradients]
    mlp: dict[int, Float[Tensor, "batch pos d_model"]]
    logits: Float[Tensor, "batch d_model"]  # at the read position; zero elsewhere


class GradientRecorder:
    """Edits that keep, in one forward with grad mode on, the tensors whose gradients :meth:`pull` takes.

    ``heads_from`` and ``mlps_from`` are the first layers whose receivers count. ``scale_constant``: gradients pass the
    norms as if sigma did not depend on the input (`rules`), so that c = 0.
    """

    def __init__(
        self,
        adapter: Adapter,
        dtype: torch.dtype,
        heads_from: int = 0,
        mlps_from: int = 0,
        scale_constant: bool = False,
    ) -> None:
        self._adapter, self._dtype, self._scale_constant = adapter, dtype, scale_constant
        self._kept: dict[Port, Tensor] = {}
        layers = adapter.layers
        self._attention_in = {layer.index: ports.stream(layer) for layer in layers[heads_from:]}
        self._projections = {i: projection_ports(adapter, layers[i]) for i in self._attention_in}
        self._mlp_in = {layer.index: ports.mlp_stream(layer) for layer in layers[mlps_from:]}
        self._mlp_read = {i: ports.mlp_in(layers[i]) for i in self._mlp_in}
        self._final = Port(adapter.roles.final_norm, "in")

    def edits(self) -> list[Edit]:
        kept = [*self._attention_in.values(), *self._mlp_in.values(), self._final]
        kept += [port for projections in self._projections.values() for port in projections]
        own = [Edit(port, self._keep_apart(port)) for port in self._mlp_read.values()]
        return [*(Edit(port, self._keep(port)) for port in kept), *own]

    def _keep_apart(self, port: Port) -> Callable[[Tensor], Tensor]:
        """What the MLP reads may be what the heads read, or the stream itself: its gradient is of the MLP alone."""

        def keep(value: Tensor) -> Tensor:
            self._kept[port] = value.view_as(value)
            return self._kept[port]

        return keep

    def _keep(self, port: Port) -> Callable[[Tensor], None]:
        def keep(value: Tensor) -> None:
            self._kept[port] = value

        return keep

    def pull(
        self,
        loss: Float[Tensor, " batch"],
        read: Tensor,
        weight: float,
        total: ReceiverGradients | None,
        unreached: bool = False,
    ) -> ReceiverGradients:
        """Add ``weight`` times this run's gradients to ``total`` (or start one).

        ``unreached``: the loss need not depend on all receivers; where it does not, the gradient is 0.
        """
        targets = [*self.targets(self._adapter.n_layers), self._kept[self._final]]
        taken = torch.autograd.grad(loss.sum(), targets, allow_unused=unreached, materialize_grads=unreached)
        logits = self._at(taken[-1], read).to(self._dtype) * weight
        fresh = self.gathered(taken[:-1], logits, self._adapter.n_layers, weight, total)
        if total is not None:
            fresh.logits += total.logits
        self._kept.clear()
        return fresh

    def targets(self, before: int) -> list[Tensor]:
        """What the receivers of layers before ``before`` read, as the run computed it: what to take gradients at."""
        projections = [port for index, own in self._projections.items() if index < before for port in own]
        return [self._kept[port] for port in [*projections, *(p for i, p in self._mlp_read.items() if i < before)]]

    def gathered(
        self,
        taken: Sequence[Tensor],
        logits: Float[Tensor, "batch d_model"],
        before: int,
        weight: float = 1.0,
        total: ReceiverGradients | None = None,
    ) -> ReceiverGradients:
        """``weight`` times the gradients taken at :meth:`targets`, brought to the receivers' inputs."""
        gradients = iter(taken)
        fresh = ReceiverGradients({}, {}, logits)
        for index, places in self._projections.items():
            if index < before:
                own = [next(gradients) for _ in places]
                fresh.heads[index] = self._heads(self._adapter.layers[index], own, weight, total)
        for index in self._mlp_read:
            if index < before:
                fresh.mlp[index] = self._mlp(self._adapter.layers[index], next(gradients), weight, total)
        return fresh

    @staticmethod
    def _at(values: Tensor, read: Tensor) -> Tensor:
        return values[torch.arange(len(read), device=values.device), read]

    def _heads(
        self, layer: Layer, gradients: list[Tensor], weight: float, total: ReceiverGradients | None
    ) -> HeadGradients:
        """g / sigma and the correction of one layer, for q, k and v together."""
        at = norms.normalise(layer.attention_norm, self._kept[self._attention_in[layer.index]], self._dtype)
        scale = at.inverse_sigma.unsqueeze(-1) * weight  # [batch, pos, 1, 1]
        g = by_receiver(layer, gradients).to(self._dtype) * scale  # [batch, pos, receiver, d_head]
        narrow = g.permute(2, 0, 1, 3)  # [receiver, batch, pos, d_head]
        if self._scale_constant or not layer.attention_norm.there:
            before = None if total is None else total.heads[layer.index].narrow
            return HeadGradients(narrow.contiguous() if before is None else before.add_(narrow), [], [])
        values = [self._kept[port].detach() for port in self._projections[layer.index]]
        read = by_receiver(layer, values).to(self._dtype) - self._constant(layer)
        correction = (g * read).sum(-1) / self._adapter.d_model
        if total is None:
            return HeadGradients(narrow.contiguous(), [at.xhat], [correction])
        old = total.heads[layer.index]
        old.narrow += narrow
        return HeadGradients(old.narrow, [*old.xhat, at.xhat], [*old.correction, correction])

    def _constant(self, layer: Layer) -> Float[Tensor, "receiver d_head"]:
        """b + W beta of every receiver of the layer."""
        parts = []
        for which in range(3):
            own = norms.folded_bias(layer.attention_norm, layer.weight(which), layer.bias(which), self._dtype)
            parts.append(own.repeat_interleave(layer.n_heads // own.shape[0], dim=0))
        return torch.cat(parts)

    def _mlp(self, layer: Layer, gradient: Tensor, weight: float, total: ReceiverGradients | None) -> Tensor:
        at = norms.normalise(layer.mlp_norm, self._kept[self._mlp_in[layer.index]], self._dtype)
        pulled = norms.pull_back(layer.mlp_norm, at, gradient, self._scale_constant) * weight
        if total is None:
            return pulled
        total.mlp[layer.index] += pulled
        return total.mlp[layer.index]

"""The receivers of a layer: where q, k and v come out, and the weights that each query head reads with.

With grouped-query attention every query head has a key and a value receiver of its own (spec A3): the grouped
projections are repeated, so that each can be given its own input and has its own gradient.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mi.core.adapters import Adapter, Layer
from mi.core.executor import Edit, Port


def ungroup_edits(adapter: Adapter) -> list[Edit]:
    """Repeat grouped keys and values, so that each query head has receivers of its own (spec A3)."""
    groups = adapter.n_heads // adapter.n_kv_heads
    if groups == 1:
        return []

    def repeat(value: Tensor) -> Tensor:
        return value.unflatten(-1, (-1, adapter.d_head)).repeat_interleave(groups, dim=-2).flatten(-2)

    return [Edit(port, repeat) for layer in adapter.layers for port in projection_ports(adapter, layer)[1:]]


def projection_ports(adapter: Adapter, layer: Layer) -> list[Port]:
    base = f"{adapter.roles.blocks}.{layer.index}"
    return [Port(f"{base}.{path}", "out") for path in adapter.roles.queries_keys_values]


def receiver_weights(layer: Layer, chosen: list[int] | None = None) -> tuple[Tensor, Tensor | None]:
    """W [receiver, d_head, d_model] and b [receiver, d_head] of the q, k and v of each query head, or of the chosen
    ones.

    Receivers are numbered q of every head, then k, then v. What is not chosen is not copied.
    """
    n_heads = layer.n_heads
    if chosen is None:
        chosen = list(range(3 * n_heads))
    if len(layer.projections) == 1 and layer.n_kv_heads == n_heads and len(chosen) == 3 * n_heads:
        return layer.fused_weight()
    weights, biases = [], []
    for which in range(3):
        heads = [number % n_heads for number in chosen if number // n_heads == which]
        if not heads:
            continue
        rows = heads if which == 0 else [layer.kv_head(head) for head in heads]
        weights.append(layer.weight(which)[rows])
        bias = layer.bias(which)
        if bias is not None:
            biases.append(bias[rows])
    return torch.cat(weights), torch.cat(biases) if biases else None


def project(
    normed: Float[Tensor, "receiver token d_model"],
    weight: Float[Tensor, "receiver d_head d_model"],
    bias: Tensor | None,
) -> Float[Tensor, "receiver token d_head"]:
    """Each receiver's q, k or v from its own normed input."""
    if bias is None:
        return torch.bmm(normed, weight.transpose(1, 2))
    return torch.baddbmm(bias.unsqueeze(1), normed, weight.transpose(1, 2))

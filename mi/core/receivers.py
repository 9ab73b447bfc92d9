"""The receivers of a layer: where q, k and v come out, and the weights that each query head reads with.

With grouped-query attention every query head has a key and a value receiver of its own (spec A3): the grouped
projections are repeated, so that each can be given its own input and has its own gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from mi.core.adapters import Adapter, Layer
from mi.core.executor import Edit, Port


def ungroup_edits(adapter: Adapter) -> list[Edit]:
    """Repeat grouped keys and values, so that each query head has receivers of its own (spec A3), where they are not so
    already (`grouping`).
    """
    groups = adapter.n_heads // adapter.n_kv_heads

    def repeat(value: Tensor) -> Tensor:
        return value.unflatten(-1, (-1, adapter.d_head)).repeat_interleave(groups, dim=-2).flatten(-2)

    grouped = [layer for layer in adapter.layers if layer.groups > 1 and not layer.repeats]
    return [Edit(port, repeat) for layer in grouped for port in projection_ports(adapter, layer)[1:]]


def projection_ports(adapter: Adapter, layer: Layer) -> list[Port]:
    return [Port(layer.path(path), "out") for path in layer.roles.queries_keys_values]


def split(layer: Layer, parts: Sequence[Tensor]) -> list[Shaped[Tensor, "*rows kv_or_head d_head"]]:
    """What the ports of the projections hold as q, k and v, a head a row; views."""
    if not layer.fused:
        return [part.unflatten(-1, (-1, layer.d_head)) for part in parts]
    shape, axis = ((layer.n_heads, 3), -2) if layer.roles.interleaved else ((3, layer.n_heads), -3)
    return list(parts[0].unflatten(-1, (*shape, layer.d_head)).unbind(axis))


def join(layer: Layer, kinds: Sequence[Float[Tensor, "*rows heads_x_d_head"]]) -> list[Tensor]:
    """What the ports of the projections should hold for these q, k and v."""
    if not layer.fused:
        return list(kinds)
    if not layer.roles.interleaved:
        return [torch.cat(list(kinds), dim=-1)]
    return [torch.stack([kind.unflatten(-1, (layer.n_heads, -1)) for kind in kinds], dim=-2).flatten(-3)]


def by_receiver(layer: Layer, parts: Sequence[Tensor]) -> Float[Tensor, "*rows receiver d_head"]:
    """What the ports hold, q of every head, then k, then v: each head's own, or those that it shares repeated."""
    if layer.fused and not layer.roles.interleaved:
        return parts[0].unflatten(-1, (-1, layer.d_head))
    q, k, v = split(layer, parts)
    if k.shape[-2] < layer.n_heads:
        k, v = (kind.repeat_interleave(layer.groups, dim=-2) for kind in (k, v))
    return torch.cat([q, k, v], dim=-2)


def receiver_weights(layer: Layer, shared: bool = False) -> tuple[Tensor, Tensor | None]:
    """W [receiver, d_head, d_model] and b [receiver, d_head] of the q, k and v of each query head; ``shared``: of the
    keys and values as the model has them.

    Receivers are numbered q of every head, then k, then v.
    """
    groups = 1 if shared else layer.groups
    if layer.whole_projection:
        return layer.fused_weight()
    weights = [layer.weight(which).repeat_interleave(groups if which else 1, dim=0) for which in range(3)]
    biases = [(layer.bias(which), groups if which else 1) for which in range(3)]
    own = [bias.repeat_interleave(n, dim=0) for bias, n in biases if bias is not None]
    return torch.cat(weights), torch.cat(own) if own else None


def project_chosen(
    layer: Layer, numbers: Sequence[int], normed: Float[Tensor, "receiver token d_model"]
) -> Float[Tensor, "receiver token d_head"]:
    """q, k or v of the receivers with these numbers, in ascending order, each from its own normed input.

    Weights are copied only where some of a layer's heads are left out. Of heads that share a receiver, one is enough.
    """
    n_heads = layer.n_heads
    if layer.whole_projection and len(numbers) == 3 * n_heads:
        return project(normed, *layer.fused_weight())
    made, start = [], 0
    for which in range(3):
        heads = [number % n_heads for number in numbers if number // n_heads == which]
        if not heads:
            continue
        own, start = normed[start : start + len(heads)], start + len(heads)
        weight, bias = layer.weight(which), layer.bias(which)
        if len(heads) == n_heads:
            own = own.reshape(len(weight), -1, own.shape[-1])  # heads that share a weight, side by side
        elif (rows := heads if which == 0 else [layer.kv_head(head) for head in heads]) != list(range(len(weight))):
            weight, bias = weight[rows], None if bias is None else bias[rows]
        made.append(project(own, weight, bias).view(len(heads), -1, layer.d_head))
    return torch.cat(made)


def project(
    normed: Float[Tensor, "receiver token d_model"],
    weight: Float[Tensor, "receiver d_head d_model"],
    bias: Tensor | None,
) -> Float[Tensor, "receiver token d_head"]:
    """Each receiver's q, k or v from its own normed input."""
    if bias is None:
        return torch.bmm(normed, weight.transpose(1, 2))
    return torch.baddbmm(bias.unsqueeze(1), normed, weight.transpose(1, 2))

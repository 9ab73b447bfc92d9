"""Makes a block's own code take a key and a value for each query head where several heads share one (spec A3).

Mostly that is an edit, made only in runs that need it (`receivers.ungroup_edits`). Some blocks cut what their
projections put out by counts that they keep as attributes; there, once, at load, the projections are made to repeat
their keys and values, and the counts are set to match. A norm of the keys that knows how many there are is made to take
one group of heads at a time. Weights stay as they are, and so do the logits.

Flows in: an adapter. Flows out: its module, changed in place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mi.core.adapters import Adapter, Layer


def ungroup(adapter: Adapter) -> None:
    """Prepare every layer; what is prepared already stays as it is."""
    for layer in adapter.layers:
        if layer.repeats:
            for path in layer.roles.queries_keys_values[0 if layer.fused else 1 :]:
                projection = layer.part(path)
                if not isinstance(projection.forward, Repeating):
                    projection.forward = Repeating(projection.forward, layer)
            for path, value in layer.roles.ungroup:
                holder, _, name = path.rpartition(".")
                setattr(layer.part(holder), name, layer.n_heads if value is None else value)
        if layer.groups > 1 and (norm := _key_norm(layer)) is not None and not isinstance(norm.forward, GroupwiseNorm):
            norm.forward = GroupwiseNorm(norm.forward, layer, layer.roles.key_norm_axis)


def _key_norm(layer: Layer) -> nn.Module | None:
    """Families may do without it."""
    holder, _, name = (layer.roles.key_norm or "").rpartition(".")
    return getattr(layer.part(holder), name, None) if name else None


@dataclass(frozen=True)
class Repeating:
    """A projection of grouped heads, its keys and values repeated for each query head."""

    original: Callable[[Tensor], Tensor]
    layer: Layer

    def __call__(self, x: Tensor) -> Tensor:
        return _repeated(self.original(x), self.layer)


def _repeated(out: Float[Tensor, "*rows grouped"], layer: Layer) -> Float[Tensor, "*rows ungrouped"]:
    n_kv, groups, d_head = layer.n_kv_heads, layer.groups, layer.d_head
    if not layer.fused:
        return out.unflatten(-1, (n_kv, d_head)).repeat_interleave(groups, -2).flatten(-2)
    if layer.roles.interleaved:
        shared = out.unflatten(-1, (n_kv, groups + 2, d_head))
        q = shared[..., :groups, :]
        k, v = (shared[..., groups + i : groups + i + 1, :].expand_as(q) for i in range(2))
        return torch.stack([q, k, v], dim=-2).flatten(-4)
    q, k, v = out.unflatten(-1, (-1, d_head)).split([layer.n_heads, n_kv, n_kv], dim=-2)
    return torch.cat([q, k.repeat_interleave(groups, -2), v.repeat_interleave(groups, -2)], dim=-2).flatten(-2)


@dataclass(frozen=True)
class GroupwiseNorm:
    """A norm over all keys of a layer, which takes the first query head of every group, then the second, and so on."""

    original: Callable[[Tensor], Tensor]
    layer: Layer
    axis: int  # where heads are, or where heads and their dimensions are in one

    def __call__(self, keys: Tensor) -> Tensor:
        n_kv, groups, width = self.layer.n_kv_heads, self.layer.groups, keys.shape[self.axis]
        inside = 1 if self.axis != -1 else self.layer.d_head
        if width == n_kv * inside:
            return self.original(keys)
        by_group = keys.unflatten(self.axis, (n_kv, groups, inside))
        member = by_group.ndim - 2 if self.axis == -1 else self.axis + 1
        normed = []
        for own in by_group.unbind(member):
            first = own.ndim - 2 if self.axis == -1 else self.axis
            normed.append(self.original(own.flatten(first, first + 1)).unflatten(self.axis, (n_kv, inside)))
        return torch.stack(normed, member).flatten(member - 1, member + 1)

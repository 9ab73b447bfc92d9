"""The attention function that every loaded model runs: scaled dot products over ungrouped or grouped key/value heads.

Registered with transformers as ``mi``. It differs from the stock ``sdpa`` in one thing: when a hook has already given
each query head its own key and value (``spec A3``: ungrouped receivers), nothing is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from mi.errors import MiError

NAME = "mi"

Observer = Callable[[Tensor], object]
# Who wants to see the pattern of which attention module: it exists nowhere in a fused kernel, and is made on demand.
_observers: ContextVar[Mapping[nn.Module, Observer] | None] = ContextVar("observers", default=None)


@contextmanager
def observed(observers: Mapping[nn.Module, Observer]) -> Iterator[None]:
    """Inside the ``with``, each of these attention modules shows its pattern [batch, head, query pos, key pos]."""
    token = _observers.set(observers)
    try:
        yield
    finally:
        _observers.reset(token)


# Whether gradients see the pattern as a constant.
_constant_pattern: ContextVar[bool] = ContextVar("constant_pattern", default=False)


@contextmanager
def constant_pattern() -> Iterator[None]:
    """Inside the ``with``, gradients pass attention through the values alone."""
    token = _constant_pattern.set(True)
    try:
        yield
    finally:
        _constant_pattern.reset(token)


def attention(
    module: nn.Module,
    query: Tensor,  # [batch, head, pos, d_head]
    key: Tensor,  # [batch, kv_head or head, pos, d_head]
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **options: object,
) -> tuple[Tensor, None]:
    """Softmax(query key^T * scaling) value, as ``[batch, pos, head, d_head]``."""
    if options.get("softcap") is not None:
        raise MiError("this model soft-caps its attention scores, which no adapter supports yet")
    if _constant_pattern.get():
        query, key = query.detach(), key.detach()
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key = key.repeat_interleave(groups, dim=1)
        value = value.repeat_interleave(groups, dim=1)
    if (observer := (_observers.get() or {}).get(module)) is not None:
        observer(pattern(query, key, attention_mask, query.shape[-1] ** -0.5 if scaling is None else scaling))
    causal = attention_mask is None and query.shape[2] > 1
    mixed = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling, is_causal=causal
    )
    return mixed.transpose(1, 2).contiguous(), None


def pattern(query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """The attention pattern [batch, head, query pos, key pos] that :func:`attention` mixes values with."""
    scores = query @ key.transpose(-1, -2) * scaling
    if mask is None:
        length = query.shape[2]
        hidden = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
        scores = scores.masked_fill(hidden, float("-inf"))
    elif mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, float("-inf"))
    else:
        scores = scores + mask
    return scores.softmax(-1)


def register() -> None:
    """Make ``attn_implementation="mi"`` known to transformers (idempotent)."""
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
    from transformers.modeling_utils import AttentionInterface

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)

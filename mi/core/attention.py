"""The attention function that every loaded model runs: scaled dot products over ungrouped or grouped key/value heads.

Registered with transformers as ``mi``. It differs from the stock ``sdpa`` in one thing: when a hook has already given
each query head its own key and value (``spec A3``: ungrouped receivers), nothing is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from mi.errors import MiError

NAME = "mi"
SAME = 1e-5

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
    softcap: float | None = None,
    **options: object,
) -> tuple[Tensor, None]:
    """Softmax(query key^T * scaling) value, as ``[batch, pos, head, d_head]``."""
    if _constant_pattern.get():
        query, key = query.detach(), key.detach()
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key = key.repeat_interleave(groups, dim=1)
        value = value.repeat_interleave(groups, dim=1)
    if (observer := (_observers.get() or {}).get(module)) is not None:
        observer(pattern(query, key, attention_mask, scaling, softcap))
    if softcap is not None:
        weights = nn.functional.dropout(pattern(query, key, attention_mask, scaling, softcap), dropout)
        return (weights @ value).transpose(1, 2).contiguous(), None
    causal = attention_mask is None and query.shape[2] > 1
    with _same_gradients_again(query):
        mixed = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling, is_causal=causal
        )
    return mixed.transpose(1, 2).contiguous(), None


def _same_gradients_again(query: Tensor) -> AbstractContextManager[object]:
    """CUDA's fused kernels add gradients up in an order that varies from run to run, and torch's mode of warnings lets
    them. The plain kernel does not; it keeps the pattern for it, [batch, head, pos, pos]."""
    if not (query.is_cuda and torch.is_grad_enabled()):
        return nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)


def pattern(
    query: Tensor, key: Tensor, mask: Tensor | None, scaling: float | None = None, softcap: float | None = None
) -> Tensor:
    """The attention pattern [batch, head, query pos, key pos] that :func:`attention` mixes values with."""
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:  # no fused kernel bends its scores
        scores = softcap * torch.tanh(scores / softcap)
    if mask is None:
        length = query.shape[2]
        hidden = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
        scores = scores.masked_fill(hidden, float("-inf"))
    elif mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, float("-inf"))
    else:
        scores = scores + mask
    return scores.softmax(-1)


class Mixer:
    """The method of an attention module that mixes values, of a family that asks no registered function for it."""

    def __init__(self, module: nn.Module, scaling: float) -> None:
        self._module, self._scaling = module, scaling

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, None]:
        table = getattr(self._module, "bias", None)  # [1, 1, pos, pos]: which keys a query sees, where layers differ
        if isinstance(table, Tensor):
            seen = table[:, :, key.shape[2] - query.shape[2] : key.shape[2], : key.shape[2]]
            own = torch.zeros(seen.shape, dtype=query.dtype, device=seen.device).masked_fill(~seen, float("-inf"))
            mask = own if mask is None else own + mask
        mixed, _ = attention(self._module, query, key, value, mask, scaling=self._scaling)
        return mixed.transpose(1, 2), None


def adopt(module: nn.Module) -> None:
    """Let an attention module mix values by :func:`attention`, if that does what its own method ``_attn`` does.

    Raises:
        MiError: it does not.
    """
    theirs: Any = module._attn
    if isinstance(theirs, Mixer):
        return
    scaling = 1.0 / float(getattr(module, "scale_attn", 1.0))
    ours, generator = Mixer(module, scaling), torch.Generator().manual_seed(0)
    width: int = module.head_dim  # type: ignore[assignment]
    query, key, value = (torch.randn(1, 2, 5, width, generator=generator) for _ in range(3))
    table = getattr(module, "bias", None)
    device = table.device if isinstance(table, Tensor) else torch.device("cpu")
    hidden = torch.full((5, 5), torch.finfo(torch.float32).min).triu(1)[None, None]
    own = [tensor.to(device) for tensor in (query, key, value, hidden)]
    error = float((ours(*own)[0] - theirs(*own)[0]).abs().max())
    if error > SAME:
        raise MiError(f"the attention of {type(module).__name__} is none that we know (it differs by {error:.1e})")
    module._attn = ours  # type: ignore[assignment]


def register() -> None:
    """Make ``attn_implementation="mi"`` known to transformers (idempotent)."""
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
    from transformers.modeling_utils import AttentionInterface

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)

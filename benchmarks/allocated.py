"""How many bytes of tensors a piece of work has alive at once, counted: the same number on every machine.

Every storage that an operation makes is counted from then until nobody holds it; what the operations' own kernels
take and give back inside is not seen. Tensors on the meta device hold nothing and are counted all the same, so that a
model need not fit: where the work asks for a value there, it is told zero, and that nothing is wrong.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocated(TorchDispatchMode):
    """Inside the ``with``: ``now`` and ``peak`` are bytes beyond what there was at its beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.at_peak: dict[tuple[str, tuple[int, ...]], int] = {}
        self._seen: dict[int, tuple[int, tuple[str, tuple[int, ...]]]] = {}
        self.detailed = False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        before = {t.untyped_storage()._cdata for t in given}
        on_meta = any(t.device.type == "meta" for t in given)
        out = _valueless(func, args, kwargs or {}) if on_meta else None
        if out is None:
            out = func(*args, **(kwargs or {}))
        for made in tree_leaves(out):
            if isinstance(made, Tensor):
                self._count(made, before, str(func))
        return out

    def _count(self, made: Tensor, given: set[int], name: str) -> None:
        storage = made.untyped_storage()
        key = storage._cdata
        if key in self._seen or key in given:
            return
        self._seen[key] = (storage.nbytes(), (name, tuple(made.shape)))
        self.now += storage.nbytes()
        weakref.finalize(storage, self._freed, key)
        if self.now > self.peak:
            self.peak = self.now
            if self.detailed:
                self.at_peak = {}
                for n, what in self._seen.values():
                    self.at_peak[what] = self.at_peak.get(what, 0) + n

    def _freed(self, key: int) -> None:
        self.now -= self._seen.pop(key)[0]


class _Fused(TorchFunctionMode):
    """Attention on the meta device by the kernel that the CPU has for it, which keeps no pattern; torch would spell it
    out there, pattern and all.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.nn.functional.scaled_dot_product_attention or not args[0].is_meta:
            return func(*args, **(kwargs or {}))
        query, key, value = args
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, kwargs["is_causal"], attn_mask=kwargs["attn_mask"], scale=kwargs["scale"]
        )[0]


def _valueless(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What an operation that needs values says on the meta device; None where it needs none."""
    name = func.name()
    if name in ("aten::_local_scalar_dense", "aten::item", "aten::is_nonzero"):
        return 0 if not args[0].dtype.is_floating_point else 0.0
    if name == "aten::nonzero":
        return torch.empty(0, args[0].ndim, dtype=torch.long, device="meta")
    if name == "aten::_unique2":
        kinds = (args[0].dtype, torch.long, torch.long)
        return tuple(torch.empty(args[0].numel(), dtype=kind, device="meta") for kind in kinds)
    to = kwargs.get("device")
    if name == "aten::_to_copy" and to is not None and to.type != "meta":
        return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype, device=to)
    return None


def peak(work: Callable[[], object]) -> int:
    """Bytes alive at once while the work is done, its result among them."""
    with Allocated() as counted, _Fused():
        kept = work()
    del kept
    return counted.peak

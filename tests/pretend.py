"""A machine with GPUs, pretended on the processor: to see where a tensor is used on another device than it lies on.

Inside :func:`machine` a tensor that is moved to ``cuda:N`` says that it is there, and every operation refuses what CUDA
would refuse: operands on two devices, numpy on what is not on the processor, products of whole numbers; and on ``mps``
float64. The numbers are the processor's. What torch is told of a device stops at Python: its own code sees tensors of
the processor, so that its gradients need no GPU.

This is no proof that anything runs on a GPU: kernels, their rounding, their memory and their streams are not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

CPU = torch.device("cpu")
aten = torch.ops.aten
# Which of their operands may be elsewhere, by name: what indexes may be on the processor, what is copied anywhere.
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default,
            aten._unsafe_index.Tensor, aten._unsafe_index_put.default}  # fmt: skip
COPIES = {aten.copy_.default, aten.copy.default}
PRODUCTS = {aten.mm, aten.bmm, aten.addmm, aten.addmm_, aten.baddbmm, aten.baddbmm_, aten.mv, aten.addmv, aten.dot}


NEW = {Tensor.new_full, Tensor.new_tensor, Tensor.new_zeros, Tensor.new_ones, Tensor.new_empty}


class Pretended(Tensor):
    """A tensor of the processor's that says it is elsewhere."""

    _real: Tensor
    _where: torch.device

    @staticmethod
    def __new__(cls, real: Tensor, where: torch.device | None = None, requires_grad: bool = False) -> Tensor:
        if isinstance(real, Pretended):  # accelerate makes a parameter anew, of the class that it had
            real, where = real._real, real._where
        if where is None:
            return torch.nn.Parameter(real, requires_grad)
        options: dict[str, Any] = {"dtype": real.dtype, "requires_grad": requires_grad}
        options |= {"strides": real.stride(), "storage_offset": real.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(cls, real.shape, **options)
        made._real, made._where = real, where
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @property
    def device(self) -> torch.device:
        return self._where

    @property
    def is_cuda(self) -> bool:
        return self._where.type == "cuda"

    def __repr__(self) -> str:
        return f"Pretended({self._real!r}, on {self._where})"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = {name: value for name, value in (kwargs or {}).items() if name != "device"}
        where = _common(func, args, kwargs)
        real_args, real_kwargs = tree_map_only(Pretended, lambda t: t._real, (list(args), kwargs))
        out = func(*real_args, **real_kwargs)
        _refuse_wide(out, where)
        if func in COPIES or func._schema.name.endswith("_") or "out" in kwargs:
            return kwargs.get("out", args[0])
        return tree_map_only(Tensor, lambda t: Pretended(t, where), out)


def _refuse_wide(made: Any, where: torch.device) -> None:
    """
    Raises:
        TypeError: numbers that Apple's GPUs do not have.
    """
    if where.type == "mps" and any(tensor.dtype == torch.float64 for tensor in _tensors(made)):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")


def where_is(tensor: Tensor) -> torch.device:
    return tensor._where if isinstance(tensor, Pretended) else CPU


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _common(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.device:
    """Where an operation runs.

    Raises:
        RuntimeError: its operands are on several devices.
    """
    if func in COPIES:
        return where_is(args[0])
    if func in INDEXING:
        on = where_is(args[0])
        if any(where_is(t) not in (CPU, on) for t in _tensors(args[1])):
            raise RuntimeError(f"indices should be either on cpu or on the same device as the indexed tensor ({on})")
        operands = [args[0], *_tensors(list(args[2:]))]
    else:
        operands = [*_tensors(list(args)), *_tensors(list(kwargs.values()))]
    places = {where_is(t) for t in operands if t.ndim or where_is(t) != CPU}
    if func is aten.cat.default and torch._C._current_graph_task_id() != -1:
        places.discard(CPU)  # the backward pass of a product makes ones where it has no operand to ask
    if len(places) > 1:
        said = ", ".join(sorted(str(place) for place in places))
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {said} ({func})")
    on = places.pop() if places else CPU
    if func.overloadpacket in PRODUCTS and on != CPU and not all(t.is_floating_point() for t in operands if t.ndim):
        raise RuntimeError(f'"{func}" not implemented for whole numbers on CUDA')
    return on


class _Move(torch.autograd.Function):
    """From one device to another, and gradients back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, to: torch.device) -> Tensor:
        ctx.back = where_is(tensor)
        return _copied(tensor, to)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return moved(gradient, ctx.back), None


def _copied(tensor: Tensor, to: torch.device) -> Tensor:
    real = tensor._real if isinstance(tensor, Pretended) else tensor.detach()
    real = real.clone()
    _refuse_wide(real, to)
    return real if to == CPU else Pretended(real, to)


def moved(tensor: Tensor, to: torch.device) -> Tensor:
    if where_is(tensor) == to or tensor.is_meta:
        return tensor
    if torch.is_grad_enabled() and tensor.requires_grad:
        out: Tensor = _Move.apply(tensor, to)
        return out
    return _copied(tensor, to)


def _device(value: Any) -> torch.device | None:
    """What a word, a number or a device of a call names; None where it is no device."""
    if isinstance(value, bool) or not isinstance(value, torch.device | str | int):
        return None
    found = torch.device("cuda", value) if isinstance(value, int) else torch.device(value)
    return torch.device("cuda", found.index or 0) if found.type == "cuda" else found


def _before(query: Tensor, key: Tensor) -> Tensor:
    """Which keys a query sees."""
    return moved(torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril(), where_is(query))


class _Mode(TorchFunctionMode):
    """Catches what names a device."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        args, kwargs = list(args), dict(kwargs or {})
        if func is Tensor.tolist and isinstance(args[0], Pretended):
            return args[0]._real.tolist()
        if func in (Tensor.numpy, Tensor.__array__) and isinstance(args[0], Pretended):
            raise TypeError(f"can't convert {args[0].device} device type tensor to numpy. Use Tensor.cpu()")
        if func is Tensor.cpu:
            return moved(args[0], CPU)
        if func is Tensor.cuda:
            return moved(args[0], _device(args[1] if len(args) > 1 else 0))
        if func is Tensor.to:
            return self._to(args[0], args[1:], kwargs)
        if func is torch.nn.functional.one_hot and isinstance(args[0], Pretended):  # made of parts without an operand
            return Pretended(func(args[0]._real, *args[1:], **kwargs), args[0].device)
        if func is torch._C._nn.scaled_dot_product_attention and kwargs.get("is_causal"):  # likewise
            kwargs |= {"is_causal": False, "attn_mask": _before(*args[:2])}
        if func in NEW:  # some of them are made of parts without an operand
            kwargs.setdefault("device", args[0].device)
        to = _device(kwargs.get("device"))
        if to is None:
            return func(*args, **kwargs)
        return self._made_on(to, func, args, kwargs)

    def _made_on(self, to: torch.device, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """What a call makes that names a device."""
        if func is torch.as_tensor and isinstance(args[0], Tensor):
            kwargs.pop("device")
            return moved(func(*args, **kwargs), to)
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type != to.type:
            raise RuntimeError(f"Expected a '{to.type}' device type for generator but found '{generator.device.type}'")
        if to.type == "meta":
            return func(*args, **kwargs)
        kwargs["device"] = CPU
        return tree_map_only(Tensor, lambda t: moved(t, to), func(*args, **kwargs))

    def _to(self, tensor: Tensor, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
        to, rest = kwargs.pop("device", None), []
        for value in args:
            if isinstance(value, Tensor):
                to = where_is(value)
                rest.append(value.dtype)
            elif (found := _device(value)) is not None:
                to = found
            elif value is not None:
                rest.append(value)
        if rest and isinstance(rest[0], bool):  # to(device, non_blocking)
            rest = []
        to = _device(to) if to is not None else where_is(tensor)
        if to.type == "meta":
            real = tensor._real if isinstance(tensor, Pretended) else tensor
            return Tensor.to(real, to, *rest, **kwargs)
        out = Tensor.to(tensor, *rest, **kwargs) if rest or kwargs else tensor
        return moved(out, to)


@contextmanager
def machine(n_gpus: int, patched: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside the ``with``, there are so many GPUs."""
    patched.setattr(torch.cuda, "device_count", lambda: n_gpus)
    patched.setattr(torch.cuda, "is_available", lambda: True)
    # What is made in inference mode has no version, which a wrapper wants.
    patched.setattr(torch, "inference_mode", lambda mode=True: torch.no_grad() if mode else nullcontext())
    # A parameter that is moved is another tensor: else its data would be put in the place of the old one's.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with _Mode():
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)

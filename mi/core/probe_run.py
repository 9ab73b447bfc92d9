"""What runs in a model, in which order, on which tensors: a module and token ids in, every call of every part out.

Nothing is known of the model but its module tree. Values are compared, not names: two parts are joined where what one
wrote is what the other read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

CLOSE = 1e-4  # of the larger tensor's largest entry


@dataclass(frozen=True)
class Call:
    """One part's only call: what it read and wrote, as they were then."""

    path: str
    module: nn.Module
    read: Tensor | None
    wrote: Tensor | None
    overwritten: bool  # what it wrote was changed in place afterwards
    order: int


def same(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether two tensors hold the same numbers, [batch, pos, width] or [batch x pos, width]."""
    if a is None or b is None or a.numel() != b.numel() or a.shape[-1] != b.shape[-1]:
        return False
    left, right = (value.detach().reshape(-1, value.shape[-1]).float() for value in (a, b))
    return bool((left - right).abs().max() <= CLOSE * max(float(left.abs().max()), float(right.abs().max()), 1e-30))


def calls(module: nn.Module, ids: Tensor) -> tuple[dict[str, Call], Tensor]:
    """Every part's last call by path, in the order in which they ended, and the logits."""
    read: dict[str, Tensor | None] = {}
    wrote: dict[str, tuple[Tensor, Tensor]] = {}  # as it was, and the tensor itself
    handles = []
    for path, part in module.named_modules():
        handles.append(part.register_forward_pre_hook(_reading(path, read), with_kwargs=True))
        handles.append(part.register_forward_hook(_writing(path, wrote)))
    try:
        with torch.no_grad():
            logits = module(input_ids=ids, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    parts = dict(module.named_modules())
    found = {}
    for order, (path, (then, now)) in enumerate(wrote.items()):
        found[path] = Call(path, parts[path], read.get(path), then, not torch.equal(then, now), order)
    return found, logits


def _reading(path: str, into: dict[str, Tensor | None]) -> Callable[..., None]:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        value = next((v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)), None)
        into[path] = None if value is None else value.detach().clone()

    return hook


def _writing(path: str, into: dict[str, tuple[Tensor, Tensor]]) -> Callable[..., None]:
    def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        value = output[0] if isinstance(output, tuple) and output else output
        if isinstance(value, Tensor):
            into.pop(path, None)
            into[path] = (value.detach().clone(), value)

    return hook


@contextmanager
def leaves(parts: Mapping[str, nn.Module], side: str) -> Iterator[dict[str, Tensor]]:
    """Inside the ``with``, what these parts read ("in") or write ("out") are leaves that take gradients, by path."""
    made: dict[str, Tensor] = {}

    def leaf(path: str, value: Tensor) -> Tensor:
        made[path] = value.detach().clone().requires_grad_(True)
        return made[path]

    handles: list[Any] = []
    for path, part in parts.items():
        if side == "out":
            handles.append(part.register_forward_hook(lambda _, __, out, path=path: leaf(path, out)))
        else:
            handles.append(part.register_forward_pre_hook(lambda _, args, path=path: (leaf(path, args[0]), *args[1:])))
    try:
        yield made
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def kept(part: nn.Module, side: str) -> Iterator[list[Tensor]]:
    """Inside the ``with``, what a part reads or writes is kept, with its graph."""
    values: list[Tensor] = []
    if side == "in":
        handle = part.register_forward_pre_hook(lambda _, args: values.append(args[0]))
    else:
        handle = part.register_forward_hook(lambda _, __, out: values.append(out[0] if isinstance(out, tuple) else out))
    try:
        yield values
    finally:
        handle.remove()

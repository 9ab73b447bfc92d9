"""Where a run of a module passes, in which order: what its sites are, found by running it once.

Flows in: a module and one example's arguments. Flows out: a :class:`Site` for every input and output of a submodule
that is a tensor of numbers with a row, or as many rows as any other, for each example.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mi.core.executor import Port, Side

NAMES = {"in": "input", "out": "output"}
PROBES = (2, 3)  # rows of the two runs that are compared: what grows with them is of the examples


@dataclass(frozen=True)
class Site:
    """``shape`` is that of one example: [rows, ...], where rows is mostly 1. ``aliases`` are other names."""

    port: Port
    shape: tuple[int, ...]
    itemsize: int
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.port.path}:{NAMES[self.port.side]}"

    @property
    def n_positions(self) -> int | None:
        """Places along the axis before the features, if there is one beside the rows: tokens, patches, time."""
        return self.shape[-2] if len(self.shape) > 2 else None


def first(value: Any) -> Tensor | None:
    """The tensor that a site means: the value itself, or the first member of a tuple or a model output."""
    if isinstance(value, Tensor):
        return value
    members = list(value.values()) if isinstance(value, Mapping) else value
    if isinstance(members, (tuple, list)) and members and isinstance(members[0], Tensor):
        return members[0]
    return None


def put(value: Any, new: Tensor) -> Any:
    """``value`` with another tensor in the place that `first` takes it from."""
    if isinstance(value, Tensor):
        return new
    if isinstance(value, Mapping):
        made = {**value, next(iter(value)): new}
        return type(value)(**made)
    made_list = [new, *value[1:]]
    return type(value)(*made_list) if hasattr(value, "_fields") else type(value)(made_list)


def argument(inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """What a module's input is: its first argument, or the first that it is given by name."""
    return inputs[0] if inputs else next(iter(named.values()), None)


def repeated(arguments: Mapping[str, Tensor], n: int) -> dict[str, Tensor]:
    """One example's arguments as a batch of ``n`` of it."""
    return {name: value.unsqueeze(0).repeat(n, *[1] * value.ndim) for name, value in arguments.items()}


def sites_of(module: nn.Module, arguments: Mapping[str, Tensor]) -> tuple[list[Site], list[str]]:
    """Every site in the order of a run, and the paths of modules that run more than once, which have none."""
    small, large = (_shapes(module, repeated(arguments, n)) for n in PROBES)
    again = sorted({port.path for port, seen in small.items() if len(seen) > 1})
    stack = _stack(module)
    sites = []
    for port, seen in small.items():
        value, other = seen[0], large.get(port, [None])[0]
        if port.path in again or value is None or other is None:
            continue
        rows, rest = value[0][0], value[0][1:]
        if rows % PROBES[0] or rows * PROBES[1] != other[0][0] * PROBES[0] or rest != other[0][1:]:
            continue
        sites.append(Site(port, (rows // PROBES[0], *rest), value[1], _aliases(port, stack)))
    return sites, again


def _shapes(module: nn.Module, inputs: Mapping[str, Tensor]) -> dict[Port, list[tuple[tuple[int, ...], int] | None]]:
    """What passes each port, call by call; None where it is no tensor of numbers."""
    seen: dict[Port, list[tuple[tuple[int, ...], int] | None]] = {}
    with _watched(module, seen), torch.no_grad():
        module(**inputs)
    return seen


@contextmanager
def _watched(module: nn.Module, seen: dict[Port, list[Any]]) -> Iterator[None]:
    handles = []

    def note(path: str, side: Side, value: Any) -> None:
        tensor = first(value)
        numbers = tensor is not None and tensor.is_floating_point() and tensor.ndim > 1
        found = (tuple(tensor.shape), tensor.itemsize) if numbers and tensor is not None else None
        seen.setdefault(Port(path, side), []).append(found)

    for path, part in module.named_modules():
        if path:
            handles += [
                part.register_forward_pre_hook(
                    lambda _, inputs, named, path=path: note(path, "in", argument(inputs, named)), with_kwargs=True
                ),
                part.register_forward_hook(lambda _, inputs, output, path=path: note(path, "out", output)),
            ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _stack(module: nn.Module) -> str:
    """The path of the module's one list of blocks, all of a class; "" where there is none, or are several."""
    lists = [
        path
        for path, part in module.named_modules()
        if isinstance(part, nn.ModuleList) and len(part) and len({type(block) for block in part}) == 1
    ]
    outer = [path for path in lists if not any(path.startswith(f"{other}.") for other in lists)]
    return outer[0] if len(outer) == 1 else ""


def _aliases(port: Port, stack: str) -> tuple[str, ...]:
    """``blocks.3.resid_pre`` and ``blocks.3.resid_post``: what a block is given, and what it puts out."""
    head, _, index = port.path.rpartition(".")
    if not stack or head != stack or not index.isdigit():
        return ()
    return (f"blocks.{index}.resid_{'pre' if port.side == 'in' else 'post'}",)

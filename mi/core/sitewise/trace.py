"""One run of any module, as an nnsight trace: arguments and steps in; logits, what was kept, and gradients out.

A :class:`Step` is data, not a function: it travels to another machine as it is (`remote`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mi.core.executor import Port
from mi.core.sitewise.load import Module
from mi.core.sitewise.reach import Site, first, put
from mi.errors import MiError

Total = Callable[[Tensor], Tensor]  # logits to the one number whose gradient is wanted


@dataclass(frozen=True)
class Part:
    """Rows of what passes a port, from ``start`` to ``stop``, at one position (the axis before the last) or at all, and
    what takes their place. ``wanted``: the gradient with respect to it is asked for."""

    start: int
    stop: int
    position: int | None
    value: Tensor
    wanted: bool = False


@dataclass(frozen=True)
class Step:
    """At a port: keep what passes, put in the parts, or add a zero whose gradient is asked for."""

    port: Port
    kind: Literal["keep", "put", "add"]
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Ran:
    logits: Float[Tensor, "row class"]
    seen: dict[Port, Tensor]


class Tracer:
    """Runs here. Steps at different ports are taken in the order in which the model reaches them."""

    def __init__(self, model: Module, sites: Sequence[Site]) -> None:
        self._wrapper = model.wrapper
        self._envoys = model.envoys
        self._order = {site.port: place for place, site in enumerate(sites)}

    def ordered(self, steps: Sequence[Step]) -> list[Step]:
        return sorted(steps, key=lambda step: self._order[step.port])

    def run(self, inputs: Mapping[str, Tensor], steps: Sequence[Step], read: Int[Tensor, " row"]) -> Ran:
        """A run without gradients."""
        with torch.no_grad():
            logits, seen, _ = self._trace(inputs, steps, read)
        return Ran(logits, seen)

    def gradients(
        self, inputs: Mapping[str, Tensor], steps: Sequence[Step], read: Int[Tensor, " row"], total: Total
    ) -> list[Tensor]:
        """Of ``total`` of the logits with respect to each part that is wanted and each zero, in the order of the steps
        as given."""
        with torch.enable_grad():
            logits, _, leaves = self._trace(inputs, steps, read)
            asked = [leaf for step in steps for leaf in leaves[id(step)]]
            found = torch.autograd.grad(total(logits), asked, allow_unused=True)
        return [torch.zeros_like(a) if g is None else g for a, g in zip(asked, found, strict=True)]

    def _trace(
        self, inputs: Mapping[str, Tensor], steps: Sequence[Step], read: Tensor
    ) -> tuple[Tensor, dict[Port, Tensor], dict[int, list[Tensor]]]:
        import nnsight

        seen: dict[Port, Tensor] = {}
        leaves: dict[int, list[Tensor]] = {}
        plan = [(self._envoys[step.port.path], step) for step in self.ordered(steps)]
        with self._wrapper.trace(**inputs):
            for envoy, step in plan:
                whole = envoy.input if step.port.side == "in" else envoy.output
                value = _taken(step, tensor_of(whole), seen, leaves)
                if value is not None and step.port.side == "in":
                    envoy.input = put(whole, value)
                elif value is not None:
                    envoy.output = put(whole, value)
            output = nnsight.save(self._wrapper.output)
        return logits_of(output, read), seen, leaves


def _taken(step: Step, value: Tensor, seen: dict[Port, Tensor], leaves: dict[int, list[Tensor]]) -> Tensor | None:
    """One step: what passes on instead, or None for what was there."""
    if step.kind == "keep":
        seen[step.port] = value.detach().clone()  # what comes after may write into the tensor itself
        return None
    if step.kind == "add":
        zero = torch.zeros_like(value, requires_grad=True)
        leaves[id(step)] = [zero]
        return value + zero
    made = value.clone()
    leaves[id(step)] = []
    for part in step.parts:
        new = part.value.to(value.device, value.dtype)
        if part.wanted:
            new = new.detach().requires_grad_()
            leaves[id(step)].append(new)
        if part.position is None:
            made[part.start : part.stop] = new
        else:
            made[part.start : part.stop, ..., part.position, :] = new
    return made


def tensor_of(value: Any) -> Tensor:
    """The tensor at a port that is a site."""
    found = first(value)
    assert found is not None
    return found


def logits_of(output: Any, read: Int[Tensor, " row"]) -> Float[Tensor, "row class"]:
    """What a metric reads of a model's output: its logits (or its first tensor), at the read position if it has any.

    Raises:
        MiError: it is no row of numbers for each example.
    """
    value = _readable(output)
    if isinstance(value, Tensor) and value.ndim == 3:
        value = value[torch.arange(len(read), device=value.device), read.to(value.device)]
    if not isinstance(value, Tensor) or value.ndim != 2 or len(value) != len(read):
        shape = list(value.shape) if isinstance(value, Tensor) else type(output).__name__
        raise MiError(
            f"the model puts out {shape} for {len(read)} examples",
            "a metric reads [batch, classes] or [batch, positions, classes]",
        )
    return value


def _readable(output: Any) -> Any:
    if isinstance(output, Mapping):
        names = [name for name in output if str(name).endswith("logits")]
        return output[names[0]] if names else first(output)
    return first(output)

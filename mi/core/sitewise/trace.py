"""One run of any module under edits, as an nnsight trace: arguments and edits in, what a metric reads out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mi.core.executor import Edit, Port
from mi.core.sitewise.load import Module
from mi.core.sitewise.reach import Site, first, put
from mi.errors import MiError


class Tracer:
    """Edits at different ports apply in the order in which the model reaches them, which nnsight needs to know."""

    name = "generic"

    def __init__(self, model: Module, sites: Sequence[Site]) -> None:
        self._wrapper = model.wrapper
        self._envoys = model.envoys
        self._order = {site.port: place for place, site in enumerate(sites)}

    def run(
        self, inputs: Mapping[str, Tensor], edits: Sequence[Edit], read: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch class"]:
        """The logits of the classes."""
        import nnsight

        steps = [(self._envoys[e.port.path], e) for e in sorted(edits, key=lambda e: self._order[e.port])]
        with self._wrapper.trace(**inputs):
            for envoy, edit in steps:
                if edit.port.side == "in":
                    value = edit.function(tensor_of(envoy.input))
                    if value is not None:
                        envoy.input = put(envoy.input, value)
                else:
                    whole = envoy.output
                    value = edit.function(tensor_of(whole))
                    if value is not None:
                        envoy.output = put(whole, value)
            output = nnsight.save(self._wrapper.output)
        return logits_of(output, read)


def tensor_of(value: Any) -> Tensor:
    """The tensor at a port that is a site."""
    found = first(value)
    assert found is not None
    return found


def logits_of(output: Any, read: Int[Tensor, " batch"]) -> Float[Tensor, "batch class"]:
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


def keep(port: Port, seen: dict[Port, Tensor]) -> Edit:
    """Look, and change nothing. A copy: what comes after may write into the tensor itself."""

    def function(value: Tensor) -> None:
        seen[port] = value.detach().clone()

    return Edit(port, function)

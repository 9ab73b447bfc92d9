"""Where a model's tensors lie, and how an edit sees them whole and in one place.

A model on one device needs nothing of this (:data:`HERE`). Where accelerate spread it over several devices, or left
weights on a disk (:class:`Spread`), edits and contractions work on one *main device*: what a port holds is brought
there, what a module is to get goes back to where it was, and weights come as they are asked for.

Flows in: a module as it was loaded. Flows out: :class:`Placement`, which edits, layers and norms ask.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mi.core.executor import Edit, Port
from mi.errors import MiError

KEPT = 2**28  # bytes of weights that stay on the main device for whoever asks next; the last one stays anyway


@runtime_checkable
class Placement(Protocol):
    """Where the parts of a model are. Gradients pass `whole` and `part`, both ways."""

    @property
    def main(self) -> torch.device | None:
        """Where edits compute; None: where the model is."""
        ...

    def whole(self, port: Port, value: Tensor) -> Tensor:
        """What a port holds, as one tensor on the main device."""
        ...

    def part(self, port: Port, value: Tensor, like: Tensor) -> Tensor:
        """Of a whole tensor that an edit made, what the model wants in the place of ``like``, which it held there."""
        ...

    def weight(self, module: nn.Module, name: str, rows: Int[Tensor, " row"] | None = None) -> Tensor | None:
        """A parameter of a module as one tensor on the main device, or some rows of it; None: the module has none."""
        ...

    def made(self, module: nn.Module, x: Tensor) -> Tensor:
        """What a module makes of a whole tensor, whole, whatever edits a run has hung on it."""
        ...

    def idles(self) -> bool:
        """Whether a module takes a batch of no examples, where an edit replaces what it makes of it."""
        ...

    def share(self, n_heads: int) -> slice:
        """The heads of a layer whose scores this process contracts."""
        ...

    def joined(self, scores: Float[Tensor, "*rows own"], kinds: int) -> Float[Tensor, "*rows all"]:
        """The scores of its heads, by kind and head, as those of all heads."""
        ...


class OneProcess:
    """Of a model that one process has all of: nobody shares its work."""

    def idles(self) -> bool:
        return True

    def share(self, n_heads: int) -> slice:
        return slice(0, n_heads)

    def joined(self, scores: Float[Tensor, "*rows own"], kinds: int) -> Float[Tensor, "*rows all"]:
        return scores


@dataclass(frozen=True)
class Here(OneProcess):
    """All of the model on one device."""

    main: torch.device | None = None

    def whole(self, port: Port, value: Tensor) -> Tensor:
        return value

    def part(self, port: Port, value: Tensor, like: Tensor) -> Tensor:
        return value

    def weight(self, module: nn.Module, name: str, rows: Int[Tensor, " row"] | None = None) -> Tensor | None:
        found: Tensor | None = getattr(module, name, None)
        return found if found is None or rows is None else found[rows]

    def made(self, module: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = module.forward(x)
        return out


HERE: Placement = Here()


@dataclass(frozen=True, eq=False)
class Spread(OneProcess):
    """Modules on several devices, and weights on a disk or in the processor's memory, by accelerate's hooks.

    Those hooks bring inputs to where a module computes, and weights there for as long as it does.
    """

    main: torch.device
    _kept: OrderedDict[tuple[nn.Module, str], Tensor] = field(default_factory=OrderedDict, repr=False)

    def whole(self, port: Port, value: Tensor) -> Tensor:
        return value.to(self.main)

    def part(self, port: Port, value: Tensor, like: Tensor) -> Tensor:
        return value.to(like.device)

    def weight(self, module: nn.Module, name: str, rows: Int[Tensor, " row"] | None = None) -> Tensor | None:
        found: Tensor | None = getattr(module, name, None)
        if found is None or (found.device == self.main and rows is None):
            return found
        if rows is not None:
            stored = stored_tensor(module, name)
            return stored[rows.to(stored.device)].to(self.main, found.dtype)
        return kept(self._kept, module, name, lambda: stored_tensor(module, name).to(self.main, found.dtype))

    def made(self, module: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = module.forward(x)
        return out.to(self.main)


def kept(
    held: OrderedDict[tuple[nn.Module, str], Tensor], module: nn.Module, name: str, make: Callable[[], Tensor]
) -> Tensor:
    """A whole weight from among those held, or made; the ones asked for longest ago go."""
    key = (module, name)
    if key not in held:
        # Under inference mode it would be a tensor that no later run can take gradients through.
        with torch.inference_mode(False), torch.no_grad():
            held[key] = make()
    held.move_to_end(key)
    while len(held) > 1 and sum(tensor.nbytes for tensor in held.values()) > KEPT:
        held.popitem(last=False)
    return held[key]


def stored_tensor(module: nn.Module, name: str) -> Tensor:
    """A parameter where it is: on its device, or as accelerate keeps it for when the module computes."""
    tensor: Tensor = getattr(module, name)
    if not tensor.is_meta:
        return tensor
    hook: Any = getattr(module, "_hf_hook", None)
    for each in (hook, *getattr(hook, "hooks", ())):
        if getattr(each, "weights_map", None) is not None:
            return torch.as_tensor(each.weights_map[name])
    raise MiError(f"{name} of a {type(module).__name__} is on no device, and nothing says where it is kept")


def placement_of(module: nn.Module) -> Placement:
    """How a module lies that was loaded."""
    main = main_device(module)
    return HERE if main is None else Spread(main)


def main_device(module: nn.Module) -> torch.device | None:
    """Where a spread module takes its inputs and edits compute: the first device of its map that is an accelerator, as
    accelerate has it. None where it is not spread."""
    placed = getattr(module, "hf_device_map", None)
    if not placed:
        return None
    first = next((where for where in placed.values() if where not in ("cpu", "disk")), "cpu")
    device = torch.device("cuda", first) if isinstance(first, int) else torch.device(first)
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def placed(placement: Placement, edits: Sequence[Edit]) -> list[Edit]:
    """The edits as the modules need them, which hold parts of what the edits see."""
    if placement is HERE:
        return list(edits)
    return [replace(edit, function=_placed(placement, edit.port, edit.function)) for edit in edits]


def _placed(
    placement: Placement, port: Port, function: Callable[[Tensor], Tensor | None]
) -> Callable[[Tensor], Tensor | None]:
    def moved(value: Tensor) -> Tensor | None:
        shown = placement.whole(port, value)
        given = function(shown)
        if given is None:
            # What the function has seen goes on, where its gradient may be asked for.
            if shown is value or not shown.requires_grad:
                return None
            given = shown
        return placement.part(port, given, value)

    return moved

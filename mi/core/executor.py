"""What an executor is: one forward of the model under edits, read at the position that the metric reads.

An :class:`Edit` names a *port* (the input or the output of a module) and a function that sees the tensor there and may
replace it. Capturing, ablating, interchanging, interpolating and running a circuit are all edits, so both executors
(`fast`: plain hooks; `generic`: nnsight traces) need one primitive, :meth:`Executor.run`, and everything else is
written once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn

from mi.core.attention import observed

Side = Literal["in", "out", "pattern"]


@dataclass(frozen=True)
class Port:
    """The first input or the output of the module at ``path``; or the pattern of an attention module, to look at
    only.
    """

    path: str
    side: Side


@dataclass(frozen=True)
class Edit:
    """``function(tensor) -> replacement``, or None to leave the tensor as it is.

    ``replaces`` promises that the function ignores what an output port would have held, so that an executor may
    save the work of computing it.
    """

    port: Port
    function: Callable[[Tensor], Tensor | None]
    replaces: bool = False


def patterns_seen(module: nn.Module, edits: Sequence[Edit]) -> AbstractContextManager[None]:
    """A context in which the edits at patterns see them."""
    return observed({module.get_submodule(e.port.path): e.function for e in edits if e.port.side == "pattern"})


@runtime_checkable
class Executor(Protocol):
    name: str

    def run(
        self, ids: Int[Tensor, "batch pos"], edits: Sequence[Edit], read: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch vocab"]:
        """Logits at the read position of a forward of ``ids`` under ``edits``.

        Edits at one port apply in the order given; edits at different ports apply in the order in which the model
        reaches them. Gradients flow if the caller has grad mode on and an edit hands in a tensor that requires them.
        """
        ...

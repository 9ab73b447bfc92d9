"""Edits made to fit how a family's modules take and give their tensors: an adapter and edits in, edits out.

An edit sees [batch, pos, width] everywhere, and what it has seen stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mi.core.adapters import Adapter
from mi.core.executor import Edit


def fitted(adapter: Adapter, edits: Sequence[Edit], batch: int) -> list[Edit]:
    """The edits of a run of ``batch`` rows as the modules need them."""
    roles = adapter.roles
    if not roles.side_by_side and not roles.overwritten:
        return list(edits)
    flat = {layer.path(part) for layer in adapter.layers for part in roles.side_by_side}
    overwritten = {layer.path(part) for layer in adapter.layers for part in roles.overwritten}
    found = [_by_position(edit, batch) if edit.port.path in flat else edit for edit in edits]
    last = dict.fromkeys(edit.port for edit in edits if edit.port.side == "out" and edit.port.path in overwritten)
    return [*found, *(Edit(port, lambda value: value.clone()) for port in last)]


def _by_position(edit: Edit, batch: int) -> Edit:
    """For a module that sees [batch x pos, width]. What the edit was shown goes on: it may ask for its gradient."""

    def function(value: Tensor) -> Tensor:
        shown = value.unflatten(0, (batch, -1)) if value.ndim == 2 else value
        given = edit.function(shown)
        return (shown if given is None else given).flatten(0, 1)

    return Edit(edit.port, function, edit.replaces)

"""The fast executor: plain torch hooks on the module, for decoder language models with an adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mi.core.adapters import Adapter
from mi.core.executor import Edit, Port, patterns_seen
from mi.core.fitting import fitted
from mi.core.placement import placed


def at_read(hidden: Float[Tensor, "batch pos d_model"], read: Int[Tensor, " batch"]) -> Float[Tensor, "batch d_model"]:
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), read.to(hidden.device)]


class FastExecutor:
    """Runs the module itself; an edit is a forward hook or a forward pre-hook."""

    name = "fast"

    def __init__(self, adapter: Adapter) -> None:
        self._adapter, self._module = adapter, adapter.module
        self._unembed = Port(adapter.roles.unembed, "in")

    def run(
        self, ids: Int[Tensor, "batch pos"], edits: Sequence[Edit], read: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch vocab"]:
        # The unembedding is the largest matrix of a small model: give it the one position that is read.
        only_read = Edit(self._unembed, lambda hidden: at_read(hidden, read))
        at_ports = fitted(self._adapter, [edit for edit in edits if edit.port.side != "pattern"], len(ids))
        seen = patterns_seen(self._module, placed(self._adapter.placement, edits))
        with hooked(self._adapter, [*at_ports, only_read]), seen:
            logits: Tensor = self._module(input_ids=ids, use_cache=False).logits
        return logits


@contextmanager
def hooked(adapter: Adapter, edits: Sequence[Edit]) -> Iterator[None]:
    """Inside the ``with``, the adapter's module runs under the edits."""
    module, edits = adapter.module, placed(adapter.placement, edits)
    handles: list[RemovableHandle] = []
    try:
        for edit in edits:
            handles.append(_install(module.get_submodule(edit.port.path), edit))
        # An empty batch costs a module nothing, and an edit replaces what comes out of it. Those that look at what goes
        # in have seen it by then.
        replaced = [edit.port.path for edit in edits if edit.replaces] if adapter.placement.idles() else []
        for path in dict.fromkeys(replaced):
            handles.append(module.get_submodule(path).register_forward_pre_hook(_nothing_of_it))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _nothing_of_it(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (inputs[0][:0], *inputs[1:])


def _install(module: nn.Module, edit: Edit) -> RemovableHandle:
    if edit.port.side == "in":

        def before(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            value = edit.function(inputs[0])
            return None if value is None else (value, *inputs[1:])

        return module.register_forward_pre_hook(before)

    def after(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor | None:
        return edit.function(output)

    return module.register_forward_hook(after)

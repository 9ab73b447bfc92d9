"""The model from one of its blocks on, at the positions from the first difference on: what a patch can change at all.

A patch that first differs at position ``first`` of what block ``l`` reads leaves everything before that position, and
every block before ``l``, as it was. The blocks are the model's own: they are called with what the model itself would
hand them, with the keys and values of the earlier positions in the place of transformers' cache. Rows are patched
copies of the batch, ``[copy x example]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mi.core.adapters import Layer
from mi.core.executor import Edit, Port
from mi.core.fast import hooked
from mi.core.model import Model
from mi.core.receivers import projection_ports

_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Resume:
    """One batch, ready to go on from any block."""

    def __init__(self, model: Model, ids: Int[Tensor, "batch pos"], read: Int[Tensor, " batch"], first: int) -> None:
        self._model, self.first = model, first
        self.length = ids.shape[1] - first  # positions that are computed
        self._read = read - first
        with torch.inference_mode():
            self._prefix = _prefix(model, ids[:, :first]) if first else None
            self._arguments = self._block_arguments()

    def finish(
        self, hidden: Float[Tensor, "row pos d_model"], block: int, edits: Sequence[Edit] = ()
    ) -> Float[Tensor, "row d_model"]:
        """The residual stream at the read position after the last block, from the one before ``block``.

        ``hidden`` holds the positions from ``first`` on; ``edits`` see those.
        """
        roles, layers = self._model.adapter.roles, self._model.adapter.layers
        last = len(layers) - 1
        base = f"{roles.blocks}.{last}"
        # Of the last block only the read position matters. What the narrow edits hand back is added to every
        # position, and is right at that one.
        narrow = [
            Edit(Port(f"{base}.{roles.heads_out}", "in"), self.at_read),
            Edit(Port(f"{base}.{roles.mlp}", "in"), self.at_read),
        ]
        if block < last:  # else the edits say what its projections give
            narrow += self._queries_at_read(layers[last])
        with hooked(self._model.module, [*edits, *narrow]):
            for layer in layers[block:]:
                arguments, keywords = self._arguments[layer.index]
                hidden = layer.block(hidden, *arguments, **keywords)
        return self.at_read(hidden)[:, 0]

    def _queries_at_read(self, layer: Layer) -> list[Edit]:
        """Edits that make the one query that is looked at, and hand it to every position."""
        ports = projection_ports(self._model.adapter, layer)
        if len(ports) == 3:
            return [
                Edit(Port(ports[0].path, "in"), self.at_read),
                Edit(ports[0], lambda query: query.expand(-1, self.length, -1)),
            ]
        read: list[Tensor] = []

        def part(hidden: Tensor, *which: int) -> Tensor:
            weights = torch.cat([layer.weight(w).flatten(0, 1) for w in which])
            biases = [bias.flatten() for w in which if (bias := layer.bias(w)) is not None]
            return torch.nn.functional.linear(hidden, weights, torch.cat(biases) if biases else None)

        def project(_: Tensor) -> Tensor:
            query = part(self.at_read(read[0]), 0).expand(-1, self.length, -1)
            return torch.cat([query, part(read[0], 1, 2)], dim=-1)

        return [Edit(Port(ports[0].path, "in"), read.append), Edit(ports[0], project, replaces=True)]

    def block(self, hidden: Float[Tensor, "row pos d_model"], index: int, edits: Sequence[Edit]) -> None:
        """Run one block for what the ``edits`` see."""
        arguments, keywords = self._arguments[index]
        with hooked(self._model.module, edits):
            self._model.adapter.layers[index].block(hidden, *arguments, **keywords)

    def at_read(self, hidden: Float[Tensor, "row pos width"]) -> Float[Tensor, "row 1 width"]:
        copies = hidden.shape[0] // len(self._read)
        rows = torch.arange(hidden.shape[0], device=hidden.device)
        return hidden[rows, self._read.repeat(copies)].unsqueeze(1)

    def _block_arguments(self) -> dict[int, _Arguments]:
        """What the model hands each block for inputs of this length, beside the hidden states: masks, positions.

        Made for one row; all of it broadcasts.
        """
        from transformers import DynamicCache

        model = self._model
        cache = DynamicCache()
        if self._prefix is not None:
            for layer, (keys, values) in enumerate(self._prefix.layers):
                cache.update(keys[:1], values[:1], layer)
        seen: dict[int, _Arguments] = {}
        embedded = torch.zeros(1, self.length, model.adapter.d_model, dtype=model.dtype, device=model.device)
        past = cache if self._prefix is not None else None

        def replaced(value: Any) -> Any:
            return self._prefix if value is cache else value

        with _stubbed(model, seen):
            body: Any = model.module.base_model
            body(inputs_embeds=embedded, past_key_values=past, use_cache=past is not None)
        return {
            layer: (tuple(map(replaced, arguments)), {name: replaced(value) for name, value in keywords.items()})
            for layer, (arguments, keywords) in seen.items()
        }


@contextmanager
def _stubbed(model: Model, seen: dict[int, _Arguments]) -> Iterator[None]:
    """Blocks that pass their hidden states on, and keep what else they were given."""
    blocks = [layer.block for layer in model.adapter.layers]

    def stub(index: int) -> Any:
        def forward(hidden: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
            seen[index] = (arguments, keywords)
            return hidden

        return forward

    for index, block in enumerate(blocks):
        block.forward = stub(index)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the class's own is there again


class Prefix:
    """In the place of transformers' cache: keys and values of the earlier positions, the same for every copy."""

    def __init__(self, layers: list[tuple[Tensor, Tensor]]) -> None:
        self.layers = layers

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        before = self.layers[layer]
        return _join(before[0], keys), _join(before[1], values)


def _join(
    before: Float[Tensor, "batch kv_head earlier d_head"], own: Float[Tensor, "row head pos d_head"]
) -> Float[Tensor, "row head all_pos d_head"]:
    groups, copies = own.shape[1] // before.shape[1], own.shape[0] // before.shape[0]
    if groups > 1:  # the layer was given keys and values for each query head
        before = before.repeat_interleave(groups, dim=1)
    return torch.cat([before.repeat(copies, 1, 1, 1), own], dim=2)


def _prefix(model: Model, ids: Int[Tensor, "batch pos"]) -> Prefix:
    from transformers import DynamicCache

    cache = DynamicCache()
    body: Any = model.module.base_model
    body(input_ids=ids, past_key_values=cache, use_cache=True)
    return Prefix([(layer.keys, layer.values) for layer in cache.layers])

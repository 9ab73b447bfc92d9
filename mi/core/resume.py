"""The model from one of its blocks on, at the positions from the first difference on: what a patch can change at all.

A patch that first differs at position ``first`` of what block ``l`` reads leaves everything before that position, and
every block before ``l``, as it was. The blocks are the model's own: they are called with what the model itself would
hand them, with the keys and values of the earlier positions in the place of transformers' cache. Rows are patched
copies of the batch, ``[copy x example]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mi.core import ports
from mi.core.adapters import Layer
from mi.core.executor import Edit, Port
from mi.core.fast import hooked
from mi.core.fitting import fitted
from mi.core.model import Model
from mi.core.receivers import projection_ports
from mi.errors import MiError

SAME = {torch.float64: 1e-9, torch.float32: 1e-3}  # of the largest entry of the stream; half precision: 0.1

_Arguments = tuple[tuple[Any, ...], dict[str, Any]]
_caching: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def first_position(model: Model, wanted: int) -> int:
    """The position that a run can go on from: ``wanted``, or 0 for a model that keeps no keys for later."""
    from transformers import DynamicCache

    if wanted and model.module not in _caching:
        cache, ids = DynamicCache(), torch.zeros(1, 2, dtype=torch.long, device=model.device)
        try:
            with torch.inference_mode():
                _forward(model, ids, cache)
            kept = len(cache.layers) == model.adapter.n_layers and cache.get_seq_length() == ids.shape[1]
        except (TypeError, AttributeError):
            kept = False
        _caching[model.module] = kept
    return wanted if wanted and _caching[model.module] else 0


def _forward(model: Model, ids: Tensor, cache: Any) -> None:
    """The model's own run, for what it does to a cache or hands its blocks; its logits are not wanted."""
    kept: dict[str, Any] = {"use_cache": False} if cache is None else {"use_cache": True, "past_key_values": cache}
    one = Edit(Port(model.adapter.roles.unembed, "in"), lambda hidden: hidden[:, :1])
    with hooked(model.adapter, [one]):
        model.module(input_ids=ids, **kept)


class Resume:
    """One batch, ready to go on from any block. ``first`` is one that `first_position` gave."""

    def __init__(self, model: Model, ids: Int[Tensor, "batch pos"], read: Int[Tensor, " batch"], first: int) -> None:
        self._model, self.first = model, first
        self.length = ids.shape[1] - first  # positions that are computed
        self._read = read - first
        self._narrows = True
        with torch.inference_mode():
            self._prefix = _prefix(model, ids[:, :first]) if first else None
            self._arguments = self._block_arguments(ids)

    def verify(self, start: Float[Tensor, "batch pos d_model"], end: Float[Tensor, "batch d_model"]) -> None:
        """Go on from the first block without a change, and see that what comes out is what the model had.

        Raises:
            MiError: it is not.
        """
        error = self._error(start, end)
        if error > SAME.get(start.dtype, 0.1):  # a block may need the last positions that nobody reads
            self._narrows = False
            error = self._error(start, end)
        if error > SAME.get(start.dtype, 0.1):
            raise MiError(
                f"this model cannot be run from one of its blocks on (it differs by {error:.1e})",
                "exact patching needs that; use another method",
                place="-m",
            )

    def _error(self, start: Tensor, end: Tensor) -> float:
        try:
            with torch.inference_mode():
                found = self.finish(start.clone(), 0)
        except RuntimeError:
            if not self._narrows:
                raise
            return float("inf")
        return float((found - end).abs().max() / end.abs().max().clamp(min=1e-12))

    def finish(
        self, hidden: Float[Tensor, "row pos d_model"], block: int, edits: Sequence[Edit] = ()
    ) -> Float[Tensor, "row d_model"]:
        """The residual stream at the read position after the last block, from the one before ``block``.

        ``hidden`` holds the positions from ``first`` on; ``edits`` see those.
        """
        adapter = self._model.adapter
        last = adapter.layers[-1]
        narrow: list[Edit] = []
        if self._narrows:
            # Of the last block only the read position matters. What the narrow edits hand back is added to every
            # position, and is right at that one.
            narrow = [Edit(ports.z(last), self.at_read)]
            if not adapter.roles.side_by_side and not adapter.roles.overwritten:  # there shapes must be alike
                narrow.append(Edit(ports.mlp_in(last), self.at_read))
            if block < last.index:  # else the edits say what its projections give
                narrow += self._queries_at_read(last)
        with hooked(adapter, fitted(adapter, [*edits, *narrow], len(hidden))):
            for layer in adapter.layers[block:]:
                hidden = self._run(layer, hidden)
        return self.at_read(adapter.placement.whole(Port(last.path(), "out"), hidden))[:, 0]

    def _run(self, layer: Layer, hidden: Tensor) -> Tensor:
        arguments, keywords = self._arguments[layer.index]
        out = layer.block(hidden, *arguments, **keywords)
        return out[0] if isinstance(out, tuple) else out

    def _queries_at_read(self, layer: Layer) -> list[Edit]:
        """Edits that make the one query that is looked at, and hand it to every position."""
        places = projection_ports(self._model.adapter, layer)
        if len(places) == 3:
            return [
                Edit(Port(places[0].path, "in"), self.at_read),
                Edit(places[0], lambda query: query.expand(-1, self.length, -1)),
            ]
        if not layer.whole_projection:
            return []
        read: list[Tensor] = []

        def part(hidden: Tensor, *which: int) -> Tensor:
            weights = torch.cat([layer.weight(w).flatten(0, 1) for w in which])
            biases = [bias.flatten() for w in which if (bias := layer.bias(w)) is not None]
            return torch.nn.functional.linear(hidden, weights, torch.cat(biases) if biases else None)

        def project(_: Tensor) -> Tensor:
            query = part(self.at_read(read[0]), 0).expand(-1, self.length, -1)
            return torch.cat([query, part(read[0], 1, 2)], dim=-1)

        return [Edit(Port(places[0].path, "in"), read.append), Edit(places[0], project, replaces=True)]

    def block(self, hidden: Float[Tensor, "row pos d_model"], index: int, edits: Sequence[Edit]) -> None:
        """Run one block for what the ``edits`` see."""
        with hooked(self._model.adapter, fitted(self._model.adapter, edits, len(hidden))):
            self._run(self._model.adapter.layers[index], hidden)

    def at_read(self, hidden: Float[Tensor, "row pos width"]) -> Float[Tensor, "row 1 width"]:
        copies = hidden.shape[0] // len(self._read)
        rows = torch.arange(hidden.shape[0], device=hidden.device)
        return hidden[rows, self._read.repeat(copies)].unsqueeze(1)

    def _block_arguments(self, ids: Int[Tensor, "batch pos"]) -> dict[int, _Arguments]:
        """What the model hands each block for inputs of this length, beside the hidden states: masks, positions.

        Made for one row; all of it broadcasts.
        """
        from transformers import DynamicCache

        cache: Any = None
        if self._prefix is not None:
            cache = DynamicCache()
            for layer, (keys, values) in enumerate(self._prefix.layers):
                cache.update(keys[:1], values[:1], layer)
        seen: dict[int, _Arguments] = {}

        def keep(index: int) -> Any:
            def hook(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
                rest = arguments[1:] if arguments else ()
                named = {name: self._own(v, cache) for name, v in keywords.items() if name != "hidden_states"}
                seen[index] = (tuple(self._own(value, cache) for value in rest), named)

            return hook

        layers = self._model.adapter.layers
        handles = [layer.block.register_forward_pre_hook(keep(layer.index), with_kwargs=True) for layer in layers]
        try:
            _forward(self._model, ids[:1, self.first :], cache)
        finally:
            for handle in handles:
                handle.remove()
        return seen

    def _own(self, value: Any, cache: Any) -> Any:
        return self._prefix if cache is not None and value is cache else value


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
    _forward(model, ids, cache)
    return Prefix([(layer.keys, layer.values) for layer in cache.layers])

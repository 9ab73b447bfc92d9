"""What a head mixes when its queries, or its keys, read a replaced source: exact, where a gradient sees the softmax as
a straight line (the QK fix of AtP*, Kramár et al. 2024).

The source's change goes through the norm and the projection as it is, and the layer's own attention computes z again,
for all its heads at once: one row for each source and example, at the positions from the first difference on.

Flows in: one batch, its clean run, the sources' differences. Flows out: the changes of z, a few sources at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from mi.core import ports
from mi.core.adapters import Layer
from mi.core.batches import Batch, copies_at_once
from mi.core.executor import Edit, Port
from mi.core.model import Model
from mi.core.outputs import Outputs, write_heads
from mi.core.receivers import join, projection_ports
from mi.core.resume import Resume

QUERIES, KEYS = 0, 1


@dataclass(frozen=True)
class Place:
    """The queries (0) or keys (1) of a layer's heads, where they alone read these sources' replacements."""

    layer: int
    which: int
    sources: range


@dataclass(frozen=True)
class Change:
    """What a layer's heads mix then."""

    place: Place
    z: Float[Tensor, "source batch pos head d_head"]  # minus the clean run's, from the first difference on


class QKFix:
    """One batch. ``stream`` is the clean residual stream before each block; ``difference`` what sources change by."""

    def __init__(
        self,
        model: Model,
        batch: Batch,
        stream: Sequence[Tensor],
        clean: Outputs,
        difference: Outputs,
        first: int,
    ) -> None:
        self._model, self.first = model, first
        self._difference = difference.map(lambda t: t[:, first:])
        self._attended = [
            layer.attended(z[:, first:]) if model.adapter.has_post_norms else None
            for layer, z in zip(model.adapter.layers, clean.z, strict=True)
        ]
        self._stream = [before[:, first:] for before in stream]
        self._resume = Resume(model, batch.clean, batch.read, first)
        self._clean: list[tuple[list[Tensor], Tensor]] = []  # a layer's q, k, v, and its z
        for layer, before in zip(model.adapter.layers, self._stream, strict=True):
            normed = layer.attention_norm(before)
            parts = [self._project(layer, which, normed) for which in range(3)]
            self._clean.append((parts, self._mixed(layer, parts)))

    def changes(self, sources: range, first_layer: int) -> Iterator[Change]:
        """Of these sources, in every layer whose heads read them: those from the first one on."""
        wide = self._wide(sources)
        for layer in self._model.adapter.layers[first_layer:]:
            normed = layer.attention_norm(self._stream[layer.index] + wide).flatten(0, 1)  # [row, pos, d_model]
            clean, z = self._clean[layer.index]
            for which in (QUERIES, KEYS):
                parts = [part.repeat(len(wide), 1, 1) for part in clean]
                parts[which] = self._project(layer, which, normed)
                moved = self._mixed(layer, parts).unflatten(0, wide.shape[:2]) - z
                place = Place(layer.index, which, sources)
                yield Change(place, moved.unflatten(-1, (layer.n_heads, layer.d_head)))

    def groups(self) -> Iterator[tuple[range, int]]:
        """Sources of one node or of several heads of a layer, as many as run side by side, and the first layer whose
        heads read them.
        """
        places = self._model.layout
        batch, length = self._stream[0].shape[:2]
        most = copies_at_once(self._model, batch * length)
        yield range(places.input, places.input + 1), 0
        for index, rows in enumerate(places.layers[:-1]):
            first, last = rows.heads[0], rows.heads[-1] + 1
            for start in range(first, last, most):
                yield range(start, min(start + most, last)), index + 1
            yield range(rows.mlp, rows.mlp + 1), index + 1

    def _wide(self, sources: range) -> Float[Tensor, "source batch pos d_model"]:
        model, change = self._model, self._difference
        shape = (len(sources), *self._stream[0].shape)
        wide = torch.empty(shape, dtype=model.dtype, device=model.device)
        if sources.start == model.layout.input:
            wide[0] = change.embed
        for layer, rows in zip(model.adapter.layers, model.layout.layers, strict=True):
            if sources.start == rows.mlp:
                wide[0] = change.mlp[layer.index]
            elif sources.start in rows.heads:
                heads = list(range(sources.start - rows.heads[0], sources.stop - rows.heads[0]))
                write_heads(layer, change.z[layer.index].unflatten(-1, (layer.n_heads, layer.d_head)), wide, heads)
                if (attended := self._attended[layer.index]) is not None:  # as it is, not as its Jacobian has it
                    wide = layer.attention_post_norm(attended + wide) - layer.attention_post_norm(attended)
        return wide

    def _project(self, layer: Layer, which: int, normed: Tensor) -> Float[Tensor, "row pos kv_or_head_x_d_head"]:
        bias = layer.bias(which)
        return linear(normed, layer.weight(which).flatten(0, 1), None if bias is None else bias.flatten())

    def _mixed(self, layer: Layer, parts: list[Tensor]) -> Float[Tensor, "row pos head_x_d_head"]:
        """z of the layer's own attention, given q, k and v; the rest of the block has nothing to do."""
        adapter, roles = self._model.adapter, layer.roles
        nothing = parts[0].new_zeros(()).expand(*parts[0].shape[:2], adapter.d_model)
        kinds = [part.unflatten(-1, (-1, layer.d_head)) for part in parts]
        if layer.repeats:
            kinds = [k if k.shape[-2] == layer.n_heads else k.repeat_interleave(layer.groups, dim=-2) for k in kinds]
        flat = [kind.flatten(-2) for kind in kinds]
        given = join(layer, flat) if layer.fused else flat
        mixed: list[Tensor] = []
        unread = [path for path in (roles.attention_norm, roles.mlp_norm, roles.mlp, roles.mlp_post_norm) if path]
        silent = [ports.attended(layer), ports.attention_out(layer)]
        silent += [Port(layer.path(path), "out") for path in unread]
        edits = [
            *(
                Edit(port, _give(value), replaces=True)
                for port, value in zip(projection_ports(adapter, layer), given, strict=True)
            ),
            Edit(ports.z(layer), mixed.append),
            *(Edit(port, _give(nothing), replaces=True) for port in dict.fromkeys(silent)),
        ]
        self._resume.block(nothing, layer.index, edits)
        return mixed[0]


def _give(value: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda _: value

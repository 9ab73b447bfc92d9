"""What the live sources of a circuit's run write, minus what replaces it, and what receivers read of that.

Where there is room, every difference stands d_model wide in one table, written once and read by every receiver. Where
there is none, they are kept as they come (a head's is d_head wide) and made wide for a few positions at a time, once
more for every layer that reads them. The numbers are the same: each product is over sources alone.

Where a norm stands between a layer's heads and the stream, what a receiver reads of them is not a sum (spec A4):

    postnorm(c + sum over kept heads of (a_h - a'_h)) - postnorm(c),    c = b_O + sum over all heads of a'_h

which is exactly nothing where no head is kept.

Flows in: differences of sources, as a run meets them. Flows out: the inputs of receivers, a part at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mi.core.adapters import Layer
from mi.core.model import Model
from mi.core.outputs import write_heads


@dataclass(frozen=True)
class Room:
    """One batch's table, [source, batch, pos, d_model] of so many positions at a time. ``receivers``: how many inputs
    are made at once.
    """

    held: Float[Tensor, " number"]
    shape: tuple[int, int, int, int]  # with all positions
    positions: int
    receivers: int

    @property
    def whole(self) -> bool:
        return self.positions == self.shape[2]

    @property
    def parts(self) -> Iterator[slice]:
        length = self.shape[2]
        return (slice(start, min(start + self.positions, length)) for start in range(0, length, self.positions))

    def table(self, positions: int) -> Float[Tensor, "source batch pos d_model"]:
        n_sources, batch, _, width = self.shape
        return self.held[: n_sources * batch * positions * width].view(n_sources, batch, positions, width)


def room(model: Model, batch: int, length: int) -> Room:
    """A table within the model's budget."""
    n_sources, width = model.layout.n_sources, model.adapter.d_model
    of_source = batch * width * model.dtype.itemsize  # bytes a position
    # A receiver's input, its norm's temporaries (in float32 at least), and what comes out of the norm.
    of_receiver = batch * width * (2 * model.dtype.itemsize + 3 * model.compute_dtype.itemsize)
    of_receiver *= 2 if model.adapter.has_post_norms else 1
    n_receivers, budget = 3 * model.adapter.n_heads, model.budget
    positions = length
    if n_sources * length * of_source > budget.table:
        positions = max(1, budget.chunk // (n_sources * of_source + n_receivers * of_receiver))
    positions = min(positions, length)
    at_once = max(1, budget.chunk // (positions * of_receiver))
    held = torch.empty(n_sources * batch * positions * width, dtype=model.dtype, device=model.device)
    return Room(held, (n_sources, batch, length, width), positions, min(at_once, n_receivers))


@dataclass(frozen=True)
class PostNormed:
    """What a layer's heads write together when all are replaced, before its post-norm and after."""

    layer: Layer
    before: Float[Tensor, "_ _ d_model"]
    after: Float[Tensor, "_ _ d_model"]

    def expanded(self, batch: int, length: int) -> PostNormed:
        """For every example and position."""
        return PostNormed(self.layer, self.before.expand(batch, length, -1), self.after.expand(batch, length, -1))


@dataclass(frozen=True)
class _Written:
    """Differences that are not wide yet: those of one node, or of heads of a layer."""

    sources: list[int]
    value: Float[Tensor, "batch pos *width"]  # [.., d_model], or [.., head, d_head]
    layer: Layer | None = None
    heads: list[int] | None = None


class Differences:
    """Those of one run. A table is written by one run after another."""

    def __init__(
        self,
        room: Room,
        carried: Float[Tensor, "source d_model"] | None = None,
        post_normed: Sequence[PostNormed | None] = (),
    ) -> None:
        """``post_normed``: of each layer, where there are such norms."""
        self._room, self._carried, self._post_normed = room, carried, post_normed
        self._groups: list[tuple[PostNormed, slice]] = []  # with the rows of the table where its heads are
        self._kept: list[_Written] = []
        self.live: list[int] = []  # sources, in the order in which they were written

    def write(self, source: int, value: Float[Tensor, "batch pos d_model"]) -> None:
        self._add(_Written([source], value))

    def write_heads(
        self, layer: Layer, sources: list[int], z: Float[Tensor, "batch pos head d_head"], heads: list[int]
    ) -> None:
        """What the chosen heads of a layer write."""
        post_normed = self._post_normed[layer.index] if self._post_normed else None
        if post_normed is not None:
            self._groups.append((post_normed, slice(len(self.live), len(self.live) + len(sources))))
        self._add(_Written(sources, z, layer, heads))

    def _add(self, written: _Written) -> None:
        if self._room.whole:
            self._widen(written, slice(None), len(self.live))
        else:
            self._kept.append(written)
        self.live += written.sources

    def _widen(self, written: _Written, positions: slice, start: int) -> None:
        """Rows of the table from ``start`` on, of these positions; what edges do not carry is left out."""
        value = written.value[:, positions]
        into = self._room.table(value.shape[1])[start : start + len(written.sources)]
        if written.layer is None:
            into[0].copy_(value)
        else:
            write_heads(written.layer, value, into, written.heads)
        if self._carried is not None:
            into.mul_(self._carried[written.sources][:, None, None])

    def read(
        self, base: Float[Tensor, "batch pos d_model"], kept: Bool[Tensor, "receiver source"], receivers: Sequence[int]
    ) -> Iterator[tuple[slice, slice, Float[Tensor, "receiver batch pos d_model"]]]:
        """base + the differences of the sources that each receiver keeps: which of the receivers, at which positions,
        and what they read. In the order of positions, then of receivers.
        """
        mask = kept[list(receivers)][:, self.live].to(base.dtype)
        count, size = len(self.live), self._room.receivers
        for positions in self._room.parts:
            here = base[:, positions]
            start = 0
            for written in self._kept:
                self._widen(written, positions, start)
                start += len(written.sources)
            wide = self._room.table(here.shape[1])[:count].flatten(1)
            for first in range(0, len(receivers), size):
                some = mask[first : first + size]
                which = slice(first, first + len(some))
                if count:
                    yield which, positions, self._mixed(here, some, wide, positions)
                else:
                    yield which, positions, here.expand(len(some), *here.shape)

    def _mixed(
        self,
        base: Float[Tensor, "batch pos d_model"],
        kept: Float[Tensor, "receiver live"],
        wide: Float[Tensor, "live batch_x_pos_x_d_model"],
        positions: slice,
    ) -> Float[Tensor, "receiver batch pos d_model"]:
        linear = kept.clone() if self._groups else kept
        for _, rows in self._groups:
            linear[:, rows] = 0
        out = torch.addmm(base.reshape(1, -1), linear, wide).view(len(kept), *base.shape)
        for heads, rows in self._groups:
            some = kept[:, rows].any(1).nonzero().flatten()
            together = (kept[some, rows] @ wide[rows]).view(len(some), *base.shape) + heads.before[:, positions]
            out[some] += heads.layer.attention_post_norm(together) - heads.after[:, positions]
        return out

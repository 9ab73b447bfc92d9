"""Which part of a model moved: two folders of weights in, the movement of every head, MLP and other tensor out.

A node's movement is ||W' - W|| / ||W||, over all weights that are its own: of a head its rows of q, k and v and what
W_O does with its output; of an MLP all its matrices. A head of keys and values that several heads share moves them all.
Tensors are mapped, not loaded, and read in pieces.
"""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mi.errors import MiError
from mi.io.models import Located
from mi.io.tensors import BF16, Array, unpack

_PIECE = 1 << 20  # numbers read at once

_LAYER = re.compile(r"(?:^|\.)(?:h|layers)\.(\d+)\.(.+?)(?:\.(weight|bias))?$")
_HEADS = ("num_attention_heads", "n_head", "num_heads")  # in a config.json
_EXPERTS = "block_sparse_moe"  # an MLP's older name


@dataclass(frozen=True)
class Moved:
    """How far one node, or a tensor that belongs to none, moved."""

    name: str
    change: float  # ||W' - W||
    length: float  # ||W||
    largest: float  # of the single changes
    beyond: int  # weights that differ beyond the tolerance

    @property
    def relative(self) -> float:
        return self.change / self.length if self.length else (math.inf if self.change else 0.0)


@dataclass(frozen=True)
class Layout:
    """Where a family keeps its heads and MLPs, inside a layer."""

    projections: tuple[str, ...]  # one with q, k and v, or three
    heads_out: str
    mlp: tuple[str, ...]
    interleaved: bool = False  # q, k and v of each key head side by side, not all q first
    transposed: bool = False  # matrices are [in, out]


@dataclass(frozen=True)
class Heads:
    """A layout with the numbers of one model."""

    layout: Layout
    n: int
    width: int  # of one head

    def of_slots(self, slots: int, module: str) -> list[Sequence[int]]:
        """The heads that each slot of `width` rows belongs to: keys and values may be shared by several."""
        own = [range(head, head + 1) for head in range(self.n)]
        if module == self.layout.heads_out or (slots == self.n and len(self.layout.projections) > 1):
            return list(own)
        kv = slots if len(self.layout.projections) > 1 else (slots - self.n) // 2
        if kv < 1 or self.n % kv or (len(self.layout.projections) == 1 and self.n + 2 * kv != slots):
            raise MiError(f"{module} has rows for {slots} heads, which do not go with {self.n} query heads")
        size = self.n // kv
        shared = [range(size * group, size * (group + 1)) for group in range(kv)]
        if len(self.layout.projections) > 1:
            return list(shared)
        if self.layout.interleaved:
            return [heads for group in shared for heads in (*(own[head] for head in group), group, group)]
        return [*own, *shared, *shared]


def heads_of(layout: Layout | None, config: Mapping[str, Any], found: Mapping[str, Array]) -> Heads | None:
    """The heads of a model, if its family's layout is known and its tensors go with it."""
    n = next((config[key] for key in _HEADS if isinstance(config.get(key), int)), None)
    if layout is None or not n:
        return None
    for name, array in found.items():
        inside = _LAYER.search(name)
        if inside is not None and inside.group(2) == layout.heads_out and inside.group(3) == "weight":
            rows = array.shape[0 if layout.transposed else -1]
            return Heads(layout, n, rows // n) if rows % n == 0 else None
    return None


def moved(a: Located, b: Located, layout: Layout | None, atol: float, rtol: float) -> tuple[list[Moved], Heads | None]:
    """Every node and every other tensor, those that moved most first; without heads, all are tensors."""
    before, after = tensors(a), tensors(b)
    for name in sorted(before.keys() ^ after.keys()):
        where = a if name in after else b
        raise MiError(f"there is no tensor {name} in it", "only models of one shape are compared", place=where.id)
    heads, others = heads_of(layout, a.config(), before), heads_of(layout, b.config(), after)
    if heads is not None and others is not None and heads.n != others.n:
        raise MiError(
            f"it has {others.n} heads a layer, {a.id} {heads.n}", "only models of one shape are compared", place=b.id
        )
    sums: dict[str, list[float]] = {}
    for name in sorted(before):
        if before[name].shape != after[name].shape:
            raise MiError(
                f"{name} has the shape {list(after[name].shape)}, {list(before[name].shape)} in {a.id}",
                "only models of one shape are compared",
                place=b.id,
            )
        for part, numbers in _parts(name, before[name], after[name], heads, Limits(atol, rtol)):
            total = sums.setdefault(part, [0.0, 0.0, 0.0, 0.0])
            for i in (0, 1, 3):
                total[i] += numbers[i]
            total[2] = max(total[2], numbers[2])
    found = [Moved(name, math.sqrt(t[0]), math.sqrt(t[1]), t[2], int(t[3])) for name, t in sums.items()]
    return sorted(found, key=lambda each: (-each.relative, each.name)), heads


def tensors(model: Located) -> dict[str, Array]:
    """All tensors of a model's safetensors files, mapped."""
    files = sorted(model.folder.glob("*.safetensors"))
    if not files:
        raise MiError("there is no *.safetensors file in it", "name a folder with a model's weights", place=model.id)
    found: dict[str, Array] = {}
    for file in files:
        place = f"{model.id}/{file.name}"
        try:
            with open(file, "rb") as f:
                data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise MiError(f"cannot be read: {error}", place=place) from error
        found |= unpack(data, place)  # type: ignore[arg-type]  # a map is as good as bytes
    return found


@dataclass(frozen=True)
class Limits:
    """A weight that differs by no more than atol + rtol * |W| did not move."""

    atol: float
    rtol: float


Numbers = tuple[float, float, float, float]  # sum of squared changes, sum of squares, largest change, how many moved


def _parts(name: str, a: Array, b: Array, heads: Heads | None, limits: Limits) -> Iterator[tuple[str, Numbers]]:
    """The nodes that a tensor belongs to, each with its numbers."""
    layer = _LAYER.search(name)
    if heads is None or layer is None:
        yield name, _numbers(_along(a, b, 0, limits))
        return
    layout, (index, module, kind) = heads.layout, layer.groups()
    if any(module == part or module.startswith(f"{part}.") for part in (*layout.mlp, _EXPERTS)):
        yield f"m{index}", _numbers(_along(a, b, 0, limits))
    elif module in layout.projections or (module == layout.heads_out and kind == "weight"):
        last = kind == "bias" or ((module == layout.heads_out) != layout.transposed)
        along = _along(a, b, -1 if last else 0, limits)
        if along.shape[1] % heads.width:
            raise MiError(f"{name} has {along.shape[1]} rows, which do not split into heads of {heads.width}")
        slots = np.split(along, along.shape[1] // heads.width, axis=1)
        for owners, slot in zip(heads.of_slots(len(slots), module), slots, strict=True):
            for head in owners:
                yield f"a{index}.h{head}", _numbers(slot)
    else:
        yield name, _numbers(_along(a, b, 0, limits))


def _numbers(along: np.ndarray) -> Numbers:
    return float(along[0].sum()), float(along[1].sum()), float(along[2].max(initial=0.0)), float(along[3].sum())


def _along(a: Array, b: Array, axis: int, limits: Limits) -> np.ndarray:
    """For each index of the axis: squared changes, squares, the largest change, how many are beyond; float64 [4, n]."""
    shape = a.shape if len(a.shape) else (1,)
    rows, width = shape[0], math.prod(shape[1:])
    first = axis == 0 or len(shape) == 1
    out = np.zeros((4, rows if first else width))
    if not width:
        return out
    step = max(1, _PIECE // max(1, width))
    for start in range(0, rows, step):
        x, y = (_wide(array, start, start + step, width) for array in (a, b))
        gap = np.abs(y - x)
        pieces = (gap * gap, x * x, gap, gap > limits.atol + limits.rtol * np.abs(x))
        for row, piece in enumerate(pieces):
            take = np.maximum.reduce if row == 2 else np.add.reduce
            if first:
                out[row, start : start + step] = take(piece, axis=1, initial=0)
            else:
                out[row] = np.maximum(out[row], take(piece, axis=0)) if row == 2 else out[row] + take(piece, axis=0)
    return out


def _wide(array: Array, start: int, stop: int, width: int) -> np.ndarray:
    """Rows as float64 [rows, width]."""
    flat = (array.bits if isinstance(array, BF16) else array).reshape(-1, width)[start:stop]
    return (BF16(flat).float32() if isinstance(array, BF16) else flat).astype(np.float64)

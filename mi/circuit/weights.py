"""Which part of a model moved: two folders of weights in, the movement of every head, MLP and other tensor out.

A node's movement is ||W' - W|| / ||W||, over all weights that are its own: of a head its rows of q, k and v and what
W_O does with its output; of an MLP all its matrices. A head of keys and values that several heads share moves them all.
Tensors are mapped, not loaded, and read in pieces.
"""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mi.errors import MiError
from mi.io.models import Located
from mi.io.tensors import BF16, Array, unpack

_PIECE = 1 << 20  # numbers read at once

# (name inside a layer, what it holds, the axis along which heads lie): GPT-2, and Llama, Mistral, Qwen2.
_ATTENTION = (
    (re.compile(r"attn\.c_attn\.(weight|bias)"), "qkv", -1),
    (re.compile(r"attn\.c_proj\.weight"), "o", 0),
    (re.compile(r"self_attn\.q_proj\.(weight|bias)"), "q", 0),
    (re.compile(r"self_attn\.[kv]_proj\.(weight|bias)"), "kv", 0),
    (re.compile(r"self_attn\.o_proj\.weight"), "o", -1),
)
_LAYER = re.compile(r"(?:^|\.)(?:h|layers)\.(\d+)\.(.+)$")


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
class Heads:
    """The shape of attention, of a config.json."""

    n: int
    n_kv: int

    @classmethod
    def of(cls, config: Mapping[str, Any], place: str) -> Heads:
        n = config.get("num_attention_heads", config.get("n_head"))
        if not isinstance(n, int) or n < 1:
            raise MiError("config.json does not say how many heads there are", "name a transformer", place=place)
        return cls(n, int(config.get("num_key_value_heads") or n))


def moved(a: Located, b: Located, heads: Heads, atol: float, rtol: float) -> list[Moved]:
    """Every node and every other tensor, those that moved most first."""
    before, after = tensors(a), tensors(b)
    for name in sorted(before.keys() ^ after.keys()):
        where = a if name in after else b
        raise MiError(f"there is no tensor {name} in it", "only models of one shape are compared", place=where.id)
    sums: dict[str, list[float]] = {}
    for name in sorted(before):
        if before[name].shape != after[name].shape:
            raise MiError(
                f"{name} has the shape {list(after[name].shape)}, {list(before[name].shape)} in {a.id}",
                "only models of one shape are compared",
                place=b.id,
            )
        for part, numbers in _parts(name, before[name], after[name], heads, atol, rtol):
            total = sums.setdefault(part, [0.0, 0.0, 0.0, 0])
            for i in (0, 1, 3):
                total[i] += numbers[i]
            total[2] = max(total[2], numbers[2])
    found = [Moved(name, math.sqrt(t[0]), math.sqrt(t[1]), t[2], int(t[3])) for name, t in sums.items()]
    return sorted(found, key=lambda each: (-each.relative, each.name))


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


def _parts(
    name: str, a: Array, b: Array, heads: Heads, atol: float, rtol: float
) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    """The nodes that a tensor belongs to, each with (sum of squared changes, sum of squares, largest, beyond)."""
    layer = _LAYER.search(name)
    if layer is None:
        yield name, _whole(a, b, atol, rtol)
        return
    index, inside = layer.groups()
    if inside.startswith("mlp."):
        yield f"m{index}", _whole(a, b, atol, rtol)
        return
    for pattern, what, axis in _ATTENTION:
        if pattern.fullmatch(inside):
            for head, numbers in _by_head(what, _along(a, b, axis, atol, rtol), heads):
                yield f"a{index}.h{head}", numbers
            return
    yield name, _whole(a, b, atol, rtol)


def _by_head(what: str, along: np.ndarray, heads: Heads) -> Iterator[tuple[int, tuple[float, float, float, float]]]:
    """Rows of a projection [4, width] by the head that they belong to."""
    kinds = {"qkv": [heads.n, heads.n_kv, heads.n_kv], "kv": [heads.n_kv]}.get(what, [heads.n])
    if along.shape[1] % sum(kinds):
        raise MiError(f"a projection of {along.shape[1]} rows does not split into {sum(kinds)} heads")
    rows = iter(np.split(along, sum(kinds), axis=1))
    for n in kinds:
        for group in range(n):
            part = next(rows)
            numbers = (float(part[0].sum()), float(part[1].sum()), float(part[2].max()), float(part[3].sum()))
            for head in range(group * heads.n // n, (group + 1) * heads.n // n):
                yield head, numbers


def _whole(a: Array, b: Array, atol: float, rtol: float) -> tuple[float, float, float, float]:
    along = _along(a, b, 0, atol, rtol)
    return float(along[0].sum()), float(along[1].sum()), float(along[2].max(initial=0.0)), float(along[3].sum())


def _along(a: Array, b: Array, axis: int, atol: float, rtol: float) -> np.ndarray:
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
        pieces = (gap * gap, x * x, gap, gap > atol + rtol * np.abs(x))
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

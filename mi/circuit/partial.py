"""One shard of a run that was cut up: `mi attribute --shard 2/5` writes it, `mi merge --sum` joins all five.

In: the sums of a part of the examples. Out: the blob `partial` and the head's entry of the same name, and back. Such a
stream is of kind `scores` and holds none yet, so whoever wants scores is told how to come by them (`refuse`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mi.circuit.levels import Units
from mi.circuit.sums import Sums
from mi.errors import MiError, UsageError
from mi.io import blobs
from mi.io.blobs import BF16
from mi.io.stream import Stream

BLOB = "partial"
MEASURED = ("clean", "loss_change")  # of each example, where the method measures it


@dataclass(frozen=True)
class Shard:
    """Shard `index` (from 1) of `of`."""

    index: int
    of: int

    def __str__(self) -> str:
        return f"shard {self.index} of {self.of}"


def parse(text: str) -> Shard:
    """The value of --shard, such as 2/5."""
    first, slash, second = text.partition("/")
    if not (slash and first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
        raise UsageError(f"--shard {text} is not a shard", "give I/N, such as 2/5 for the second of five")
    shard = Shard(int(first), int(second))
    if not 1 <= shard.index <= shard.of:
        raise UsageError(f"--shard {text} is not there", f"shards are counted from 1 to {shard.of or 'N'}")
    return shard


def check_size(shard: Shard, n: int) -> None:
    """Refuse a shard without examples: its job would load a model for nothing."""
    if shard.of > n:
        raise UsageError(f"there are {shard.of} shards and {n} example{'s' * (n != 1)}", f"use at most {n} shards")


def head(shard: Shard, whole: Mapping[str, Any], part: Mapping[str, Any], only: str | None) -> dict[str, Any]:
    """The head's entry. ``whole`` and ``part`` say what the set and this shard of it are, as number and digest;
    ``only`` is the digest of what alone was looked at."""
    made = {"shard": shard.index, "of": shard.of, "set": dict(whole), "examples": dict(part)}
    return {**made, "only": only} if only else made


def tensors(sums: Sums) -> dict[str, np.ndarray]:
    """The blob: float64 throughout, so that the joined scores are those of one run."""
    measured = {name: getattr(sums, name) for name in MEASURED}
    return {
        f"{sums.units.level}_shards": sums.by_shard,
        "shard_n": sums.shard_n,
        "rows": sums.rows,
        **{name: values for name, values in measured.items() if not np.isnan(values).all()},
    }


def shard_of(head: Mapping[str, Any], place: str = "") -> Shard | None:
    """Which shard a stream is, by its head, or None where it is whole."""
    entry = head.get("partial")
    if entry is None:
        return None
    try:
        return Shard(int(entry["shard"]), int(entry["of"]))
    except (KeyError, TypeError, ValueError):
        raise MiError("the entry `partial` says no shard", place=place) from None


def refuse(head: Mapping[str, Any], place: str = "") -> None:
    """A shard is no ranking: its sums are of some of the examples only."""
    shard = shard_of(head, place)
    if shard is not None:
        raise MiError(
            f"these are the sums of {shard}, not scores", "join all shards: mi merge --sum PART...", place=place
        )


def read(stream: Stream, units: Units) -> Sums:
    """The sums of a stream that is a shard."""
    if BLOB not in stream.blobs:
        raise MiError("the sums of the shard are missing", "run its job again", place=stream.origin)
    arrays = blobs.load(stream, BLOB)
    name = f"{units.level}_shards"
    absent = next((key for key in (name, "shard_n", "rows") if key not in arrays), None)
    if absent is not None:
        raise MiError(f"the shard's blob holds no {absent}", "run its job again", place=stream.origin)
    held = {key: array.float32() if isinstance(array, BF16) else array for key, array in arrays.items()}
    by_shard, shard_n, rows = (held[key] for key in (name, "shard_n", "rows"))
    clean, change = (held.get(key, np.full(len(rows), np.nan)) for key in MEASURED)
    fits = by_shard.shape == (len(shard_n), *units.shape) and len(rows) == len(clean) == len(change)
    if not fits or int(shard_n.sum()) != len(rows):
        raise MiError("the sums of the shard have other sizes than its graph", "run its job again", place=stream.origin)
    return Sums(units, by_shard, shard_n, rows, clean, change)

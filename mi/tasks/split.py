"""Which examples a command works on: those of one split.

In: example records, a split, how many. Out: its records, unchanged, and a note for stderr. Records that name no split
are halved by the digest of their clean prompt, so that a prompt is on the same side in every file.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from mi.errors import MiError
from mi.io import canonical

ALL = "all"
HALVES = ("train", "validation")


def half_of(clean: Any) -> str:
    """The half of a clean prompt: the first bit of its digest."""
    return HALVES[hashlib.sha256(canonical.dumps(clean)).digest()[0] >> 7]


def split_of(record: Mapping[str, Any]) -> str:
    """The record's own split, or else its half."""
    return str(record.get("split") or half_of(record["clean"]))


def first_of_each(records: Iterable[Mapping[str, Any]], number: int | None) -> list[int]:
    """Rows of the first records of each split, in their order; of all, if no number is given. Where no split is named,
    the halves by digest count as splits.
    """
    counts: Counter[str] = Counter()
    rows = []
    for row, record in enumerate(records):
        name = split_of(record)
        counts[name] += 1
        if number is None or counts[name] <= number:
            rows.append(row)
    return rows


def assign(records: Iterable[dict[str, Any]], split: str) -> tuple[list[dict[str, Any]], str]:
    """The records of `split` ("all": every one), and what to say on stderr ("": nothing)."""
    every = list(records)
    if split == ALL:
        return every, ""
    chosen = [record for record in every if split_of(record) == split]
    without = sum(not record.get("split") for record in every)
    counts = Counter(map(split_of, every))
    if not chosen:
        raise _none(split, counts, without)
    return chosen, _note(counts, without, len(every))


def _note(counts: Counter[str], without: int, total: int) -> str:
    if not without:
        return ""
    what = "the examples name no split" if without == total else f"{without} of {total} examples name no split"
    halves = " and ".join(f"{counts[half]} {half}" for half in HALVES)
    return f"{what}: halved by the digest of the clean prompt, {halves}; --split all takes every one"


def _none(split: str, counts: Counter[str], without: int) -> MiError:
    have = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    if without and split in HALVES:
        have += ", halved by the digest of the clean prompt"
    return MiError(f"no {split} example (there are {have or 'none at all'})", "--split all takes every example")

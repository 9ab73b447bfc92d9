"""The schema of each kind of stream, one file a kind.

In: a kind. Out: `SCHEMA`, JSON Schema of one line of such a stream, and a check of a whole stream against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from mi.errors import MiError, UsageError

KINDS = ("examples", "cache", "scores", "circuit", "report", "effects", "means")


def get(kind: str) -> dict[str, Any]:
    """The JSON Schema that `mi schema KIND` prints."""
    if kind not in KINDS:
        raise UsageError(f"no kind of stream is called {kind!r}", f"kinds are {', '.join(KINDS)}")
    return dict(module(kind).SCHEMA)


def module(kind: str) -> ModuleType:
    return import_module(f"mi.io.schemas.{kind}")


def check(head: Mapping[str, Any], records: Sequence[Mapping[str, Any]], origin: str, lines: Sequence[int]) -> None:
    """Hold a stream to the schema of its kind. `lines[i]` is the line of record i.

    Of a kind that is unknown here, only what every head shares is looked at.
    """
    from mi.io.schemas.shape import TEXT
    from mi.io.schemas.shape import head as any_head
    from mi.io.schemas.validate import compiled

    kind = str(head.get("kind"))
    known = module(kind).SCHEMA["$defs"] if kind in KINDS else {"head": any_head(TEXT), "record": {}}
    if problem := compiled(known["head"])(head):
        raise MiError(f"the head is no {kind} head: {problem}", f"see `mi schema {kind}`", place=f"{origin}:1")
    faulty = compiled(known["record"])
    for record, line in zip(records, lines, strict=True):
        if problem := faulty(record):
            raise MiError(f"no {kind} record: {problem}", f"see `mi schema {kind}`", place=f"{origin}:{line}")

"""Several streams in, one out: names of the command line in, streams out; then the head that names all of them.

The result goes on the chain of the stream that was piped in, or else named first (the base). Its head's `merged` holds
the name, digest and chain of each of the others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mi.errors import UsageError
from mi.io import chain, digests, stream
from mi.io.chain import Invocation
from mi.io.stream import Stream

STDIN = "-"


@dataclass(frozen=True)
class Parent:
    """One input: its name on the command line, and its stream."""

    name: str
    stream: Stream


def names(files: Sequence[str] | None, least: int, what: str, hint: str = "") -> list[str]:
    """The files of a command line, at least so many. ``hint``: what to give, where it is not just a number."""
    given = list(files or [])
    if len(given) < least:
        hint = hint or ("give two or more" if least == 2 else "give one or more")
        raise UsageError(f"{len(given)} file{'s' * (len(given) != 1)} to {what}", f"{hint}; one may be -")
    if given.count(STDIN) > 1:
        raise UsageError("standard input is named twice", "one of the files may be -")
    return given


def read(given: Sequence[str], kinds: Sequence[str]) -> list[Parent]:
    return [Parent(name, stream.read(name, kinds)) for name in given]


def base(parents: Sequence[Parent]) -> Parent:
    """The one whose chain goes on."""
    return next((parent for parent in parents if parent.name == STDIN), parents[0])


def record(head: Mapping[str, Any], parents: Sequence[Parent], command: Invocation) -> dict[str, Any]:
    """A head with the link of the running command, and where all its parents came from."""
    first = base(parents)
    others = [parent for parent in parents if parent is not first]
    given = [chain.given(parent.name, digest(parent)) for parent in others]
    merged = list(first.stream.head.get("merged", []))
    for item, parent in zip(given, others, strict=True):
        entry = {"name": item["name"], "sha256": item["sha256"], "chain": parent.stream.head.get("chain", [])}
        if "merged" in parent.stream.head:
            entry["merged"] = parent.stream.head["merged"]
        merged.append(entry)
    words = [*command.argv, *(STDIN if parent is first else parent.name for parent in parents)]
    made = {**head, "chain": first.stream.head.get("chain", [])}
    if merged:
        made["merged"] = merged
    return chain.record(made, Invocation(command.command, tuple(words)), [*first.stream.as_input(), *given])


def digest(parent: Parent) -> str:
    """Of the file's bytes, which a script can check. What is no file (`<(...)`) cannot be read a second time."""
    return digests.file_digest(parent.name) if os.path.isfile(parent.name) else parent.stream.sha256

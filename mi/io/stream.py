"""Streams in and out.

In: a file name or stdin. Out: a `Stream`, verified to its last byte before anyone sees a record. `write` goes the other
way: it serialises everything first, so that a head is written only when nothing can fail any more.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from mi.errors import MiError
from mi.io import blobs as _blobs
from mi.io import chain, channel, lines, schemas, source
from mi.io.blobs import Blob
from mi.io.writing import check_output, write

__all__ = ["KINDS", "MAKERS", "Stream", "check_output", "parse", "read", "write"]

MAKERS = {
    "examples": "mi data",
    "cache": "mi cache",
    "scores": "mi attribute",
    "circuit": "mi prune",
    "report": "mi score",
    "effects": "mi patch",
    "means": "mi cache --means",
}
KINDS = tuple(MAKERS)


@dataclass(frozen=True)
class Stream:
    """A stream that is whole. `records` leaves out the blob records, which `blobs` holds by name."""

    head: dict[str, Any]
    records: list[dict[str, Any]]
    blobs: dict[str, Blob]
    origin: str  # "stdin", or the path as it was given
    folder: Path | None = None
    sha256: str = ""  # of every byte before the end line
    lines: Sequence[int] = field(default=(), repr=False)  # the line of each record

    @property
    def kind(self) -> str:
        return str(self.head["kind"])

    def place(self, index: int) -> str:
        """Where record `index` stands, for errors: `scores.jsonl:17`."""
        return f"{self.origin}:{self.lines[index] if index < len(self.lines) else index + 2}"

    def as_input(self) -> list[dict[str, Any]]:
        """The chain's input for this stream: its examples. The stream itself is named by `prev`, not by a file's name,
        so that a file and a pipe give the same bytes."""
        sha = (self.head.get("examples") or {}).get("sha256")
        return [{"name": "examples", "sha256": sha}] if sha else []


def read(file: str | None, kinds: Sequence[str], meanwhile: Callable[[], None] | None = None) -> Stream:
    """Read one stream from a file, or from stdin (None or "-"), and verify all of it. `kinds`: what can be used.
    `meanwhile`: work for the time in which stdin keeps us waiting."""
    handed = channel.current()
    if file in (None, "-") and handed is not None and handed.input is not None:
        return parse(handed.input.data.splitlines(keepends=True), "stdin", kinds, memory=handed.input.blobs)
    if file in (None, "-"):
        with source.stdin(meanwhile) as f:
            found = lines.split(f, "stdin")
            first = next(found, b"")
            if not first:
                raise source.dead_upstream()
            return parse([first, *found], "stdin", kinds, folder=_stdin_folder())
    assert file is not None
    with open_file(file) as f:
        return parse(lines.split(f, file), file, kinds, folder=Path(os.path.realpath(file)).parent)


def parse(
    source_lines: Iterable[bytes],
    origin: str,
    kinds: Sequence[str],
    folder: Path | None = None,
    memory: Mapping[str, Blob] | None = None,
) -> Stream:
    """Verify lines that are already there. `memory`: blobs by digest that never left this process."""
    whole = lines.verify(source_lines, origin)
    check_kind(whole.head, kinds, origin)
    numbered = list(enumerate(whole.rows, start=2))
    records = [row for _, row in numbered if "blob" not in row]
    places = [number for number, row in numbered if "blob" not in row]
    schemas.check(whole.head, records, origin, places)
    made_by = chain.pipeline(whole.head)
    if folder is not None and origin != "stdin" and made_by:
        made_by += f" -o {shlex.quote(origin)}"
    found: dict[str, Blob] = {}
    for number, row in numbered:
        if "blob" not in row:
            continue
        place = f"{origin}:{number}"
        blob = _blobs.from_record(row, place=place, folder=folder, made_by=made_by)
        if blob.name in found:
            raise MiError(f"a second blob with the name {blob.name}", place=place)
        found[blob.name] = (memory or {}).get(blob.sha256, blob)
    return Stream(whole.head, records, found, origin, folder, whole.sha256, places)


def check_kind(head: dict[str, Any], kinds: Sequence[str], origin: str) -> None:
    """Refuse a stream that the command cannot use, naming the command that makes the right one. No kinds: any."""
    kind = head["kind"]
    if kind in kinds or not kinds:
        return
    makers = " or ".join(f"`{MAKERS[wanted]}`" for wanted in kinds if wanted in MAKERS)
    known = "" if kind in MAKERS else ", which this mi does not know"
    raise MiError(
        f"a stream of kind {kind[:40]!r}{known}; needed: {' or '.join(kinds)}", f"made by {makers}", place=f"{origin}:1"
    )


def open_file(file: str) -> BinaryIO:
    try:
        return open(file, "rb")
    except FileNotFoundError:
        raise MiError("no such file", place=file) from None
    except OSError as error:
        raise MiError(f"cannot be read: {error.strerror}", place=file) from error


def _stdin_folder() -> Path:
    """The folder of `< out.jsonl`, so that its sidecars are found; this folder for a pipe."""
    try:
        name = os.readlink("/proc/self/fd/0")
    except OSError:
        return Path(".")
    return Path(name).parent if os.path.isabs(name) and os.path.isfile(name) else Path(".")

"""From bytes to a verified stream: one head, records, one end whose count and digest are right.

In: lines as bytes. Out: `Verified`, only when the last byte is known to be good. An upstream that died, a file cut
short, a flipped bit, an edit without `mi stamp`: all end here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from mi.errors import MiError
from mi.io import canonical

VERSION = 1
MAX_LINE = 1 << 26  # bytes: longer is no record but something that is not a stream
STAMP = "if you changed it on purpose, seal it again with `mi stamp`"


@dataclass(frozen=True)
class Verified:
    head: dict[str, Any]
    rows: list[dict[str, Any]]  # row i stands on line i + 2
    sha256: str  # of every byte before the end line


def split(source: BinaryIO, origin: str) -> Iterator[bytes]:
    """Lines with their newline, none longer than a record can be."""
    number = 0
    while line := source.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE:
            raise MiError(f"a line of more than {MAX_LINE >> 20} MiB: this is no stream", place=f"{origin}:{number}")
        yield line


def verify(lines: Iterable[bytes], origin: str) -> Verified:
    """Read everything, then say that it is whole. `origin` is the file's name, or stdin."""
    digest = hashlib.sha256()
    head: dict[str, Any] | None = None
    rows: list[dict[str, Any]] = []
    whole: Verified | None = None
    number = 0
    for number, line in enumerate(lines, start=1):
        place = f"{origin}:{number}"
        if whole is not None:
            raise MiError(
                "data after the end line", "a stream ends at its first end line: give one at a time", place=place
            )
        try:
            row = parse(line, place, first=head is None)
        except MiError:
            if line.startswith(b"{") and not line.endswith(b"\n"):
                raise _cut_short("it breaks off within a line", place) from None
            raise
        if head is None:
            head = check_head(row, place)
        elif row.get("mi") == "end":
            whole = _close(row, head, rows, digest, line, place)
        elif "mi" in row:
            raise MiError(f'a second line with "mi":{canonical.dumps(row["mi"]).decode()[:40]}', place=place)
        else:
            rows.append(row)
        digest.update(line)
    if head is None:
        raise MiError("it is empty", "the command that should have written it failed", place=origin)
    if whole is None:
        raise _cut_short("it has no end line", f"{origin}:{number}")
    return whole


def _cut_short(how: str, place: str) -> MiError:
    return MiError(
        f"the stream is cut short: {how}", "the command that wrote it died or was stopped; run it again", place=place
    )


def parse(line: bytes, place: str, first: bool = False) -> dict[str, Any]:
    """One line to one object."""
    if first and (what := _foreign(line)):
        raise MiError(f"this is no mi stream but {what}", place=place.rpartition(":")[0])
    if line.endswith(b"\r\n"):
        raise MiError(
            "lines end with CR LF", "convert it to plain line ends, or seal it again with `mi stamp`", place=place
        )
    value = canonical.loads(line.removesuffix(b"\n"), place)
    if not isinstance(value, dict):
        raise MiError("a line that is no JSON object", place=place)
    return value


def check_head(row: dict[str, Any], place: str) -> dict[str, Any]:
    """The first line must be a head of a version that this mi knows."""
    if row.get("mi") != "head":
        raise MiError(
            "the first line is no head, so this is no mi stream",
            "plain example files are read by `mi data --from FILE`",
            place=place,
        )
    version = row.get("v")
    if type(version) is not int or version < 1:
        raise MiError(f"the head has no version: v is {canonical.dumps(version).decode()[:40]}", place=place)
    if version > VERSION:
        raise MiError(f"written by a newer mi (v {version}; this one reads v {VERSION})", "update mi", place=place)
    if not isinstance(row.get("kind"), str):
        raise MiError("the head names no kind", place=place)
    return row


def _foreign(line: bytes) -> str:
    """What a first line that cannot be a stream's looks like."""
    starts = {b"\x1f\x8b": "gzip data (gunzip it first)", b"PK\x03\x04": "a zip file", b"\x89PNG": "a picture",
              b"\x28\xb5\x2f\xfd": "zstd data", b"\xef\xbb\xbf": "text with a byte order mark (remove it)"}  # fmt: skip
    known = next((name for start, name in starts.items() if line.startswith(start)), "")
    return known or ("binary data" if b"\0" in line else "")


def _close(
    row: dict[str, Any], head: dict[str, Any], rows: list[dict[str, Any]], digest: Any, line: bytes, place: str
) -> Verified:
    n, sha = row.get("n"), digest.hexdigest()
    if type(n) is not int or n != len(rows):
        raise MiError(
            f"the end line counts {canonical.dumps(n).decode()[:40]} records and there are {len(rows)}",
            STAMP,
            place=place,
        )
    if row.get("sha256") != sha:
        raise MiError(
            "the digest in the end line is not that of the lines before it: the stream was changed", STAMP, place=place
        )
    if not line.endswith(b"\n"):
        raise MiError("the end line lacks its newline: the stream is cut short", STAMP, place=place)
    return Verified(head, rows, sha)

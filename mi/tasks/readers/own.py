"""A stream that `mi` wrote itself, given as a file of examples: verified like every stream, then read as records."""

from __future__ import annotations

import re

from mi.errors import MiError
from mi.io import stream
from mi.tasks.readers.rows import Row, Table
from mi.tasks.readers.source import Source


def is_stream(text: str) -> bool:
    first = text.lstrip().split("\n", 1)[0]
    return re.search(r'"mi"\s*:\s*"head"', first) is not None


def parse(source: Source) -> Table:
    found = stream.parse(source.text.encode().splitlines(keepends=True), source.name, ("examples", "cache"))
    rows = tuple(Row(value, source.name, line) for value, line in zip(found.records, found.lines, strict=True))
    if not rows:
        raise MiError("has no example", "make it again with more of them", place=source.name)
    return Table(source.name, "json", rows, frozenset(rows[0].value), source.sha256, {"head": found.head})

"""Where a command's result goes: a table on a terminal, the stream itself everywhere else.

In: what `mi.io.stream.write` takes. Every command that writes a stream ends with `emit`.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mi.io import channel, stream
from mi.show.records import Shown, tables
from mi.show.table import Table, write

Tensors = Mapping[str, Mapping[str, np.ndarray]]


def wants_table(output: str | None, json: bool) -> bool:
    """True where a person looks at stdout and no stage of the same process waits for the stream."""
    return output is None and not json and not channel.taken() and sys.stdout is not None and sys.stdout.isatty()


def emit(
    head: Mapping[str, Any],
    records: Iterable[Mapping[str, Any]],
    tensors: Tensors | None = None,
    *,
    output: str | None = None,
    json: bool = False,
    before: Iterable[Table] = (),
) -> None:
    """Write a stream to `output` or stdout; or draw it, after the tables `before` that only the command can make."""
    if not wants_table(output, json):
        stream.write(output, dict(head), (dict(record) for record in records), tensors)
        return
    named = dict(tensors or {})
    shown = Shown(head, list(records), named.__getitem__, tuple(named))
    write([*before, *tables(shown, rows_that_fit())])


def rows_that_fit() -> int:
    """Rows of a table on this terminal, so that its head and its notes are still seen."""
    return max(10, shutil.get_terminal_size((100, 24)).lines - 8)

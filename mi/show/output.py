"""Where a command's result goes: a table on a terminal, the stream itself everywhere else.

In: what `mi.io.stream.write` takes. Every command that writes a stream ends with `emit`.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mi.io import blobs, channel, stream
from mi.io.blobs import Array, Blob

if TYPE_CHECKING:
    from mi.show.records import Shown
    from mi.show.table import Table

Tensors = Mapping[str, Mapping[str, Array] | Blob]


def wants_table(output: str | None, json: bool) -> bool:
    """True where a person looks at stdout and no stage of the same process waits for the stream."""
    handed = channel.current()
    waited_for = handed is not None and handed.keeps_output
    return output is None and not json and not waited_for and sys.stdout is not None and sys.stdout.isatty()


def emit(
    head: Mapping[str, Any],
    records: Iterable[Mapping[str, Any]],
    tensors: Tensors | None = None,
    *,
    output: str | None = None,
    json: bool = False,
    own: Iterable[Table] = (),
) -> None:
    """Write a stream to `output` or stdout; or draw it: the command's `own` tables, else those of the kind."""
    if not wants_table(output, json):
        stream.write(output, head, records, tensors)
        return
    from mi.show.records import Wanted, tables  # what draws is not needed where a stream is written
    from mi.show.table import write

    write(list(own) or tables(shown(head, list(records), tensors or {}), Wanted(rows_that_fit())))


def shown(head: Mapping[str, Any], records: list[Any], tensors: Tensors) -> Shown:
    """A stream as the tables want it: arrays are loaded only if a table asks for them."""
    from mi.show.records import Shown

    def load(name: str) -> Mapping[str, Any]:
        value = tensors[name]
        return blobs.arrays(value) if isinstance(value, Blob) else value

    return Shown(head, records, load, tuple(tensors))


def rows_that_fit() -> int:
    """Rows of a table on this terminal, so that its head and its notes are still seen."""
    return max(10, shutil.get_terminal_size((100, 24)).lines - 8)

"""A table as data, and its two drawings: plain text for pipes and files, rich for a terminal.

In: titles, columns and cells that are already text. Out: text. rich is imported only to draw on a terminal.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TextIO

from mi.errors import printable

GAP = 3  # blanks between two columns on a terminal
LEAST = 8  # characters that even a cut column keeps


@dataclass(frozen=True)
class Column:
    name: str
    right: bool = False  # numbers stand to the right
    wide: bool = False  # text that may be cut on a narrow terminal


@dataclass(frozen=True)
class Table:
    """Rows of text under named columns. `notes` are lines below it; `title` stands above. `heat` colours the cells of
    a map on a terminal: a number from -1 to 1 for each, None for those that are no part of it."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    title: str = ""
    notes: Sequence[str] = field(default_factory=tuple)
    heat: Sequence[Sequence[float | None]] = ()

    def __post_init__(self) -> None:
        """Names and prompts are those of a stream that somebody else may have written."""
        clean = {
            "columns": [replace(column, name=printable(column.name)) for column in self.columns],
            "rows": [[printable(cell) for cell in row] for row in self.rows],
            "title": printable(self.title),
            "notes": [printable(line) for line in self.notes],
        }
        for name, value in clean.items():
            object.__setattr__(self, name, value)


def write(tables: Iterable[Table], out: TextIO | None = None) -> None:
    """Draw tables on stdout, in colour if it is a terminal."""
    out = out or sys.stdout
    for index, table in enumerate(tables):
        out.write(("\n" if index else "") + (drawn(table) if out.isatty() else plain(table)))


def drawn(table: Table) -> str:
    if not table.heat:
        return _pretty(table)
    from mi.show.heatmap import painted

    return painted(table, shutil.get_terminal_size((100, 24)).columns)


def plain(table: Table) -> str:
    """Aligned columns, two spaces apart, nothing cut: for eyes in a pager, for grep and awk."""
    lines = [table.title] if table.title else []
    if table.columns:
        cells = [[column.name for column in table.columns], *table.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
        lines += [_line(row, widths, table.columns) for row in cells]
    return "".join(f"{line}\n" for line in [*lines, *table.notes])


def _line(row: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> str:
    padded = (
        cell.rjust(width) if column.right else cell.ljust(width)
        for cell, width, column in zip(row, widths, columns, strict=True)
    )
    return "  ".join(padded).rstrip()


def _pretty(table: Table) -> str:
    """The same for a terminal: what is too wide is cut or left out, heads are dimmed, numbers below zero are red."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    width = shutil.get_terminal_size((100, 24)).columns
    table = _fitting(table, width)
    rooms = _rooms(table, width)
    console = Console(width=max(width, _needed(rooms)), force_terminal=True, highlight=False)
    grid = Grid(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    for column, room in zip(table.columns, rooms, strict=True):
        justify: Literal["left", "right"] = "right" if column.right else "left"
        grid.add_column(column.name, justify=justify, no_wrap=True, overflow="ellipsis", min_width=room, max_width=room)
    for row in table.rows:
        grid.add_row(*(_cell(cell, column) for cell, column in zip(row, table.columns, strict=True)))
    with console.capture() as capture:
        if table.title:
            console.print(Text(table.title, style="bold"))
        if table.columns:
            console.print(grid)
        for line in table.notes:
            console.print(Text(line, style="dim"))
    return capture.get()


def _needed(rooms: Sequence[int]) -> int:
    return sum(rooms) + GAP * (len(rooms) - 1)


def _fitting(table: Table, width: int) -> Table:
    """The table without columns that have no room: first the bars, then from the right; the first two stay
    (a name and its number), and the terminal breaks their lines where even they are too wide."""
    if _needed(_rooms(table, width)) <= width:
        return table
    # A column without a name that is no text draws what a number beside it says.
    kept = [i for i, column in enumerate(table.columns) if column.name or column.wide]
    bare = len(kept)
    while _needed(_rooms(_of_columns(table, kept), width)) > width and len(kept) > 2:
        kept.pop()
    fits = _of_columns(table, kept)
    if not (lost := bare - len(kept)):
        return fits
    columns = "column has" if lost == 1 else f"{lost} columns have"
    return replace(fits, notes=[*fits.notes, f"the last {columns} no room: a wider terminal, or a pipe, shows all"])


def _of_columns(table: Table, kept: Sequence[int]) -> Table:
    return replace(table, columns=[table.columns[i] for i in kept], rows=[[row[i] for i in kept] for row in table.rows])


def _rooms(table: Table, width: int) -> list[int]:
    """How wide each column is: what it needs, except that wide ones share what the others leave, the small first."""
    rooms = [
        max(len(cell) for cell in (column.name, *(row[i] for row in table.rows)))
        for i, column in enumerate(table.columns)
    ]
    wide = [i for i, column in enumerate(table.columns) if column.wide]
    left = width - GAP * (len(rooms) - 1) - sum(room for i, room in enumerate(rooms) if i not in wide)
    for done, i in enumerate(sorted(wide, key=lambda i: rooms[i])):
        rooms[i] = min(rooms[i], max(LEAST, left // (len(wide) - done)))
        left -= rooms[i]
    return rooms


def _cell(cell: str, column: Column):  # type: ignore[no-untyped-def]  # rich is imported only where it draws
    from rich.text import Text

    return Text(cell, style="red" if column.right and cell.startswith("-") else "")

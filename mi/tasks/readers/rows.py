"""A file of examples as rows: dictionaries that remember the line they came from. Which tool wrote them is not
decided here.

In: `Source`, or the path of a Parquet file. Out: `Table`. JSON lines, one JSON value of many lines, an array of
objects, and CSV are told apart by their first characters.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mi.errors import MiError
from mi.io import canonical
from mi.tasks.readers.source import MAX_LINE, Source

_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"


@dataclass(frozen=True)
class Row:
    """One object of the file. `line` is where it begins; in a Parquet file it is the row's number."""

    value: dict[str, Any]
    file: str
    line: int
    split: str = ""

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    def error(self, fact: str, hint: str = "") -> MiError:
        return MiError(fact, hint, place=self.place)


@dataclass(frozen=True)
class Table:
    """The rows of one file. `kind` is json, csv or parquet. `columns` are the CSV's header, or the keys of the first
    object; `outer` is what stands beside the array of an AutoCircuit file."""

    name: str
    kind: str
    rows: tuple[Row, ...]
    columns: frozenset[str]
    sha256: str = ""
    outer: dict[str, Any] = field(default_factory=dict)


def parse(source: Source) -> Table:
    start = source.text.lstrip(_SPACE)[:1]
    if start == "[":
        return _table(source, _array(source, len(source.text) - len(source.text.lstrip(_SPACE))))
    if start == "{":
        return _objects(source)
    return _csv(source)


def parquet(path: str, split: str = "") -> Table:
    """Rows of a Parquet file, the hub's own format, where pyarrow is installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise MiError(
            "is a Parquet file, and pyarrow is not installed",
            "pip install pyarrow, or export it as JSON lines, datasets.load_dataset(…)['train'].to_json(FILE)",
            place=path,
        ) from None
    try:
        values = pyarrow.parquet.read_table(path).to_pylist()
    except Exception as error:  # pyarrow's own errors share no base class with a documented name
        raise MiError(f"cannot be read as Parquet: {error}", "is the file complete?", place=path) from None
    rows = tuple(Row(value, path, number, split) for number, value in enumerate(values, 1))
    return Table(path, "parquet", rows, _columns(rows), hashlib.sha256(Path(path).read_bytes()).hexdigest())


def header(text: str) -> frozenset[str]:
    """The column names that the beginning of a CSV file shows."""
    try:
        return frozenset(next(_reader(text), []))
    except csv.Error:
        return frozenset()


def _table(source: Source, rows: Iterator[Row], outer: dict[str, Any] | None = None) -> Table:
    found = tuple(rows)
    if not found:
        raise MiError("has no example", "give a file with at least one", place=source.name)
    return Table(source.name, "json", found, _columns(found), source.sha256, outer or {})


def _columns(rows: tuple[Row, ...]) -> frozenset[str]:
    return frozenset(rows[0].value) if rows else frozenset()


# --- JSON -----------------------------------------------------------------------------------------------------------


def _objects(source: Source) -> Table:
    """JSON lines where the first line is whole; else objects that span lines, as `jq` prints them."""
    first = source.text.lstrip(_SPACE).split("\n", 1)[0].rstrip(_SPACE)
    try:
        value, end = _DECODER.raw_decode(first)
        whole = end == len(first)
    except (json.JSONDecodeError, RecursionError):
        whole = False
    if not whole:
        return _documents(source)
    if isinstance(value.get("prompts"), list):  # an AutoCircuit file without line breaks
        return _documents(source)
    return _table(source, _lines(source))


def _lines(source: Source) -> Iterator[Row]:
    # Not splitlines(): JSON strings may hold other line separators, such as U+2028, as they are.
    for number, line in enumerate(source.text.split("\n"), 1):
        if line.strip(_SPACE):
            yield _row(source, number, line)


def _documents(source: Source) -> Table:
    """One object with an array "prompts" (AutoCircuit), or a series of objects over several lines."""
    begin = _skip(source.text, 0)
    _, end = _decode(source, begin)
    array = _member(source, begin, "prompts")
    if array is not None:
        if _skip(source.text, end) < len(source.text):
            line = source.line_at(_skip(source.text, end))
            raise MiError("more text after the JSON value", place=f"{source.name}:{line}")
        outer = canonical.loads(source.text[begin:end].encode(), f"{source.name}:{source.line_at(begin)}")
        return _table(source, _array(source, array), {key: item for key, item in outer.items() if key != "prompts"})
    return _table(source, _series(source, begin))


def _series(source: Source, position: int) -> Iterator[Row]:
    line, counted = 1, 0
    while position < len(source.text):
        line, counted = line + source.text.count("\n", counted, position), position
        _, end = _decode(source, position)
        yield _row(source, line, source.text[position:end])
        position = _skip(source.text, end)


def _array(source: Source, position: int) -> Iterator[Row]:
    """The objects of the array that begins at `position`."""
    text = source.text
    line, counted = 1, 0
    position = _skip(text, position + 1)
    while text[position : position + 1] != "]":
        line, counted = line + text.count("\n", counted, position), position
        _, end = _decode(source, position)
        yield _row(source, line, text[position:end])
        position = _skip(text, end)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
        elif text[position : position + 1] != "]":
            raise MiError("not JSON: the array has no end", "is the file complete?", place=f"{source.name}:{line}")


def _member(source: Source, position: int, key: str) -> int | None:
    """Where the array under `key` begins, in the object at `position`; None if it has none."""
    text = source.text
    position = _skip(text, position + 1)
    while text[position : position + 1] == '"':
        name, end = _decode(source, position)
        position = _skip(text, _skip(text, end) + 1)  # over the colon
        if name == key and text[position : position + 1] == "[":
            return position
        _, end = _decode(source, position)
        position = _skip(text, _skip(text, end) + 1)  # over the comma
    return None


def _decode(source: Source, position: int) -> tuple[Any, int]:
    """Only finds where a value ends: what it holds is read strictly by `canonical.loads`."""
    try:
        return _DECODER.raw_decode(source.text, position)
    except json.JSONDecodeError as error:
        place = f"{source.name}:{source.line_at(error.pos)}"
        raise MiError(f"not JSON: {error.msg}", "is the file complete?", place=place) from None
    except RecursionError:
        place = f"{source.name}:{source.line_at(position)}"
        raise MiError("not an example: brackets nest too deeply", place=place) from None


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _SPACE:
        position += 1
    return position


def _row(source: Source, line: int, text: str) -> Row:
    place = f"{source.name}:{line}"
    value = canonical.loads(text.encode(), place)
    if not isinstance(value, dict):
        raise MiError(f"not an object but a {type(value).__name__}", "an example is a JSON object", place=place)
    return Row(value, source.name, line, source.split)


# --- CSV ------------------------------------------------------------------------------------------------------------


def _reader(text: str) -> Any:
    csv.field_size_limit(MAX_LINE)
    # strict: a quote that is never closed is an error, not one cell with the rest of the file.
    return csv.reader(io.StringIO(text, newline=""), strict=True)


def _csv(source: Source) -> Table:
    reader = _reader(source.text)
    rows: list[Row] = []
    names: list[str] = []
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            hint = "a quote inside quotes is written twice" if "delimiter" in str(error) else "is a quote left open?"
            raise MiError(f"not CSV: {error}", hint, place=f"{source.name}:{line}") from None
        if cells is None:
            break
        if cells and not names:
            names = _header(cells, source.name)
        elif cells:
            rows.append(_cells(source, line, names, cells))
        line = reader.line_num + 1
    if not rows:
        raise MiError("has a header and no example", "give a file with at least one row", place=source.name)
    return Table(source.name, "csv", tuple(rows), frozenset(names) - {""}, source.sha256)


def _header(cells: list[str], name: str) -> list[str]:
    twice = next((cell for cell in cells if cell and cells.count(cell) > 1), None)
    if twice is not None:
        raise MiError(f"two columns are named {twice!r}", "name every column differently", place=f"{name}:1")
    return cells


def _cells(source: Source, line: int, names: list[str], cells: list[str]) -> Row:
    if len(cells) != len(names):
        raise MiError(
            f"{len(cells)} cells under a header of {len(names)}",
            "does a cell hold a comma without quotes?" if len(cells) > len(names) else "is the row complete?",
            place=f"{source.name}:{line}",
        )
    # A column without a name is the row index that pandas writes.
    return Row({name: cell for name, cell in zip(names, cells, strict=True) if name}, source.name, line, source.split)

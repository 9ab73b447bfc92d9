"""What a reader of one format is, and the small things that every reader does.

A reader turns one row into one example record, or into `Drop` where the format's own rules leave the row out; a row
that is wrong is a MiError that names its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mi.tasks.readers.rows import Row, Table
from mi.tasks.tokenizer import Tokenizer

Record = dict[str, Any]


@dataclass(frozen=True)
class Drop:
    """The format's own filter leaves this row out, and why."""

    reason: str


@dataclass(frozen=True)
class Options:
    """What the user asked of the reader, and what is known of the model that the examples are for. Where nothing is,
    only the form of a row is checked."""

    tokenizer: Tokenizer | None = None
    vocab_size: int | None = None
    counterfactual: str | None = None
    skip: bool = False
    answers: str = "single"


@dataclass(frozen=True)
class Context:
    """The file that a row stands in, and the options. `facts` is what the format's `prepare` found in the whole file;
    `beside` is the row's partner in a format that needs two files."""

    table: Table
    options: Options
    facts: Any = None
    beside: Row | None = None

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self.options.tokenizer


@dataclass(frozen=True)
class Format:
    """One format. `matches` looks at the content alone. `task(table)` names the task (None: call it after the file)
    and its metric. `counterfactual(table)` is the default one. `chooses` is set where `convert` itself takes the one
    that was asked for. `note` is what the user should know about the whole file. `files` is how many files make one
    set of examples."""

    name: str
    title: str
    columns: str
    matches: Callable[[Table], bool]
    convert: Callable[[Row, Context], Record | Drop]
    task: Callable[[Table], tuple[str | None, str]]
    prepare: Callable[[Table], Any] = lambda table: None
    counterfactual: Callable[[Table], str] = lambda table: "corrupted"
    note: Callable[[Table, Options], str] = lambda table, options: ""
    chooses: bool = False
    files: int = 1


def text_of(row: Row, name: str) -> str:
    """A field that must be text with something in it."""
    value = row.value.get(name)
    if value is None:
        raise row.error(f"no {name!r}", f"the first row has it: {', '.join(map(repr, row.value))} is not enough")
    if not isinstance(value, str):
        raise row.error(f"{name!r} is a {type(value).__name__}, not text")
    if not value.strip():
        raise row.error(f"{name!r} is empty")
    return value


def object_of(row: Row, name: str) -> dict[str, Any]:
    value = row.value.get(name)
    if not isinstance(value, dict):
        raise row.error(f"no {name!r}" if value is None else f"{name!r} is a {type(value).__name__}, not an object")
    return value


def ids_of(row: Row, name: str) -> list[int]:
    """Token ids in a cell: `405`, `405.0` (pandas, after a missing value) or `[405, 326]`."""
    value = row.value.get(name)
    cell = str(value) if isinstance(value, (int, list)) else text_of(row, name).strip()
    items = [item for item in cell[1:-1].split(",") if item.strip()] if re.fullmatch(r"\[.*\]", cell) else [cell]
    if not items:
        raise row.error(f"{name!r} has no id")
    if not all(re.fullmatch(r"\s*\d{1,9}(\.0)?\s*", item) for item in items):
        raise row.error(f"{name!r} is {cell[:60]!r}, not a token id or a list of them")
    return [int(item.strip().removesuffix(".0")) for item in items]


def greater(row: Row, year: int, prompt: str) -> tuple[list[str], list[str]]:
    """Answers and foils of greater-than: the two-digit numbers above the year's last two digits, and the rest."""
    shown = [digits for digits in re.findall(r"\d+", prompt) if len(digits) >= 4]
    if not shown or int(shown[0][-2:]) != year:
        seen = f"the prompt shows {shown[0]}" if shown else "the prompt shows no year"
        raise row.error(f"the label is {year}, but {seen}", "the label is the last two digits of the first year")
    if year >= 99:
        raise row.error("no two-digit year is greater than 99", "leave this row out")
    numbers = [f"{number:02d}" for number in range(100)]
    return numbers[year + 1 :], numbers[: year + 1]


def two_digits(row: Row, name: str) -> int:
    cell = str(row.value.get(name, "")).strip().removesuffix(".0")
    if not re.fullmatch(r"\d{1,2}", cell):
        raise row.error(f"{name!r} is {cell[:60]!r}, not a number from 0 to 99")
    return int(cell)


def first_tokens(tokenizer: Tokenizer | None, texts: Sequence[str]) -> list[str | int] | None:
    """The texts themselves where each is one token; else the ids of their first tokens; None where two begin alike."""
    if tokenizer is None or all(tokenizer.single(text) is not None for text in texts):
        return list(texts)
    ids = [tokenizer.first(text) for text in texts]
    return list(ids) if len(set(ids)) == len(ids) else None


def plain_name(name: str) -> str:
    """A counterfactual's name as one types it: `s2_io_flip_counterfactual` is `s2-io-flip`."""
    return name.removesuffix("_counterfactual").replace("_", "-")

"""Read files of examples that other tools wrote: find the format, convert every row, check it, say what was left out.

In: paths, and the tokenizer of the model that the examples are for, if one is known. Out: `Reading`: example records
with ids, and what a stream's head and the user should know about them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mi.errors import MiError, UsageError
from mi.io import canonical, chain
from mi.tasks.encode import encode, needs
from mi.tasks.readers import (
    autocircuit,
    eap_ig,
    edge_pruning,
    examples,
    feature_circuits,
    folder,
    mib,
    own,
    peap,
    rows,
    source,
)
from mi.tasks.readers.format import Context, Drop, Format, Options, Record
from mi.tasks.readers.rows import Row, Table
from mi.tasks.task import record_id
from mi.tasks.tokenizer import Tokenizer

# In order: the first that fits is the one. Plain records come last, for they ask for the least.
FORMATS: tuple[Format, ...] = (
    autocircuit.FORMAT,
    feature_circuits.FORMAT,
    mib.FORMAT,
    peap.FORMAT,
    edge_pruning.FORMAT,
    eap_ig.FORMAT,
    examples.FORMAT,
)


@dataclass(frozen=True)
class Reading:
    """`task` and `source` are the head's `task` and `examples.source`; `inputs` are the files, for a chain's link;
    `notes` are for stderr."""

    records: list[Record]
    task: dict[str, Any]
    source: dict[str, Any]
    inputs: list[dict[str, Any]]
    notes: list[str]


def read(
    paths: str | Sequence[str],
    *,
    tokenizer: Tokenizer | None = None,
    vocab_size: int | None = None,
    counterfactual: str | None = None,
    skip: bool = False,
    answers: str = "single",
) -> Reading:
    """Read one file (or folder), several of one format, or the two of a format that needs two; "-" is stdin.

    `skip` leaves out the rows that cannot be used and says so, instead of refusing the file at the first of them.
    `answers` is the rule for those of several tokens (`encode.RULES`); the task names it where it is not the default.
    """
    names = [paths] if isinstance(paths, str) else list(paths)
    options = Options(tokenizer, vocab_size, counterfactual, skip, answers)
    groups = [_tables(name) for name in names]
    tables = [table for group in groups for table in group]
    form = _format(tables)
    reader = _Reader(form, options)
    records = reader.all(tables)
    name, metric = form.task(tables[0])
    task = {
        "name": name or _stem(names[0]),
        "metric": metric,
        "counterfactual": counterfactual or form.counterfactual(tables[0]),
        **({"answers": answers} if answers != "single" else {}),
    }
    inputs = [chain.given(path, _digest(group)) for path, group in zip(names, groups, strict=True)]
    return Reading(records, task, _origin(names, form, options), inputs, reader.notes(tables))


def _origin(names: Sequence[str], form: Format, options: Options) -> dict[str, Any]:
    """All that is needed to read the same records again."""
    origin: dict[str, Any] = {"path": chain.portable(names[0]), "format": form.name}
    if names[1:]:
        origin["also"] = [chain.portable(other) for other in names[1:]]
    if options.counterfactual:
        origin["counterfactual"] = options.counterfactual
    if options.tokenizer:
        origin["tokenizer"] = {"id": options.tokenizer.id_name, "sha256": options.tokenizer.digest}
    if options.skip:
        origin["skip"] = True
    if options.answers != "single":
        origin["answers"] = options.answers
    return origin


def _digest(tables: Sequence[Table]) -> str:
    """That of the file; of a folder, over the digests of its data files."""
    if len(tables) == 1:
        return tables[0].sha256
    lines = [f"{Path(table.name).name} {table.sha256}\n" for table in tables]
    return canonical.sha256("".join(lines).encode())


def _stem(path: str) -> str:
    return "stdin" if path == "-" else Path(path).resolve().stem


# --- files ----------------------------------------------------------------------------------------------------------


def _tables(path: str) -> list[Table]:
    if path != "-" and os.path.isdir(path):
        return [_table(file, split) for file, split in folder.data_files(path)]
    return [_table(path, "")]


def _table(path: str, split: str) -> Table:
    if path != "-" and source.is_parquet(path):
        return rows.parquet(path, split)
    loaded = source.load(path, split, _guard)
    return own.parse(loaded) if own.is_stream(loaded.text) else rows.parse(loaded)


def _guard(text: str, name: str) -> None:
    """Refuse a first chunk that is nothing we know, before the rest is read."""
    if text.strip()[:1] not in ("", "{", "["):
        columns = rows.header(text)
        probe = Table(name, "csv", (Row(dict.fromkeys(columns, "x"), name, 1),), columns)
        if not any(form.matches(probe) for form in FORMATS) and not {"clean", "corrupted"} <= columns:
            raise _unknown(name, text.lstrip().split("\n", 1)[0])


def _format(tables: Sequence[Table]) -> Format:
    found = [next((form for form in FORMATS if form.matches(table)), None) for table in tables]
    for table, form in zip(tables, found, strict=True):
        if form is None:
            raise _unknown(table.name, ", ".join(sorted(table.columns)), table.columns)
        if form is not found[0]:
            assert found[0] is not None
            fact = f"is {form.title}, but {tables[0].name} is {found[0].title}"
            raise MiError(fact, "read files of different formats one by one", place=table.name)
    form = found[0]
    assert form is not None
    if form.files > 1 and len(tables) != form.files:
        hint = f"give both: --from {tables[0].name} --from COUNTERFACTUAL.csv"
        raise MiError(f"is {form.title}; here is only one of the two", hint, place=tables[0].name)
    return form


def _unknown(name: str, seen: str, columns: frozenset[str] = frozenset()) -> MiError:
    """What the file shows, and the columns of the likeliest format, or the names of all."""
    shown = seen.strip()[:80]
    near = [form for form in FORMATS if {"clean", "corrupted"} & columns and form is eap_ig.FORMAT]
    known = ", ".join(form.title for form in reversed(FORMATS))
    hint = "; ".join(f"{form.title} has {form.columns}" for form in near) or f"`mi data --list` explains these: {known}"
    return MiError(f"no known format: it shows {shown!r}", hint, place=name)


# --- rows -----------------------------------------------------------------------------------------------------------


class _Reader:
    """Converts rows one by one and keeps count of what was left out."""

    def __init__(self, form: Format, options: Options) -> None:
        self.form, self.options = form, options
        self.dropped: Counter[str] = Counter()
        self.skipped: list[MiError] = []
        self.copies: Counter[str] = Counter()  # how often an id that we made came again
        self.total = 0
        self.seen: dict[str, tuple[str, bool]] = {}  # id -> where, and whether the file gave it

    def all(self, tables: Sequence[Table]) -> list[Record]:
        main = tables[: 1 if self.form.files > 1 else None]
        metric = self.form.task(tables[0])[1]
        records = []
        for table in main:
            context = Context(table, self.options, self.form.prepare(table))
            for row, beside in zip(table.rows, self._partners(tables, table), strict=True):
                record = self._one(row, replace(context, beside=beside), metric)
                if record is not None:
                    records.append(record)
        if not records:
            raise self._nothing(tables[0].name)
        return records

    def _partners(self, tables: Sequence[Table], table: Table) -> Iterable[Row | None]:
        if self.form.files == 1:
            return [None] * len(table.rows)
        other = tables[1]
        if len(other.rows) != len(table.rows):
            fact = f"has {len(other.rows)} rows, but {table.name} has {len(table.rows)}"
            raise MiError(fact, "both files must list the same prompts in the same order", place=other.name)
        return other.rows

    def _one(self, row: Row, context: Context, metric: str) -> Record | None:
        self.total += 1
        try:
            record = self.form.convert(row, context)
            if isinstance(record, Drop):
                self.dropped[record.reason] += 1
                return None
            record = self._chosen(row, record)
            self._check(row, record, metric)
        except UsageError:
            raise
        except MiError as error:
            if not self.options.skip:
                raise self._with_way_out(error) from None
            self.skipped.append(error)
            return None
        return self._named(row, record)

    def _check(self, row: Row, record: Record, metric: str) -> None:
        """Whether the model can be given this record, as far as the model is known."""
        tokenizer, size = self.options.tokenizer, self.options.vocab_size
        if tokenizer or size is not None:
            rule = self.options.answers
            encode([record], tokenizer, vocab_size=size, place=lambda _: row.place, rule=rule, **needs(metric))

    def _chosen(self, row: Row, record: Record) -> Record:
        """The record with the counterfactual that was asked for as its `corrupted`."""
        wanted = self.options.counterfactual
        if wanted is None or self.form.chooses:
            return record
        others = {"corrupted": record["corrupted"], **(record.get("counterfactuals") or {})}
        if wanted not in others:
            raise row.error(f"no counterfactual {wanted!r}", f"the row has {', '.join(others)}")
        return {**record, "corrupted": others[wanted]}

    def _named(self, row: Row, record: Record) -> Record:
        """The record with an id. Rows that repeat another are kept, for a data set is what its authors published."""
        given = "id" in record
        name = record["id"] if given else record_id(record)
        if name in self.seen:
            where, was_given = self.seen[name]
            if given or was_given:
                raise row.error(f"the id {name!r} is already that of {where}", "make the ids different")
            self.copies[name] += 1
            name = f"{name}-{self.copies[name] + 1}"
        self.seen[name] = (row.place, given)
        return {**record, "id": name}

    def _with_way_out(self, error: MiError) -> MiError:
        if "equally long" in error.hint or "choose another word" in error.hint:
            error.hint += "; `mi data --from FILE --skip` leaves such rows out"
        return error

    def _nothing(self, name: str) -> MiError:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in self.dropped.most_common())
        first = f"; the first: {self.skipped[0].place}: {self.skipped[0].fact}" if self.skipped else ""
        return MiError(
            f"none of its {self.total} rows can be used: {reasons}{first}".replace(": ;", ":"),
            "is -m the model that the file was made for?",
            place=name,
        )

    def notes(self, tables: Sequence[Table]) -> list[str]:
        kept = self.total - sum(self.dropped.values()) - len(self.skipped)
        notes = []
        for reason, count in self.dropped.most_common():
            notes.append(f"{count} of {self.total} rows dropped: {reason}")
        if self.skipped:
            first = self.skipped[0]
            notes.append(f"{len(self.skipped)} of {self.total} rows skipped; the first: {first.place}: {first.fact}")
        if self.dropped or self.skipped:
            notes.append(f"{kept} of {self.total} rows kept")
        if repeated := sum(self.copies.values()):
            notes.append(f"{_rows(repeated)} an earlier one; kept, with -2, -3, … after the id")
        if remark := self.form.note(tables[0], self.options):
            notes.append(remark)
        return notes


def _rows(count: int) -> str:
    return "1 row repeats" if count == 1 else f"{count} rows repeat"

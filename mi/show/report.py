"""A report for eyes: its summaries, and the curve over sizes if it holds one. Records in, tables out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mi.show.head import fields
from mi.show.numbers import interval, number, percent
from mi.show.table import Column, Table

Record = Mapping[str, Any]
_PLAIN = ("summary", "value", "low", "high", "undetermined")


def report_tables(title: str, records: Sequence[Record], top: int | None) -> list[Table]:
    summaries = [record for record in records if "summary" in record]
    examples = [record for record in records if "summary" not in record]
    shown = [_summaries(title, [s for s in summaries if "nominal" not in s])]
    curve = [s for s in summaries if "nominal" in s]
    if curve:
        shown.append(_curve(curve))
    if top is not None and examples:
        shown.append(_examples(examples, top))
    return shown


def _summaries(title: str, summaries: Sequence[Record]) -> Table:
    rows = []
    for record in summaries:
        value = f"undetermined: {record['undetermined']}" if "undetermined" in record else number(record.get("value"))
        rest = fields({key: inner for key, inner in record.items() if key not in _PLAIN})
        rows.append((str(record["summary"]), value, interval(record.get("low"), record.get("high")), rest))
    columns = (Column("measure"), Column("value", right=True), Column("95 % interval"), Column("", wide=True))
    return Table(columns, rows, title)


def _curve(records: Sequence[Record]) -> Table:
    rows = [
        (
            str(record.get("mode") or ""),
            percent(record.get("nominal")),
            number(record.get("size")),
            str(record.get("undetermined") or number(record.get("value"))),
            interval(record.get("low"), record.get("high")),
        )
        for record in records
    ]
    columns = (
        Column("ranking"),
        Column("of edges", right=True),
        Column("edges", right=True),
        Column("faithfulness", right=True),
        Column("95 % interval"),
    )
    return Table(columns, rows)


def _examples(records: Sequence[Record], top: int) -> Table:
    names = ("id", "mode", "size", "value", "clean", "corrupted")
    rows = [tuple(_cell(record.get(name)) for name in names) for record in records[:top]]
    columns = [Column(name, right=name not in ("id", "mode")) for name in names]
    return Table(columns, rows, notes=(f"{len(rows):,} of {len(records):,} values of examples",))


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else number(value)

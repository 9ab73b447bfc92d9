"""A report for eyes: its summaries, and the curve over sizes if it holds one. Records in, tables out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mi.show.examined import examined_tables
from mi.show.numbers import bar, count, interval, number, percent
from mi.show.table import Column, Table

Record = Mapping[str, Any]


def report_tables(title: str, head: Mapping[str, Any], records: Sequence[Record], top: int | None) -> list[Table]:
    tested = [record for record in records if "test" in record]
    summaries = [record for record in records if "summary" in record and "test" not in record]
    examples = [record for record in records if "summary" not in record]
    rates = [s for s in summaries if "tpr" in s]
    shown = [_summaries(title, [s for s in summaries if "nominal" not in s and "tpr" not in s], head)]
    curve = [s for s in summaries if "nominal" in s and "tpr" not in s]
    if rates:
        shown.append(_roc(rates))
    if curve:
        shown.append(_curve(curve))
    if tested:
        shown += examined_tables(tested, top)
    if top != 0 and examples:
        shown.append(_examples(examples, top))
    return shown


def _summaries(title: str, summaries: Sequence[Record], head: Mapping[str, Any]) -> Table:
    rows = []
    for record in summaries:
        value = "undetermined" if "undetermined" in record else number(record.get("value"))
        rows.append(
            (str(record["summary"]), value, interval(record.get("low"), record.get("high")), _about(record, head))
        )
    columns = (Column("measure"), Column("value", right=True), Column("95 % interval"), Column("", wide=True))
    return Table(columns, rows, title, _reasons(summaries))


def _reasons(records: Sequence[Record]) -> list[str]:
    """Why there is no number, below the table: a sentence, which a column would have to cut."""
    return [f"undetermined: {why}" for why in dict.fromkeys(r["undetermined"] for r in records if "undetermined" in r)]


def _about(record: Record, head: Mapping[str, Any]) -> str:
    """What a number is of: the size of the circuit, or the examples."""
    edges, size = head.get("selection", {}).get("edges"), record.get("size")
    n = count(record["n"], "example") if "n" in record else ""
    if "true" in record:
        known = f"{record['true']:,} of {count(record['edges'], 'edge')} true"
        return ", ".join(filter(None, (known, count(size, "edge") + " kept" if size is not None else "", n)))
    whole = f"{size:,} of {edges:,} edges ({percent(size / edges)})" if edges and size is not None else ""
    finer = [count(record[f"{what}s"], what) for what in ("node", "neuron") if f"{what}s" in record]
    weighted = f"{_weighted(record)} weighted" if "weighted_edges" in record else ""
    parts = (*finer, whole or (count(size, "edge") if size is not None else ""), weighted, n)
    return ", ".join(filter(None, parts))


def _weighted(record: Record) -> str:
    """Of thousands of edges a tenth is still of interest: a neuron is the thousandth part of one."""
    return f"{record['weighted_edges']:,.1f}"


def _curve(records: Sequence[Record]) -> Table:
    what = next((level for level in ("nodes", "neurons") if level in records[0]), "edges")  # what a share is of
    sizes = {"size": "edges"} | {name: name for name in ("nodes", "neurons") if name == what}
    if "weighted_edges" in records[0]:
        sizes["weighted_edges"] = "weighted"
    rows = [
        (
            str(record.get("mode") or ""),
            percent(record.get("nominal")),
            *(_weighted(record) if name == "weighted_edges" else number(record.get(name)) for name in sizes),
            "undetermined" if "undetermined" in record else number(record.get("value")),
            interval(record.get("low"), record.get("high")),
            bar(max(0.0, record.get("value") or 0.0), 1.0),
        )
        for record in records
    ]
    columns = (
        Column("ranking"),
        Column(f"of {what}", right=True),
        *(Column(name, right=True) for name in sizes.values()),
        Column("faithfulness", right=True),
        Column("95 % interval"),
        Column(""),
    )
    return Table(columns, rows, notes=_reasons(records))


def _roc(records: Sequence[Record]) -> Table:
    """Points of a curve of true against false edges."""
    rows = [
        (
            str(record["summary"]),
            percent(record.get("nominal")),
            number(record.get("size")),
            number(record.get("fpr")),
            number(record["tpr"]),
            bar(record["tpr"], 1.0),
        )
        for record in records
    ]
    rights = ("of edges", "edges", "false found", "true found")
    return Table([Column("curve"), *(Column(name, right=True) for name in rights), Column("")], rows)


def _examples(records: Sequence[Record], top: int | None) -> Table:
    names = ("id", "mode", "size", "value", "clean", "corrupted")
    rows = [tuple(_cell(record.get(name)) for name in names) for record in records[:top]]
    columns = [Column(name, right=name not in ("id", "mode")) for name in names]
    return Table(columns, rows, notes=(f"{len(rows):,} of {len(records):,} values of examples",))


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else number(value)

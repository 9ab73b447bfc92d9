"""Tests of a circuit for eyes: the records that `mi score --test` added to a report in, tables out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mi.show.numbers import count, interval, number
from mi.show.table import Column, Table

Record = Mapping[str, Any]

ROWS, SETS = 10, 3  # where nobody says otherwise
PARTS = ("nodes", "minimality")  # one record for each node or edge: shown by size of the effect
VERDICTS = {  # what a rejected hypothesis says, and one that stands
    "equivalence": ("not equivalent to the model", "equivalence not refuted"),
    "independence": ("the rest still follows the model", "the rest not shown to follow the model"),
    "sufficiency": ("beats random circuits", "not shown to beat random circuits"),
    "necessity": ("breaks more than random circuits", "not shown to break more than random circuits"),
    "minimality": ("holds edges that are not needed", "no edge shown to be needless"),
}


def examined_tables(records: Sequence[Record], top: int | None) -> list[Table]:
    """``top``: how many nodes, edges and sets of nodes to list; None for all, 0 where nobody said."""
    parts = [record for record in records if "node" in record or "edge" in record]
    sets = [record for record in records if "knocked" in record and record not in parts]
    whole = [record for record in records if record not in parts and record not in sets]
    shown = [_tests(whole)] if whole else []
    if sets:
        shown.append(_sets(sets, SETS if top == 0 else top))
    for name in PARTS:
        mine = [record for record in parts if record["test"] == name]
        if mine:
            shown.append(_parts(name, mine, ROWS if top == 0 else top))
    return shown


def _tests(records: Sequence[Record]) -> Table:
    rows = []
    for record in records:
        value = "undetermined" if "undetermined" in record else number(record.get("value"))
        spread = interval(record.get("low"), record.get("high"))
        p = "" if record.get("p") is None else f"{record['p']:.2g}"
        rows.append((str(record["summary"]), value, spread, p, _about(record)))
    names = (Column("test"), Column("value", right=True), Column("95 % interval"), Column("p", right=True))
    notes = [f"{record['summary']}: {said_of(record)}" for record in records if "rejected" in record]
    why = dict.fromkeys(record["undetermined"] for record in records if "undetermined" in record)
    notes += [f"undetermined: {text}" for text in why]
    return Table((*names, Column("", wide=True)), rows, notes=notes)


def _sets(records: Sequence[Record], top: int | None) -> Table:
    """Nodes knocked out of the circuit and of the model: those first that the two differ on most."""
    chosen = sorted(records, key=lambda record: -abs(record.get("value") or 0.0))[:top]
    rows = [
        (
            str(record["summary"]),
            number(record.get("value")),
            interval(record.get("low"), record.get("high")),
            ", ".join(map(str, record["knocked"])),
        )
        for record in chosen
    ]
    columns = (Column("nodes"), Column("difference", right=True), Column("95 % interval"), Column("knocked", wide=True))
    return Table(columns, rows, notes=(f"{len(rows):,} of {count(len(records), 'set')} of nodes",))


def _about(record: Record) -> str:
    """Of how many."""
    said = []
    for name, what in (("random", "random one"), ("sets", "set of nodes"), ("edges", "edge"), ("n", "example")):
        if isinstance(record.get(name), int):
            said.append(f"{record[name]:,} sets of nodes" if name == "sets" else count(record[name], what))
    if "split" in record:
        said.append(f"of {record['split']}")
    if record.get("nearly_always") is not None:
        said.append(f"{record['nearly_always']:,} of {record['size']:,} in nearly every resample")
    return ", ".join(said)


def said_of(record: Record) -> str:
    """What a hypothesis that is rejected, or not, says of the circuit."""
    return VERDICTS[record["test"]][not record["rejected"]] if record["test"] in VERDICTS else str(record["rejected"])


def _parts(name: str, records: Sequence[Record], top: int | None) -> Table:
    chosen = sorted(records, key=lambda record: -abs(record["value"]))[:top]
    what = "node" if name == "nodes" else "edge"
    rows = [
        (
            str(record[what]),
            number(record["value"]),
            interval(record.get("low"), record.get("high")),
            number(record["most"]) if name == "nodes" else f"{record['p_holm']:.2g}" if "p_holm" in record else "",
        )
        for record in chosen
    ]
    last = Column("most", right=True) if name == "nodes" else Column("p (Holm)", right=True)
    columns = (Column(what), Column("loss without it", right=True), Column("95 % interval"), last)
    return Table(columns, rows, notes=(f"{len(rows):,} of {count(len(records), what)}",))

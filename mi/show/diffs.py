"""What differs, for eyes and for programs: comparisons in, tables or findings out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mi.circuit.diff import Change, Compared
from mi.circuit.weights import Moved
from mi.show.findings import Finding
from mi.show.numbers import bar, count, number
from mi.show.table import Column, Table

SAID = {
    "a": "in A",
    "b": "in B",
    "both": "in both",
    "added": "only in B",
    "removed": "only in A",
    "jaccard": "Jaccard index",
    "spearman": "rank correlation of scores",
    "spearman-magnitude": "rank correlation of magnitudes",
    "sign-flips": "scores of other sign",
    "top-jaccard": "Jaccard index of the top 10 %",
    "largest-change": "largest change of a score",
    "largest-score": "largest score",
}
ROWS = 20


def tables(title: str, compared: Compared, what: str, notes: Sequence[str], top: int | None) -> list[Table]:
    """The numbers of the whole, then the largest changes."""
    rows = [(SAID[name], "none" if value is None else number(value)) for name, value in compared.numbers.items()]
    shown = [Table((Column("measure"), Column("value", right=True)), rows, title, notes)]
    changes = compared.changes[: ROWS if top is None else top]
    if compared.changes and changes:
        columns = (Column(what), Column("change"), Column("A", right=True), Column("B", right=True))
        lines = [(change.name, change.verdict, number(change.a), number(change.b)) for change in changes]
        shown.append(Table(columns, lines, notes=(_shown(len(lines), len(compared.changes), "change"),)))
    return shown


def findings(compared: Compared, what: str, notes: Sequence[str], top: int | None) -> Iterator[Finding]:
    """A line each: the numbers, the changes, the notes."""
    for name, value in compared.numbers.items():
        text = f"{SAID[name]}: {'none' if value is None else number(value)}"
        yield Finding("summary", name, "value", "none", text, numbers={"value": value})
    for change in compared.changes[:top]:
        yield _finding(change, what)
    yield from _notes(notes)


def _finding(change: Change, what: str) -> Finding:
    text = f"{what} {change.name} {change.verdict}"
    return Finding(what, change.name, change.verdict, "error", text, numbers={"a": change.a, "b": change.b})


def _notes(notes: Sequence[str]) -> Iterator[Finding]:
    yield from (Finding("note", "note", "note", "note", note) for note in notes)


def _shown(n: int, of: int, word: str) -> str:
    return f"{n:,} of {count(of, word)}" if n < of else count(of, word)


def model_tables(title: str, moved: Sequence[Moved], notes: Sequence[str], top: int | None) -> list[Table]:
    """Heads and MLPs, those that moved most first; then what is neither."""
    shown: list[Table] = []
    for name, rows in (("node", [m for m in moved if _is_node(m)]), ("tensor", [m for m in moved if not _is_node(m)])):
        changed = [each for each in rows if each.beyond]
        summary = f"{len(changed):,} of {count(len(rows), name)} moved"
        largest = max((each.relative for each in changed), default=0.0)
        lines = [
            (each.name, number(each.relative), number(each.change), number(each.largest), bar(each.relative, largest))
            for each in changed[: ROWS if top is None else top]
        ]
        columns = (Column(name), *(Column(c, right=True) for c in ("moved by", "norm", "largest")), Column(""))
        head = title if not shown else ""
        shown.append(Table(columns if lines else (), lines, head, (summary, *(notes if not shown else ()))))
    return shown


def model_findings(moved: Sequence[Moved], notes: Sequence[str], top: int | None) -> Iterator[Finding]:
    for each in [each for each in moved if each.beyond][:top]:
        numbers: Mapping[str, Any] = {
            "relative": each.relative if each.length else None,
            "norm": each.change,
            "largest": each.largest,
            "weights": each.beyond,
        }
        what = "node" if _is_node(each) else "tensor"
        text = f"{what} {each.name} moved by {number(each.relative)}"
        yield Finding(what, each.name, "changed", "error", text, numbers=numbers)
    yield from _notes(notes)


def _is_node(moved: Moved) -> bool:
    return "." not in moved.name or moved.name.partition(".h")[0].lstrip("a").isdigit()

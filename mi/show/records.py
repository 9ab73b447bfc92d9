"""What a stream holds, for eyes: head, records and tensors in, tables out, one small function per kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mi.show.head import one_line
from mi.show.numbers import bar, number
from mi.show.report import report_tables
from mi.show.table import Column, Table

if TYPE_CHECKING:
    import numpy as np

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Shown:
    """A stream to be looked at. `tensors(name)` gives the arrays of one blob, read when they are needed."""

    head: Mapping[str, Any]
    records: Sequence[Record]
    tensors: Callable[[str], Mapping[str, np.ndarray]]
    blobs: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True)
class Wanted:
    """How much of it: at most `top` rows (None: all), only the edges that a pattern means. `asked`: somebody typed the
    number, so that what is left out otherwise is shown too."""

    top: int | None = None
    patterns: Sequence[str] = ()
    asked: bool = False


ALL = Wanted()


def tables(stream: Shown, wanted: Wanted = ALL) -> list[Table]:
    """The tables of a stream."""
    return KINDS.get(stream.head.get("kind", ""), _other)(stream, wanted)


def _examples(stream: Shown, wanted: Wanted) -> list[Table]:
    rows = [
        (
            str(record.get("split", "")),
            _text(record.get("clean")),
            _text(record.get("corrupted")),
            _texts(record.get("answers")),
            _texts(record.get("foils")),
        )
        for record in stream.records[: wanted.top]
    ]
    columns = (
        Column("split"),
        Column("clean", wide=True),
        Column("corrupted", wide=True),
        Column("answers", wide=True),  # a word, or the fifty years after 1948
        Column("foils", wide=True),
    )
    return [Table(columns, rows, _title(stream), _more(len(rows), len(stream.records), "examples"))]


def _cache(stream: Shown, wanted: Wanted) -> list[Table]:
    metric = stream.head.get("task", {}).get("metric", "metric")
    baselines = [record["baseline"] for record in stream.records if "baseline" in record]
    rows = [
        (
            str(record.get("split", "")),
            _text(record.get("clean")),
            _texts(record.get("answers")),
            *(number(record.get("baseline", {}).get(run)) for run in ("clean", "corrupted")),
        )
        for record in stream.records[: wanted.top]
    ]
    columns = (
        Column("split"),
        Column("clean", wide=True),
        Column("answers", wide=True),
        Column(f"{metric}, clean", right=True),
        Column("corrupted", right=True),
    )
    notes = [*_more(len(rows), len(stream.records), "examples")]
    if baselines:
        clean, corrupted = (sum(b[run] for b in baselines) / len(baselines) for run in ("clean", "corrupted"))
        notes.append(f"mean {metric}: {number(clean)} clean, {number(corrupted)} corrupted")
    return [Table(columns, rows, _title(stream), notes)]


def _edges(stream: Shown, wanted: Wanted) -> list[Table]:
    if "partial" in stream.head:
        return [_shard(stream)]
    from mi.show.edges import edges_of  # numpy, which a table of text does not need

    edges = edges_of(stream.head, stream.records, stream.tensors if "scores" in stream.blobs else None)
    chosen = edges.chosen(wanted.patterns)
    shown = chosen[: wanted.top]
    largest = max((abs(float(edges.score[i])) for i in chosen[:1]), default=0.0)
    spread = edges.standard_error
    columns = [Column(edges.what), Column("score", right=True)]
    if spread is not None:
        columns.append(Column("± s.e.", right=True))
    columns.append(Column(""))
    rows = []
    for i in shown:
        score = float(edges.score[i])
        error = [] if spread is None else [number(float(spread[i]), 2)]
        if score != score:  # NaN: nobody scored it
            rows.append((edges.name(i), "", *("" for _ in error), "unscored"))
        else:
            rows.append((edges.name(i), number(score), *error, bar(score, largest)))
    return [Table(columns, rows, _title(stream), _more(len(rows), len(chosen), f"{edges.what}s"))]


def _shard(stream: Shown) -> Table:
    """A shard of a run: no scores yet, only how much of it there is."""
    entry = stream.head["partial"]
    examples, of = (entry.get(name, {}).get("n") for name in ("examples", "set"))
    rows = [(f"{entry.get('shard')} of {entry.get('of')}", str(examples), str(of))]
    columns = (Column("shard"), Column("examples", right=True), Column("of", right=True))
    return Table(columns, rows, _title(stream), ("sums, no scores yet; `mi merge --sum PART...` joins all shards",))


def _report(stream: Shown, wanted: Wanted) -> list[Table]:
    return report_tables(_title(stream), stream.head, stream.records, wanted.top if wanted.asked else 0)


def _effects(stream: Shown, wanted: Wanted) -> list[Table]:
    from mi.show.heatmap import heat_tables

    return heat_tables(_title(stream), stream.head, stream.records, wanted.top)


def _other(stream: Shown, wanted: Wanted) -> list[Table]:
    """A kind that this file does not know: its records, field by field."""
    names = list(dict.fromkeys(name for record in stream.records for name in record))
    rows = [tuple(_text(record.get(name)) for name in names) for record in stream.records[: wanted.top]]
    return [Table([Column(n) for n in names], rows, _title(stream), _more(len(rows), len(stream.records), "records"))]


KINDS: dict[str, Callable[[Shown, Wanted], list[Table]]] = {
    "examples": _examples,
    "cache": _cache,
    "scores": _edges,
    "circuit": _edges,
    "report": _report,
    "effects": _effects,
}


def _title(stream: Shown) -> str:
    return one_line(stream.head)


def _more(shown: int, total: int, what: str) -> tuple[str, ...]:
    return (f"{shown:,} of {total:,} {what}",) if shown < total else (f"{total:,} {what}",)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.replace("\n", "\\n")
    if isinstance(value, float):
        return number(value)
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _texts(values: Any) -> str:
    """A set of answers: strings are quoted so that their leading space is seen."""
    if not isinstance(values, (list, tuple)):
        values = [] if values is None else [values]
    return " ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in values)

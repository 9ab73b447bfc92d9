"""Which plot shows which streams: verified streams and a wish in, SVG or text out. Only what draws the plot that is
wanted is imported.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mi.errors import MiError, UsageError
from mi.io.stream import Stream
from mi.show.head import one_line
from mi.show.picture import series
from mi.show.table import Table

if TYPE_CHECKING:
    from mi.show.edges import Edges
    from mi.show.nodes import Listed, Nodes
    from mi.show.picture.distribution import Histogram

TAKES = {  # what each plot is of
    "curve": ("report",),
    "measures": ("report",),
    "examples": ("report",),
    "roc": ("report",),
    "histogram": ("scores", "circuit"),
    "heads": ("scores", "circuit"),
    "map": ("effects",),
}
ONE = ("examples", "heads", "map")  # plots of one stream
EXAMPLES = 20  # rows of a table of examples


@dataclass(frozen=True)
class Plot:
    """What is drawn: which plot of which streams, under which title."""

    what: str
    streams: Sequence[Stream]
    title: str
    log: bool = True
    measure: Sequence[str] = ()

    @property
    def first(self) -> Stream:
        return self.streams[0]


def wanted(
    streams: Sequence[Stream], what: str | None, title: str | None, x: str | None = None, measure: Sequence[str] = ()
) -> Plot:
    """A plot that can be drawn. ``x``: how the axis of a curve grows, log or linear.

    Raises:
        MiError: these streams have no such plot.
        UsageError: something is asked for that the plot does not have.
    """
    chosen = what or _fitting(streams)
    _check(chosen, streams)
    for flag, given, plot in (("--x", x, "curve"), ("--measure", measure, "measures")):
        if given and chosen != plot:
            raise UsageError(f"{flag} means nothing to the plot '{chosen}'", f"it does to --what {plot}")
    return Plot(chosen, streams, title or _title(streams), x != "linear", measure)


def _fitting(streams: Sequence[Stream]) -> str:
    """The plot that these streams are best seen as."""
    kind = streams[0].kind
    if kind != "report":
        return {"effects": "map"}.get(kind, "histogram")
    summaries = [record for stream in streams for record in stream.records if "summary" in record]
    if any("tpr" in record for record in summaries):
        return "roc"
    return "curve" if any(record.get("nominal") is not None for record in summaries) else "measures"


def _check(what: str, streams: Sequence[Stream]) -> None:
    for each in streams:
        if each.kind not in TAKES[what]:
            needed = " or ".join(TAKES[what])
            raise MiError(f"a {each.kind} has no plot '{what}', which is of a {needed}", place=each.origin)
    if what in ONE and len(streams) > 1:
        raise UsageError(f"'{what}' is a plot of one stream", "plot them one by one")
    summaries = [record for stream in streams for record in stream.records if "summary" in record]
    if what == "curve" and not any(record["summary"] == "faithfulness" for record in summaries):
        raise MiError("no report holds a faithfulness", "mi score makes one", place=streams[0].origin)
    if what == "roc" and not any("tpr" in record for record in summaries):
        raise MiError("no report holds a ROC curve", "mi eval ground-truth makes one", place=streams[0].origin)


def _title(streams: Sequence[Stream]) -> str:
    names = list(dict.fromkeys(one_line(stream.head) for stream in streams))
    return names[0] if len(names) == 1 else f"{len(streams)} {streams[0].kind}s"


def _about(streams: Sequence[Stream]) -> str:
    """How it was found and scored, as far as all streams agree."""
    heads = [stream.head for stream in streams]
    said = []
    for part, keys in (("attribution", ("method", "ablation", "metric")), ("scoring", ("split", "n"))):
        for key in keys:
            values = {str(head.get(part, {}).get(key)) for head in heads}
            if len(values) == 1 and (value := values.pop()) != "None":
                said.append(f"{value} examples" if key == "n" else value)
    return ", ".join(said)


def svg(plot: Plot) -> str:
    first, name, about = plot.first, plot.title, _about(plot.streams)
    if plot.what in ("map", "heads"):
        from mi.show import heads, heatmap

        if plot.what == "map":
            return heatmap.svg(name, first.head, first.records)
        return heatmap.picture(name, _of_heads(first), heads.grid(_scored(first)))
    if plot.what in ("histogram", "examples"):
        from mi.show.picture import distribution

        if plot.what == "examples":
            metric = str(first.head.get("scoring", {}).get("metric", "metric"))
            return distribution.examples_svg(name, about, _examples(first), metric)
        metric = str(first.head.get("attribution", {}).get("metric", ""))
        return distribution.histograms_svg(name, about, _histograms(plot.streams), _scored(first).what, metric)
    found = series.series(plot.streams)
    if plot.what == "measures":
        from mi.show.picture import measures

        return measures.svg(name, about, found, _measures(plot))
    from mi.show.picture import curve

    return curve.roc_svg(name, about, found) if plot.what == "roc" else curve.svg(name, about, found, plot.log)


def text(plot: Plot, coloured: bool) -> str:
    """The same with letters. `coloured`: for a terminal."""
    from mi.show import table
    from mi.show.picture import curve
    from mi.show.picture import text as letters

    if plot.what == "curve":
        found = series.series(plot.streams)
        width = shutil.get_terminal_size((100, 24)).columns
        notes = curve.notes_of(found, plot.log, drawn=letters.LEGEND)
        return letters.curves(plot.title, found, notes, width, plot.log)
    draw = table.drawn if coloured and sys.stdout.isatty() else table.plain
    return "\n".join(draw(each) for each in _tables(plot))


def _tables(plot: Plot) -> list[Table]:
    from mi.show import heads, heatmap
    from mi.show.picture import text as letters
    from mi.show.report import report_tables

    first, name = plot.first, plot.title
    if plot.what == "map":
        return heatmap.heat_tables(name, first.head, first.records, None)
    if plot.what == "heads":
        drawn = heads.grid(_scored(first))
        places = sum(cell is not None for row in drawn.cells for cell in row)
        return [heatmap.grid_table(name, drawn, [], _of_heads(first), places)]
    if plot.what == "histogram":
        return [letters.histogram(name, each, _scored(first).what) for each in _histograms(plot.streams)]
    if plot.what == "measures":
        return letters.measures(name, series.series(plot.streams), _measures(plot))
    rows = EXAMPLES if plot.what == "examples" else 0
    return [made for each in plot.streams for made in report_tables(name, each.head, each.records, rows)]


def _scored(stream: Stream) -> Edges | Nodes | Listed:
    from mi.show.edges import edges_of
    from mi.show.output import shown

    tensors = shown(stream.head, [], stream.blobs).tensors if "scores" in stream.blobs else None
    return edges_of(stream.head, stream.records, tensors)


def _histograms(streams: Sequence[Stream]) -> list[Histogram]:
    from mi.show.picture import distribution

    return [
        distribution.histogram(label, _scored(stream).score)
        for label, stream in zip(series.labels(streams), streams, strict=True)
    ]


def _of_heads(stream: Stream) -> str:
    level = _scored(stream).what
    said = {"edge": "sum of the scores of the edges out of each head", "node": "score of each head and MLP"}
    return said.get(level, f"sum of the scores of its {level}s")


def _examples(stream: Stream) -> list[dict[str, Any]]:
    found = [r for r in stream.records if "summary" not in r and "clean" in r and r.get("nominal") is None]
    if not found:
        raise MiError("the report has no circuit of one size", "score a circuit, not scores", place=stream.origin)
    return found


def _measures(plot: Plot) -> list[str]:
    from mi.show.picture import measures

    found = series.series(plot.streams)
    names = measures.names(found, plot.measure)
    if not names or set(plot.measure) - set(names):
        there = ", ".join(measures.names(found) or ["none"])
        missing = ", ".join(sorted(set(plot.measure) - set(names))) or "a measure"
        raise MiError(f"no report has {missing}", f"measures here: {there}", place=plot.first.origin)
    return names

"""Plots for a terminal: the same series and vectors as the pictures in, lines of text and tables out."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from mi.errors import printable
from mi.show.numbers import bar, interval, number
from mi.show.picture.axes import Scale, label, padded
from mi.show.picture.distribution import Histogram
from mi.show.picture.series import AREA, MODES, Point, Series
from mi.show.table import Column, Table

MARKS = "●■▲◆▼○□△"
SEVERAL = "✱"  # marks of more than one series
LEGEND = f"{SEVERAL}: several; │"
TALL = 14  # lines of a plot
LEFT = 8  # letters for the numbers of the upright axis


def curves(title: str, all_series: Sequence[Series], notes: Sequence[str], width: int, log: bool) -> str:
    """A plot for each ranking, then a line for each series."""
    lines, breadth = [title], max(40, width)
    modes = [mode for mode in MODES if any(mode in s.curves for s in all_series)] or ["absolute"]
    for mode in modes:
        area = f", {AREA[mode].upper()}" if any(mode in s.curves for s in all_series) else ""
        lines += ["", *wrap(f"faithfulness over the share of the edges, {MODES[mode]}{area}", breadth)]
        lines += _plot([s.curves.get(mode, ()) for s in all_series], [s.single for s in all_series], width, log)
    lines.append("")
    for place, series in enumerate(all_series):
        said = [_measure(series, AREA[mode]) for mode in modes if AREA[mode] in series.measures]
        if series.single:
            said.append(f"{_measure(series, 'faithfulness')} at {series.single.says}")
        text = ": ".join(filter(None, [series.label, ", ".join(said)]))
        lines += wrap(f"{MARKS[place % len(MARKS)]} {text}", breadth, subsequent_indent="  ")
    lines += [row for text in notes for row in wrap(text, breadth)]
    return "".join(printable(text).rstrip() + "\n" for text in lines)


def _measure(series: Series, name: str) -> str:
    record = series.measures[name]
    span = interval(record.get("low"), record.get("high"))
    return f"{name} {number(record['value'])}" + (f" ({span})" if span else "")


def _plot(all_points: Sequence[Sequence[Point]], singles: Sequence[Point | None], width: int, log: bool) -> list[str]:
    """Marks on a grid of letters; an upright line is an interval that is larger than its mark."""
    wide = max(20, min(width, 100) - LEFT - 4)
    every = [p for points in all_points for p in points] + [p for p in singles if p]
    lowest, highest = min([0.0, *(p.low for p in every)]), max([1.0, *(p.high for p in every)])
    y = Scale(*padded(lowest, highest, 0.02), TALL - 1, 0)
    x = Scale(min((p.share for p in every), default=0.001) if log else 0.0, 1.0, 0, wide - 1, log)
    cells = [[" "] * wide for _ in range(TALL)]
    for level in (0.0, 1.0):
        cells[round(y.at(level))] = ["┄"] * wide
    for place, (points, single) in enumerate(zip(all_points, singles, strict=True)):
        for point in [*points, *([single] if single else [])]:
            column = round(x.at(point.share))
            for row in range(round(y.at(point.high)), round(y.at(point.low)) + 1):
                if cells[row][column] not in MARKS + SEVERAL:
                    cells[row][column] = "│"
            row = round(y.at(point.value))
            taken = cells[row][column] in MARKS + SEVERAL
            cells[row][column] = SEVERAL if taken else MARKS[place % len(MARKS)]
    names = {round(y.at(value)): label(value) for value in y.ticks()}
    lines = [f"{names.get(row, ''):>{LEFT - 2}} │{''.join(line)}" for row, line in enumerate(cells)]
    return [*lines, " " * (LEFT - 1) + "└" + "─" * wide, _ticks(x, wide)]


def _ticks(x: Scale, wide: int) -> str:
    line = [" "] * (LEFT + wide + 6)
    free = 0
    for value in x.ticks():
        text = label(value, percent=True)
        start = max(0, LEFT + round(x.at(value)) - len(text) // 2)
        if start >= free:
            line[start : start + len(text)] = text
            free = start + len(text) + 1
    return "".join(line)


def measures(title: str, all_series: Sequence[Series], names: Sequence[str]) -> list[Table]:
    """A table for each measure; all intervals of one are drawn on the same scale."""
    return [_measures(title if name == names[0] else "", all_series, name) for name in names]


def _measures(title: str, all_series: Sequence[Series], name: str) -> Table:
    rows = []
    records = [series.measures.get(name) for series in all_series]
    spans = [
        tuple(float(r["value"] if r.get(key) is None else r[key]) for key in ("low", "value", "high")) if r else None
        for r in records
    ]
    ends = [value for span in spans if span for value in span]
    scale = Scale(min(ends, default=0.0), max(ends, default=1.0), 0, 30)
    for place, (series, record, span) in enumerate(zip(all_series, records, spans, strict=True)):
        value = number(record["value"]) if record else ""
        said = interval(record.get("low"), record.get("high")) if record else ""
        rows.append((series.label or "report", value, said, _span(scale, span, MARKS[place % len(MARKS)])))
    columns = (Column("report"), Column(name, right=True), Column("95 % interval"), Column(""))
    return Table(columns, rows, title)


def _span(scale: Scale, span: tuple[float, ...] | None, mark: str) -> str:
    if span is None:
        return "not measured"
    low, value, high = (round(scale.at(each)) for each in span)
    cells = ["─" if low <= at <= high else " " for at in range(31)]
    cells[value] = mark
    return "".join(cells)


def histogram(title: str, shown: Histogram, unit: str) -> Table:
    """A bin a row, the largest scores first."""
    most = max([1, *shown.positive, *shown.negative])
    rows = []
    bins = zip(shown.edges, shown.edges[1:], shown.positive, shown.negative, strict=False)
    for left, right, up, down in list(bins)[::-1]:
        rows.append(
            (f"{number(left, 2)} to {number(right, 2)}", f"{down:,}", _left(down, most), bar(up, most), f"{up:,}")
        )
    columns = (
        Column("|score|"),
        Column("negative", right=True),
        Column("", right=True),
        Column(""),
        Column("positive"),
    )
    notes = [f"number of {unit}s; {shown.below:,} smaller ones, {shown.zero:,} exactly 0"]
    return Table(columns, rows, ": ".join(filter(None, [title, shown.label])), notes)


def _left(n: int, most: int) -> str:
    """A bar that grows to the left; whole cells, for there are no left eighths."""
    return "█" * max(round(16 * n / most), 1 if n else 0)

"""Measures of several reports side by side, with their intervals: labelled series in, SVG out. A row is a report, a
column a measure on its own scale."""

from __future__ import annotations

from collections.abc import Sequence

from mi.show.numbers import count, interval, number
from mi.show.picture import canvas
from mi.show.picture.axes import Scale, label, mark, padded
from mi.show.picture.canvas import DIM, FAINT, SERIES, hint, line, words
from mi.show.picture.series import Record, Series

WIDE, ROW, TOP, GAP = 210.0, 26.0, 92.0, 26.0
FIGURES = 9 * canvas.LETTER  # room for a number beside its mark
PLAIN = ("clean", "empty")  # of the model and of the examples, not of the circuit


def names(all_series: Sequence[Series], wanted: Sequence[str] = ()) -> list[str]:
    """The measures that can be shown: those asked for, else all that a circuit has."""
    found = list(dict.fromkeys(name for series in all_series for name in series.measures))
    return [name for name in found if name in wanted] if wanted else [name for name in found if name not in PLAIN]


def svg(title: str, about: str, all_series: Sequence[Series], measures: Sequence[str]) -> str:
    left = 24 + max([60.0, *(canvas.width_of(series.label) for series in all_series)])
    height = TOP + ROW * len(all_series)
    body = [words(14, 26, title, "t"), words(14, 44, about, "d")]
    for row, series in enumerate(all_series):
        y = TOP + ROW * (row + 0.5)
        body.append(words(left - 12, y + 4, series.label or "report", anchor="end"))
    for column, name in enumerate(measures):
        body += _column(left + column * (WIDE + GAP), name, all_series, height)
    notes = ["mark: value; line: 95 % interval"]
    notes += [f"{s.label or 'report'}: undetermined, {s.undetermined}" for s in all_series if s.undetermined]
    body += [words(14, height + 48 + 16 * row, text, "d") for row, text in enumerate(notes)]
    width = max(left + len(measures) * (WIDE + GAP) + 10, *(30 + canvas.width_of(t) for t in [about, title, *notes]))
    return canvas.document(width, height + 54 + 16 * len(notes), title, about, body, canvas.BOLD)


def _column(left: float, name: str, all_series: Sequence[Series], height: float) -> list[str]:
    records = [series.measures.get(name) for series in all_series]
    ends = [value for record in records if record for value in _ends(record)]
    scale = Scale(*padded(min(ends, default=0.0), max(ends, default=1.0), 0.08), left, left + WIDE - FIGURES)
    made = [words(left, TOP - 14, name, "b")]
    for value in scale.ticks()[::2]:
        at = scale.at(value)
        made.append(line(at, TOP, at, height, FAINT, stroke_width=0.6))
        made.append(words(at, height + 15, label(value), "s d", anchor="middle"))
    made.append(line(left, height, left + WIDE - FIGURES, height, DIM, stroke_width=0.8))
    for row, record in enumerate(records):
        y = TOP + ROW * (row + 0.5)
        made.append(_row(record, scale, y, row) if record else words(left, y + 4, "–", "d"))
    return made


def _row(record: Record, scale: Scale, y: float, place: int) -> str:
    low, value, high = _ends(record)
    colour = SERIES[place % len(SERIES)]
    n = f", {count(record['n'], 'example')}" if "n" in record else ""
    says = f"{number(value)} ({interval(record.get('low'), record.get('high'))}){n}"
    drawn = line(scale.at(low), y, scale.at(high), y, colour, stroke_width=2) if high > low else ""
    point = mark(scale.at(value), y, place, colour, says)
    return canvas.element("g", hint(says), drawn, point, words(scale.stop + 8, y + 4, number(value, 3)))


def _ends(record: Record) -> tuple[float, float, float]:
    value = float(record["value"])
    low, high = record.get("low"), record.get("high")
    return value if low is None else float(low), value, value if high is None else float(high)

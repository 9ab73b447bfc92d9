"""Faithfulness over circuit size: labelled series in, SVG out. One panel for each ranking: by signed score, whose area
is CPR, and by magnitude, whose distance from 1 is CMD. And ROC curves, in the same manner."""

from __future__ import annotations

from collections.abc import Sequence

from mi.show.numbers import interval, number
from mi.show.picture import canvas
from mi.show.picture.axes import TALL, WIDE, Panel, area, frame, mark, padded, panel, polyline, whisker
from mi.show.picture.canvas import DASHES, DIM, SERIES, element, line, words
from mi.show.picture.series import AREA, MODES, Point, Series

LEFT, GAP, TOP, ROW = 70.0, 80.0, 84.0, 18.0
BAND, SHADE = 0.16, 0.13  # opacity of an interval, and of an area
LINEAR = "areas are taken over the share itself; --x linear shows them true to scale"


def svg(title: str, about: str, all_series: Sequence[Series], log: bool = True) -> str:
    modes = [mode for mode in MODES if any(mode in s.curves for s in all_series)] or ["absolute"]
    points = [p for s in all_series for p in _points(s)]
    x = (min((p.share for p in points), default=0.001), 1.0) if log else (0.0, 1.0)
    y = padded(min([0.0, *(p.low for p in points)]), max([1.0, *(p.high for p in points)]))
    drawn = panel(x, y, log)
    body = [words(14, 26, title, "t"), words(14, 44, about, "d")]
    for column, mode in enumerate(modes):
        moved = f"translate({LEFT + column * (WIDE + GAP):.0f} {TOP:.0f})"
        body.append(element("g", *_panel(drawn, mode, all_series, alone=len(all_series) == 1), transform=moved))
    keys = key(all_series, modes)
    notes = notes_of(all_series, log)
    base = TOP + TALL + 62
    body += [element("g", text, transform=f"translate(14 {base + ROW * row:.0f})") for row, text in enumerate(keys)]
    base += ROW * len(keys)
    body += [words(14, base + 4 + ROW * row, text, "d") for row, text in enumerate(notes)]
    width = max(LEFT + len(modes) * (WIDE + GAP) - GAP + 24, *(28 + canvas.width_of(t) for t in [about, *notes]), 560)
    return canvas.document(width, base + ROW * len(notes) + 10, title, about, body, canvas.BOLD)


def notes_of(all_series: Sequence[Series], log: bool, drawn: str = "bands and whiskers") -> list[str]:
    """What must be said below. `drawn`: how an interval looks."""
    made = [f"{drawn}: 95 % interval, bootstrap over the examples" + (f"; {LINEAR}" if log else "")]
    made += [f"{s.label or 'the report'}: undetermined, {s.undetermined}" for s in all_series if s.undetermined]
    return made


def _points(series: Series) -> list[Point]:
    return [*(p for points in series.curves.values() for p in points), *([series.single] if series.single else [])]


def _panel(drawn: Panel, mode: str, all_series: Sequence[Series], alone: bool) -> list[str]:
    name = f"{MODES[mode]}: {AREA[mode].upper()}" if any(mode in s.curves for s in all_series) else "circuits"
    made = frame(drawn, name, "share of the edges asked for", "faithfulness", percent=True)
    for level in (0.0, 1.0):
        at = drawn.y.at(level)
        made.append(line(drawn.x.start, at, drawn.x.stop, at, DIM, stroke_dasharray="3 3"))
    for number_, series in enumerate(all_series):
        points = series.curves.get(mode, ())
        if points:
            made += _curve(drawn, mode, number_, series, points, alone)
        if series.single:
            made += _single(drawn, number_, series.label, series.single)
    return made


def _curve(drawn: Panel, mode: str, place: int, series: Series, points: Sequence[Point], alone: bool) -> list[str]:
    colour = SERIES[place % len(SERIES)]
    at = [drawn.place(p.share, p.value) for p in points]
    made = []
    if alone:
        base = drawn.y.at(0.0 if mode == "signed" else 1.0)
        made.append(area([(at[0][0], base), *at, (at[-1][0], base)], colour, SHADE))
    above = [drawn.place(p.share, p.high) for p in points]
    below = [drawn.place(p.share, p.low) for p in reversed(points)]
    made.append(area([*above, *below], colour, BAND))
    made.append(polyline(at, colour, DASHES[place % len(DASHES)]))
    made += [mark(x, y, place, colour, _says(series.label, p)) for (x, y), p in zip(at, points, strict=True)]
    return made


def _single(drawn: Panel, place: int, label: str, point: Point) -> list[str]:
    x, y = drawn.place(point.share, point.value)
    colour = SERIES[place % len(SERIES)]
    ends = drawn.y.at(point.low), drawn.y.at(point.high)
    return [whisker(x, *ends, colour), mark(x, y, place, colour, _says(label, point))]


def _says(label: str, point: Point) -> str:
    said = f"{label}\n" if label else ""
    return f"{said}{point.says}\nfaithfulness {number(point.value)} ({interval(point.low, point.high)})"


def key(all_series: Sequence[Series], modes: Sequence[str]) -> list[str]:
    """A line of the legend for each series: its areas, or its one number, with intervals."""
    made = []
    for place, series in enumerate(all_series):
        said = [
            f"{name.upper()} {_value(series, name)}" for name in (AREA[m] for m in modes) if name in series.measures
        ]
        if series.single:
            said.append(f"faithfulness {_value(series, 'faithfulness')} at {series.single.says}")
        colour = SERIES[place % len(SERIES)]
        text = ": ".join(filter(None, [series.label, ", ".join(said)]))
        dash = DASHES[place % len(DASHES)] or None
        through = line(0, -4, 30, -4, colour, stroke_width=2, stroke_dasharray=dash) if series.curves else ""
        made.append(through + mark(15, -4, place, colour, series.label) + words(40, 0, text))
    return made


def _value(series: Series, name: str) -> str:
    record = series.measures[name]
    span = interval(record.get("low"), record.get("high"))
    return f"{number(record['value'])} ({span})" if span else number(record["value"])


def roc_svg(title: str, about: str, all_series: Sequence[Series]) -> str:
    """True against false edges found; a curve for each report and way of counting."""
    drawn = panel((0.0, 1.0), (0.0, 1.0), wide=TALL)
    inside = frame(drawn, "ROC", "share of the false edges found", "share of the true edges found")
    inside.append(line(0, TALL, TALL, 0, DIM, stroke_dasharray="3 3"))
    keys, place = [], 0
    for series in all_series:
        for name, points in series.roc.items():
            colour, dash = SERIES[place % len(SERIES)], DASHES[place % len(DASHES)]
            at = [drawn.place(x, y) for x, y in points]
            says = ": ".join(filter(None, [series.label, name]))
            inside.append(polyline(at, colour, dash))
            inside += [
                mark(x, y, place, colour, f"{says}\nfalse {a:.3g}, true {b:.3g}")
                for (x, y), (a, b) in zip(at, points, strict=True)
            ]
            through = line(0, -4, 30, -4, colour, stroke_width=2, stroke_dasharray=dash or None)
            keys.append(through + mark(15, -4, place, colour, says) + words(40, 0, says))
            place += 1
        for name in (n for n in series.measures if n.startswith("auroc")):
            keys.append(words(40, 0, ": ".join(filter(None, [series.label, f"{name} {_value(series, name)}"])), "d"))
    body = [words(14, 26, title, "t"), words(14, 44, about, "d")]
    body.append(element("g", *inside, transform=f"translate({LEFT:.0f} {TOP:.0f})"))
    base = TOP + TALL + 62
    body += [element("g", text, transform=f"translate(14 {base + ROW * row:.0f})") for row, text in enumerate(keys)]
    width = max(LEFT + TALL + 24, 28 + canvas.width_of(about), 28 + canvas.width_of(title, 14), 480)
    return canvas.document(width, base + ROW * len(keys) + 6, title, about, body, canvas.BOLD)

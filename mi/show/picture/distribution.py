"""How scores are spread, and how a circuit does on each example: vectors and records in, SVG out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mi.show.numbers import count, number
from mi.show.picture import canvas
from mi.show.picture.axes import TALL, WIDE, Panel, frame, mark, padded, panel
from mi.show.picture.canvas import DIM, INK, NEGATIVE, POSITIVE, element, hint, line, words

LEFT, TOP, GAP = 70.0, 84.0, 80.0
BINS_A_DECADE, MOST_DECADES = 5, 6


@dataclass(frozen=True)
class Histogram:
    """Counts of |score| in bins that are equally wide on a logarithmic axis, apart by sign. `below`: how many are
    smaller than the first bin; `zero`: how many are exactly 0."""

    label: str
    edges: Sequence[float]
    positive: Sequence[int]
    negative: Sequence[int]
    below: int
    zero: int


def histogram(label: str, scores: np.ndarray) -> Histogram:
    """Scores that nobody gave (NaN) are left out."""
    known = scores[~np.isnan(scores)].astype(np.float64)
    size = np.abs(known[known != 0])
    zero = int(np.count_nonzero(known == 0))
    if not len(size):
        return Histogram(label, (), (), (), 0, zero)
    top = math.ceil(math.log10(float(size.max())) * BINS_A_DECADE + 1e-9)
    first = max(
        math.floor(math.log10(float(size.min())) * BINS_A_DECADE), top - BINS_A_DECADE * MOST_DECADES, top - 500
    )
    exponents = np.arange(first, max(top, first + 1) + 1) / BINS_A_DECADE
    edges = 10.0**exponents
    edges[-1] = max(edges[-1], float(size.max()))
    positive, negative = (np.histogram(np.abs(known[sign]), edges)[0] for sign in (known > 0, known < 0))
    below = int(np.count_nonzero(size < edges[0]))
    return Histogram(label, edges.tolist(), positive.tolist(), negative.tolist(), below, zero)


def histograms_svg(title: str, about: str, all_of: Sequence[Histogram], unit: str, metric: str) -> str:
    """One panel each, on the same axes: positive scores upwards, negative ones downwards. `unit` is what is counted,
    `metric` what a score is a change of."""
    known = [h for h in all_of if h.edges]
    x = (min((h.edges[0] for h in known), default=0.1), max((h.edges[-1] for h in known), default=1.0))
    up = max((max(h.positive, default=0) for h in known), default=1)
    down = max((max(h.negative, default=0) for h in known), default=1)
    drawn = panel(x, padded(-float(down), float(up)), log=True)
    body = [words(14, 26, title, "t"), words(14, 44, about, "d")]
    for column, each in enumerate(all_of):
        moved = f"translate({LEFT + column * (WIDE + GAP):.0f} {TOP:.0f})"
        body.append(element("g", *_histogram(drawn, each, unit, metric), transform=moved))
    note = f"upwards, blue: positive; downwards, orange: negative; {BINS_A_DECADE} bins for each power of ten"
    body.append(words(14, TOP + TALL + 76, note, "d"))
    width = max(LEFT + len(all_of) * (WIDE + GAP) - GAP + 24, *(28 + canvas.width_of(t) for t in (about, note)))
    return canvas.document(width, TOP + TALL + 92, title, about, body, canvas.BOLD)


def _histogram(drawn: Panel, shown: Histogram, unit: str, metric: str) -> list[str]:
    made = frame(
        drawn, shown.label, f"|score|, in {metric}" if metric else "|score|", f"number of {unit}s", counts=True
    )
    base = drawn.y.at(0)
    for colour, sign, counts in ((POSITIVE, 1, shown.positive), (NEGATIVE, -1, shown.negative)):
        for left, right, n in zip(shown.edges, shown.edges[1:], counts, strict=False):
            if n:
                x, end, y = drawn.x.at(left), drawn.x.at(right), drawn.y.at(sign * n)
                says = f"{number(left, 3)} to {number(right, 3)}: {count(n, unit)}"
                bar = element(
                    "rect",
                    hint(says),
                    x=x + 0.5,
                    y=min(y, base),
                    width=end - x - 1,
                    height=abs(y - base),
                    fill=colour,
                )
                made.append(bar)
    made.append(line(drawn.x.start, base, drawn.x.stop, base, INK))
    left_out = [f"{shown.below:,} smaller"] * bool(shown.below) + [f"{shown.zero:,} exactly 0"] * bool(shown.zero)
    if left_out:
        made.append(words(drawn.x.stop, TALL + 50, "not shown: " + ", ".join(left_out), "d", anchor="end"))
    return made


def examples_svg(title: str, about: str, records: Sequence[Mapping[str, Any]], metric: str) -> str:
    """Each example's metric in the whole model and in the circuit; on the diagonal the circuit does as the model."""
    clean = [float(r["clean"]) for r in records]
    value = [float(r["value"]) for r in records]
    ends = padded(min(clean + value), max(clean + value))
    drawn = panel(ends, ends, wide=TALL + 80)
    inside = frame(drawn, "one mark: one example", f"{metric}, whole model", f"{metric}, circuit")
    (x1, y1), (x2, y2) = drawn.place(ends[0], ends[0]), drawn.place(ends[1], ends[1])
    inside.append(line(x1, y1, x2, y2, DIM, stroke_dasharray="3 3"))
    for record, x, y in zip(records, clean, value, strict=True):
        says = f"{record['id']}\nmodel {number(x)}, circuit {number(y)}"
        inside.append(element("g", mark(*drawn.place(x, y), 0, POSITIVE, says), opacity="0.55"))
    empty = [float(r["corrupted"]) for r in records if "corrupted" in r]
    notes = ["dashed: the circuit does exactly as the model"]
    if empty:
        notes.append(f"mean of the empty circuit: {number(sum(empty) / len(empty))}")
    body = [
        words(14, 26, title, "t"),
        words(14, 44, about, "d"),
        element("g", *inside, transform=f"translate({LEFT:.0f} {TOP:.0f})"),
        *(words(14, TOP + TALL + 60 + 16 * row, text, "d") for row, text in enumerate(notes)),
    ]
    width = max(LEFT + TALL + 104, 28 + canvas.width_of(about), 28 + canvas.width_of(title, 14))
    return canvas.document(width, TOP + TALL + 64 + 16 * len(notes), title, about, body, canvas.BOLD)

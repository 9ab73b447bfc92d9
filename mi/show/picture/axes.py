"""A panel with two axes: ranges in; a frame with ticks, and where a value stands in it, out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mi.show.picture.canvas import DIM, FAINT, INK, element, figure, hint, line, words

WIDE, TALL = 420.0, 280.0
TICK = 5.0


@dataclass(frozen=True)
class Scale:
    """From values to pixels. `log` is for positive values only."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, x = (math.log(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return self.start + (x - low) / ((high - low) or 1.0) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        return decades(self.low, self.high) if self.log else steps(self.low, self.high)


@dataclass(frozen=True)
class Panel:
    """A frame whose upper left corner is at (0, 0)."""

    x: Scale
    y: Scale

    def place(self, x: float, y: float) -> tuple[float, float]:
        return self.x.at(x), self.y.at(y)


def panel(x: tuple[float, float], y: tuple[float, float], log: bool = False, wide: float = WIDE) -> Panel:
    return Panel(Scale(*x, 0.0, wide, log), Scale(*y, TALL, 0.0))


def steps(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two values: 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    return [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten between two values; with 2 and 5 times them where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if len(powers) > 4 else (1, 2, 5) if len(powers) < 3 else (1, 3)
    return [m * 10.0**p for p in powers for m in factors if low * (1 - 1e-9) <= m * 10.0**p <= high * (1 + 1e-9)]


def padded(low: float, high: float, share: float = 0.04) -> tuple[float, float]:
    """A range with some air, and never empty."""
    air = share * (high - low) or 0.5 * abs(low) or 0.5
    return low - air, high + air


def label(value: float, percent: bool = False) -> str:
    """A tick as text."""
    return f"{100 * value:.3g} %" if percent else f"{0.0 if abs(value) < 1e-12 else value:.4g}"


def frame(drawn: Panel, title: str, x_name: str, y_name: str, percent: bool = False, counts: bool = False) -> list[str]:
    """Grid, ticks, names. The title stands above. `counts`: downwards, too, the upright axis counts from 0."""
    left, right, bottom, top = drawn.x.start, drawn.x.stop, drawn.y.start, drawn.y.stop
    made = [words(left, top - 12, title, "b")]
    for value in drawn.x.ticks():
        at = drawn.x.at(value)
        made.append(line(at, bottom, at, top, FAINT, stroke_width=0.6))
        made.append(words(at, bottom + 16, label(value, percent), "d", anchor="middle"))
    for value in drawn.y.ticks():
        at = drawn.y.at(value)
        made.append(line(left, at, right, at, FAINT, stroke_width=0.6))
        made.append(words(left - TICK - 2, at + 4, label(abs(value) if counts else value), "d", anchor="end"))
    box = element("rect", x=left, y=top, width=right - left, height=bottom - top, fill="none", stroke=DIM)
    made += [box, words((left + right) / 2, bottom + 34, x_name, anchor="middle")]
    middle = f"translate({left - 46:.0f} {(top + bottom) / 2:.0f}) rotate(-90)"
    made.append(words(0, 0, y_name, anchor="middle", transform=middle))
    return made


def polyline(points: Sequence[tuple[float, float]], colour: str, dash: str = "", wide: float = 2.0) -> str:
    return element(
        "path",
        d="M" + "L".join(f"{figure(x)} {figure(y)}" for x, y in points),
        fill="none",
        stroke=colour,
        stroke_width=wide,
        stroke_dasharray=dash or None,
    )


def area(points: Sequence[tuple[float, float]], colour: str, opacity: float) -> str:
    corners = "L".join(f"{figure(x)} {figure(y)}" for x, y in points)
    return element("path", d=f"M{corners}Z", fill=colour, opacity=f"{opacity:.2f}")


def mark(x: float, y: float, number: int, colour: str, says: str) -> str:
    """A point; series differ in their shape too."""
    r = 4.0
    shapes = (
        lambda: element("circle", hint(says), cx=x, cy=y, r=r - 0.5, fill=colour),
        lambda: _corners(x, y, says, colour, [(-r, -r), (r, -r), (r, r), (-r, r)], 0.85),
        lambda: _corners(x, y, says, colour, [(0, -r), (r, r), (-r, r)], 1.1),
        lambda: _corners(x, y, says, colour, [(0, -r), (r, 0), (0, r), (-r, 0)], 1.25),
        lambda: _corners(x, y, says, colour, [(0, r), (r, -r), (-r, -r)], 1.1),
    )
    return shapes[number % len(shapes)]()


def _corners(x: float, y: float, says: str, colour: str, at: Sequence[tuple[float, float]], by: float) -> str:
    points = " ".join(f"{figure(x + by * a)},{figure(y + by * b)}" for a, b in at)
    return element("polygon", hint(says), points=points, fill=colour)


def whisker(x: float, low: float, high: float, colour: str = INK) -> str:
    """An upright interval, in pixels."""
    return line(x, low, x, high, colour, stroke_width=1.4) + "".join(
        line(x - 3, y, x + 3, y, colour, stroke_width=1.4) for y in (low, high)
    )

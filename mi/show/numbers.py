"""Numbers as a person wants to read them. A number in, a few characters out."""

from __future__ import annotations


def number(value: float | int | None, digits: int = 4) -> str:
    """Four significant digits, integers with their thousands apart, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}g}"


def interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{number(low, 3)} to {number(high, 3)}"


def percent(part: float | None) -> str:
    return "" if part is None else f"{100 * part:.3g} %"


def count(n: int, word: str) -> str:
    """`1 edge`, `2 edges`."""
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"


def size(n_bytes: int) -> str:
    """Bytes in the unit that leaves two or three digits."""
    amount = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"


def bar(value: float, largest: float, cells: int = 16) -> str:
    """A bar of eighths of a cell, as long as the value is large."""
    eighths = round(8 * cells * min(1.0, abs(value) / largest)) if largest > 0 else 0
    return "█" * (eighths // 8) + ("", *"▏▎▍▌▋▊▉")[eighths % 8]

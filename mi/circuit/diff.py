"""What differs between two results of one kind: vectors and names in, counts, correlations and a list of changes out.

A difference counts where |b - a| > atol + rtol * |a|. What one of the two does not have is a difference always.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mi.circuit.roc import average_ranks

ADDED, REMOVED, CHANGED, FLIPPED, SAME = "added", "removed", "changed", "flipped", "same"
SHARE = 0.1  # of the scores that are ranked highest, whose overlap is told


@dataclass(frozen=True)
class Tolerance:
    atol: float = 0.0
    rtol: float = 0.0

    def beyond(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(b - a) > self.atol + self.rtol * np.abs(a))


@dataclass(frozen=True)
class Change:
    """One thing that differs: an edge, a node, a number of a report. `a` or `b` is None where it is not there, or has
    no number."""

    name: str
    verdict: str
    a: float | None = None
    b: float | None = None

    @property
    def weight(self) -> float:
        """How much there is to see: what changes are ranked by."""
        if self.a is not None and self.b is not None:
            return abs(self.b - self.a)
        return abs(next((value for value in (self.a, self.b) if value is not None), 0.0))


@dataclass(frozen=True)
class Compared:
    """`numbers` describe both as a whole; `changes` are ranked by weight."""

    numbers: Mapping[str, Any]
    changes: Sequence[Change] = field(default_factory=tuple)

    @property
    def differs(self) -> bool:
        return bool(self.changes)


def circuits(a: Mapping[str, float | None], b: Mapping[str, float | None], tolerance: Tolerance) -> Compared:
    """Two circuits, as the scores (or None) of their units by name."""
    both = [name for name in a if name in b]
    pairs = [(name, p, q) for name in both if (p := a[name]) is not None and (q := b[name]) is not None]
    x, y = (np.array([pair[i] for pair in pairs], dtype=np.float64) for i in (1, 2))
    only = [Change(name, REMOVED, a=score) for name, score in a.items() if name not in b]
    only += [Change(name, ADDED, b=score) for name, score in b.items() if name not in a]
    either = len(both) + len(only)
    numbers = {
        "a": len(a),
        "b": len(b),
        "both": len(both),
        "added": len(b) - len(both),
        "removed": len(a) - len(both),
        "jaccard": len(both) / either if either else 1.0,
        **_scores(x, y),
    }
    return Compared(numbers, _ranked([*only, *_changed([pair[0] for pair in pairs], x, y, tolerance)]))


def scores(names: Sequence[str], a: np.ndarray, b: np.ndarray, tolerance: Tolerance) -> Compared:
    """Two vectors of scores of the same units; NaN: not scored there."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    there = ~np.isnan(a), ~np.isnan(b)
    both = np.flatnonzero(there[0] & there[1])
    only = [Change(names[i], REMOVED, a=float(a[i])) for i in np.flatnonzero(there[0] & ~there[1]).tolist()]
    only += [Change(names[i], ADDED, b=float(b[i])) for i in np.flatnonzero(~there[0] & there[1]).tolist()]
    x, y = a[both], b[both]
    numbers: dict[str, Any] = {
        "a": int(there[0].sum()),
        "b": int(there[1].sum()),
        "both": len(both),
        **_scores(x, y),
        "top-jaccard": _overlap(x, y),
    }
    if len(both):
        numbers |= {
            "largest-change": float(np.abs(y - x).max()),
            "largest-score": float(max(np.abs(x).max(), np.abs(y).max())),
        }
    return Compared(numbers, _ranked([*only, *_changed([names[i] for i in both.tolist()], x, y, tolerance)]))


def numbers(a: Mapping[str, float | None], b: Mapping[str, float | None], tolerance: Tolerance) -> Compared:
    """Two sets of named numbers, such as the summaries of reports; None: undetermined."""
    changes = [Change(name, REMOVED, a=value) for name, value in a.items() if name not in b]
    changes += [Change(name, ADDED, b=value) for name, value in b.items() if name not in a]
    for name in (name for name in a if name in b):
        before, after = a[name], b[name]
        if before is None or after is None:
            if before is not after:
                changes.append(Change(name, CHANGED, before, after))
        elif tolerance.beyond(np.array(before, np.float64), np.array(after, np.float64)):
            changes.append(Change(name, CHANGED, before, after))
    return Compared({"a": len(a), "b": len(b)}, changes)


def _changed(names: Sequence[str], x: np.ndarray, y: np.ndarray, tolerance: Tolerance) -> Iterator[Change]:
    for i in np.flatnonzero(tolerance.beyond(x, y)).tolist():
        yield Change(names[i], FLIPPED if x[i] * y[i] < 0 else CHANGED, float(x[i]), float(y[i]))


def _ranked(changes: Sequence[Change]) -> list[Change]:
    return sorted(changes, key=lambda change: -change.weight)  # stable: equals stay in the order of the graph


def _scores(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """What can be said of the scores of the same units."""
    made = {"spearman": spearman(x, y), "spearman-magnitude": spearman(np.abs(x), np.abs(y))}
    return {**made, "sign-flips": int(np.count_nonzero(x * y < 0))}


def spearman(x: np.ndarray, y: np.ndarray) -> float | None:
    """The correlation of ranks, ties sharing theirs; None where one of the two has no order."""
    if len(x) < 2:
        return None
    a, b = (ranks - ranks.mean() for ranks in (average_ranks(x), average_ranks(y)))
    length = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / length if length else None


def _overlap(x: np.ndarray, y: np.ndarray) -> float | None:
    """The Jaccard index of the tenth that each ranks highest by magnitude."""
    n = int(len(x) * SHARE)
    if not n:
        return None
    first, second = (set(np.argsort(-np.abs(values), kind="stable")[:n].tolist()) for values in (x, y))
    return len(first & second) / len(first | second)

"""What a report measured: its records in, the metric of every example as arrays out, and what can be computed of them.

A quantity (faithfulness, an area of the curve, a plain mean) is a function of the means over examples: [..., K + 2],
the K circuits, then the whole model, then the empty circuit. So one function serves a report and all its resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mi.circuit.curve import AREAS
from mi.errors import MiError

LESS_IS_BETTER = ("cmd", "cmd-log", "complement", "incompleteness")
PLAIN = {"circuit": 0, "clean": -2, "empty": -1}  # means that are no ratios: always determined
Quantity = Callable[[np.ndarray], np.ndarray]
Record = Mapping[str, Any]
Place = tuple[Any, Any]  # ranking and nominal size: both None for a report of one circuit


@dataclass(frozen=True, eq=False)
class Measured:
    """A report. `columns` are the circuits, the whole model and the empty circuit on every example."""

    columns: np.ndarray  # float64 [K + 2, N]
    places: tuple[Place, ...]
    keys: tuple[tuple[str, str], ...]  # id and digest of each example
    templates: tuple[str, ...]
    summaries: Mapping[str, Record] = field(default_factory=dict)  # those that are there once
    size: int | None = None  # edges of the one circuit

    @property
    def n(self) -> int:
        return self.columns.shape[1]

    @property
    def is_curve(self) -> bool:
        return len(self.places) > 1

    def names(self) -> list[str]:
        """The quantities that can be computed again from the examples."""
        if not self.n:
            return []
        return [*AREAS, "clean", "empty"] if self.is_curve else ["faithfulness", "circuit", "clean", "empty"]

    def rows(self, order: Sequence[int]) -> Measured:
        """The same report with its examples in another order."""
        picked = list(order)
        return Measured(
            np.ascontiguousarray(self.columns[:, picked]),
            self.places,
            tuple(self.keys[i] for i in picked),
            tuple(self.templates[i] for i in picked),
            self.summaries,
            self.size,
        )


def quantity(measured: Measured, name: str) -> Quantity:
    """What turns means [..., K + 2] into a number, for one of `names()`."""
    if name in PLAIN:
        row = PLAIN[name]
        return lambda means: means[..., row]
    if name == "faithfulness":
        return lambda means: faithfulness(means)[..., 0]
    area, signed = AREAS[name]
    ranking = "signed" if signed else "absolute"
    chosen = sorted((nominal, row) for row, (mode, nominal) in enumerate(measured.places) if mode == ranking)
    x, rows = [nominal for nominal, _ in chosen], [row for _, row in chosen]
    return lambda means: area(faithfulness(means)[..., rows], x)


def faithfulness(means: np.ndarray) -> np.ndarray:
    """(m(C) - m(0)) / (m(M) - m(0)) of every circuit, [..., K]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (means[..., :-2] - means[..., -1:]) / (means[..., -2:-1] - means[..., -1:])


def measured(records: Sequence[Record], origin: str) -> Measured:
    """The arrays of a report's records. One without values of examples (of `mi eval`) has its summaries alone."""
    examples = [record for record in records if "summary" not in record]
    places = tuple(dict.fromkeys(_place(record) for record in examples))
    by_place: dict[Place, list[Record]] = {place: [] for place in places}
    for record in examples:
        by_place[_place(record)].append(record)
    first = by_place[places[0]] if places else []
    keys = tuple(_key(record) for record in first)
    for rows in by_place.values():
        if tuple(_key(record) for record in rows) != keys:
            raise MiError("its circuits were not run on the same examples", "make the report again", place=origin)
    values = [[_number(record, "value", origin) for record in rows] for rows in by_place.values()]
    ends = [[_number(record, name, origin) for record in first] for name in ("clean", "corrupted")]
    columns = np.array([*values, *ends], dtype=np.float64).reshape(len(places) + 2, len(keys))
    templates = tuple(str(record.get("template") or "") for record in first)
    size = first[0].get("size") if len(places) == 1 and first else None
    return Measured(columns, places, keys, templates, _summaries(records), size)


def _place(record: Record) -> Place:
    return record.get("mode"), record.get("nominal")


def _key(record: Record) -> tuple[str, str]:
    return str(record["id"]), str(record.get("digest") or record["id"])


def _number(record: Record, name: str, origin: str) -> float:
    if name not in record:
        raise MiError(f"example {record['id']} has no {name!r}", "make the report again with `mi score`", place=origin)
    return float(record[name])


def _summaries(records: Sequence[Record]) -> dict[str, Record]:
    """Summaries by name; points of a curve share theirs and are left out."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if "summary" in record:
            found.setdefault(str(record["summary"]), []).append(record)
    return {name: each[0] for name, each in found.items() if len(each) == 1}

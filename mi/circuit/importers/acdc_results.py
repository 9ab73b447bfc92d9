"""Results of ACDC: the JSON of a sweep over thresholds, with the shares of true and false edges that each one kept.

The file nests weights, ablation, task, metric and algorithm around lists of numbers, one for each threshold. JSON has
no Infinity and no NaN, but these files do: as the threshold that keeps nothing, and as what was not measured of it.

In: the bytes. Out: what they are about, and the points of two ROC curves, of edges and of nodes, with ACDC's own area
of each (spec D5), as records of a report.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mi.circuit.roc import pessimistic_area
from mi.errors import MiError

NESTED = ("weights", "ablation", "task", "metric", "method")
UNITS = {"edge": ("roc", "auroc-pessimistic"), "node": ("roc-nodes", "auroc-pessimistic-nodes")}
EXPECTED = (
    "ACDC's results nest weights, ablation, task, metric and algorithm around lists such as edge_tpr and edge_fpr"
)
Record = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """One sweep: what it is of, by the names in `NESTED`, and its records."""

    about: Mapping[str, str]
    records: Sequence[Record]


def are_results(data: bytes) -> bool:
    """Whether a file of ACDC holds results, not edges."""
    return data.lstrip()[:1] == b"{" and b'"edge_tpr"' in data


def read(data: bytes, place: str) -> Results:
    """
    Raises:
        MiError: no JSON, several sweeps, or rates that are none.
    """
    try:
        found = list(_sweeps(json.loads(data), ()))
    except (ValueError, RecursionError) as error:
        raise MiError(f"not JSON: {error}", place=place) from None
    if not found:
        raise MiError("no sweep is there", EXPECTED, place=place)
    if len(found) > 1:
        names = ", ".join("/".join(keys) for keys, _ in found[:4])
        raise MiError(f"it holds {len(found)} sweeps: {names}", "write each to a file of its own", place=place)
    ((keys, lists),) = found
    records = [record for unit in UNITS for record in _curve(lists, unit, place)]
    return Results(dict(zip(NESTED, keys, strict=False)), records)


def _sweeps(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    if not isinstance(value, Mapping):
        return
    if "edge_tpr" in value:
        yield keys, value
        return
    for key, inner in value.items():
        yield from _sweeps(inner, (*keys, key))


def _curve(lists: Mapping[str, Any], unit: str, place: str) -> Iterator[Record]:
    """The area of one kind of unit, then its points, by false and true share."""
    if f"{unit}_tpr" not in lists:
        return
    tpr, fpr = (_rates(lists, f"{unit}_{rate}", place) for rate in ("tpr", "fpr"))
    sizes, thresholds = lists.get(f"n_{unit}s"), lists.get("score")
    if len(tpr) != len(fpr) or len(tpr) < 2:
        raise MiError(f"{unit}_tpr has {len(tpr)} rates and {unit}_fpr {len(fpr)}", EXPECTED, place=place)
    curve, area = UNITS[unit]
    points = []
    for i, (hit, false) in enumerate(zip(tpr, fpr, strict=True)):
        size, threshold = _at(sizes, i), _at(thresholds, i)
        more: Record = {"size": round(size)} if size is not None and size >= 0 else {}
        more |= {"threshold": threshold} if threshold is not None else {}
        points.append({"summary": curve, "value": hit, "tpr": hit, "fpr": false, **more})
    yield {"summary": area, "value": pessimistic_area(np.array(fpr), np.array(tpr))}
    yield from sorted(points, key=lambda point: (point["fpr"], point["tpr"]))


def _rates(lists: Mapping[str, Any], name: str, place: str) -> list[float]:
    found = lists.get(name)
    if not isinstance(found, list):
        raise MiError(f"{name} is no list", EXPECTED, place=place)
    for value in found:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise MiError(f"{name} holds {str(value)[:40]!r}, which is no rate", EXPECTED, place=place)
    return [float(value) for value in found]


def _at(values: Any, index: int) -> float | None:
    """What stands beside a point, where it is a number."""
    value = values[index] if isinstance(values, list) and index < len(values) else None
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if known else None

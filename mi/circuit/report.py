"""The circuits to run, and what a run of them says: masks out of a stream, records of a report out of metrics.

In: a circuit's records or a vector of scores; then the metric of every circuit on every example. Out: masks without
repeats; one record per example and size, then the summaries with their intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mi.circuit import curve, select, statistics
from mi.circuit.graph import Graph
from mi.circuit.prune import connected
from mi.circuit.statistics import Estimate

MODES = ("signed", "absolute")


@dataclass(frozen=True)
class Point:
    """One circuit of a report: where it stands on a curve (None for a single circuit), and its mask's row."""

    mode: str | None
    nominal: float | None
    requested: int | None
    size: int
    row: int


@dataclass(frozen=True)
class Circuits:
    """Masks [circuit, edge] without repeats, and the points that use them."""

    masks: np.ndarray
    points: tuple[Point, ...]


def single(mask: np.ndarray) -> Circuits:
    """One circuit [edge], on no curve."""
    return Circuits(mask[None], (Point(None, None, None, int(mask.sum()), 0),))


def of_scores(graph: Graph, scores: np.ndarray) -> Circuits:
    """The circuits of the MIB curve, by signed score and by magnitude, each pruned to what is connected."""
    masks: list[np.ndarray] = []
    rows: dict[bytes, int] = {}
    points: list[Point] = []
    for mode in MODES:
        for nominal, size in zip(curve.PERCENTAGES, curve.sizes(graph.n_edges), strict=True):
            mask = connected(graph, select.top(graph, scores, size, absolute=mode == "absolute"))
            key = mask.tobytes()
            if key not in rows:
                rows[key] = len(masks)
                masks.append(mask)
            points.append(Point(mode, nominal, size, int(mask.sum()), rows[key]))
    return Circuits(np.stack(masks), tuple(points))


def report(
    circuits: Circuits,
    value: np.ndarray,
    clean: np.ndarray,
    empty: np.ndarray,
    ids: Sequence[str],
    clusters: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Records of a report: every example at every point, then summaries. ``value`` is [circuit, example]."""
    records = [
        _example(point, example, value[point.row, row], clean[row], empty[row])
        for point in circuits.points
        for row, example in enumerate(ids)
    ]
    n = len(ids)
    for name, estimate in statistics.means({"clean": clean, "empty": empty}, clusters=clusters).items():
        records.append({"summary": name, **_numbers(estimate), "n": n})
    why = statistics.undetermined(clean, empty, clusters)
    if why is not None:
        records += [
            {"summary": "faithfulness", **_place(point), "n": n, "undetermined": why} for point in circuits.points
        ]
        return records
    estimates = statistics.faithfulness(value, clean, empty, clusters=clusters)
    for point in circuits.points:
        spread = {"metric": float(value[point.row].mean())}
        records.append({"summary": "faithfulness", **_place(point), **_numbers(estimates[point.row]), "n": n, **spread})
    if len(circuits.points) > 1:
        signed, absolute = (value[[p.row for p in circuits.points if p.mode == mode]] for mode in MODES)
        for name, estimate in statistics.areas(signed, absolute, clean, empty, clusters=clusters).items():
            records.append({"summary": name, **_numbers(estimate), "n": n})
    return records


def _example(point: Point, example: str, value: float, clean: float, empty: float) -> dict[str, Any]:
    return {"id": example, **_place(point), "value": float(value), "clean": float(clean), "corrupted": float(empty)}


def _place(point: Point) -> dict[str, Any]:
    """Size as realised; on a curve also its nominal share of the edges, the size asked for and the ranking."""
    if point.mode is None:
        return {"size": point.size}
    return {"size": point.size, "requested": point.requested, "nominal": point.nominal, "mode": point.mode}


def _numbers(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}

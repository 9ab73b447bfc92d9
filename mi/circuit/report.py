"""The circuits to run, and what a run of them says: masks out of a stream, records of a report out of metrics.

In: a circuit or a vector of scores, at any level; then the metric of every circuit on every example. Out: masks without
repeats; one record per example and size, then the summaries with their intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mi.circuit import curve, select, statistics
from mi.circuit.graph import Graph
from mi.circuit.levels import Circuit, Units, units_of
from mi.circuit.statistics import Estimate

MODES = ("signed", "absolute")


@dataclass(frozen=True)
class Point:
    """One circuit of a report: where it stands on a curve (None for a single circuit), and its mask's row."""

    mode: str | None
    nominal: float | None
    requested: int | None
    size: int  # true edges, at every level
    row: int
    finer: Mapping[str, float] = field(default_factory=dict)  # nodes, or neurons and weighted edges


@dataclass(frozen=True)
class Circuits:
    """Masks [circuit, edge] without repeats, where they are finer than edges [circuit, source, d], and their points."""

    masks: np.ndarray
    points: tuple[Point, ...]
    neurons: np.ndarray | None = None


def single(circuit: np.ndarray | Circuit) -> Circuits:
    """One circuit, or the edges of one [edge], on no curve."""
    if not isinstance(circuit, Circuit):
        return Circuits(circuit[None], (Point(None, None, None, int(circuit.sum()), 0),))
    neurons = None if circuit.neurons is None else circuit.neurons[None]
    return Circuits(circuit.edges[None], (Point(None, None, None, circuit.n_edges, 0, _finer(circuit)),), neurons)


def of_scores(of: Graph | Units, scores: np.ndarray, rule: str = "top") -> Circuits:
    """The circuits of the MIB curve, by signed score and by magnitude, each pruned to what is connected.

    At the levels of nodes and neurons a size is a share of what was scored. `rule`: top, or greedy.
    """
    units = units_of(of)
    choose = {"top": select.top, "greedy": select.greedy}[rule]
    n_scored = int(np.count_nonzero(~np.isnan(scores)))
    circuits: list[Circuit] = []
    rows: dict[bytes, int] = {}
    points: list[Point] = []
    for mode in MODES:
        for nominal, size in zip(curve.PERCENTAGES, curve.sizes(n_scored), strict=True):
            circuit = units.circuit(choose(units, scores, size, absolute=mode == "absolute"))
            key = (circuit.edges if circuit.neurons is None else circuit.neurons).tobytes()
            if key not in rows:
                rows[key] = len(circuits)
                circuits.append(circuit)
            points.append(Point(mode, nominal, size, circuit.n_edges, rows[key], _finer(circuit)))
    neurons = None if circuits[0].neurons is None else np.stack([c.neurons for c in circuits if c.neurons is not None])
    return Circuits(np.stack([circuit.edges for circuit in circuits]), tuple(points), neurons)


def _finer(circuit: Circuit) -> dict[str, float]:
    """How large a circuit is in the units that it was chosen in, where these are not edges."""
    if circuit.level == "edge":
        return {}
    if circuit.neurons is None:
        return {"nodes": len(np.unique(circuit.graph.source[circuit.edges]))}
    return {"neurons": int(circuit.neurons.sum()), "weighted_edges": circuit.weighted_edges}


def report(
    circuits: Circuits,
    value: np.ndarray,
    clean: np.ndarray,
    empty: np.ndarray,
    examples: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Records of a report: every example at every point, then summaries. ``value`` is [circuit, example]; ``examples``
    say which each is (`named`)."""
    records = [
        _example(point, example, value[point.row, row], clean[row], empty[row])
        for point in circuits.points
        for row, example in enumerate(examples)
    ]
    n, clusters = len(examples), statistics.clusters([str(example.get("template", "")) for example in examples])
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


def named(identity: str, digest: str, template: str) -> dict[str, Any]:
    """Which example a record is of: its id, its digest where the id is not that already, its template if it has one."""
    made = {"id": identity, "digest": "" if digest == identity else digest, "template": template}
    return {key: value for key, value in made.items() if value or key == "id"}


def _example(point: Point, example: Mapping[str, Any], value: float, clean: float, empty: float) -> dict[str, Any]:
    return {**example, **_place(point), "value": float(value), "clean": float(clean), "corrupted": float(empty)}


def _place(point: Point) -> dict[str, Any]:
    """Size as realised; on a curve also its nominal share of the edges, the size asked for and the ranking."""
    if point.mode is None:
        return {"size": point.size, **point.finer}
    return {
        "size": point.size,
        **point.finer,
        "requested": point.requested,
        "nominal": point.nominal,
        "mode": point.mode,
    }


def _numbers(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}

"""Tests of a circuit or of scores on a model: what `mi score --test` adds to a report.

Flows in: a model, examples, circuits and their runs. Flows out: records (`mi/circuit/examine.py` says what of).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mi.circuit import curve, examine, examine_curve, statistics
from mi.circuit.examine import Record
from mi.circuit.reading import Scored
from mi.circuit.report import Circuits
from mi.core.circuits import CircuitRuns, run_circuits
from mi.core.model import Model
from mi.tasks.encode import Encoded

AT_ONCE = 64  # circuits between two words on progress
RESAMPLES = 200  # of the shards


@dataclass(frozen=True)
class Examination:
    """``how`` are the arguments of `run_circuits` that are the same for every run."""

    model: Model
    encoded: Sequence[Encoded]
    how: dict[str, Any]
    n_random: int
    seed: int = 0
    on_done: Callable[[int], None] = lambda n: None

    def run(self, masks: np.ndarray) -> np.ndarray:
        """The metric of each circuit on every example."""
        parts = []
        for start in range(0, len(masks), AT_ONCE):
            part = masks[start : start + AT_ONCE]
            parts.append(run_circuits(self.model, self.encoded, part, **self.how).value)
            self.on_done(len(part))
        return np.concatenate(parts)

    def of_circuit(self, circuits: Circuits, got: CircuitRuns, names: Sequence[str]) -> list[Record]:
        subject = examine.Subject(
            self.model.graph,
            circuits.masks[0],
            got.value[0],
            got.clean,
            got.corrupted,
            statistics.clusters([example.template for example in self.encoded]),
            n_random=self.n_random,
            seed=self.seed,
        )
        return examine.examine(subject, self.run, names)

    def of_scores(self, found: Scored, rule: str, got: CircuitRuns, names: Sequence[str]) -> list[Record]:
        records: list[Record] = []
        if "random" in names:
            records += examine_curve.random_rankings(
                found.units, rule, got.clean, got.corrupted, self.run, self.n_random, self.seed
            )
        if "stability" in names:
            records += examine_curve.stable(found, RESAMPLES, self.seed)
        return records

    def gap(self, circuits: Circuits, got: CircuitRuns, others: Sequence[Encoded], split: str) -> list[Record]:
        """How much better the circuit, or the curve, looks on the examples of ``split``: on those that chose it."""
        there = run_circuits(self.model, others, circuits.masks, neurons=circuits.neurons, **self.how)
        self.on_done(len(circuits.masks))
        for runs in (got, there):
            if (why := statistics.undetermined(runs.clean, runs.corrupted)) is not None:
                return [{"summary": "gap", "test": "gap", "undetermined": why}]
        single = len(circuits.points) == 1
        records: list[Record] = []
        for name in ("faithfulness",) if single else ("cpr", "cmd"):
            mode = None if single else "signed" if curve.AREAS[name][1] else "absolute"
            rows = [point.row for point in circuits.points if point.mode == mode]
            pair = [(runs.value[rows], runs.clean, runs.corrupted) for runs in (got, there)]
            of = (lambda f: f) if single else curve.AREAS[name][0]
            found = statistics.gap(pair[0], pair[1], of)
            numbers = {"value": found.value, "low": found.low, "high": found.high}
            about = {"split": split, "n": len(others)}
            records.append({"summary": f"{name} gap", "test": "gap", **numbers, **about})
        return records

"""Nodes and neurons with a score, for eyes: the counterpart of `mi.show.edges` at the other levels, and for streams
that mix levels. Units and a vector in, or records; names and scores out."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mi.circuit.globs import matching
from mi.circuit.levels import Units
from mi.circuit.names import ARROW
from mi.circuit.select import ranked
from mi.errors import UsageError


@dataclass(frozen=True, eq=False)
class Nodes:
    """Scored nodes or neurons of a graph, in its order. NaN: nobody scored it."""

    units: Units
    score: np.ndarray  # float [n]
    standard_error: np.ndarray | None = None  # float [n]

    @property
    def what(self) -> str:
        return self.units.level

    def name(self, index: int) -> str:
        return self.units.name(index)

    def chosen(self, patterns: Sequence[str] = ()) -> list[int]:
        """What a pattern means (all, without patterns), largest magnitude first."""
        mask = matching(self.units, patterns) if patterns else np.ones(self.units.n, dtype=bool)
        order: list[int] = ranked(self.score, mask).tolist()
        return order

    def records(self) -> list[dict[str, Any]]:
        """One record each, in the order of the graph."""
        return self.units.records(np.arange(self.units.n), self.score)


@dataclass(frozen=True, eq=False)
class Listed:
    """Records of nodes, neurons and perhaps edges, in the order of the stream."""

    listed: Sequence[Mapping[str, Any]]
    score: np.ndarray  # float [n]; NaN where a record has none
    standard_error: np.ndarray | None = None

    @property
    def what(self) -> str:
        kinds = {
            "edge" if "src" in r else "site" if "site" in r else "neuron" if "unit" in r else "node"
            for r in self.listed
        }
        return kinds.pop() if len(kinds) == 1 else "record"

    def name(self, index: int) -> str:
        return spelled(self.listed[index])

    def chosen(self, patterns: Sequence[str] = ()) -> list[int]:
        mask = np.array([not patterns or _means(record, patterns) for record in self.listed], dtype=bool)
        if patterns and not mask.any():
            raise UsageError(
                f"nothing here is called {' or '.join(patterns)}", "names look like a9.h3, m3, m3/17, layers.0:output"
            )
        order: list[int] = ranked(self.score, mask).tolist()
        return order

    def records(self) -> list[dict[str, Any]]:
        return [dict(record) for record in self.listed]


def listed(records: Sequence[Mapping[str, Any]]) -> Listed:
    score = np.array([record.get("score") for record in records], dtype=np.float64)
    errors = [record.get("se") for record in records]
    known = bool(records) and None not in errors
    return Listed(records, score, np.array(errors, dtype=np.float64) if known else None)


def spelled(record: Mapping[str, Any]) -> str:
    """`m0->m3`, `m3`, `m3/17`."""
    if "src" in record:
        return f"{record['src']}{ARROW}{record['dst']}"
    if "site" in record:
        return str(record["site"])
    return f"{record['node']}/{record['unit']}" if "unit" in record else str(record["node"])


def _means(record: Mapping[str, Any], patterns: Sequence[str]) -> bool:
    """By its whole name, or by that of a node that it is part of or touches."""
    ends = (record["src"], str(record["dst"]).partition("<")[0]) if "src" in record else (record.get("node"),)
    names = (spelled(record), *ends)
    return any(fnmatch.fnmatchcase(str(name), pattern) for name in names for pattern in patterns)

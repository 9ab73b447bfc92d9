"""What a stream scores, wherever it keeps it: a head, records and perhaps the blob of scores in, names and scores out.
Used by everything that shows edges; nodes and neurons are in `mi.show.nodes`."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mi.circuit.graph import Graph, from_head
from mi.circuit.levels import Units
from mi.circuit.names import ARROW
from mi.circuit.partial import refuse
from mi.circuit.select import ranked
from mi.errors import MiError, UsageError
from mi.show.nodes import Listed, Nodes, listed
from mi.show.receivers import shared_receivers


@dataclass(frozen=True)
class Edges:
    """Scored edges in the order of the stream. `graph` is there where they are all edges of one."""

    source: Sequence[str]
    receiver: Sequence[str]
    score: np.ndarray  # float [n]
    standard_error: np.ndarray | None = None  # float [n], from disjoint shards of the examples
    graph: Graph | None = None
    what: str = "edge"
    shared: Mapping[str, Sequence[str]] = field(default_factory=dict)  # receivers that nodes share, and these nodes

    def name(self, index: int) -> str:
        return f"{self.source[index]}{ARROW}{self.receiver[index]}"

    def chosen(self, patterns: Sequence[str] = ()) -> list[int]:
        """The edges that a pattern means (all, without patterns), largest magnitude first."""
        mask = np.ones(len(self.score), dtype=bool)
        if patterns:
            mask = self._matching(patterns)
        order: list[int] = ranked(self.score, mask).tolist()
        return order

    def _matching(self, patterns: Sequence[str]) -> np.ndarray:
        if self.graph is not None:
            from mi.circuit.globs import matching

            return matching(self.graph, patterns)
        mask = np.zeros(len(self.score), dtype=bool)
        for pattern in patterns:
            means = [_means(pattern, s, r, self.shared) for s, r in zip(self.source, self.receiver, strict=True)]
            mask |= np.array(means, dtype=bool)  # an empty circuit has no edges, and an empty list no type
        if not mask.any():
            raise UsageError(
                f"nothing here is called {' or '.join(patterns)}", "names look like a9.h3, m3, a9.*->logits"
            )
        return mask

    def records(self) -> list[dict[str, Any]]:
        """One record per edge, in the order of the stream."""
        scores = [float(value) for value in self.score.tolist()]
        return [
            {"src": source, "dst": receiver, "score": score}
            for source, receiver, score in zip(self.source, self.receiver, scores, strict=True)
        ]


def edges_of(
    head: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    tensors: Callable[[str], Mapping[str, np.ndarray]] | None = None,
) -> Edges | Nodes | Listed:
    """What a scores or circuit stream scores: from its blob where it has one, else from its records."""
    refuse(head)
    if tensors is None:
        if any("src" not in record for record in records):
            return listed(records)
        score = np.array([record.get("score", 0.0) for record in records], dtype=np.float64)
        shared = shared_receivers(head)
        return Edges([r["src"] for r in records], [r["dst"] for r in records], score, shared=shared)
    table = tensors(head["graph"]["blob"]) if head.get("graph", {}).get("builder") == "explicit" else None
    graph = from_head(head["graph"], table)
    arrays = tensors("scores")
    level = head.get("attribution", {}).get("level", "edge")
    if level not in arrays:
        raise MiError(f"the scores are not scores of {level}s", f"the blob holds {', '.join(sorted(arrays))}")
    error = _standard_error(arrays, level)
    if level != "edge":
        return Nodes(Units(graph, level, arrays[level].shape[-1]), arrays[level].ravel(), error)
    sources = [graph.nodes[i] for i in graph.edges[0].tolist()]
    receivers = [graph.receivers[i] for i in graph.edges[1].tolist()]
    return Edges(sources, receivers, arrays["edge"], error, graph)


def _standard_error(arrays: Mapping[str, np.ndarray], level: str) -> np.ndarray | None:
    """Of the mean over examples, from the sums over shards: sqrt(sum_s n_s (mean_s - mean)^2 / (S - 1) / N)."""
    if f"{level}_shards" not in arrays or len(arrays["shard_n"]) < 2:
        return None
    n = arrays["shard_n"].astype(np.float64)  # [S]
    sums = arrays[f"{level}_shards"].reshape(len(n), -1).astype(np.float64, copy=False)  # [S, units]
    apart = sums / np.maximum(n, 1)[:, None]
    apart -= sums.sum(axis=0) / n.sum()
    apart *= apart  # in place: to touch new memory takes longer than the arithmetic
    return np.sqrt(n @ apart / (len(n) - 1) / n.sum())


def _means(pattern: str, source: str, receiver: str, shared: Mapping[str, Sequence[str]]) -> bool:
    """The rule of mi/circuit/globs.py for a single edge: its right side may name the receiver or the whole node."""
    left, arrow, right = pattern.partition(ARROW)
    into = (receiver, *shared.get(receiver, [receiver.partition("<")[0]]))
    if arrow:
        return fnmatch.fnmatchcase(source, left) and any(_like(name, right) for name in into)
    return _like(source, left) or any(_like(name, left) for name in into)


def _like(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern)

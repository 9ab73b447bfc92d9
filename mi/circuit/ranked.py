"""The units that a stream of scores ranks highest: what `mi attribute --method exact` then looks at one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mi.circuit.reading import graph_of, scored
from mi.errors import MiError
from mi.io.stream import Stream


def highest(ranked: Stream, level: str, top: int, head: Mapping[str, Any]) -> np.ndarray:
    """The ``top`` units with the largest scores in magnitude, int64 in the graph's order; of those that a filter left,
    if one did. ``head`` is that of the stream that is to be attributed.

    Raises:
        MiError: the scores are of another graph than the input, or of another level.
    """
    graph = graph_of(ranked)
    if head.get("graph") and head["graph"]["digest"] != graph.digest:
        raise MiError("the scores of --on belong to another graph than the input", "score the same model", place="--on")
    found = scored(ranked, graph)
    if found.units.level != level:
        raise MiError(
            f"the scores to look at are of {found.units.level}s, not of {level}s", f"use --level {found.units.level}"
        )
    size = np.where(np.isnan(found.scores), -1.0, np.abs(found.scores)).ravel()
    if found.listed is not None:
        size = np.where(found.listed.ravel(), size, -1.0)
    order = np.argsort(-size, kind="stable")[:top]
    return np.sort(order[size[order] >= 0])

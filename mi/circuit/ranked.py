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
    own = head.get("graph")
    # A cache has no edges: the form of its graph is not what the scores must have.
    if own and own["digest"] != graph.digest and not _alike(own.get("params") or {}, graph.params):
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


def _alike(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two graphs of transformers differ at most in what their heads share."""
    one, other = ({key: value for key, value in of.items() if key != "n_kv_heads"} for of in (a, b))
    return bool(one) and one == other

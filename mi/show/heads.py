"""Scores by head: a circuit or scores in, a map of layers and heads out. A cell is the sum of the scores of what the
head writes: of its outgoing edges, of its neurons, or its own."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from mi.circuit.names import ARROW
from mi.errors import MiError
from mi.show.edges import Edges
from mi.show.heatmap import Grid, Record
from mi.show.nodes import Listed, Nodes

PLACE = re.compile(r"(?:a(?P<layer>\d+)\.h(?P<head>\d+)|m(?P<mlp>\d+))")


def sums(scored: Edges | Nodes | Listed) -> dict[str, tuple[float, int]]:
    """By source: the sum of its scores, and of how many. Those that nobody scored are left out."""
    made: dict[str, list[float]] = {}
    for index, score in enumerate(scored.score.tolist()):
        if not math.isnan(score):
            source = scored.name(index).partition(ARROW)[0].partition("/")[0]
            made.setdefault(source, []).append(score)
    return {name: (math.fsum(values), len(values)) for name, values in made.items()}


def grid(scored: Edges | Nodes | Listed) -> Grid:
    """Layers down, heads across, the MLP last.

    Raises:
        MiError: no source is called like a head or an MLP of a layer.
    """
    found: dict[tuple[int, str], Record] = {}
    heads: set[int] = set()
    for name, (total, n) in sums(scored).items():
        place = PLACE.fullmatch(name.partition("@")[0])
        if place is None:
            continue
        column = "mlp" if place["mlp"] else f"h{place['head']}"
        heads |= set() if place["mlp"] else {int(place["head"])}
        key = int(place["mlp"] or place["layer"]), column
        before = found.get(key, {"effect": 0.0, "n": 0})
        found[key] = {"effect": before["effect"] + total, "n": before["n"] + n}
    if not found:
        raise MiError("no head and no MLP has a score here", "names like a3.h1 and m3 say where a score belongs")
    layers = sorted({layer for layer, _ in found})
    columns = [*(f"h{head}" for head in sorted(heads)), *(["mlp"] if any(c == "mlp" for _, c in found) else [])]
    cells: list[Sequence[Record | None]] = [[found.get((layer, column)) for column in columns] for layer in layers]
    return Grid([str(layer) for layer in layers], columns, "layer", "head", cells, "effect", "sum of scores")

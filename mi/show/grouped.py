"""Scores summed over what belongs together: scored edges, nodes or neurons in, a table out. A head or an MLP is summed
over what it writes, a layer over its heads and its MLP, a receiver over what it reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mi.circuit.names import ARROW
from mi.errors import UsageError
from mi.show.edges import Edges
from mi.show.head import one_line
from mi.show.heads import PLACE
from mi.show.nodes import Listed, Nodes
from mi.show.numbers import bar, number
from mi.show.table import Column, Table

GROUPS = ("head", "layer", "receiver")


@dataclass(frozen=True)
class Group:
    name: str
    n: int
    net: float
    size: float  # sum of magnitudes
    largest: str


def groups(scored: Edges | Nodes | Listed, by: str, patterns: Sequence[str] = ()) -> list[Group]:
    """The largest sum of magnitudes first, equal ones in the order of the stream.

    Raises:
        UsageError: nodes and neurons have no receiver.
    """
    members: dict[str, list[int]] = {}
    for index in sorted(scored.chosen(patterns)):
        if not math.isnan(float(scored.score[index])):
            members.setdefault(_group_of(scored.name(index), by), []).append(index)
    made = []
    for name, indices in members.items():
        values = [float(scored.score[index]) for index in indices]
        largest = max(indices, key=lambda index: abs(float(scored.score[index])))
        size = math.fsum(map(abs, values))
        made.append(Group(name, len(values), math.fsum(values), size, scored.name(largest)))
    return sorted(made, key=lambda group: -group.size)


def grouped_table(
    head: Mapping[str, Any], scored: Edges | Nodes | Listed, by: str, patterns: Sequence[str], top: int | None
) -> Table:
    found = groups(scored, by, patterns)
    most = max((group.size for group in found), default=0.0)
    rows = [
        (group.name, f"{group.n:,}", number(group.net), number(group.size), bar(group.size, most), group.largest)
        for group in found[:top]
    ]
    columns = (
        Column(by),
        Column(f"{scored.what}s", right=True),
        Column("sum", right=True),
        Column("of magnitudes", right=True),
        Column(""),
        Column("largest"),
    )
    of = {"head": "heads and MLPs, by what they write", "layer": "layers", "receiver": "receivers, by what they read"}
    shown = f"{len(rows):,} of {len(found):,}" if len(rows) < len(found) else f"{len(found):,}"
    return Table(columns, rows, one_line(head), (f"{shown} {of[by]}",))


def _group_of(name: str, by: str) -> str:
    source, arrow, receiver = name.partition(ARROW)
    if by == "receiver":
        if not arrow:
            raise UsageError(f"{name} is no edge and has no receiver", "use --by head or --by layer")
        return receiver
    node = source.partition("/")[0]
    if by == "head":
        return node
    place = PLACE.fullmatch(node.partition("@")[0])
    return f"layer {place['layer'] or place['mlp']}" if place else node

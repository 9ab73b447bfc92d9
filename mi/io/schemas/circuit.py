"""Kind `circuit`: the edges, nodes or neurons that were kept, one a record. From `mi prune`, for `mi score`."""

from __future__ import annotations

from mi.io.schemas.shape import COUNT, NUMBER, TEXT, Schema, either, nullable, stream, thing

RECORD: Schema = either(
    thing(("src", "dst"), src=TEXT, dst=TEXT, score=nullable(NUMBER)),
    thing(("node",), node=TEXT, unit=COUNT, score=nullable(NUMBER)),
)
SCHEMA = stream(
    "circuit",
    "A record is one kept edge, node or neuron (a unit of a node) with its score.",
    RECORD,
    required=("graph",),
)

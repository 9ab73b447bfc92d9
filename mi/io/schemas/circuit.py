"""Kind `circuit`: the edges or nodes that were kept, one a record. Written by `mi prune`, read by `mi score`."""

from __future__ import annotations

from mi.io.schemas.shape import NUMBER, TEXT, Schema, either, nullable, stream, thing

RECORD: Schema = either(
    thing(("src", "dst"), src=TEXT, dst=TEXT, score=nullable(NUMBER)),
    thing(("node",), node=TEXT, score=nullable(NUMBER)),
)
SCHEMA = stream("circuit", "A record is one kept edge or node with its score.", RECORD, required=("graph",))

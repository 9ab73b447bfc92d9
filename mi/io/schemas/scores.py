"""Kind `scores`: a number for every edge, as vectors in a blob; or scored edge records. Written by `mi attribute`."""

from __future__ import annotations

from mi.io.schemas.shape import NUMBER, TEXT, Schema, stream, thing

# The blob `scores` holds the vectors; `mi view --json` spells them as records, for jq.
RECORD: Schema = thing(("src", "dst", "score"), src=TEXT, dst=TEXT, score=NUMBER)
SCHEMA = stream(
    "scores",
    "The blob `scores` holds the scores in the order of the graph's edges; a record is one scored edge.",
    RECORD,
    required=("graph",),
)

"""Kind `scores`: a number for every edge, node or neuron, as vectors in a blob; or one scored record for each.

Written by `mi attribute`. A node or a neuron without a score is one that nobody scored: it is always kept.
"""

from __future__ import annotations

from mi.io.schemas.shape import COUNT, NUMBER, TEXT, Schema, either, nullable, stream, thing

# The blob `scores` holds the vectors; `mi view --json` spells them as records, for jq.
RECORD: Schema = either(
    thing(("src", "dst", "score"), src=TEXT, dst=TEXT, score=NUMBER),
    thing(("node",), node=TEXT, unit=COUNT, score=nullable(NUMBER)),
    thing(("site", "score"), site=TEXT, score=NUMBER, se=NUMBER, low=NUMBER, high=NUMBER, n=COUNT),
)
SCHEMA = stream(
    "scores",
    "The blob `scores` holds the scores in the graph's order; a record is one scored edge, node, neuron or site.",
    RECORD,
    required=("graph",),
)

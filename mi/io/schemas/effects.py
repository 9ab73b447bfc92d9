"""Kind `effects`: what becomes of the metric when one activation is patched, one place a record. From `mi patch`."""

from __future__ import annotations

from mi.io.schemas.shape import COUNT, NUMBER, Schema, stream, thing

RECORD: Schema = thing(
    ("layer", "effect", "n"),
    layer=COUNT,
    head=COUNT,
    position=COUNT,
    effect=NUMBER,
    se=NUMBER,
    low=NUMBER,
    high=NUMBER,
    normalised=NUMBER,
    n=COUNT,
)
SCHEMA = stream(
    "effects",
    "A record is one place: a layer, perhaps a head and a position, with the mean effect of patching it.",
    RECORD,
    required=("patching",),
)

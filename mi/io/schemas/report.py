"""Kind `report`: what `mi score` measured, per example and size, then in summary."""

from __future__ import annotations

from mi.io.schemas.shape import COUNT, NUMBER, TEXT, Schema, either, nullable, stream, thing

EXAMPLE: Schema = thing(
    ("id", "value"),
    id=TEXT,
    digest=TEXT,  # of the example's contents; the id itself where it is not said
    template=TEXT,
    size=nullable(COUNT),
    nominal=nullable(NUMBER),
    mode={"enum": ["signed", "absolute", None]},
    value=NUMBER,
    clean=NUMBER,
    corrupted=NUMBER,
)
SUMMARY: Schema = thing(
    ("summary",),
    summary=TEXT,
    value=nullable(NUMBER),
    low=nullable(NUMBER),
    high=nullable(NUMBER),
    n=COUNT,
    undetermined=TEXT,
)
RECORD: Schema = either(EXAMPLE, SUMMARY)
SCHEMA = stream("report", "A record is one example under one circuit, or a summary.", RECORD)

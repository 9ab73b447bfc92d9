"""Kind `cache`: the examples, each with its baseline; activations in blobs. Written by `mi cache`."""

from __future__ import annotations

from mi.io.schemas.examples import PROPERTIES
from mi.io.schemas.shape import NUMBER, Schema, stream, thing

BASELINE: Schema = thing(("clean", "corrupted"), clean=NUMBER, corrupted=NUMBER)
RECORD: Schema = thing(("clean", "corrupted", "baseline"), **PROPERTIES, baseline=BASELINE)
SCHEMA = stream("cache", "A record is an example with the metric of its clean and its corrupted run.", RECORD)

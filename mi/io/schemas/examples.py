"""Kind `examples`: minimal pairs of prompts, one a record. Written by `mi data`, read by `mi cache`."""

from __future__ import annotations

from mi.io.schemas.shape import COUNT, TEXT, Schema, either, listing, nullable, stream, thing

ID: Schema = {"type": "integer", "minimum": 0}
# Text, token ids, or a tensor that lies in a blob.
INPUT: Schema = either({"type": "string"}, listing(ID), {"type": "object", "required": ["$tensor"]})
TARGETS: Schema = listing(either({"type": "string"}, ID))
PROPERTIES: dict[str, Schema] = {
    "id": TEXT,
    "clean": INPUT,
    "corrupted": INPUT,
    "answers": TARGETS,
    "foils": TARGETS,
    "split": nullable({"type": "string"}),
    "template": nullable({"type": "string"}),
    "read": nullable({"type": "integer"}),
    "spans": {"type": "object", "additionalProperties": listing(COUNT, minItems=2, maxItems=2)},
    "counterfactuals": {"type": "object", "additionalProperties": INPUT},
    "variables": {"type": "object"},
    "labels": {"type": "object"},
}
RECORD: Schema = thing(("clean", "corrupted"), **PROPERTIES)
SCHEMA = stream("examples", "A record is a clean and a corrupted prompt with the answers that tell them apart.", RECORD)

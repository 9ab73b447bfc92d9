"""The pieces that the kinds share: head, blob record, end line, and the schema of a stream made of them.

In: a kind and the schema of its records. Out: JSON Schema of one line. Fields that a schema does not name are allowed
everywhere: they pass through every command untouched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Schema = dict[str, Any]

SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
TEXT: Schema = {"type": "string", "minLength": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}


def thing(required: Sequence[str] = (), **properties: Schema) -> Schema:
    """An object with these properties, some of them required."""
    made: Schema = {"type": "object", "properties": properties}
    return {**made, "required": list(required)} if required else made


def listing(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def nullable(schema: Schema) -> Schema:
    return either(schema, {"type": "null"})


_ARGUMENT = either({"type": "string"}, thing(("name", "sha256"), name=TEXT, sha256=SHA256))
_LINK = thing(
    ("id", "prev", "argv", "inputs", "version", "env"),
    id=TEXT,
    prev=nullable(TEXT),
    argv=listing(_ARGUMENT, minItems=1),
    inputs=listing(thing(("name", "sha256"), name=TEXT, sha256=SHA256, files=listing(TEXT))),
    version=TEXT,
    env=thing(device=TEXT, torch=TEXT, transformers=TEXT, nnsight=TEXT),
)
_PARTS: Mapping[str, Schema] = {
    "task": thing(name=TEXT, metric=TEXT, counterfactual={"type": ["string", "null"]}),
    "examples": thing(
        ("sha256",),
        sha256=SHA256,
        n={"type": "object", "additionalProperties": COUNT},
        source={"type": "object"},
    ),
    "model": thing(
        ("id",),
        id=TEXT,
        revision={"type": ["string", "null"]},
        dtype=TEXT,
        architecture=TEXT,
        weights=SHA256,
        bos={"enum": ["auto", "never"]},
    ),
    "graph": thing(("builder", "digest"), builder=TEXT, params={"type": "object"}, blob=TEXT, digest=SHA256),
    "attribution": {"type": "object"},
    "selection": {"type": "object"},
    "scoring": {"type": "object"},
    "patching": {"type": "object"},
    "means": {"type": "object"},
    "chain": listing(_LINK),
}
BLOB: Schema = thing(
    ("blob", "sha256", "bytes", "tensors"),
    blob=TEXT,
    sha256=SHA256,
    bytes=COUNT,
    tensors={
        "type": "object",
        "additionalProperties": {"type": "array", "minItems": 2, "maxItems": 2},
    },
    path=TEXT,
)
END: Schema = thing(("mi", "n", "sha256"), mi={"const": "end"}, n=COUNT, sha256=SHA256)


def head(kind: Schema, required: Sequence[str] = ()) -> Schema:
    return thing(
        ("mi", "v", "kind", *required),
        mi={"const": "head"},
        v={"type": "integer", "minimum": 1, "maximum": 1},
        kind=kind,
        **_PARTS,
    )


def stream(kind: str, description: str, record: Schema, required: Sequence[str] = ()) -> Schema:
    """JSON Schema of one line of a stream of this kind. `required`: parts that its head must have."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"a line of an mi stream of kind {kind}, version 1",
        "description": description + " The first line is a head, the last an end; blob records come between.",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in ("head", "record", "blob", "end")],
        "$defs": {"head": head({"const": kind}, required), "record": record, "blob": BLOB, "end": END},
    }

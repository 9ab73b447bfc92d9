"""Kind `effects`: what becomes of the metric when one activation is patched, one place a record. From `mi patch`."""

from __future__ import annotations

from mi.io.schemas.shape import COUNT, NUMBER, TEXT, Schema, either, stream, thing

MEASURED: dict[str, Schema] = {
    "position": COUNT,
    "effect": NUMBER,
    "se": NUMBER,
    "low": NUMBER,
    "high": NUMBER,
    "normalised": NUMBER,
    "n": COUNT,
}
RECORD: Schema = either(
    thing(("layer", "effect", "n"), layer=COUNT, head=COUNT, **MEASURED),
    thing(("site", "effect", "n"), site=TEXT, **MEASURED),
)
SCHEMA = stream(
    "effects",
    "A record is one place, a layer (perhaps a head) or a site, perhaps at a position: the mean effect of patching it.",
    RECORD,
    required=("patching",),
)

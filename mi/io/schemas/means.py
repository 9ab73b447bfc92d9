"""Kind `means`: constants that stand for every node's output, in a blob. Written by `mi cache --means`."""

from __future__ import annotations

from mi.io.schemas.shape import NUMBER, TEXT, stream, thing

# The blob `means` holds `embed` [1, pos or 1, d_model] and, for each layer, `z0` [1, pos or 1, heads x d_head] and
# `mlp0` [1, pos or 1, d_model].
SCHEMA = stream(
    "means",
    "The blob `means` holds the constants; a record is one node with the length of what its constant writes.",
    thing(("node", "norm"), node=TEXT, norm=NUMBER),
    required=("graph", "means"),
)

"""Circuits of Edge-Pruning: `edges.json`, a list of pairs [writer, reader].

Writers are `a1.h2` and `m3`, and the embeddings; readers `a1.h2.q`, `.k`, `.v`, `m3` and `resid_post`. Pairs inside a
head (`a1.h2.q` to `a1.h2`) are always on, and left out. Where the embeddings are two writers, of tokens and of
positions, only that of tokens counts: `input`. Positions belong to no node.
"""

from __future__ import annotations

import json
import re

from mi.circuit.importers.edges import Shape, scored
from mi.circuit.mib import ScoredGraph
from mi.errors import MiError

_WRITER = re.compile(r"a\d{1,6}\.h\d{1,6}|m\d{1,6}")
_READER = re.compile(r"(a\d{1,6}\.h\d{1,6})\.([qkv])")
_EXPECTED = 'edges.json of Edge-Pruning is a list of pairs such as ["a0.h1", "a2.h3.q"]'


def read(data: bytes, shape: Shape, place: str) -> ScoredGraph:
    """The graph with these edges in the circuit; a kept edge has the score 1."""
    try:
        pairs = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MiError(f"not JSON: {error}", _EXPECTED, place=place) from None
    if not isinstance(pairs, list):
        raise MiError("no list of edges", _EXPECTED, place=place)
    edges: dict[tuple[str, str], None] = {}
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(name, str) for name in pair):
            raise MiError(f"{str(pair)[:80]!r} is no pair of a writer and a reader", _EXPECTED, place=place)
        if (edge := _edge(pair[0], pair[1], place)) is not None:
            edges[edge] = None
    n = len(edges)
    return scored(list(edges), [1.0] * n, [True] * n, shape, whole=False, place=place)


def _edge(writer: str, reader: str, place: str) -> tuple[str, str] | None:
    """The edge, or None for what is inside a node or belongs to none."""
    if _READER.fullmatch(writer) or writer == "pos_embeds":
        return None
    source = "input" if writer in ("embeds", "tok_embeds") else writer
    head = _READER.fullmatch(reader)
    receiver = f"{head[1]}<{head[2]}>" if head else "logits" if reader == "resid_post" else reader
    if not (source == "input" or _WRITER.fullmatch(source)) or not (head or re.fullmatch(r"m\d{1,6}|logits", receiver)):
        raise MiError(f"{[writer, reader]} is no edge of Edge-Pruning", _EXPECTED, place=place)
    return source, receiver

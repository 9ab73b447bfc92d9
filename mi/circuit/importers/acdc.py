"""Circuits of ACDC: the `.pth` that its experiment saves, or a list of edges with their effects.

The `.pth` maps (receiver, index, sender, index) to whether the edge is present. Names are TransformerLens' hooks, an
index is one of `(None,)` and `(None, None, head)`. Lists hold the same four as keys, each with its effect, for edges
that are present. Of its 432 edges of GPT-2 from a receiver to its own query, key or value none is an edge here: one
that was cut takes the edges into that receiver with it. Links inside a head are always on, and left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mi.circuit.importers.edges import Shape, scored
from mi.circuit.mib import ScoredGraph
from mi.errors import MiError
from mi.io import torch_file

_HOOK = re.compile(r"blocks\.(\d{1,6})\.(attn\.)?hook_(\w+)")
_READS = {"q_input": "q", "k_input": "k", "v_input": "v"}
_EXPECTED = "ACDC's files map (receiver, index, sender, index) to whether the edge is present, or list such edges"
Key = tuple[str, str | None]  # the node's name, and for a receiver its branch


def read(data: bytes, shape: Shape, place: str) -> ScoredGraph:
    """The graph with what ACDC kept; effects are scores where the file has them, else 1 and 0."""
    value = _value(data, place)
    entries = list(_entries(value, place))
    if not entries:
        raise MiError("no edge is listed", _EXPECTED, place=place)
    cut = {str(receiver) for sender, receiver, _, present in entries if sender is None and not present}
    edges = [(sender, receiver) for sender, receiver, _, _ in entries if sender is not None]
    values = [score for sender, _, score, _ in entries if sender is not None]
    kept = [present and receiver not in cut for sender, receiver, _, present in entries if sender is not None]
    whole = isinstance(value, Mapping)  # of every edge it says whether it is present
    return scored(edges, values, kept, shape, whole=whole, place=place)


def _value(data: bytes, place: str) -> Any:
    if data.lstrip()[:1] in (b"{", b"["):
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise MiError(f"not JSON: {error}", place=place) from None
    return torch_file.read(data, place)


def _entries(value: Any, place: str) -> Iterator[tuple[str | None, str, float, bool]]:
    """Sender (None: the edge from a receiver to its own query, key or value), receiver, score and presence."""
    if not isinstance(value, (Mapping, list, tuple)):
        raise MiError("no list of edges", _EXPECTED, place=place)
    rows = value.items() if isinstance(value, Mapping) else value
    for row in rows:
        try:
            (receiver, receiver_index, sender, sender_index), said = row
            into, branch = _receiver(receiver, _head(receiver_index))
            source = _sender(sender, _head(sender_index))
            present = said if isinstance(said, bool) else True
            score = float(present) if isinstance(said, bool) or said is None else float(said)
        except (TypeError, ValueError, KeyError):
            raise MiError(f"{str(row)[:80]!r} is no edge of ACDC", _EXPECTED, place=place) from None
        if into is None:  # inside a head
            if branch is not None:
                yield None, branch, score, present
        elif source is not None:
            yield source, into, score, present


def _head(index: Any) -> int | None:
    """The head of an index: `(None, None, 3)`, `[null, null, 3]`, or "[:, :, 3]"."""
    if isinstance(index, torch_file.Object):
        index = index.fields["hashable_tuple"]
    if isinstance(index, str):
        found = re.fullmatch(r"\[(?::|COL|COLON|None)(?:, (?::|COL|COLON|None), (\d+))?\]", index)
        if found is None:
            raise ValueError(index)
        return int(found[1]) if found[1] else None
    parts = list(index)
    if len(parts) not in (1, 3) or parts[:2] != [None] * min(len(parts), 2):
        raise ValueError(index)
    return int(parts[2]) if len(parts) == 3 else None


def _receiver(hook: str, head: int | None) -> tuple[str | None, str | None]:
    """A receiver's name; or None and, for the hook of a query, key or value, the receiver that feeds it."""
    match = _HOOK.fullmatch(hook)
    if match is None:
        raise ValueError(hook)
    layer, inside, what = match[1], match[2], match[3]
    if what in _READS and not inside:
        return f"a{layer}.h{int(head)}<{_READS[what]}>", None  # type: ignore[arg-type]  # None is refused by int
    if inside and what in ("q", "k", "v"):
        return None, f"a{layer}.h{int(head)}<{what}>"  # type: ignore[arg-type]
    if what in ("mlp_in", "resid_mid") and not inside:
        return f"m{layer}", None
    if what == "resid_post" and not inside:
        return "logits", None
    if (inside and what == "result") or what == "mlp_out":
        return None, None
    raise ValueError(hook)


def _sender(hook: str, head: int | None) -> str | None:
    """A node's name, or None for a hook inside a node."""
    if hook in ("blocks.0.hook_resid_pre", "hook_embed"):
        return "input"
    if hook == "hook_pos_embed":
        return None  # positions belong to no node here
    match = _HOOK.fullmatch(hook)
    if match is None:
        raise ValueError(hook)
    layer, inside, what = match[1], match[2], match[3]
    if inside and what == "result":
        return f"a{layer}.h{int(head)}"  # type: ignore[arg-type]
    if what == "mlp_out":
        return f"m{layer}"
    if what in (*_READS, "mlp_in", "resid_mid") or (inside and what in ("q", "k", "v")):
        return None
    raise ValueError(hook)

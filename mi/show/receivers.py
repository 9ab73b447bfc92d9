"""Receivers that several nodes share, as the head of a stream has them (`--kv grouped`): a head in, names out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mi.circuit.graph import from_head
from mi.circuit.transformer import shares_receivers


def shared_receivers(head: Mapping[str, Any]) -> Mapping[str, list[str]]:
    """Each shared receiver and its nodes; only heads of transformers share any in a stream of records."""
    graph = head.get("graph") or {}
    return from_head(graph).reader_names if shares_receivers(graph) else {}

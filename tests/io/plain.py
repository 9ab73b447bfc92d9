"""Streams and safetensors files by the plainest means, from the design's text alone: no code of mi.

In: values. Out: the bytes that mi must write, and readers that accept only what mi should accept.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from typing import Any

SHA = "0123456789abcdef" * 4
GRAPH = {"builder": "transformer", "params": {"n_layers": 1, "n_heads": 1}, "digest": SHA}
HEADS: dict[str, dict[str, Any]] = {
    "examples": {"kind": "examples"},
    "cache": {"kind": "cache"},
    "scores": {"kind": "scores", "graph": GRAPH},
    "circuit": {"kind": "circuit", "graph": GRAPH},
    "report": {"kind": "report"},
    "effects": {"kind": "effects", "patching": {"site": "z"}},
    "means": {"kind": "means", "graph": GRAPH, "means": {"ablation": "mean"}},
}
RECORDS: dict[str, list[dict[str, Any]]] = {
    "examples": [{"clean": "a b", "corrupted": "a c"}, {"clean": [1, 2], "corrupted": [1, 3], "id": "x"}],
    "cache": [{"clean": "a b", "corrupted": "a c", "baseline": {"clean": 1.5, "corrupted": -0.25}}],
    "scores": [{"src": "m0", "dst": "logits", "score": 0.1}],
    "circuit": [{"src": "a0.h0", "dst": "m0", "score": -0.002}, {"src": "m0", "dst": "logits", "score": 3.0}],
    "effects": [{"layer": 0, "position": 3, "effect": 0.25, "n": 2}],
    "means": [{"node": "m0", "norm": 1.5}],
    "report": [{"id": "x", "value": 0.5}, {"summary": "faithfulness", "value": 0.9, "low": 0.8, "high": 1.0}],
}


def line(value: Any) -> bytes:
    """Canonical JSON of a value whose floats Python and JSON spell alike."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def stream(head: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> bytes:
    rows = list(records)
    body = line({"mi": "head", "v": 1, **head}) + b"".join(map(line, rows))
    return body + end(len(rows), body)


def end(n: Any, body: bytes) -> bytes:
    return line({"mi": "end", "n": n, "sha256": hashlib.sha256(body).hexdigest()})


def kind(name: str) -> bytes:
    return stream(HEADS[name], RECORDS[name])


def safetensors(header: Mapping[str, Any], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data

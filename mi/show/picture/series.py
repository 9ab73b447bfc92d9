"""What reports say that can be drawn: verified streams in; labelled curves, points and measures out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mi.io.stream import Stream

Record = Mapping[str, Any]
MODES = {"signed": "ranked by signed score", "absolute": "ranked by magnitude"}
AREA = {"signed": "cpr", "absolute": "cmd"}


@dataclass(frozen=True)
class Point:
    """One circuit: its share of the edges, its faithfulness, the 95 % interval."""

    share: float
    value: float
    low: float
    high: float
    says: str


@dataclass(frozen=True)
class Series:
    """One report. `curves` are by ranking; `single` is there where one circuit was measured. `undetermined`: why there
    is no number."""

    label: str
    curves: Mapping[str, Sequence[Point]]
    single: Point | None
    measures: Mapping[str, Record]  # value, low, high, n
    undetermined: str = ""
    roc: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)  # false and true share, by name


def series(streams: Sequence[Stream]) -> list[Series]:
    return [_one(stream, label) for stream, label in zip(streams, labels(streams), strict=True)]


def labels(streams: Sequence[Stream]) -> list[str]:
    """What tells streams apart in the fewest words: the parts of their heads that differ, else their names. One alone
    needs none."""
    if len(streams) == 1:
        return [""]
    said = [_parts(stream.head) for stream in streams]
    differ = [key for key in said[0] if len({parts[key] for parts in said}) > 1] if said else []
    made = [" ".join(filter(None, (parts[key] for key in differ))) for parts in said]
    if len(set(made)) == len(made) and all(made):
        return made
    names = [os.path.basename(stream.origin) for stream in streams]
    return names if len(set(names)) == len(names) else [stream.origin for stream in streams]


def _parts(head: Mapping[str, Any]) -> dict[str, str]:
    known, chosen, run = (head.get(part, {}) for part in ("attribution", "selection", "scoring"))
    size = chosen.get("realised", chosen.get("edges"))
    return {
        "method": str(known.get("method", "")),
        "ablation": str(known.get("ablation", "")),
        "level": str(known.get("level", "")),
        "size": f"{size} edges" if size is not None else "",
        "task": str(head.get("task", {}).get("name", "")),
        "model": str(head.get("model", {}).get("id", "")),
        "scored": f"scored by {run['ablation']}" if "ablation" in run else "",
    }


def _one(stream: Stream, label: str) -> Series:
    summaries = [record for record in stream.records if "summary" in record]
    of_size = [record for record in summaries if record["summary"] == "faithfulness"]
    curves = {
        mode: [_point(r, r["nominal"]) for r in of_size if r.get("mode") == mode and "value" in r and r.get("nominal")]
        for mode in MODES
    }
    whole = stream.head.get("selection", {}).get("edges")
    alone = [r for r in of_size if r.get("nominal") is None and r.get("value") is not None]
    single = _point(alone[0], alone[0]["size"] / whole) if alone and whole and alone[0].get("size") else None
    measures = {
        str(r["summary"]): r
        for r in summaries
        if r.get("value") is not None and r.get("nominal") is None and "tpr" not in r and "test" not in r
    }
    why = next((str(r["undetermined"]) for r in summaries if "undetermined" in r), "")
    roc: dict[str, list[tuple[float, float]]] = {}
    for r in summaries:
        if r.get("tpr") is not None and r.get("fpr") is not None:
            roc.setdefault(str(r["summary"]), []).append((r["fpr"], r["tpr"]))
    return Series(label, {mode: points for mode, points in curves.items() if points}, single, measures, why, roc)


def _point(record: Record, share: float) -> Point:
    value = record["value"]
    low, high = (value if record.get(end) is None else record[end] for end in ("low", "high"))
    size = f", {record['size']:,} edges" if record.get("size") is not None else ""
    return Point(float(share), value, low, high, f"{100 * share:.3g} %{size}")

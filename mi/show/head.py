"""The head of a stream for eyes: a head in, a table of what it says out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mi.show.numbers import number
from mi.show.table import Column, Table

# Parts that are shown by a line of their own, in this order; all others follow as they are.
KNOWN = ("kind", "task", "examples", "model", "graph", "attribution", "selection", "scoring", "patching", "chain")
SILENT = ("mi", "v")


def head_table(head: Mapping[str, Any]) -> Table:
    rows = [(name, text) for name, text in _rows(head) if text]
    return Table((Column("part"), Column("value", wide=True)), rows)


def one_line(head: Mapping[str, Any]) -> str:
    """What a stream is, for a title: `circuit of ioi in default`."""
    words = [str(head.get("kind", "stream"))]
    if name := head.get("task", {}).get("name"):
        words += ["of", str(name)]
    if model := head.get("model", {}).get("id"):
        words += ["in", str(model).rpartition("../")[2]]  # a folder elsewhere: its way is of no interest
    return " ".join(words)


def _rows(head: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part in KNOWN:
        if part in head:
            yield part, _describe(part, head[part])
    for part in sorted(set(head) - set(KNOWN) - set(SILENT)):
        yield part, fields(head[part])


def _describe(part: str, value: Any) -> str:
    if part == "examples":
        return _examples(value)
    if part == "chain":
        return " | ".join(str(link.get("argv", ["?"])[0]) for link in value)
    if part == "model":
        return fields({**value, **({"weights": value["weights"][:12]} if "weights" in value else {})})
    if part == "graph" and isinstance(value, Mapping):
        return fields({"builder": value.get("builder"), **value.get("params", {})})
    if part in ("attribution", "scoring", "patching") and isinstance(value, Mapping):
        return fields({key: inner for key, inner in value.items() if key != "plan"})  # a list of batches: for programs
    return fields(value)


def _examples(value: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{count} {split}" for split, count in value.get("n", {}).items())
    source = value.get("source", {})
    return f"{counts}; {fields(source)}" if source else counts


def fields(value: Any) -> str:
    """A mapping as `key value, key value`; anything else as itself. Digests are cut to twelve characters."""
    if isinstance(value, Mapping):
        shown = ((key, fields(inner)) for key, inner in value.items() if inner is not None)
        return ", ".join(f"{key} {text}" for key, text in shown if text)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, float):
        return number(value)
    if isinstance(value, (list, tuple)):
        return " ".join(map(fields, value))
    text = str(value)
    return text[:12] if len(text) == 64 and all(c in "0123456789abcdef" for c in text) else text

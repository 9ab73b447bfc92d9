"""mi view: a stream in, a table for eyes or plain records out."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from mi.errors import UsageError
from mi.io import atomic, canonical, stream
from mi.options import UNRECORDED, Argument, Option, Output, Quiet
from mi.show.head import head_table
from mi.show.output import rows_that_fit, shown, wants_table
from mi.show.records import Wanted, tables
from mi.show.table import Table, plain, write

EDGES = ("scores", "circuit")  # kinds whose records are edges with a score


def view(
    what: Annotated[
        list[str] | None,
        UNRECORDED,
        Argument(
            metavar="[FILE] [NAME]...",
            show_default=False,
            help="Stream to read (none, or -, is standard input), and names or patterns of edges.",
        ),
    ] = None,
    head_only: Annotated[bool, Option("--head", "-H", help="Show the head only.")] = False,
    top: Annotated[
        int | None,
        Option(
            "--top", metavar="N", min=0, show_default=False, help="Show N rows; 0 is all. Edges: the largest scores."
        ),
    ] = None,
    json: Annotated[
        bool, Option("--json", help="Write head, records and end as JSON lines; scores become one record per edge.")
    ] = False,
    by: Annotated[
        Literal["head", "layer", "receiver"] | None,
        Option("--by", show_default=False, help="Sum scores by head or MLP, by layer, or by what reads them."),
    ] = None,
    svg: Annotated[bool, Option("--svg", help="Write a map of effects as an SVG picture.")] = False,
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """Show a stream as a table, or a map of effects as a picture.

    A table of edges is sorted by the size of the score. On a terminal it has as many rows as fit, elsewhere all of
    them. NAME is a node, a receiver or an edge, and may hold * ? and [...]: 'a9.*->logits' means the edges from the
    heads of layer 9 to the logits, m3 every edge into or out of m3. --by adds up the scores of what belongs together.

    With --json, records can be taken through jq and sealed again with mi stamp.

    Examples:
      mi view scores.jsonl --top 20
      mi view circuit.jsonl 'a9.*->logits'
      mi view scores.jsonl --by head --top 10
      mi cache --task ioi | mi attribute | mi view -H
      mi view effects.jsonl --svg -o effects.svg
      mi view --json scores.jsonl | jq -c 'select(.mi or .score > 0.1)' | mi stamp | mi prune
    """
    file, names = _split(what or [])
    found = stream.read(file, stream.KINDS)
    if by and (found.kind not in EDGES or json or head_only or svg):
        raise UsageError("--by is for a table of scores or of a circuit", "mi attribute and mi prune make them")
    if svg:
        if found.kind != "effects" or json or head_only or names:
            raise UsageError("--svg draws the whole of an effects stream", "mi patch makes one")
        _picture(found, output)
        return
    if head_only:
        if json:
            _text(canonical.dumps(found.head).decode() + "\n", output)
        else:
            _tables([head_table(found.head)], output)
        return
    if json:
        _json(found, names, top, output)
        return
    rows = top or None if top is not None else rows_that_fit() if wants_table(output, json) else None
    if names and found.kind not in EDGES:
        raise UsageError(f"a {found.kind} stream holds no edges to choose by name", "leave the names away")
    if by:
        _tables([_grouped(found, by, names, rows)], output)
        return
    _tables(tables(shown(found.head, found.records, found.blobs), Wanted(rows, names, top is not None)), output)


def _split(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The file and the names: the first word is the file, unless it can only be a name."""
    if not words:
        return None, []
    first = words[0]
    is_name = not os.path.exists(first) and first != "-" and ("->" in first or any(mark in first for mark in "*?["))
    return (None, list(words)) if is_name else (first, list(words[1:]))


def _json(found: stream.Stream, names: Sequence[str], top: int | None, output: str | None) -> None:
    """The stream itself. Scores are spelled out, so that any tool that reads lines can choose among them."""
    if found.kind not in EDGES or "partial" in found.head:
        if names or top:
            raise UsageError(f"--json shows the whole of a {found.kind} stream", "choose among its records with jq")
        stream.write(output, found.head, found.records, found.blobs)
        return
    from mi.show.edges import edges_of

    shown_edges = edges_of(
        found.head, found.records, shown(found.head, [], found.blobs).tensors if _packed(found) else None
    )
    records: list[dict[str, Any]] = shown_edges.records() if _packed(found) else found.records
    if names or top:
        records = [records[i] for i in shown_edges.chosen(names)[: top or None]]
    rest: Mapping[str, Any] = {name: blob for name, blob in found.blobs.items() if name != "scores"}
    stream.write(output, found.head, records, rest)


def _packed(found: stream.Stream) -> bool:
    return "scores" in found.blobs


def _picture(found: stream.Stream, output: str | None) -> None:
    from mi.show.head import one_line
    from mi.show.heatmap import svg

    if not found.records:
        raise UsageError("there is no place to draw", "make the effects again with mi patch")
    _text(svg(one_line(found.head), found.head, found.records), output)


def _grouped(found: stream.Stream, by: str, names: Sequence[str], rows: int | None) -> Table:
    from mi.show.edges import edges_of
    from mi.show.grouped import grouped_table

    tensors = shown(found.head, [], found.blobs).tensors if _packed(found) else None
    return grouped_table(found.head, edges_of(found.head, found.records, tensors), by, names, rows)


def _tables(made: list[Table], output: str | None) -> None:
    if output in (None, "-"):
        write(made, sys.stdout)
    else:
        _text("\n".join(map(plain, made)), output)


def _text(text: str, output: str | None) -> None:
    if output in (None, "-"):
        sys.stdout.write(text)
        return
    with atomic.file(str(output)) as f:
        f.write(text.encode())

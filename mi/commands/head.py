"""`mi head`: a stream in, its first records out, sealed."""

from __future__ import annotations

from typing import Annotated, Any

from mi.options import Input, Json, Option, Output, Quiet

KINDS = ("examples", "cache", "circuit", "effects")


def head(
    file: Input = None,
    number: Annotated[
        int, Option("--number", "-n", metavar="N", min=1, help="How many records to keep; of examples, of each split.")
    ] = 10,
    output: Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Keep the first records of a stream.

    Of examples the first N of each split make a set of their own, with a digest of its own. Of a circuit the first
    N are those with the largest scores, as `mi prune` writes them; what lies on no path is not dropped. Scores have
    no records to count: `mi prune --top` takes the best of them, and `mi view --top` shows them or the lines of a
    report.

    Examples:

        mi data ioi -n 500 | mi head -n 20 | mi cache

        mi head circuit.jsonl -n 50 -o small.jsonl
    """
    from mi.io import chain, parts, stream
    from mi.run import invocation
    from mi.show.output import emit
    from mi.tasks.split import first_of_each

    read = stream.read(file, KINDS)
    parts.check(read)
    records = read.records[:number]
    made = dict(read.head)
    if read.kind in parts.KINDS:
        records = [read.records[row] for row in first_of_each(read.records, number)]
        made = parts.renamed(made, records)
        _keep(records)
    elif read.kind == "circuit":
        made["selection"] = cut(read.head.get("selection") or {}, len(records))
    emit(chain.record(made, invocation(), read.as_input()), records, read.blobs, output=output, json=json)


def cut(selection: dict[str, Any], n: int) -> dict[str, Any]:
    """What is said of a circuit that was cut: its sizes are no longer those of the whole."""
    lasting: dict[str, Any] = {key: selection[key] for key in ("level", "edges", "width", "signed") if key in selection}
    return {**lasting, "rule": "head", "selected": n, "realised": n, "of": [selection]}


def _keep(records: list[dict[str, Any]]) -> None:
    from mi.io import parts
    from mi.show.notes import note

    if error := parts.keep(records):
        note(f"nothing is kept for another time: {error.fact}; $MI_STORE names the folder")

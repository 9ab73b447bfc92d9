"""`mi mib`: the MIB benchmark, from its data to its file of results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from mi.commands.mib_run import mib_run
from mi.errors import MiError, UsageError
from mi.options import UNRECORDED, Argument, Files, Option, Quiet

if TYPE_CHECKING:
    from mi.circuit.benchmark import Cell


def results(
    files: Files = None,
    method: Annotated[
        str | None, Option("--method-name", metavar="NAME", show_default=False, help="What the method is called.")
    ] = None,
    description: Annotated[
        str | None,
        Option("--description", metavar="TEXT", show_default=False, help="A sentence about the method."),
    ] = None,
    cell: Annotated[
        list[str] | None,
        Option(
            "--cell", metavar="NAME", show_default=False, help="The cell of a report that does not say it, in order."
        ),
    ] = None,
    output: Annotated[
        str | None, UNRECORDED, Option("--output", "-o", metavar="FILE", show_default=False, help="Write to FILE.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Collect reports of `mi score` into the leaderboard's file of results.

    Each report is the curve of one cell: circuits of ten sizes by signed score (CPR) and by magnitude (CMD). Which cell
    it is stands in its head, in the name of its folder (submission/ioi_gpt2/report.jsonl), or in --cell.

    Examples:

        mi mib results runs/*/report.jsonl --method-name EAP-IG -o results.json

        mi score scores.jsonl | mi mib results --cell ioi_gpt2 --method-name EAP-IG
    """
    import json

    from mi.circuit import benchmark
    from mi.io import atomic, stream

    given = list(files or ["-"])
    if cell and len(cell) != len(given):
        raise UsageError(f"{len(cell)} cells for {len(given)} reports", "give --cell once for each report, in order")
    reports = []
    for index, file in enumerate(given):
        read = stream.read(file, ("report",))
        reports.append((_cell(read.head, file, cell[index] if cell else None), read.records))
    try:
        made = benchmark.results(reports, method or "mi", description or "")
    except MiError as error:
        raise MiError(error.fact, error.hint, place=" ".join(given)[:200]) from None
    atomic.text(output, json.dumps(made, indent=4) + "\n")


def _cell(head: Mapping[str, Any], file: str, name: str | None) -> Cell:
    """The cell of a report: as it was named, as its folder is called, as its head says."""
    from pathlib import Path

    from mi.circuit import benchmark

    if name:
        return benchmark.parse(name)
    folder = Path(file).resolve().parent.name if file != "-" else ""
    known = {benchmark.Cell(*each).name for each in benchmark.CELLS}
    return benchmark.parse(folder) if folder in known else benchmark.cell_of(head)


SUBCOMMANDS = {"run": mib_run, "results": results}


def mib(
    what: Annotated[str | None, UNRECORDED, Argument(metavar="WHAT", show_default=False, help="What to do.")] = None,
    quiet: Quiet = False,
) -> None:
    """Run the MIB benchmark's circuit track.

    `mi mib run` runs a cell, `mi mib results` collects reports into the leaderboard's file, and `mi export mib
    --submission` writes what is submitted.

    Examples:

        mi mib run --model gpt2 --task ioi -o runs

        mi mib results runs/*/report.jsonl --method-name EAP-IG -o results.json
    """
    fact = "what to do is not said" if what is None else f"mi mib has no {what!r}"
    raise UsageError(fact, f"mi mib has {', '.join(SUBCOMMANDS)}")

"""`mi export`: scores and circuits in, the files of other tools out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from mi.errors import UsageError
from mi.options import UNRECORDED, Argument, Files, Option, Quiet

if TYPE_CHECKING:
    from pathlib import Path

    from mi.circuit.mib import ScoredGraph
    from mi.io.stream import Stream

ENDINGS = ("json", "pt")


def export_mib(
    files: Files = None,
    scores: Annotated[
        str | None,
        Option("--scores", metavar="FILE", show_default=False, help="Of a circuit: the scores that it was chosen by."),
    ] = None,
    form: Annotated[
        Literal["json", "pt"] | None,
        Option("--format", show_default=False, help="What to write; if not given, what -o ends in, else json."),
    ] = None,
    submission: Annotated[
        str | None,
        Option(
            "--submission", metavar="FOLDER", show_default=False, help="Write into the leaderboard's folder layout."
        ),
    ] = None,
    cell: Annotated[
        str | None,
        Option("--cell", metavar="NAME", show_default=False, help="Of a submission: its cell, as ioi_gpt2."),
    ] = None,
    nine: Annotated[
        bool, Option("--nine", help="Submit nine circuits of the benchmark's sizes, for CPR and for CMD, not scores.")
    ] = False,
    output: Annotated[
        str | None, UNRECORDED, Option("--output", "-o", metavar="FILE", show_default=False, help="Write to FILE.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write a graph of the MIB benchmark: JSON, or .pt.

    Scores give a file of importances, a circuit a file in which its edges are marked. JSON has the bytes of the
    reference, and graphs of nodes and neurons, which the reference cannot write, in the form that it reads. Files of
    .pt are for torch.load; neither needs torch.

    --submission FOLDER writes FOLDER/CELL/importances.json. With --nine the scores become nine circuits, in a folder
    for CPR (signed) and one for CMD (absolute); nine circuits of another making may be given as files.

    Examples:

        mi export mib scores.jsonl -o importances.json

        mi export mib circuit.jsonl --scores scores.jsonl -o graph.pt

        mi export mib scores.jsonl --submission submission --cell ioi_gpt2

        mi export mib scores.jsonl --submission submission --cell ioi_gpt2 --nine
    """
    from mi.io import stream

    streams = [stream.read(file, ("scores", "circuit")) for file in (files or ["-"])]
    ranking = stream.read(scores, ("scores",)) if scores else None
    if submission is None:
        if cell or nine or len(streams) > 1:
            raise UsageError("--cell, --nine and several files are of a submission", "give --submission FOLDER")
        _one(streams[0], ranking, form or _ending(output), output)
        return
    if output:
        raise UsageError("-o and --submission both say where to write", "give one of them")
    _submit(streams, ranking, form or "json", submission, cell, nine)


SUBCOMMANDS = {"mib": export_mib}


def export(
    what: Annotated[
        str | None, UNRECORDED, Argument(metavar="FORMAT", show_default=False, help="The tool to write for.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write scores and circuits for other tools.

    `mi export mib` writes graphs of EAP-IG and the MIB benchmark, and submissions to its leaderboard.

    Examples:

        mi export mib scores.jsonl -o importances.json
    """
    fact = "the format is not said" if what is None else f"no format is called {what!r}"
    raise UsageError(fact, f"mi export has {', '.join(SUBCOMMANDS)}")


def _ending(output: str | None) -> str:
    ending = (output or "").rpartition(".")[2].lower()
    return ending if ending in ENDINGS else "json"


def _encoded(made: ScoredGraph, form: str) -> bytes:
    from mi.circuit.mib_json import to_json
    from mi.circuit.mib_pt import to_pt

    return to_pt(made) if form == "pt" else to_json(made)


def _one(stream: Stream, ranking: Stream | None, form: str, output: str | None) -> None:
    from mi.circuit import exchange
    from mi.io import atomic
    from mi.io.writing import pour

    data = _encoded(exchange.of_stream(stream, ranking), form)
    if output is None and form == "pt" and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError("a .pt file is not for a terminal", "give -o FILE")
    if output in (None, "-"):
        pour(data)
        return
    with atomic.file(str(output)) as f:
        f.write(data)


def _submit(
    streams: Sequence[Stream], ranking: Stream | None, form: str, folder: str, name: str | None, nine: bool
) -> None:
    """All files of one cell are made before the first is written."""
    from pathlib import Path

    from mi.circuit import benchmark, exchange
    from mi.show.notes import note

    head = streams[0].head
    cell = benchmark.parse(name) if name else benchmark.cell_of(head)
    if not cell.known:
        note(f"{cell.name} is no cell of the leaderboard")
    benchmark.check_shape(cell, (head.get("graph") or {}).get("params") or {})
    if len(streams) > 1 or streams[0].kind == "circuit":
        made = _given_circuits(streams, ranking, nine)
    elif nine:
        made = _nine(streams[0])
    else:
        made = {benchmark.IMPORTANCES: exchange.of_stream(streams[0])}
    encoded = {file: _encoded(graph, form) for file, graph in made.items()}
    _write_all(Path(folder) / cell.name, {f"{file}.{form}": data for file, data in encoded.items()})
    note(f"{len(encoded)} file{'s' * (len(encoded) > 1)} in {Path(folder) / cell.name}")


def _nine(stream: Stream) -> dict[str, ScoredGraph]:
    """The nine circuits of scores, by signed score and by magnitude, each in a folder that says so."""
    import numpy as np

    from mi.circuit import benchmark, exchange, reading, select
    from mi.circuit.mib import of_circuit

    whole = exchange.of_stream(stream)
    scored = reading.scored(stream, reading.graph_of(stream))
    rule = {"top": select.top, "greedy": select.greedy}[reading.selector_of(stream)]
    if len(np.unique(np.abs(scored.scores[~np.isnan(scored.scores)]))) < 2:
        raise UsageError("all scores are equal: they rank nothing", "is it a file of a circuit?", place=stream.origin)
    made = {}
    for absolute in (False, True):
        for fraction in benchmark.SIZES:
            chosen = rule(scored.units, scored.scores, select.nominal_size(scored.n_scored, fraction), absolute)
            file = f"circuits_abs-{absolute}/{benchmark.circuit_file(fraction)}"
            made[file] = of_circuit(scored.units.circuit(chosen), whole.scores)
    return made


def _given_circuits(streams: Sequence[Stream], ranking: Stream | None, nine: bool) -> dict[str, ScoredGraph]:
    """Nine circuits that were found otherwise, smallest first, each of at most its size."""
    from mi.circuit import benchmark, exchange
    from mi.circuit.levels import Circuit

    if nine or any(stream.kind != "circuit" for stream in streams) or len(streams) != len(benchmark.SIZES):
        fact = f"{len(streams)} streams of kind {', '.join(sorted({s.kind for s in streams}))}"
        raise UsageError(f"{fact} make no submission", "give one of scores, or nine circuits")
    graphs = [exchange.of_stream(stream, ranking) for stream in streams]
    if len({graph.graph.digest for graph in graphs}) > 1:
        raise UsageError("the circuits are of different graphs", "a submission has nine circuits of one model")
    sized = [(Circuit(g.graph, g.members["edge"], g.members.get("neuron")).weighted_edges, g) for g in graphs]
    sized.sort(key=lambda pair: pair[0])
    for (size, graph), fraction in zip(sized, benchmark.SIZES, strict=True):
        if size > fraction * graph.graph.n_edges:
            most = f"{100 * fraction:g} % of {graph.graph.n_edges} edges"
            raise UsageError(f"a circuit of {size:g} edges is larger than its place allows, {most}", "prune it further")
    return {
        benchmark.circuit_file(fraction): graph for (_, graph), fraction in zip(sized, benchmark.SIZES, strict=True)
    }


def _write_all(folder: Path, files: dict[str, bytes]) -> None:
    from mi.io import atomic

    for name, data in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise atomic.failure(path.parent, error) from error
        with atomic.file(path) as f:
            f.write(data)

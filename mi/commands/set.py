"""`mi set`: circuits as sets; several in, one out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from mi.errors import MiError, UsageError
from mi.options import UNRECORDED, Argument, Json, Output, Quiet

if TYPE_CHECKING:
    from mi.io.parents import Parent

Circuits = Annotated[
    list[str] | None,
    UNRECORDED,  # the chain names the files by their digests
    Argument(metavar="[FILE]...", show_default=False, help="Circuits, two or more; one may be -, standard input."),
]


def union(files: Circuits = None, output: Output = None, json: Json = False, quiet: Quiet = False) -> None:
    """Keep what is in any of several circuits.

    A record that several have is taken from the first. All circuits must be of one graph and one level (edges, nodes
    or neurons); another model, task or method is said.

    Examples:

        mi set union ioi.jsonl greater-than.jsonl -o both.jsonl

        mi prune scores.jsonl --top 100 | mi set union - by-hand.jsonl | mi score
    """
    _combine("union", files, output, json)


def intersect(files: Circuits = None, output: Output = None, json: Json = False, quiet: Quiet = False) -> None:
    """Keep what is in all of several circuits.

    The records are those of the first. An intersection need not be connected: how many edges lie on no path is said,
    and `mi prune` drops them.

    Circuits of different levels have an intersection too: of edges and neurons it is the edges, carrying only these
    neurons of their sources. What that leaves without a path is dropped.

    Examples:

        mi set intersect seed-0.jsonl seed-1.jsonl seed-2.jsonl -o stable.jsonl

        mi set intersect a.jsonl b.jsonl | mi prune --percent 100 | mi score

        mi set intersect edges.jsonl neurons.jsonl | mi score
    """
    _combine("intersect", files, output, json)


def subtract(files: Circuits = None, output: Output = None, json: Json = False, quiet: Quiet = False) -> None:
    """Keep what is in the first circuit and in none of the others.

    What is left need not be connected: how many edges lie on no path is said, and `mi prune` drops them.

    Examples:

        mi set subtract circuit.jsonl name-movers.jsonl | mi score

        mi set subtract - known.jsonl < circuit.jsonl | mi view
    """
    _combine("subtract", files, output, json)


SUBCOMMANDS = {"union": union, "intersect": intersect, "subtract": subtract}


def set(  # noqa: A001  # a command's function has the command's name
    what: Annotated[
        str | None, UNRECORDED, Argument(metavar="WHAT", show_default=False, help="union, intersect or subtract.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Join circuits, or take one from another.

    `mi set union`, `mi set intersect` and `mi set subtract` make one circuit of several.

    Examples:

        mi set union a.jsonl b.jsonl -o both.jsonl
    """
    fact = "the operation is not said" if what is None else f"there is no operation {what!r}"
    raise UsageError(fact, f"mi set has {', '.join(SUBCOMMANDS)}")


def _combine(operation: str, files: Sequence[str] | None, output: str | None, json: bool) -> None:
    from mi.circuit import algebra, reading
    from mi.io import parents
    from mi.io.stream import Stream
    from mi.run import invocation
    from mi.show.notes import note, say
    from mi.show.output import emit

    given = parents.read(parents.names(files, 2, f"make the {operation} of"), ("circuit",))
    base = parents.base(given)
    for other in given:
        _check_same_graph(base, other)
    graph = reading.graph_of(base.stream)
    streams = [each.stream for each in given]
    found = algebra.levels(streams)
    if operation == "intersect" and len(found) > 1:
        level, records = "neuron" if "neuron" in found else "edge", algebra.common(streams, graph)
    else:
        level = algebra.level(streams)
        records = algebra.combined(operation, [algebra.units(stream, graph) for stream in streams])
    head = {**base.stream.head, "selection": _selection(operation, level, graph.n_edges, len(records), given)}
    whole = Stream(head, [dict(record) for record in records], base.stream.blobs, base.stream.origin)
    if not records:
        say(f"warning: the circuit is EMPTY: the {operation} of these {len(given)} circuits has nothing in it")
    elif loose := algebra.loose(graph, whole):
        note(f"{loose} of its edges lie on no path from input to logits; `mi prune --percent 100` drops them")
    for other in given:
        _say_differences(base, other)
    head = parents.record(head, given, invocation())
    tensors = {name: base.stream.blobs[name] for name in reading.graph_blobs(base.stream)}
    emit(head, records, tensors, output=output, json=json)


def _check_same_graph(base: Parent, other: Parent) -> None:
    from mi.circuit.differences import graph_text

    ours, theirs = graph_text(other.stream.head), graph_text(base.stream.head)
    if ours != theirs:
        raise MiError(
            f"the graph differs: {ours} here, {theirs} in {base.stream.origin}",
            "only circuits of one graph make a set",
            place=other.stream.origin,
        )


def _say_differences(base: Parent, other: Parent) -> None:
    from mi.circuit.differences import model_text
    from mi.show.notes import note

    for what, ours, theirs in (
        ("model", model_text(other.stream.head), model_text(base.stream.head)),
        ("task", *((each.stream.head.get("task") or {}).get("name") for each in (other, base))),
    ):
        if ours != theirs:
            note(f"{other.stream.origin} is of the {what} {ours}; the result is said to be of {theirs}")


def _selection(operation: str, level: str, n_edges: int, n: int, given: Sequence[Parent]) -> dict[str, Any]:
    """What the head says of how the circuit was chosen; what was said of each part is in `of`."""
    parts: list[dict[str, Any]] = [dict(each.stream.head.get("selection") or {}) for each in given]
    made = {"rule": operation, "level": level, "edges": n_edges, "selected": n, "realised": n, "of": parts}
    widths = {part["width"] for part in parts if "width" in part}
    if len(widths) > 1:
        raise MiError(f"circuits over {' and '.join(map(str, sorted(widths)))} neurons a node make no set")
    return {**made, **({"width": widths.pop()} if widths else {})}

"""Circuits as sets of edges, nodes or neurons: several circuits in, one out.

A unit is taken by its name. Its record, with its score and whatever else is in it, is that of the first circuit that
has it, and the order is that of the circuits as they are named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mi.circuit.graph import Graph
from mi.circuit.levels import LEVELS
from mi.circuit.prune import connected
from mi.circuit.reading import circuit, level_of, level_of_record, spelled
from mi.errors import MiError
from mi.io.stream import Stream

Units = Mapping[str, Mapping[str, Any]]  # records by name

OPERATIONS: dict[str, Callable[[str, Sequence[Units]], bool]] = {
    "union": lambda name, circuits: True,
    "intersect": lambda name, circuits: all(name in each for each in circuits),
    "subtract": lambda name, circuits: name in circuits[0] and not any(name in each for each in circuits[1:]),
}


def combined(operation: str, circuits: Sequence[Units]) -> list[Mapping[str, Any]]:
    """The records of the units that an operation keeps."""
    every = {name: record for each in reversed(circuits) for name, record in each.items()}
    order = dict.fromkeys(name for each in circuits for name in each)
    return [every[name] for name in order if OPERATIONS[operation](name, circuits)]


def units(stream: Stream, graph: Graph) -> Units:
    """A circuit's records by name. What is no unit of the graph, or is there twice, is refused."""
    circuit(stream, graph)
    return {spelled(record): record for record in stream.records}


def level(streams: Sequence[Stream]) -> str:
    """The one level that all circuits are of."""
    first: tuple[str, Stream] | None = None
    for stream in streams:
        found = {level_of_record(record) for record in stream.records} or {level_of(stream)}
        if len(found) > 1:
            raise MiError(
                f"a circuit of {' and '.join(f'{name}s' for name in LEVELS if name in found)} is no set of one kind",
                "sets are of edges alone, of nodes alone, or of neurons alone",
                place=stream.origin,
            )
        (own,) = found
        if first is not None and first[0] != own:
            raise MiError(
                f"this is a circuit of {own}s, {first[1].origin} one of {first[0]}s",
                "circuits of one level make a set; choose again at the same --level",
                place=stream.origin,
            )
        first = first or (own, stream)
    return first[0] if first else "edge"


def loose(graph: Graph, stream: Stream) -> int:
    """How many edges of a circuit lie on no path from a root to the sink."""
    edges = circuit(stream, graph).edges
    return int((edges & ~connected(graph, edges)).sum())

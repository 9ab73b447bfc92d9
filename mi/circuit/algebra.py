"""Circuits as sets of edges, nodes or neurons: several circuits in, one out.

A unit is taken by its name. Its record, with its score and whatever else is in it, is that of the first circuit that
has it, and the order is that of the circuits as they are named. Circuits of several levels have an intersection too:
edges that carry some of the neurons of their sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mi.circuit.graph import Graph
from mi.circuit.levels import LEVELS, Units
from mi.circuit.prune import connected
from mi.circuit.reading import circuit, level_of, level_of_record, spelled
from mi.errors import MiError
from mi.io.stream import Stream

Record = Mapping[str, Any]
Named = Mapping[str, Record]  # records by name

OPERATIONS: dict[str, Callable[[str, Sequence[Named]], bool]] = {
    "union": lambda name, circuits: True,
    "intersect": lambda name, circuits: all(name in each for each in circuits),
    "subtract": lambda name, circuits: name in circuits[0] and not any(name in each for each in circuits[1:]),
}


def combined(operation: str, circuits: Sequence[Named]) -> list[Record]:
    """The records of the units that an operation keeps."""
    every = {name: record for each in reversed(circuits) for name, record in each.items()}
    order = dict.fromkeys(name for each in circuits for name in each)
    return [every[name] for name in order if OPERATIONS[operation](name, circuits)]


def units(stream: Stream, graph: Graph) -> Named:
    """A circuit's records by name. What is no unit of the graph, or is there twice, is refused."""
    circuit(stream, graph)
    return {spelled(record): record for record in stream.records}


def levels(streams: Sequence[Stream]) -> set[str]:
    """What the circuits list."""
    listed = {level_of_record(record) for stream in streams for record in stream.records}
    return listed | {level_of(stream) for stream in streams if not stream.records}


def common(streams: Sequence[Stream], graph: Graph) -> list[Record]:
    """The records of what circuits of several levels share: the edges that all have, and of sources of which some
    keep only a part, the neurons that all keep. What that leaves without a path is pruned.
    """
    found = [circuit(stream, graph) for stream in streams]
    edges = np.logical_and.reduce([each.edges for each in found])
    masks = [each.neurons for each in found if each.neurons is not None]
    made: list[dict[str, Any]] = []
    if masks:
        neurons = np.logical_and.reduce(masks)
        edges = connected(graph, edges & neurons.any(axis=1)[graph.source])
        part = np.zeros(graph.n_sources, dtype=bool)
        part[graph.source[edges]] = True
        part &= ~neurons.all(axis=1)
        made = _bare(Units(graph, "neuron", neurons.shape[1]), (neurons & part[:, None]).ravel())
    kept = {spelled(record): record for record in [*_bare(Units(graph), edges), *made]}
    listed = {spelled(record): record for stream in reversed(streams) for record in reversed(stream.records)}
    order = dict.fromkeys(spelled(record) for stream in streams for record in stream.records)
    return [listed.get(name, kept[name]) for name in dict.fromkeys([*(n for n in order if n in kept), *kept])]


def _bare(units: Units, mask: np.ndarray) -> list[dict[str, Any]]:
    """Records without scores."""
    return units.records(np.flatnonzero(mask), np.full(units.n, np.nan))


def level(streams: Sequence[Stream]) -> str:
    """The one level that all circuits are of."""
    first: tuple[str, Stream] | None = None
    for stream in streams:
        found = levels([stream])
        if len(found) > 1:
            raise MiError(
                f"a circuit of {' and '.join(f'{name}s' for name in LEVELS if name in found)} is no set of one kind",
                "of circuits of several levels there is an intersection only: mi set intersect",
                place=stream.origin,
            )
        (own,) = found
        if first is not None and first[0] != own:
            raise MiError(
                f"this is a circuit of {own}s, {first[1].origin} one of {first[0]}s",
                "of circuits of several levels there is an intersection only: mi set intersect",
                place=stream.origin,
            )
        first = first or (own, stream)
    return first[0] if first else "edge"


def loose(graph: Graph, stream: Stream) -> int:
    """How many edges of a circuit lie on no path from a root to the sink."""
    edges = circuit(stream, graph).edges
    return int((edges & ~connected(graph, edges)).sum())

"""Greedy growth from the sink: what units are ranked by in, the order in which the rule takes them out.

The rule takes, again and again, the best unit that leads into a node which is in already. An edge leads into its
target, or into all nodes that share what it feeds; a node, or a neuron of it, into every node that one of its edges
enters. Taking a unit puts its writer in. Nodes that nobody scored are in as soon as they lead in, and cost nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np

from mi.circuit.levels import Units

# The best unit of a group that is not taken yet (its cost, then its number, so that ties go to the first), the group's
# node, and the units after it. One entry for each group keeps the heap small.
Entry = tuple[float, int, int, Iterator[tuple[float, int]]]


def greedy_order(units: Units, key: np.ndarray, n: int, free: np.ndarray) -> np.ndarray:
    """The first n units in the order in which the rule takes them, int64 [<= n]. A key of -inf is never taken."""
    return _edges(units, key, n) if units.level == "edge" else _writers(units, key, n, free)


def _edges(units: Units, key: np.ndarray, n: int) -> np.ndarray:
    """At the level of edges the groups are the edges into each node."""
    incoming = _groups(*units.graph.ways(key > -np.inf), len(units.graph.nodes))
    source = units.graph.source
    inside = np.zeros(len(units.graph.nodes), dtype=bool)
    heap: list[Entry] = []

    def enter(node: int) -> None:
        inside[node] = True
        _push(heap, node, incoming[node], key, n)

    enter(units.graph.sink)
    taken: dict[int, None] = {}  # an edge comes once from each of its nodes
    while heap and len(taken) < n:
        edge = _pop(heap)
        taken[edge] = None
        if not inside[source[edge]]:
            enter(int(source[edge]))
    return np.array(list(taken), dtype=np.int64)


def _writers(units: Units, key: np.ndarray, n: int, free: np.ndarray) -> np.ndarray:
    """At the other levels the groups are the units of each node, which open once the node leads in."""
    graph = units.graph
    scored = np.flatnonzero((key > -np.inf) & ~free)
    own = _groups(scored, units.writer[scored], len(graph.nodes))
    into = _groups(*graph.every_way, len(graph.nodes))
    costless = units.written(free)
    inside, opened = (np.zeros(len(graph.nodes), dtype=bool) for _ in range(2))
    heap: list[Entry] = []

    def enter(node: int) -> None:
        todo = [node]
        while todo:
            here = todo.pop()
            if inside[here]:
                continue
            inside[here] = True
            for before in np.unique(graph.source[into[here]]).tolist():
                if opened[before]:
                    continue
                opened[before] = True
                _push(heap, before, own[before], key, n)
                if costless[before]:
                    todo.append(before)

    enter(graph.sink)
    taken: list[int] = []
    while heap and len(taken) < n:
        unit = _pop(heap)
        taken.append(unit)
        enter(int(units.writer[unit]))
    return np.array(taken, dtype=np.int64)


def _groups(members: np.ndarray, of: np.ndarray, n_groups: int) -> list[np.ndarray]:
    """The members of each group, in ascending order; `of`: the group of each."""
    order = np.lexsort((members, of))
    ends = np.searchsorted(of[order], np.arange(n_groups + 1)).tolist()
    return [members[order[ends[i] : ends[i + 1]]] for i in range(n_groups)]


def _push(heap: list[Entry], node: int, group: np.ndarray, key: np.ndarray, n: int) -> None:
    cost = -key[group]
    best = np.argsort(cost, kind="stable")[:n]
    rest = zip(cost[best].tolist(), group[best].tolist(), strict=True)
    first = next(rest, None)
    if first is not None:
        heapq.heappush(heap, (*first, node, rest))


def _pop(heap: list[Entry]) -> int:
    _, unit, node, rest = heap[0]
    following = next(rest, None)
    if following is None:
        heapq.heappop(heap)
    else:
        heapq.heapreplace(heap, (*following, node, rest))
    return unit

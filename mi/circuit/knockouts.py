"""What is knocked out of a circuit to test it: subsets of its nodes, and circuits with one edge too many.

Flows in: a graph and a circuit's edges, bool [E]. Flows out: sets of nodes, masks, edges.
"""

from __future__ import annotations

import re

import numpy as np

from mi.circuit.graph import Graph
from mi.circuit.prune import fed_by, nodes_of


def parts(graph: Graph, mask: np.ndarray) -> np.ndarray:
    """The nodes of a circuit that can be knocked out: those that read and write, by index."""
    inside = nodes_of(graph, mask) & ~graph.roots
    inside[graph.sink] = False
    return np.flatnonzero(inside)


def without(graph: Graph, mask: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """The mask without all that these nodes write: a node that nobody reads is gone."""
    return mask & ~np.isin(graph.source, nodes)


def classes(graph: Graph, nodes: np.ndarray) -> dict[str, np.ndarray]:
    """Nodes by what they are: all of one kind (`a`: heads, `m`: MLPs), and the heads of one layer together."""
    found: dict[str, list[int]] = {}
    for node in nodes.tolist():
        name = graph.nodes[node]
        kind = re.match(r"[A-Za-z_]*", name)
        layer = name.partition(".")[0]
        for group in dict.fromkeys((kind.group() if kind else "", layer)):
            found.setdefault(group, []).append(node)
    return {group: np.array(members) for group, members in found.items()}


def random_subsets(nodes: np.ndarray, n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """n different sets into which each node falls with probability a half, or fewer where there are not so many; never
    the empty one."""
    sets: dict[bytes, np.ndarray] = {}
    for _ in range(10 * n):
        drawn = nodes[rng.random(len(nodes)) < 0.5]
        if len(drawn) and len(sets) < n:
            sets.setdefault(drawn.tobytes(), drawn)
    return list(sets.values())


def inflated(graph: Graph, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, int] | None:
    """The circuit with one random edge more, and that edge; None where no edge can be added.

    If the edge's ends are not in the circuit, a random edge into its source and one out of its target join them to it,
    so that the edge lies on a path.
    """
    inside = nodes_of(graph, mask) | graph.roots
    inside[graph.sink] = True
    fed = inside | fed_by(graph, mask)
    entering = graph.into(inside)
    for extra in rng.permutation(np.flatnonzero(~mask)).tolist():
        source, targets = graph.source[extra], graph.readers(extra)
        joined = bool(inside[targets].any())
        into = np.flatnonzero(graph.into(np.arange(len(graph.nodes)) == source) & inside[graph.source])
        out = np.flatnonzero(np.isin(graph.source, targets) & entering)
        if (fed[source] or len(into)) and (joined or len(out)):
            larger = mask.copy()
            larger[extra] = True
            if not fed[source]:
                larger[rng.choice(into)] = True
            if not joined:
                larger[rng.choice(out)] = True
            return larger, extra
    return None

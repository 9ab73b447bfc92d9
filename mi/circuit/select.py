"""Selection: scores in, a set of edges out, before pruning.

Every rule ranks by magnitude (`absolute`) or by signed score, takes the best first, and breaks ties by edge order, so
that the same scores always give the same edges. Edges in `keep` come before all others, edges in `drop` are never
taken; an edge in both is dropped. A size is an upper bound: pruning, and edges that `drop` leaves no room for, make the
circuit smaller.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mi.circuit.graph import Graph
from mi.circuit.prune import connected
from mi.errors import MiError, UsageError


def nominal_size(n_edges: int, fraction: float) -> int:
    """int(fraction * n_edges), in exact decimals: 29 % of 100 edges is 29 edges, whatever 0.29 * 100 rounds to."""
    return int(Fraction(repr(float(fraction))) * n_edges)


def percent_size(n_edges: int, percent: float) -> int:
    """`nominal_size` of a percentage; 0.7 % of 1000 edges is 7, though 0.7 / 100 rounds to less than 0.007."""
    return int(Fraction(repr(float(percent))) * n_edges / 100)


def top(
    graph: Graph,
    scores: np.ndarray,
    n: int,
    absolute: bool = True,
    keep: np.ndarray | None = None,
    drop: np.ndarray | None = None,
) -> np.ndarray:
    """The n best edges, bool [E]."""
    key = _ranking(graph, scores, absolute, keep, drop)
    n = _checked_size(graph, key, n)
    if n == 0:
        return np.zeros(graph.n_edges, dtype=bool)
    last = np.partition(key, len(key) - n)[len(key) - n]  # the n-th largest value
    mask = key > last
    ties = np.flatnonzero(key == last)
    mask[ties[: n - np.count_nonzero(mask)]] = True
    return mask


def threshold(
    graph: Graph,
    scores: np.ndarray,
    limit: float,
    absolute: bool = True,
    keep: np.ndarray | None = None,
    drop: np.ndarray | None = None,
) -> np.ndarray:
    """The edges whose score is at least `limit`, bool [E]."""
    key = _ranking(graph, scores, absolute, keep, drop)
    return (key >= limit) & (key > -np.inf)


def greedy(
    graph: Graph,
    scores: np.ndarray,
    n: int,
    absolute: bool = True,
    keep: np.ndarray | None = None,
    drop: np.ndarray | None = None,
) -> np.ndarray:
    """Grow from the sink: n times the best edge into a node that is already in the circuit, bool [E]."""
    key = _ranking(graph, scores, absolute, keep, drop)
    return _mask(graph, _greedy_order(graph, key, _checked_size(graph, key, n)))


@dataclass(frozen=True)
class Exact:
    """A pruned circuit and the size that had to be asked for to get it."""

    mask: np.ndarray  # bool [E], pruned
    nominal: int


def exact_size(
    graph: Graph,
    scores: np.ndarray,
    budget: int,
    absolute: bool = True,
    keep: np.ndarray | None = None,
    drop: np.ndarray | None = None,
    rule: Callable[..., np.ndarray] = top,
) -> Exact:
    """The largest circuit of at most `budget` edges *after* pruning that `rule` (top or greedy) gives at any size."""
    key = _ranking(graph, scores, absolute, keep, drop)
    _checked_size(graph, key, budget)
    candidates = int(np.count_nonzero(key > -np.inf))
    if rule is greedy:
        order = _greedy_order(graph, key, candidates)
    elif rule is top:
        order = np.argsort(-key, kind="stable")[:candidates]
    else:
        raise ValueError(f"{rule} does not rank edges")
    most = longest_prefix(graph, order, budget)
    mask = prefix(graph, order, most)
    realised = np.count_nonzero(mask)
    if not realised:
        return Exact(mask, 0)
    return Exact(mask, 1 + _last_true(most, lambda n: bool(np.count_nonzero(prefix(graph, order, n)) < realised)))


def prefix(graph: Graph, order: np.ndarray, n: int) -> np.ndarray:
    """What pruning leaves of the first n edges of `order`, bool [E]."""
    return connected(graph, _mask(graph, order[:n]))


def longest_prefix(graph: Graph, order: np.ndarray, budget: int) -> int:
    """The largest n for which pruning leaves at most `budget` of the first n edges of `order`.

    A longer prefix contains the shorter one, so every path of the shorter is a path of the longer: the pruned size
    never falls as n grows, and bisection is exact. The size can jump past the budget; then the one below the jump is
    the nearest from below.
    """
    return _last_true(len(order), lambda n: bool(n <= budget or np.count_nonzero(prefix(graph, order, n)) <= budget))


def ranked(scores: np.ndarray, mask: np.ndarray, absolute: bool = True) -> np.ndarray:
    """The edges of `mask`, best first, ties in edge order, int64 [n]."""
    edges = np.flatnonzero(mask)
    values = np.asarray(scores, dtype=np.float64)[edges]
    return edges[np.argsort(-(np.abs(values) if absolute else values), kind="stable")]


def check_scores(graph: Graph, scores: np.ndarray, place: str = "") -> None:
    """Refuse scores of another graph and scores that are not numbers, naming the first such edge."""
    if scores.shape != (graph.n_edges,):
        raise MiError(
            f"{scores.size} scores for a graph of {graph.n_edges} edges ({graph.describe()})",
            "these scores belong to another graph",
            place=place,
        )
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise MiError(
            f"the score of {graph.edge_name(bad[0])} is {scores[bad[0]]}{more}",
            "scores must be finite: make them again, and look at the model for overflow",
            place=place,
        )


def _ranking(
    graph: Graph, scores: np.ndarray, absolute: bool, keep: np.ndarray | None, drop: np.ndarray | None
) -> np.ndarray:
    """What edges are ranked by, largest first: +inf for kept ones, -inf for dropped ones, float64 [E]."""
    check_scores(graph, scores)
    key = scores.astype(np.float64)  # a limit in double is compared with the scores as they are, not as rounded
    if absolute:
        np.abs(key, out=key)
    if keep is not None:
        key[keep] = np.inf
    if drop is not None:
        key[drop] = -np.inf
    return key


def _checked_size(graph: Graph, key: np.ndarray, n: int) -> int:
    """n, or less where fewer edges may be taken."""
    if not 0 <= n <= graph.n_edges:
        raise UsageError(
            f"{n} edges were asked for, the graph has {graph.n_edges}", f"ask for 0 to {graph.n_edges} edges"
        )
    forced = int(np.count_nonzero(key == np.inf))
    if forced > n:
        raise UsageError(
            f"{forced} edges are always kept, more than the {n} that were asked for",
            f"ask for at least {forced} edges, or keep fewer",
        )
    return min(n, int(np.count_nonzero(key > -np.inf)))


def _greedy_order(graph: Graph, key: np.ndarray, n: int) -> np.ndarray:
    """The first n edges in the order in which the greedy rule takes them, int64 [<= n].

    One heap entry for each node that is in: the best edge into it that is not taken yet.
    """
    edges = np.flatnonzero(key > -np.inf)
    into = graph.target[edges]
    edges = edges[np.argsort(into, kind="stable")]
    ends = np.searchsorted(np.sort(into), np.arange(len(graph.nodes) + 1)).tolist()
    source = graph.source
    inside = np.zeros(len(graph.nodes), dtype=bool)
    heap: list[tuple[float, int, Iterator[tuple[float, int]]]] = []  # cost of the edge, edge, the edges after it

    def enter(node: int) -> None:
        inside[node] = True
        incoming = edges[ends[node] : ends[node + 1]]
        cost = -key[incoming]
        best = np.argsort(cost, kind="stable")[:n]
        rest = zip(cost[best].tolist(), incoming[best].tolist(), strict=True)
        first = next(rest, None)
        if first is not None:
            heapq.heappush(heap, (*first, rest))

    enter(graph.sink)
    taken: list[int] = []
    while heap and len(taken) < n:
        _, edge, rest = heap[0]
        taken.append(edge)
        following = next(rest, None)
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (*following, rest))
        if not inside[source[edge]]:
            enter(int(source[edge]))
    return np.array(taken, dtype=np.int64)


def _mask(graph: Graph, edges: np.ndarray) -> np.ndarray:
    mask = np.zeros(graph.n_edges, dtype=bool)
    mask[edges] = True
    return mask


def _last_true(most: int, holds: Callable[[int], bool]) -> int:
    """The largest n in 0..most for which `holds`, given that it holds at 0 and stays false once it is false."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low

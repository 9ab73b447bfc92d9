"""The best connected circuit of a size, by an integer program: scores in, the circuit and what is proven out (C6b).

Unit i is in (x_i = 1) or not, node u is there (y_u = 1) or not.

    maximise  sum s_i x_i                     s = |score|, or the score itself if signed
    such that sum x_i <= k                    over the units that were scored; no unit of them costs nothing
              y_u <= sum of what enters u     a node needs an edge into it (a root needs none)
              y_u <= sum of what leaves u     and one out of it (the sink needs none)
              x_i <= y of what i touches      an edge needs both its nodes, a node or a neuron its writer; of the
                                              nodes that share a receiver, one

No edge runs backward, so these local rules are exactly `prune.connected`: a circuit that obeys them has nothing that
pruning would drop. y is 0 or 1 wherever x is (above 0 it needs an x that leaves its node, which makes it 1), so only x
is declared an integer.

HiGHS (through SciPy) solves it, one thread, the same answer each time. SciPy is imported where it is used: no other
selection needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mi.circuit.levels import Units
from mi.circuit.select import Ranking, nominal_size, ranking
from mi.errors import RunError, UsageError

TIME_LIMIT = 300.0  # seconds
_SCALE = 1000.0  # of the largest score: HiGHS stops at an absolute gap of 1e-6, which must be far below any score
_OPTIMAL, _STOPPED, _INFEASIBLE = 0, 1, 2


@dataclass(frozen=True)
class Solution:
    """A pruned circuit, the sum of its scores, and how far below the best possible sum it may be, as a share."""

    mask: np.ndarray  # bool [n]
    total: float
    gap: float


def best(
    units: Units,
    scores: np.ndarray,
    budget: int,
    absolute: bool = True,
    keep: np.ndarray | None = None,
    drop: np.ndarray | None = None,
    ratio: float | None = None,
    strict: bool = False,
    gap: float = 0.0,
    time_limit: float = TIME_LIMIT,
) -> Solution:
    """The circuit of at most `budget` units with the largest sum of scores, to within `gap` of it.

    `ratio`: at most the share 1 - ratio of the budget goes to units whose score is not positive, as in
    `select.positive`, whose choice this is where everything is connected.

    Raises:
        RunError: not solved within the time limit. The message says how good the best circuit so far is.
        UsageError: no circuit of this size holds all of `keep`.
    """
    ranked_by = ranking(units, scores, absolute, keep, drop)
    ranked_by.size(budget)
    possible = units.pruned((ranked_by.key > -np.inf) | ranked_by.free, strict)
    if not possible.any():
        return Solution(possible, 0.0, 0.0)
    values = np.nan_to_num(np.asarray(scores, dtype=np.float64).ravel())
    worth = np.where(ranked_by.free, 0.0, np.abs(values) if absolute else values)
    program = _Program(units, np.flatnonzero(possible), strict)
    program.at_most(budget, ~ranked_by.free)
    if ratio is not None:
        program.at_most(budget - _least_positive(ranked_by, values, possible, budget, ratio), values <= 0)
    forced = possible & (ranked_by.key == np.inf)
    chosen, found_gap = program.solve(worth, forced, gap, time_limit)
    mask = units.pruned(chosen | ranked_by.free, strict)
    return Solution(mask, float(worth[mask].sum()), found_gap)


def _least_positive(ranked_by: Ranking, values: np.ndarray, possible: np.ndarray, budget: int, ratio: float) -> int:
    """How many units of the budget only positive ones may take; fewer where there are not so many."""
    return min(nominal_size(budget, ratio), int(np.count_nonzero(possible & ~ranked_by.free & (values > 0))))


class _Program:
    """The program as it is built, row by row: sums of coefficients times variables, each with its upper bound.

    Variables are the x of the candidates, then the y of all nodes.
    """

    def __init__(self, units: Units, candidates: np.ndarray, strict: bool) -> None:
        self.units, self.candidates = units, candidates
        self.rows: list[np.ndarray] = []
        self.columns: list[np.ndarray] = []
        self.values: list[np.ndarray] = []
        self.bounds: list[float] = []
        graph = units.graph
        x, y = np.arange(len(candidates)), len(candidates) + np.arange(len(graph.nodes))
        reads, writes = np.flatnonzero(~graph.roots), np.arange(graph.n_sources)
        writer = units.writer[candidates]
        self._only_with(x, y[writer])
        self._needs_one(writes, writer, x)
        if units.level == "edge":
            inside = np.zeros(graph.n_edges, dtype=bool)
            inside[candidates] = True
            edge, target = graph.ways(inside)
            feeds = graph.feeds(edge, target) if strict else np.ones(len(edge), dtype=bool)
            row = np.searchsorted(candidates, edge)  # candidates are in ascending order
            self._at_least_one(x, row, y[target])
            self._needs_one(reads, target[feeds], x[row[feeds]])
        else:  # all edges of a node come with it, so nodes themselves enter and leave one another
            edge, target = graph.every_way
            feeds = graph.feeds(edge, target) if strict else np.ones(len(edge), dtype=bool)
            self._needs_one(reads, target[feeds], y[graph.source[edge[feeds]]])
            self._needs_one(writes, graph.source[edge], y[target])

    def at_most(self, bound: int, counted: np.ndarray) -> None:
        """sum of x over the `counted` units <= bound."""
        columns = np.flatnonzero(counted[self.candidates])
        self._add(np.zeros(len(columns), dtype=np.int64), columns, np.ones(len(columns)), [bound])

    def solve(self, worth: np.ndarray, forced: np.ndarray, gap: float, time_limit: float) -> tuple[np.ndarray, float]:
        """The chosen units, bool [n], and the gap that is left."""
        from scipy import sparse
        from scipy.optimize import Bounds, LinearConstraint, milp

        n_x, n_y = len(self.candidates), len(self.units.graph.nodes)
        cells = (np.concatenate(self.rows), np.concatenate(self.columns))
        table = sparse.csr_array((np.concatenate(self.values), cells), shape=(len(self.bounds), n_x + n_y))
        gain = worth[self.candidates]
        largest = float(np.abs(gain).max(initial=0.0)) or 1.0
        least = np.concatenate([forced[self.candidates], np.zeros(n_y)])
        found = milp(
            np.concatenate([-gain * (_SCALE / largest), np.zeros(n_y)]),
            integrality=np.concatenate([np.ones(n_x), np.zeros(n_y)]),
            bounds=Bounds(least, np.ones(n_x + n_y)),
            constraints=LinearConstraint(table, -np.inf, np.array(self.bounds, dtype=np.float64)),
            options={"mip_rel_gap": gap, "time_limit": time_limit},
        )
        if found.status != _OPTIMAL:
            raise _unsolved(found, time_limit, largest / _SCALE)
        mask = np.zeros(self.units.n, dtype=bool)
        mask[self.candidates[found.x[:n_x] > 0.5]] = True
        return mask, float(found.mip_gap or 0.0)

    def _only_with(self, part: np.ndarray, whole: np.ndarray) -> None:
        """part <= whole, one row for each pair of variables."""
        row = np.arange(len(part))
        values = np.repeat([1.0, -1.0], len(part))
        self._add(np.tile(row, 2), np.concatenate([part, whole]), values, [0.0] * len(part))

    def _at_least_one(self, parts: np.ndarray, of: np.ndarray, members: np.ndarray) -> None:
        """Each part <= the sum of the members that are its own (`of`: the place of the part of each member)."""
        rows = np.concatenate([np.arange(len(parts)), of])
        values = np.repeat([1.0, -1.0], [len(parts), len(members)])
        self._add(rows, np.concatenate([parts, members]), values, [0.0] * len(parts))

    def _needs_one(self, nodes: np.ndarray, group: np.ndarray, members: np.ndarray) -> None:
        """y of each node <= the sum of the members of its group."""
        row_of = np.full(len(self.units.graph.nodes), -1)
        row_of[nodes] = np.arange(len(nodes))
        inside = row_of[group] >= 0
        rows = np.concatenate([np.arange(len(nodes)), row_of[group[inside]]])
        columns = np.concatenate([len(self.candidates) + nodes, members[inside]])
        values = np.concatenate([np.ones(len(nodes)), -np.ones(int(inside.sum()))])
        self._add(rows, columns, values, [0.0] * len(nodes))

    def _add(self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, bounds: list[float]) -> None:
        self.rows.append(rows + len(self.bounds))
        self.columns.append(columns)
        self.values.append(values)
        self.bounds += bounds


def _unsolved(found: Any, time_limit: float, scale: float) -> Exception:
    """Why there is no circuit, in the words of a user."""
    if found.status == _INFEASIBLE:
        return UsageError("no circuit of this size holds all that --keep names", "ask for more, or keep fewer")
    if found.status != _STOPPED:
        return RunError(f"the integer program was not solved: {found.message}")
    if found.x is None:
        so_far = "no circuit was found"
    else:
        total, most = -found.fun * scale, -found.mip_dual_bound * scale
        so_far = f"the best circuit so far sums to {total:.6g}, none can exceed {most:.6g} (gap {found.mip_gap:.2g})"
    return RunError(
        f"the integer program was not solved in {time_limit:g} s: {so_far}",
        "give it a longer --time-limit, accept a --gap, or use --greedy",
    )

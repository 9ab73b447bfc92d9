"""Selection: scores in, a set of units (edges, nodes or neurons) out, before pruning.

Every rule ranks by magnitude (`absolute`) or by signed score, takes the best first, and breaks ties by the order of
the units, so that the same scores always give the same circuit. Units in `keep` come before all others, units in `drop`
are never taken; a unit in both is dropped. A size is an upper bound: pruning, and units that `drop` leaves no room for,
make the circuit smaller.

Where a graph is asked for, its edges are meant; `Units` says another level. At the levels of nodes and neurons a score
of NaN means that nobody scored the unit: it is always taken, and not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mi.circuit.graph import Graph
from mi.circuit.greedy import greedy_order
from mi.circuit.levels import Units, units_of
from mi.errors import MiError, UsageError

if TYPE_CHECKING:
    from fractions import Fraction


def nominal_size(n_units: int, fraction: float) -> int:
    """int(fraction * n_units), in exact decimals: 29 % of 100 edges is 29 edges, whatever 0.29 * 100 rounds to."""
    return int(_decimal(fraction) * n_units)


def percent_size(n_units: int, percent: float) -> int:
    """`nominal_size` of a percentage; 0.7 % of 1000 edges is 7, though 0.7 / 100 rounds to less than 0.007."""
    return int(_decimal(percent) * n_units / 100)


def _decimal(number: float) -> Fraction:
    """The number as it is written."""
    from fractions import Fraction  # which `mi view` does not need

    return Fraction(repr(float(number)))


@dataclass(frozen=True, eq=False)
class Ranking:
    """What units are ranked by, largest first: +inf for kept ones, -inf for dropped and for unscored ones."""

    units: Units
    key: np.ndarray  # float64 [n]
    free: np.ndarray  # bool [n]: nobody scored them; always taken, not counted

    @property
    def candidates(self) -> int:
        return int(np.count_nonzero(self.key > -np.inf))

    def size(self, n: int) -> int:
        """n, or less where fewer units may be taken."""
        most, what = self.units.n - int(np.count_nonzero(self.free)), f"{self.units.level}s"
        if not 0 <= n <= most:
            raise UsageError(f"{n} {what} were asked for, the graph has {most}", f"ask for 0 to {most} {what}")
        forced = int(np.count_nonzero(self.key == np.inf))
        if forced > n:
            raise UsageError(
                f"{forced} {what} are always kept, more than the {n} that were asked for",
                f"ask for at least {forced} {what}, or keep fewer",
            )
        return min(n, self.candidates)

    def mask(self, chosen: np.ndarray) -> np.ndarray:
        """A set of units by their numbers, and the unscored ones, bool [n]."""
        mask = self.free.copy()
        mask[chosen] = True
        return mask


def ranking(
    of: Graph | Units,
    scores: np.ndarray,
    absolute: bool = True,
    keep: np.ndarray | None = None,
    drop: np.ndarray | None = None,
) -> Ranking:
    """Check the scores and say what the units are ranked by."""
    units = units_of(of)
    check_scores(units, scores)
    key = scores.astype(np.float64).ravel()  # a limit in double is compared with the scores as they are, not as rounded
    free = np.isnan(key)
    if absolute:
        np.abs(key, out=key)
    if keep is not None:
        key[keep] = np.inf
    key[free] = -np.inf
    if drop is not None:
        key[drop] = -np.inf
        free &= ~drop
    return Ranking(units, key, free)


def top(
    of: Graph | Units,
    scores: np.ndarray,
    n: int,
    absolute: bool = True,
    keep: np.ndarray | None = None,
    drop: np.ndarray | None = None,
) -> np.ndarray:
    """The n best units, bool [n_units]."""
    ranked_by = ranking(of, scores, absolute, keep, drop)
    key, n = ranked_by.key, ranked_by.size(n)
    if n == 0:
        return ranked_by.free
    last = np.partition(key, len(key) - n)[len(key) - n]  # the n-th largest value
    mask = key > last
    ties = np.flatnonzero(key == last)
    mask[ties[: n - np.count_nonzero(mask)]] = True
    return mask | ranked_by.free


def threshold(
    of: Graph | Units,
    scores: np.ndarray,
    limit: float,
    absolute: bool = True,
    keep: np.ndarray | None = None,
    drop: np.ndarray | None = None,
) -> np.ndarray:
    """The units whose score is at least `limit`, bool [n_units]."""
    ranked_by = ranking(of, scores, absolute, keep, drop)
    return (ranked_by.key >= limit) & (ranked_by.key > -np.inf) | ranked_by.free


def greedy(
    of: Graph | Units,
    scores: np.ndarray,
    n: int,
    absolute: bool = True,
    keep: np.ndarray | None = None,
    drop: np.ndarray | None = None,
) -> np.ndarray:
    """Grow from the sink: n times the best unit that leads into a node which is already in, bool [n_units]."""
    ranked_by = ranking(of, scores, absolute, keep, drop)
    return ranked_by.mask(_greedy(ranked_by, ranked_by.size(n)))


def positive(
    of: Graph | Units,
    scores: np.ndarray,
    n: int,
    ratio: float,
    keep: np.ndarray | None = None,
    drop: np.ndarray | None = None,
) -> np.ndarray:
    """n units, of which at least the share `ratio` has a positive score, and beyond that the largest magnitudes."""
    ranked_by = ranking(of, scores, True, keep, drop)
    return ranked_by.mask(positive_order(ranked_by, scores, ratio, ranked_by.size(n)))


def positive_order(ranked_by: Ranking, scores: np.ndarray, ratio: float, n: int | None = None) -> np.ndarray:
    """The first n units in the order in which `positive` takes them: each set holds the smaller ones, int64.

    The i-th unit is the best positive one where the first i would else have fewer than int(ratio * i) of them, and
    otherwise the best one of either sign. That is: the int(ratio * i) best positive ones, the rest by magnitude.
    """
    order = _top(ranked_by)
    positive = (np.asarray(scores).ravel()[order] > 0).tolist()
    helpful = (place for place, is_positive in enumerate(positive) if is_positive)
    either = iter(range(len(order)))
    share = _decimal(ratio)
    taken = [False] * len(order)
    places: list[int] = []
    have = 0
    for i in range(1, (len(order) if n is None else n) + 1):
        place = _first_left(helpful, taken) if have < share.numerator * i // share.denominator else None
        if place is None:
            place = _first_left(either, taken)
        assert place is not None
        taken[place] = True
        places.append(place)
        have += positive[place]
    return order[np.array(places, dtype=np.int64)]


def _first_left(places: Iterator[int], taken: list[bool]) -> int | None:
    return next((place for place in places if not taken[place]), None)


def _top(ranked_by: Ranking) -> np.ndarray:
    return np.argsort(-ranked_by.key, kind="stable")[: ranked_by.candidates]


def _greedy(ranked_by: Ranking, n: int | None = None) -> np.ndarray:
    return greedy_order(ranked_by.units, ranked_by.key, ranked_by.candidates if n is None else n, ranked_by.free)


@dataclass(frozen=True)
class Exact:
    """A pruned circuit and the size that had to be asked for to get it. `above`: the next size that exists, or None."""

    mask: np.ndarray  # bool [n_units], pruned
    nominal: int
    above: int | None = None


def exact_size(
    of: Graph | Units,
    scores: np.ndarray,
    budget: int,
    absolute: bool = True,
    keep: np.ndarray | None = None,
    drop: np.ndarray | None = None,
    rule: Callable[..., np.ndarray] = top,
    ratio: float | None = None,
    strict: bool = False,
) -> Exact:
    """The largest circuit of at most `budget` units *after* pruning that `rule` (top or greedy) gives at any size.

    `ratio`: the ranking is that of `positive`.
    """
    if rule not in (top, greedy):
        raise ValueError(f"{rule} does not rank units")
    ranked_by = ranking(of, scores, absolute, keep, drop)
    ranked_by.size(budget)
    if ratio is not None:
        order = positive_order(ranked_by, scores, ratio)
    else:
        order = _greedy(ranked_by) if rule is greedy else _top(ranked_by)
    free = ranked_by.free

    def counted(n: int) -> int:
        return int(np.count_nonzero(prefix(of, order, n, free, strict) & ~free))

    most = longest_prefix(of, order, budget, free, strict)
    mask, realised = prefix(of, order, most, free, strict), counted(most)
    above = counted(most + 1) if realised < budget and most < len(order) else None
    nominal = 0 if not realised else 1 + _last_true(most, lambda n: counted(n) < realised)
    return Exact(mask, nominal, above)


def prefix(
    of: Graph | Units, order: np.ndarray, n: int, free: np.ndarray | None = None, strict: bool = False
) -> np.ndarray:
    """What pruning leaves of the first n units of `order` and of the unscored ones, bool [n_units]."""
    units = units_of(of)
    mask = np.zeros(units.n, dtype=bool) if free is None else free.copy()
    mask[order[:n]] = True
    return units.pruned(mask, strict)


def longest_prefix(
    of: Graph | Units, order: np.ndarray, budget: int, free: np.ndarray | None = None, strict: bool = False
) -> int:
    """The largest n for which pruning leaves at most `budget` of the first n units of `order`.

    A longer prefix contains the shorter one, so every path of the shorter is a path of the longer: the pruned size
    never falls as n grows, and bisection is exact. The size can jump past the budget; then the one below the jump is
    the nearest from below.
    """
    counts = slice(None) if free is None else ~free
    return _last_true(
        len(order),
        lambda n: bool(n <= budget or np.count_nonzero(prefix(of, order, n, free, strict)[counts]) <= budget),
    )


def ranked(scores: np.ndarray, mask: np.ndarray, absolute: bool = True) -> np.ndarray:
    """The units of `mask`, best first, ties in their order, unscored ones last, int64 [n]."""
    chosen = np.flatnonzero(mask)
    values = np.asarray(scores, dtype=np.float64).ravel()[chosen]
    return chosen[np.argsort(-(np.abs(values) if absolute else values), kind="stable")]


def check_scores(of: Graph | Units, scores: np.ndarray, place: str = "") -> None:
    """Refuse scores of another graph and scores that are not numbers, naming the first such unit."""
    units = units_of(of)
    if scores.shape not in (units.shape, (units.n,)):
        raise MiError(
            f"{scores.size} scores for a graph of {units.n} {units.level}s ({units.graph.describe()})",
            "these scores belong to another graph",
            place=place,
        )
    flat = scores.ravel()
    bad = np.flatnonzero(~np.isfinite(flat) if units.level == "edge" else np.isinf(flat))
    if len(bad):
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise MiError(
            f"the score of {units.name(bad[0])} is {flat[bad[0]]}{more}",
            "scores must be finite: make them again, and look at the model for overflow",
            place=place,
        )


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

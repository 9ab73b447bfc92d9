"""From scores to a circuit: what was asked for in, the circuit and what a head says about how it was chosen out.

The steps are those of `mi prune`: leave out what is not stable, take units by a rule, drop what lies on no path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mi.circuit import globs, select, stability
from mi.circuit.levels import Circuit
from mi.circuit.reading import Scored
from mi.errors import MiError

RULES: dict[str, Callable[..., np.ndarray]] = {
    "top": select.top,
    "threshold": select.threshold,
    "greedy": select.greedy,
}


@dataclass(frozen=True)
class Rule:
    """How units are taken: the name of the rule and its number."""

    name: str  # one of RULES, or "ilp"
    number: float = 0  # of units, or the least score
    percent: float | None = None  # of the scored units, in place of a number
    signed: bool = False
    exact: bool = False
    ratio: float | None = None  # least share of positive units
    strict: bool = False
    gap: float = 0.0  # of ilp
    time_limit: float = 0.0  # of ilp, in seconds


@dataclass(frozen=True)
class Stable:
    """Which units may be taken: those that are the same in at least the share `least` of resamples."""

    least: float
    by: str = "sign"  # or "inclusion"
    resamples: int = stability.RESAMPLES
    seed: int = 0


@dataclass(frozen=True)
class Chosen:
    """The circuit, and what the head says about how it was chosen."""

    mask: np.ndarray  # bool [n], pruned
    circuit: Circuit
    selection: dict[str, Any]
    kept: int = 0  # units that --keep names
    lost: int = 0  # of these, units on no path


def choose(
    scored: Scored, rule: Rule, keep: Sequence[str] = (), drop: Sequence[str] = (), stable: Stable | None = None
) -> Chosen:
    """Select and prune."""
    units = scored.units
    kept = globs.matching(units, keep, flag="--keep")
    dropped = globs.matching(units, drop, flag="--drop")
    if scored.listed is not None:
        dropped |= ~scored.listed
    number = rule.number if rule.percent is None else select.percent_size(scored.n_scored, rule.percent)
    said: dict[str, Any] = {}
    if stable is not None:
        unstable, said["stability"] = _unstable(scored, stable, rule, number, dropped)
        dropped |= unstable & ~kept
    kept &= ~dropped
    free = np.isnan(scored.scores) & ~dropped
    mask, selected, how = _take(scored, rule, number, kept, dropped)
    circuit = units.circuit(mask, rule.strict)
    by_size = rule.name != "threshold"
    said |= {
        "rule": rule.name,
        "level": units.level,
        "signed": rule.signed,
        "requested": int(number) if by_size else selected,
        "selected": selected,  # before pruning
        "realised": int(np.count_nonzero(mask & ~free)),
        "edges": units.graph.n_edges,
        "percent": rule.percent,
        "threshold": None if by_size else number,
        "exact_size": rule.exact or None,
        "positive_ratio": rule.ratio,
        "strict": rule.strict or None,
        "keep": list(keep) or None,
        "drop": list(drop) or None,
        **how,
        **_sizes(scored, circuit, int(np.count_nonzero(mask & free))),
    }
    selection = {key: value for key, value in said.items() if value is not None}
    return Chosen(mask, circuit, selection, int(np.count_nonzero(kept)), int(np.count_nonzero(kept & ~mask)))


def _take(
    scored: Scored, rule: Rule, number: float, keep: np.ndarray, drop: np.ndarray
) -> tuple[np.ndarray, int, dict[str, Any]]:
    """The pruned units, how many were taken before pruning, and what else the head says about it."""
    units, scores = scored.units, scored.scores
    options: dict[str, Any] = {"keep": keep, "drop": drop}
    if rule.name == "ilp":
        from mi.circuit import ilp

        options |= {"ratio": rule.ratio, "strict": rule.strict, "gap": rule.gap, "time_limit": rule.time_limit}
        found = ilp.best(units, scores, int(number), not rule.signed, **options)
        taken = found.mask & ~np.isnan(scores)
        return found.mask, int(np.count_nonzero(taken)), {"total": found.total, "gap": found.gap}
    if rule.exact:
        options |= {"rule": RULES[rule.name], "ratio": rule.ratio, "strict": rule.strict}
        exact = select.exact_size(units, scores, int(number), not rule.signed, **options)
        return exact.mask, exact.nominal, {"next_size": exact.above}
    if rule.ratio is not None:
        before = select.positive(units, scores, int(number), rule.ratio, **options)
    else:
        before = RULES[rule.name](units, scores, number, not rule.signed, **options)
    return units.pruned(before, rule.strict), int(np.count_nonzero(before & ~np.isnan(scores))), {}


def _unstable(
    scored: Scored, stable: Stable, rule: Rule, number: float, drop: np.ndarray
) -> tuple[np.ndarray, dict[str, Any]]:
    """The scored units that are not stable enough, and what the head says about it."""
    if scored.shards is None or scored.shard_n is None:
        raise MiError(
            "the scores come without shards, so nothing can be resampled",
            "`mi attribute` stores them; a filter over records, and `mi merge` but for --mean, lose them",
        )
    said: dict[str, Any] = {"by": stable.by, "least": stable.least, "resamples": stable.resamples, "seed": stable.seed}
    sums, sizes, draw = scored.shards, scored.shard_n, (stable.resamples, stable.seed)
    if stable.by == "sign":
        share = stability.sign_stability(scored.scores, sums, sizes, *draw)
    else:
        absolute = not rule.signed
        never = drop | np.isnan(scored.scores)
        share, said["jaccard"] = stability.inclusion(scored.units, int(number), sums, sizes, absolute, *draw, never)
    unstable = (share < stable.least) & ~np.isnan(scored.scores)
    said["stable"] = int(np.count_nonzero(~unstable & ~drop & ~np.isnan(scored.scores)))
    return unstable, said


def _sizes(scored: Scored, circuit: Circuit, unscored: int) -> dict[str, Any]:
    """Sizes that only the other levels have: a circuit of edges is as large as the number of its edges."""
    if scored.units.level == "edge":
        return {}
    said: dict[str, Any] = {"units": scored.n_scored, "unscored": unscored or None, "realised_edges": circuit.n_edges}
    if scored.units.level == "neuron":
        said |= {"width": scored.units.width, "weighted_edges": circuit.weighted_edges}
    return said

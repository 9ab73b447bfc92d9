"""The table of searches, and what may be asked of each.

Flows in: a method's name and the flags that the user gave. Flows out: :class:`Settings`, checked and with defaults
filled in. No torch. Defaults are those of the references, brought to a scale on which the embedded model takes a
minute: fewer steps, at higher rates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mi.errors import UsageError
from mi.tasks import footprint
from mi.tasks.plan import Footprint

TAUS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1)  # of an ACDC ranking


@dataclass(frozen=True)
class Method:
    """One search: which flags it takes, and their defaults."""

    name: str
    summary: str
    defaults: Mapping[str, Any]
    batch: int | None = None  # examples of one step
    ranks: bool = True  # whether --ranking is for it to choose
    learns_mask: bool = False


METHODS = {
    method.name: method
    for method in (
        Method(
            "acdc",
            "try to remove every edge once",
            {"tau": (1e-3,), "order": "reverse", "abs": False, "remove-redundant": False},
        ),
        Method(
            "subnetwork-probing",
            "learn masks of nodes or edges, for a price",
            {"steps": 300, "lr": 0.1, "penalty": 1.0, "level": "node", "patience": 100, "learn-constants": False},
            batch=32,
            learns_mask=True,
        ),
        Method(
            "edge-pruning",
            "learn a mask of edges of a given sparsity",
            {"steps": 600, "lr": 0.2, "target": 0.9, "node-target": None, "patience": 100, "learn-constants": False},
            batch=32,
            learns_mask=True,
        ),
        Method(
            "ugs",
            "learn with which probability each edge is there",
            {"steps": 300, "lr": 0.05, "penalty": 1e-3, "masks": 12, "patience": 100, "learn-constants": False},
            batch=5,
            learns_mask=True,
        ),
        Method("optimal", "learn the constant that stands best for each node", {"steps": 200, "lr": 0.01}, 8, False),
    )
}


@dataclass(frozen=True)
class Settings:
    """What was asked for, complete. Of a method that does not take a flag, ``of`` has no entry."""

    method: str
    of: Mapping[str, Any]
    ranking: bool
    seed: int = 0

    def __getitem__(self, flag: str) -> Any:
        return self.of[flag]

    def said(self) -> dict[str, Any]:
        """What a head says of it."""
        given = {name: value for name, value in self.of.items() if value is not None}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


def settle(method: str, given: Mapping[str, Any], ranking: bool = False, seed: int = 0) -> Settings:
    """Fill in the defaults. ``given``: flags without their dashes; None (or False, for a switch) where not given.

    Raises:
        UsageError: a flag that the method does not take, or a value that has no meaning.
    """
    entry = METHODS[method]
    for name, value in given.items():
        if value not in (None, False) and name not in entry.defaults:
            takers = [other.name for other in METHODS.values() if name in other.defaults]
            raise UsageError(f"--{name} means nothing to {method}", f"it is a flag of {', '.join(takers)}")
    of = {name: default if given.get(name) is None else given[name] for name, default in entry.defaults.items()}
    if ranking and not entry.ranks:
        raise UsageError(f"--ranking means nothing to {method}", f"{method} writes a ranking of nodes as it is")
    if method == "acdc":
        of["tau"] = TAUS if ranking and given.get("tau") is None else tuple(of["tau"])
        ranking = _check_taus(of["tau"], ranking)
    for name in ("lr", "target", "node-target", "penalty"):
        if of.get(name) is not None and not math.isfinite(of[name]):
            raise UsageError(f"--{name} {of[name]} is not a number to search with", "give a finite number")
    return Settings(method, of, ranking or not entry.ranks, seed)


def _check_taus(taus: Sequence[float], ranking: bool) -> bool:
    """Whether these taus give a ranking."""
    for tau in taus:
        if not math.isfinite(tau):
            raise UsageError(f"--tau {tau} is not a number that a loss can rise by", "give a finite number")
    if len(set(taus)) < len(taus):
        raise UsageError("--tau names a value twice", "give different ones")
    if (ranking or len(taus) > 1) and min(taus) <= 0:
        raise UsageError("a ranking needs positive taus", "give taus above 0")
    return ranking or len(taus) > 1


def memory(settings: Settings) -> Footprint:
    """What one batch takes, as `mi.tasks.footprint` has it."""
    if settings.method == "optimal":
        return footprint.ablations
    if settings.method == "acdc":
        return footprint.tries
    copies = settings.of.get("masks", 1)
    return lambda shape, item, batch, budget: footprint.gates(shape, item, batch, copies, backward=True)


def passes(
    settings: Settings, n_examples: int, n_edges: int, n_nodes: int, batch_size: int | None
) -> tuple[float, float]:
    """(forwards, backwards) of every example, about."""
    entry, of = METHODS[settings.method], settings.of
    if settings.method == "acdc":
        return 2 + len(of["tau"]) * (1 + n_edges), 0
    epochs = of["steps"] * min(n_examples, batch_size or entry.batch or n_examples) / n_examples
    if settings.method == "optimal":
        return 2 + n_nodes * (epochs + 1), n_nodes * epochs
    runs = epochs * of.get("masks", 1)
    return 2 + runs + 2, runs

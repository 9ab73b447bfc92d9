"""Scores as sums over examples: what parts of a set of examples add up to in, the scores of the whole set out.

A score is a mean over examples, so the examples may be looked at anywhere in any parts. What each part adds up to is
kept in float64 by shard of the whole set (`mi.core.shards`), and the parts are added in their own order: the same bits
come out whichever was there first. Numpy only, so that `mi merge --sum` ends what `mi attribute` began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from mi.circuit.levels import Units

Scale = Callable[[Units, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Sums:
    """What the examples at `rows` of a set add up to."""

    units: Units
    by_shard: np.ndarray  # float64 [S, *units.shape]
    shard_n: np.ndarray  # int64 [S]: how many of these examples are in each shard of the set
    rows: np.ndarray  # int64 [n]: their places in the set
    clean: np.ndarray  # float64 [n]: the metric of each clean run, NaN where the method measures none
    loss_change: np.ndarray  # float64 [n]: l(x') - l(x) of each, NaN where it is not known

    @property
    def n(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Whole:
    """Scores of a whole set, and the two sides of completeness: the mean change of the loss, and what the input's
    scores sum to (spec I3)."""

    scores: np.ndarray  # float64 [*units.shape]
    shards: np.ndarray  # float64 [S, *units.shape]
    loss_change: float
    attributed: float


def joined(parts: Iterable[Sums]) -> Sums:
    """Several parts as one, added in the order in which they come; examples in the order of the set."""
    found = iter(parts)
    first = next(found)
    total, sizes = first.by_shard.astype(np.float64), first.shard_n.astype(np.int64)
    of_examples = [(first.rows, first.clean, first.loss_change)]
    for part in found:
        total += part.by_shard
        sizes += part.shard_n
        of_examples.append((part.rows, part.clean, part.loss_change))
    rows, clean, loss_change = (np.concatenate(column) for column in zip(*of_examples, strict=True))
    order = np.argsort(rows, kind="stable")
    return Sums(first.units, total, sizes, rows[order], clean[order], loss_change[order])


def whole(sums: Sums, scale: Scale | None = None) -> Whole:
    """The scores of all that was summed. ``scale`` gives a factor for each unit, NaN for one that is not scored."""
    shards = sums.by_shard
    mean = shards.sum(0) / sums.n
    if scale is not None:
        factor = scale(sums.units, mean)
        mean, shards = mean * factor, shards * np.nan_to_num(factor)
    of_input = sums.units.writer == sums.units.graph.node_index("input")
    return Whole(mean, shards, float(sums.loss_change.mean()), float(mean.ravel()[of_input].sum()))


def of_heads(units: Units, mean: np.ndarray, normalise_layers: bool) -> np.ndarray:
    """What each node's score is multiplied by in head importance: NaN for the input, which is neither head nor MLP and
    so stays; with ``normalise_layers`` one over the L2 norm of the scores of its layer."""
    factor = np.ones(len(mean))
    nodes = units.graph.nodes[: units.graph.n_sources]
    factor[units.graph.node_index("input")] = np.nan
    if normalise_layers:
        layers = np.array([layer_of(name) for name in nodes])
        for layer in np.unique(layers[layers >= 0]):
            norm = float(np.sqrt(np.square(mean[layers == layer]).sum()))
            factor[layers == layer] = 1 / norm if norm else 1.0
    return factor


def layer_of(node: str) -> int:
    """The layer of a head or an MLP (`a3.h5`, `m3`), -1 for anything else."""
    digits = node[1:].split(".", maxsplit=1)[0]
    return int(digits) if node[:1] in ("a", "m") and digits.isdigit() else -1

"""Scores of examples in, their sums over disjoint shards of the examples out: what bootstrapping needs.

A shard is chosen by what an example is, not by where it stands, so that batches and order change nothing; nor does it
matter how the examples are dealt to processes or jobs, each of which adds to the shards of the whole set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from mi.circuit.levels import Units
from mi.errors import RunError
from mi.tasks.encode import Encoded

MAX_SHARDS = 32
SHARD_BYTES = 1 << 29  # of all shards' sums: scores of neurons are many


def shard_of(examples: Sequence[Encoded], n_units: int = 1) -> np.ndarray:
    """Each example's shard: the rank of its id's digest modulo the number of shards."""
    digests = [hashlib.sha256(example.id.encode()).hexdigest() for example in examples]
    rank = np.empty(len(examples), dtype=np.int64)
    rank[np.array(sorted(range(len(examples)), key=lambda row: (digests[row], row)))] = np.arange(len(examples))
    most = max(2, SHARD_BYTES // (8 * n_units))
    return rank % min(MAX_SHARDS, len(examples), most)


def deal(lengths: Sequence[int], part: int, parts: int) -> np.ndarray:
    """The places of part ``part`` (from 0) of so many: every ``parts``-th example in the order of their lengths, so
    that all parts have the same work."""
    order = np.array(sorted(range(len(lengths)), key=lambda row: (lengths[row], row)), dtype=np.int64)
    return np.sort(order[part::parts])


class Adding:
    """Running float64 sums of scores by shard, of some examples of a set."""

    def __init__(self, examples: Sequence[Encoded], units: Units) -> None:
        self._units = units
        self._shard = shard_of(examples, units.n)
        self.by_shard = np.zeros((int(self._shard.max()) + 1, *units.shape))

    def add(self, rows: Sequence[int], scores: np.ndarray) -> None:
        """Scores [batch, *units] of the examples at ``rows``.

        Raises:
            RunError: one is not finite; names its edge, node or neuron.
        """
        bad = np.argwhere(~np.isfinite(scores.reshape(len(rows), -1)))
        if len(bad):
            raise RunError(
                f"the score of {self._units.name(int(bad[0, 1]))} is {scores.reshape(len(rows), -1)[tuple(bad[0])]}",
                "look for NaN or Inf in the weights, or use --dtype float32",
            )
        np.add.at(self.by_shard, self._shard[list(rows)], scores)

    def n(self, rows: np.ndarray) -> np.ndarray:
        """How many of these examples each shard has."""
        return np.bincount(self._shard[rows], minlength=len(self.by_shard))

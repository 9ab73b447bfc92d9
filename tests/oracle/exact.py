"""Patches in, the change of the loss of each example under each of them out (spec B4): one whole run a patch.

    noising:   S = loss(clean run, the patch corrupted) - loss(clean run)
    denoising: S = loss(corrupted run) - loss(corrupted run, the patch clean)

with loss = -metric, so that either way a positive number means that what is patched helps. A patched edge hands its
receiver the other run's value; a node is patched in all its outgoing edges, a neuron in one dimension of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tests.oracle.batches import Group, groups, replacements
from tests.oracle.metrics import Example
from tests.oracle.transformer import Edit, edge_cells, n_receivers, n_sources, run
from tests.oracle.weights import Tensor, Weights

DIRECTIONS = ("noising", "denoising")


@dataclass(frozen=True)
class Patch:
    """Indices of the source, of the receiver (None: all that read the source), and of a dimension of what the source
    writes (None: all)."""

    source: int
    receiver: int | None = None
    dimension: int | None = None


def edges(weights: Weights) -> list[Patch]:
    """Every edge, in the order of the interchange format."""
    return [Patch(source, receiver) for source, receiver in edge_cells(weights)]


def nodes(weights: Weights) -> list[Patch]:
    return [Patch(source) for source in range(n_sources(weights))]


def neurons(weights: Weights, sources: Sequence[int]) -> list[Patch]:
    """Every dimension of what each of the sources writes."""
    width = weights.embedding.shape[1]
    return [Patch(source, None, dimension) for source in sources for dimension in range(width)]


def exact(
    weights: Weights,
    examples: Sequence[Example],
    metric: str,
    patches: Sequence[Patch],
    direction: str = "noising",
    ablation: str = "counterfactual",
) -> np.ndarray:
    """[patch, example]. Denoising restores the clean run in the corrupted one, so it knows no other ablation."""
    assert direction in DIRECTIONS
    assert direction == "noising" or ablation == "counterfactual"
    every = groups(weights, examples)
    scores = np.zeros((len(patches), len(examples)))
    for group in every:
        if direction == "noising":
            tokens, here, there = group.clean, group.clean_run, replacements(ablation, every, group)
        else:
            tokens, here, there = group.corrupted, group.corrupted_run, group.clean_run.sources
        before = _loss(group, metric, here.logits)
        for row, patch in enumerate(patches):
            with torch.no_grad():
                found = run(weights, tokens, _edit(weights, patch, here.sources, there))
            after = _loss(group, metric, found.logits)
            scores[row, group.places] = after - before if direction == "noising" else before - after
    return scores


def _edit(weights: Weights, patch: Patch, here: Sequence[Tensor], there: Sequence[Tensor]) -> Edit:
    """What a source writes does not depend on who reads it, so its own run's value can be taken from `here`."""
    gates = torch.ones(n_sources(weights), n_receivers(weights), dtype=torch.float64)
    if patch.receiver is None:
        gates[patch.source, :] = 0
    else:
        gates[patch.source, patch.receiver] = 0
    replacement = list(there)
    if patch.dimension is not None:
        mixed = here[patch.source].clone()
        mixed[..., patch.dimension] = there[patch.source][..., patch.dimension]
        replacement[patch.source] = mixed
    return Edit(gates=gates, replacement=replacement)


def _loss(group: Group, metric: str, logits: Tensor) -> np.ndarray:
    return -group.metric(metric, logits).numpy()

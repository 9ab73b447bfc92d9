"""Examples in, scores of every edge or neuron by integrated gradients over each source's own output.

The heads of a layer are moved together. [source, receiver, example] for edges, [source, dimension, example] for
neurons.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from tests.oracle.attribution import quadrature
from tests.oracle.batches import Group, edited, groups, replacements
from tests.oracle.metrics import Example
from tests.oracle.nodes import hand, handed_gradient
from tests.oracle.transformer import n_receivers, n_sources, readable
from tests.oracle.weights import Tensor, Weights


def moved_together(weights: Weights) -> list[list[int]]:
    sets, width = [[0]], weights.n_heads + 1
    for layer in range(weights.n_layers):
        first = 1 + layer * width
        sets += [list(range(first, first + weights.n_heads)), [first + weights.n_heads]]
    return sets


def edges(
    weights: Weights,
    examples: Sequence[Example],
    metric: str,
    steps: int,
    rule: str = "right",
    ablation: str = "counterfactual",
) -> np.ndarray:
    """A run scores the edges out of what it moves."""
    every = groups(weights, examples)
    scores = np.zeros((n_sources(weights), n_receivers(weights), len(examples)))
    for group in every:
        replaced = replacements(ablation, every, group)
        for moved in moved_together(weights):
            for fraction, weight in quadrature(rule, steps):
                at = between(group, replaced, moved, fraction)
                gradients = receiver_gradients(weights, group, metric, at)
                for source in moved:
                    add(weights, scores, group, replaced, source, gradients, weight)
    return scores


def as_the_reference(
    weights: Weights, examples: Sequence[Example], metric: str, steps: int, ablation: str = "counterfactual"
) -> np.ndarray:
    """Every run scores every edge; towards a mean what is moved starts from zero; a moved rotary embedding has no
    gradient, so that nothing of layer 0's heads is counted in those runs.
    """
    every = groups(weights, examples)
    sets = moved_together(weights)
    scores = np.zeros((n_sources(weights), n_receivers(weights), len(examples)))
    for group in every:
        replaced = replacements(ablation, every, group)
        start = replaced if ablation == "counterfactual" else [torch.zeros_like(r) for r in replaced]
        for moved in sets:
            for fraction, weight in quadrature("right", steps):
                at = between(group, start, moved, fraction)
                gradients = receiver_gradients(weights, group, metric, at)
                if moved == [0] and weights.positions is None:
                    for receiver in range(3 * weights.n_heads + (1 if weights.parallel else 0)):
                        gradients[receiver] = torch.zeros_like(gradients[receiver])
                for source in range(n_sources(weights)):
                    add(weights, scores, group, replaced, source, gradients, weight / len(sets))
    return scores


def neurons(
    weights: Weights,
    examples: Sequence[Example],
    metric: str,
    steps: int,
    rule: str = "right",
    ablation: str = "counterfactual",
) -> np.ndarray:
    every = groups(weights, examples)
    scores = np.zeros((n_sources(weights), weights.embedding.shape[1], len(examples)))
    for group in every:
        replaced = replacements(ablation, every, group)
        for moved in moved_together(weights):
            for fraction, weight in quadrature(rule, steps):
                gradients = handed_gradient(weights, group, metric, between(group, replaced, moved, fraction))
                for source in moved:
                    change = replaced[source] - group.clean_run.sources[source]
                    for row, place in enumerate(group.places):
                        products = change[row] * gradients[source][row]
                        scores[source, :, place] += weight * products.sum(0).numpy()
    return scores


def between(group: Group, replaced: Sequence[Tensor], moved: list[int], fraction: float) -> dict[int, Tensor]:
    """What each moved source writes at this fraction of the way to its clean output."""
    clean = group.clean_run.sources
    return {source: fraction * clean[source] + (1 - fraction) * replaced[source] for source in moved}


def receiver_gradients(weights: Weights, group: Group, metric: str, at: dict[int, Tensor]) -> list[Tensor]:
    """The loss gradient at each receiver's input while these sources are held."""
    shape = group.clean_run.sources[0].shape
    nudges = [torch.zeros(shape, dtype=torch.float64, requires_grad=True) for _ in range(n_receivers(weights))]
    logits = edited(weights, group, replace(hand(weights, at, group), nudges=nudges)).logits
    loss = -group.metric(metric, logits).sum()
    return list(torch.autograd.grad(loss, nudges, allow_unused=True, materialize_grads=True))


def add(
    weights: Weights,
    scores: np.ndarray,
    group: Group,
    replaced: Sequence[Tensor],
    source: int,
    gradients: Sequence[Tensor],
    weight: float,
) -> None:
    change = replaced[source] - group.clean_run.sources[source]
    for receiver, count in enumerate(readable(weights)):
        if source < count:
            for row, place in enumerate(group.places):
                scores[source, receiver, place] += weight * float((change[row] * gradients[receiver][row]).sum())

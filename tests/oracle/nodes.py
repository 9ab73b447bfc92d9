"""Examples in, attribution scores of every node or neuron and example out, one node at a time.

A node's output is cut off from what computes it and handed to all its readers as a leaf; the gradient at the leaf is
the node's, whatever its edges are.
"""

from collections.abc import Sequence

import numpy as np
import torch

from tests.oracle.attribution import quadrature, receiver_gradients
from tests.oracle.batches import Group, edited, groups, replacements
from tests.oracle.metrics import Example
from tests.oracle.transformer import Edit, n_receivers, n_sources, run
from tests.oracle.weights import Tensor, Weights


def neurons(
    weights: Weights,
    examples: Sequence[Example],
    metric: str,
    ablation: str = "counterfactual",
    steps: int = 0,
    rule: str = "left",
    at_mlp_input: bool = False,
) -> np.ndarray:
    """[source, dimension, example]; no steps: the gradient at the clean run.

    `at_mlp_input`: an MLP's difference meets the gradient at what it reads, as in the reference's code.
    """
    every = groups(weights, examples)
    scores = np.zeros((n_sources(weights), weights.embedding.shape[1], len(examples)))
    for group in every:
        replaced = replacements(ablation, every, group)
        start, end = replaced[0], group.clean_run.sources[0]
        for fraction, weight in quadrature(rule, steps) if steps else [(1.0, 1.0)]:
            embedding = start + fraction * (end - start) if steps else end
            at_receivers = receiver_gradients(weights, group, metric, embedding)
            for source in range(n_sources(weights)):
                gradient = source_gradient(weights, group, metric, embedding, source)
                if at_mlp_input and source and source % (weights.n_heads + 1) == 0:
                    layer = source // (weights.n_heads + 1) - 1
                    gradient = at_receivers[layer * (3 * weights.n_heads + 1) + 3 * weights.n_heads]
                change = replaced[source] - group.clean_run.sources[source]
                for row, place in enumerate(group.places):
                    scores[source, :, place] += weight * (change[row] * gradient[row]).sum(0).numpy()
    return scores


def nodes(weights: Weights, examples: Sequence[Example], metric: str, **options: object) -> np.ndarray:
    """[source, example]."""
    return neurons(weights, examples, metric, **options).sum(1)  # type: ignore[arg-type]


def source_gradient(weights: Weights, group: Group, metric: str, embedding: Tensor, source: int) -> Tensor:
    """The loss gradient at what one source writes, in the run that starts from `embedding`."""
    with torch.no_grad():
        own = run(weights, group.clean, Edit(embedding=embedding)).sources[source]
    return handed_gradient(weights, group, metric, {source: own}, embedding)[source]


def handed_gradient(
    weights: Weights, group: Group, metric: str, handed: dict[int, Tensor], embedding: Tensor | None = None
) -> dict[int, Tensor]:
    """The loss gradient at these sources' outputs when all their readers are handed these values."""
    leaves = {source: value.clone().requires_grad_(True) for source, value in handed.items()}
    logits = edited(weights, group, hand(weights, leaves, group, embedding)).logits
    loss = -group.metric(metric, logits).sum()
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def hand(weights: Weights, handed: dict[int, Tensor], group: Group, embedding: Tensor | None = None) -> Edit:
    """An edit that closes all edges out of these sources and lets their readers have these values instead."""
    gates = torch.ones(n_sources(weights), n_receivers(weights), dtype=torch.float64)
    gates[list(handed)] = 0
    nothing = torch.zeros_like(group.clean_run.sources[0])
    replacement = [handed.get(source, nothing) for source in range(n_sources(weights))]
    return Edit(gates=gates, replacement=replacement, embedding=embedding)


def head_importance(
    weights: Weights, examples: Sequence[Example], metric: str, ablation: str, by_layer: bool = False
) -> np.ndarray:
    """[source]: mean magnitude over the examples, the input left out (NaN); optionally over the layer's L2 norm."""
    each = np.abs(nodes(weights, examples, metric, ablation=ablation))
    scores = np.array([sum(row) / len(examples) for row in each])
    scores[0] = np.nan
    if by_layer:
        width = weights.n_heads + 1
        for first in range(1, len(scores), width):
            norm = sum(score**2 for score in scores[first : first + width]) ** 0.5
            scores[first : first + width] /= norm
    return scores

"""Examples in, attribution scores of every edge and example out: float64 [source, receiver, example].

A score estimates the rise of the loss (minus the metric) when the edge carries the replacement, so it is positive
where the edge helps. Cells that are no edges hold 0.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from tests.oracle.batches import Group, edited, groups, replacements
from tests.oracle.metrics import Example
from tests.oracle.transformer import Edit, edge_cells, n_receivers, n_sources, readable
from tests.oracle.weights import Tensor, Weights


def eap(weights: Weights, examples: Sequence[Example], metric: str, ablation: str) -> np.ndarray:
    """(replacement - output) of the source, dotted with the loss gradient at the receiver's input in the clean run."""
    every = groups(weights, examples)
    scores = np.zeros((n_sources(weights), n_receivers(weights), len(examples)))
    for group in every:
        gradients = receiver_gradients(weights, group, metric, None)
        _contract(weights, scores, group, replacements(ablation, every, group), gradients)
    return scores


def eap_ig(
    weights: Weights,
    examples: Sequence[Example],
    metric: str,
    steps: int,
    rule: str = "left",
    ablation: str = "counterfactual",
) -> np.ndarray:
    """EAP with the gradient averaged along the line from the replaced to the clean token embedding."""
    every = groups(weights, examples)
    scores = np.zeros((n_sources(weights), n_receivers(weights), len(examples)))
    for group in every:
        replaced = replacements(ablation, every, group)
        start, end = replaced[0], group.clean_run.sources[0]
        average = None
        for fraction, weight in quadrature(rule, steps):
            gradients = receiver_gradients(weights, group, metric, start + fraction * (end - start))
            weighted = [weight * gradient for gradient in gradients]
            average = weighted if average is None else [a + w for a, w in zip(average, weighted, strict=True)]
        assert average is not None
        _contract(weights, scores, group, replaced, average)
    return scores


def quadrature(rule: str, steps: int) -> list[tuple[float, float]]:
    """(fraction of the way to the clean embedding, weight) of each run; the weights sum to 1."""
    if rule == "left":
        return [(k / steps, 1 / steps) for k in range(steps)]
    if rule == "right":
        return [(k / steps, 1 / steps) for k in range(1, steps + 1)]
    if rule == "midpoint":
        return [((k + 0.5) / steps, 1 / steps) for k in range(steps)]
    if rule == "trapezoid":
        return [(k / steps, (0.5 if k in (0, steps) else 1.0) / steps) for k in range(steps + 1)]
    raise NotImplementedError(rule)


def receiver_gradients(weights: Weights, group: Group, metric: str, embedding: Tensor | None) -> list[Tensor]:
    """The loss gradient at each receiver's input: a list over receivers of [batch, position, d]."""
    shape = group.clean_run.sources[0].shape
    nudges = [torch.zeros(shape, dtype=torch.float64, requires_grad=True) for _ in range(n_receivers(weights))]
    logits = edited(weights, group, Edit(embedding=embedding, nudges=nudges)).logits
    return list(torch.autograd.grad(-group.metric(metric, logits).sum(), nudges))


def _contract(
    weights: Weights, scores: np.ndarray, group: Group, replaced: Sequence[Tensor], gradients: Sequence[Tensor]
) -> None:
    for receiver, count in enumerate(readable(weights)):
        for source in range(count):
            change = replaced[source] - group.clean_run.sources[source]
            for row, place in enumerate(group.places):
                scores[source, receiver, place] = float((change[row] * gradients[receiver][row]).sum())


def gate_gradient(weights: Weights, examples: Sequence[Example], metric: str, ablation: str) -> np.ndarray:
    """A second way to EAP: the derivative of the loss as the gate of an edge closes, at all gates open."""
    every = groups(weights, examples)
    scores = np.zeros((n_sources(weights), n_receivers(weights), len(examples)))
    for group in every:
        gates = torch.ones(*scores.shape[:2], len(group.places), dtype=torch.float64, requires_grad=True)
        edit = Edit(gates=gates, replacement=replacements(ablation, every, group))
        loss = -group.metric(metric, edited(weights, group, edit).logits).sum()
        (gradient,) = torch.autograd.grad(loss, gates)
        scores[:, :, group.places] = -gradient.numpy()
    return scores


def gate_difference(
    weights: Weights,
    examples: Sequence[Example],
    metric: str,
    ablation: str,
    cells: Sequence[tuple[int, int]],
    step: float = 1e-4,
) -> np.ndarray:
    """A third way, without autograd: central differences of the gate of some edges; [cell, example]."""
    every = groups(weights, examples)
    found = np.zeros((len(cells), len(examples)))
    for group in every:
        edit = Edit(replacement=replacements(ablation, every, group))
        for index, (source, receiver) in enumerate(cells):
            losses = []
            for gate in (1 - step, 1 + step):
                gates = torch.ones(n_sources(weights), n_receivers(weights), dtype=torch.float64)
                gates[source, receiver] = gate
                with torch.no_grad():
                    logits = edited(weights, group, replace(edit, gates=gates)).logits
                losses.append(-group.metric(metric, logits).numpy())
            found[index, group.places] = (losses[0] - losses[1]) / (2 * step)
    return found


def reference_batching(scores: np.ndarray, batch_size: int) -> np.ndarray:
    """Totals as the reference code makes them: mean over each batch, summed, divided by the number of examples."""
    n = scores.shape[-1]
    total = np.zeros(scores.shape[:-1])
    for first in range(0, n, batch_size):
        total += scores[..., first : first + batch_size].mean(-1)
    return total / n


def as_edges(weights: Weights, dense: np.ndarray) -> np.ndarray:
    """Dense [source, receiver, ...] to the edge order of the interchange format [edge, ...]."""
    return np.stack([dense[source, receiver] for source, receiver in edge_cells(weights)])

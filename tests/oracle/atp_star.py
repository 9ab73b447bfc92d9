"""Examples in, AtP* scores out, one edge and one dropped layer at a time.

A layer is dropped by handing everyone who reads it a constant copy of what it wrote. An edge into a query or a key is
followed through its head in a run of its own.
"""

from collections.abc import Sequence

import numpy as np
import torch

from tests.oracle.batches import Group, edited, groups, replacements
from tests.oracle.metrics import Example
from tests.oracle.transformer import Edit, n_receivers, n_sources, readable
from tests.oracle.weights import Tensor, Weights


def layer_of_source(weights: Weights, source: int) -> int | None:
    return None if source == 0 else (source - 1) // (weights.n_heads + 1)


def layer_of_receiver(weights: Weights, receiver: int) -> int | None:
    return None if receiver == n_receivers(weights) - 1 else receiver // (3 * weights.n_heads + 1)


def effects(
    weights: Weights,
    examples: Sequence[Example],
    metric: str,
    ablation: str,
    dropped: int | None,
    qk_fix: bool = True,
) -> np.ndarray:
    """[source, receiver, example]: what each edge is estimated to do, on all paths but those through one layer."""
    every = groups(weights, examples)
    found = np.zeros((n_sources(weights), n_receivers(weights), len(examples)))
    for group in every:
        replaced = replacements(ablation, every, group)
        slopes = _slopes(weights, group, metric, dropped)
        for receiver, count in enumerate(readable(weights)):
            head = _head_of_query_or_key(weights, receiver) if qk_fix else None
            for source in range(count):
                change = replaced[source] - group.clean_run.sources[source]
                slope = slopes[receiver]
                if head is not None:
                    change = _what_the_head_does(weights, group, receiver, head, change)
                    if layer_of_source(weights, head) == dropped:
                        continue
                    readers = [w for w, n in enumerate(readable(weights)) if n > head]
                    slope = sum((slopes[w] for w in readers), start=torch.zeros_like(change))
                found[source, receiver, group.places] = (change * slope).sum((1, 2)).numpy()
    return found


def edges(weights: Weights, examples: Sequence[Example], metric: str, ablation: str) -> np.ndarray:
    """[source, receiver, example]."""
    layers = range(len(weights.layers))
    if len(layers) == 1:
        return np.abs(effects(weights, examples, metric, ablation, None))
    by_layer = [np.abs(effects(weights, examples, metric, ablation, layer)) for layer in layers]
    scores = np.zeros_like(by_layer[0])
    for receiver in range(n_receivers(weights)):
        others = [layer for layer in layers if layer != layer_of_receiver(weights, receiver)]
        for layer in others:
            scores[:, receiver] += by_layer[layer][:, receiver] / len(others)
    return scores


def nodes(weights: Weights, examples: Sequence[Example], metric: str, ablation: str) -> np.ndarray:
    """[source, example]."""
    layers = range(len(weights.layers))
    if len(layers) == 1:
        return np.abs(effects(weights, examples, metric, ablation, None).sum(1))
    by_layer = [effects(weights, examples, metric, ablation, layer).sum(1) for layer in layers]
    scores = np.zeros_like(by_layer[0])
    for source in range(n_sources(weights)):
        others = [layer for layer in layers if layer != layer_of_source(weights, source)]
        for layer in others:
            scores[source] += np.abs(by_layer[layer][source]) / len(others)
    return scores


def _slopes(weights: Weights, group: Group, metric: str, dropped: int | None) -> list[Tensor]:
    """The loss gradient at each receiver's input."""
    clean = group.clean_run.sources
    gates = torch.ones(n_sources(weights), n_receivers(weights), dtype=torch.float64)
    for source in range(n_sources(weights)):
        if dropped is not None and layer_of_source(weights, source) == dropped:
            gates[source] = 0.0
    nudges = [torch.zeros_like(clean[0], requires_grad=True) for _ in range(n_receivers(weights))]
    logits = edited(weights, group, Edit(gates=gates, replacement=clean, nudges=nudges)).logits
    found = torch.autograd.grad(-group.metric(metric, logits).sum(), nudges, allow_unused=True)
    return [torch.zeros_like(clean[0]) if slope is None else slope for slope in found]


def _head_of_query_or_key(weights: Weights, receiver: int) -> int | None:
    """The source that the receiver's head is, if the receiver is a query or a key."""
    heads, layer = weights.n_heads, layer_of_receiver(weights, receiver)
    if layer is None:
        return None
    place = receiver - layer * (3 * heads + 1)
    return 1 + layer * (heads + 1) + place % heads if place < 2 * heads else None


def _what_the_head_does(weights: Weights, group: Group, receiver: int, head: int, change: Tensor) -> Tensor:
    """The change of what it writes when this one receiver reads the change."""
    nudges = [torch.zeros_like(change) for _ in range(n_receivers(weights))]
    nudges[receiver] = change
    with torch.no_grad():
        return edited(weights, group, Edit(nudges=nudges)).sources[head] - group.clean_run.sources[head]

"""ACDC as the paper's pseudo-code has it: one edge after the other, one run of every example for each."""

from collections.abc import Sequence

import numpy as np

from tests.oracle.circuits import circuits
from tests.oracle.metrics import Example
from tests.oracle.transformer import n_receivers, n_sources, readable
from tests.oracle.weights import Weights


def acdc(
    weights: Weights,
    examples: Sequence[Example],
    tau: float,
    metric: str,
    ablation: str,
    backwards: bool = True,
    absolute: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """(kept, delta), both [source, receiver]: the circuit, and how the loss rose when each edge was tried.

    Receivers from the logits back: in a layer the MLP, then the last head's q, k and v, then those of the head before.
    Sources from the last one back, or (backwards false) from the first one on.
    """
    counts, heads = readable(weights), weights.n_heads
    kept = np.zeros((n_sources(weights), n_receivers(weights)), dtype=bool)
    for receiver, count in enumerate(counts):
        kept[:count, receiver] = True
    delta = np.zeros(kept.shape)

    def loss(circuit: np.ndarray) -> float:
        return float(-circuits(weights, examples, [circuit], metric, ablation).mean())

    order = [n_receivers(weights) - 1]
    for layer in reversed(range(weights.n_layers)):
        first = layer * (3 * heads + 1)
        order.append(first + 3 * heads)
        for head in reversed(range(heads)):
            order += [first + part * heads + head for part in range(3)]
    current = loss(kept)
    for receiver in order:
        sources = list(range(counts[receiver]))
        for source in reversed(sources) if backwards else sources:
            without = kept.copy()
            without[source, receiver] = False
            found = loss(without)
            delta[source, receiver] = found - current
            if (abs(delta[source, receiver]) if absolute else delta[source, receiver]) < tau:
                kept, current = without, found
    return kept, delta

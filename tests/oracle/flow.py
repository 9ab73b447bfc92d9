"""Examples in, information flow of every edge and example out: [source, receiver, example].

For each position a source's nearness to what the receiver reads is |y| - |y - x| in the L1 norm, or 0 if that is less;
its share is its nearness over that of all sources that the receiver reads, or 0 where none is near.
"""

from collections.abc import Sequence

import numpy as np

from tests.oracle.batches import groups
from tests.oracle.metrics import Example
from tests.oracle.transformer import n_receivers, n_sources, readable
from tests.oracle.weights import Weights


def flow(weights: Weights, examples: Sequence[Example]) -> np.ndarray:
    scores = np.zeros((n_sources(weights), n_receivers(weights), len(examples)))
    for group in groups(weights, examples):
        length = group.clean.shape[1]
        for row, place in enumerate(group.places):
            for position in range(length):
                outputs = [source[row, position].numpy() for source in group.clean_run.sources]
                for receiver, count in enumerate(readable(weights)):
                    read = sum(outputs[:count]) + of_no_node(weights, receiver, position)
                    near = [max(0.0, l1(read) - l1(read - x)) for x in outputs[:count]]
                    for source, value in enumerate(near):
                        if sum(near) > 0:
                            scores[source, receiver, place] += value / sum(near) / length
    return scores


def of_no_node(weights: Weights, receiver: int, position: int) -> np.ndarray:
    """Positions and the attentions' biases, as far as the receiver reads them."""
    layer, part = divmod(receiver, 3 * weights.n_heads + 1)
    own = part == 3 * weights.n_heads and not weights.parallel  # an MLP also reads its own layer's attention
    total = np.zeros(weights.embedding.shape[1])
    if weights.positions is not None:
        total = total + weights.positions[position].numpy()
    for before in weights.layers[: layer + own]:
        total = total + np.asarray(before.attention_bias)
    return total


def l1(vector: np.ndarray) -> float:
    return float(sum(abs(x) for x in vector.tolist()))

"""What exact patching can patch: a graph in; its edges, nodes or neurons out, and the block where each one starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mi.core.layout import Layout
from mi.core.model import Model

KINDS = ("heads", "mlp", "stream", "written")


@dataclass(frozen=True)
class Patches:
    """What to patch, one after the other: a source; the receiver of an edge, or -1 for all that read the source; a
    dimension of what the source writes, or -1 for all."""

    source: np.ndarray
    receiver: np.ndarray
    dimension: np.ndarray

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: np.ndarray) -> Patches:
        return Patches(self.source[rows], self.receiver[rows], self.dimension[rows])


def edges(model: Model, chosen: np.ndarray | None = None) -> Patches:
    """Every edge of the graph in its order, or the chosen ones."""
    source, receiver = model.graph.edges[:, chosen] if chosen is not None else model.graph.edges
    return Patches(source.astype(np.int64), receiver.astype(np.int64), np.full(len(source), -1))


def nodes(model: Model) -> Patches:
    source = np.arange(model.graph.n_sources)
    return Patches(source, np.full(len(source), -1), np.full(len(source), -1))


def neurons(model: Model) -> Patches:
    n_sources, width = model.graph.n_sources, model.adapter.d_model
    source, dimension = np.divmod(np.arange(n_sources * width), width)
    return Patches(source, np.full(len(source), -1), dimension)


class Stages:
    """Where patches start, by number: the block that they touch, and whether what they change is read by its heads
    ("heads"), by its MLP ("mlp"), written by its heads ("written"), or already in the stream before it ("stream")."""

    def __init__(self, places: Layout) -> None:
        stream = KINDS.index("stream")
        self._of_receiver = np.full(places.n_receivers, len(places.layers) * len(KINDS) + stream)  # the logits
        self._of_source = np.full(places.n_sources, stream)  # the input
        for index, rows in enumerate(places.layers):
            here = index * len(KINDS)
            self._of_receiver[list(rows.receivers)] = here + KINDS.index("heads")
            self._of_receiver[rows.mlp_receiver] = here + KINDS.index("mlp")
            self._of_source[list(rows.heads)] = here + KINDS.index("written")
            self._of_source[rows.mlp] = here + len(KINDS) + stream

    def of(self, patches: Patches) -> np.ndarray:
        """One number a patch; in their order blocks ascend."""
        return np.where(patches.receiver < 0, self._of_source[patches.source], self._of_receiver[patches.receiver])

"""Subnetwork probing (Cao et al. 2021): hard concrete masks, and a price for every part that may be open.

    loss = l(circuit) + penalty x mean P(z > 0)

At the level of nodes, masks are on what heads and MLPs write and on what heads read as q, k and v, as in the ACDC
paper's version; an edge's gate is the product of the two masks at its ends. At the level of edges every edge has its
own (AutoCircuit's version). A part is kept if its gate without noise is more than a half (spec B9).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mi.circuit.graph import Graph
from mi.core.model import Model
from mi.core.search import hard_concrete

START = 0.9  # gates without noise at the start
ALWAYS = 20.0  # log_alpha of what is never masked: the input, the logits and what MLPs read


@dataclass
class SubnetworkProbing:
    model: Model
    level: str  # node, edge
    penalty_weight: float
    rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    parameters: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        graph, device = self.model.graph, self.model.device
        if self.level == "edge":
            n = graph.n_edges
            self._ends = None
        else:
            n, self._ends = _ends(graph)
        start = torch.full((n,), hard_concrete.log_alpha_of(START), device=device)
        self.parameters = {"log_alpha": start.requires_grad_(True)}

    @property
    def _log_alpha(self) -> Tensor:
        return self.parameters["log_alpha"]

    def gates(self, uniform: Callable[..., Tensor], examples: int) -> Float[Tensor, " edge"]:
        z = hard_concrete.sample(self._log_alpha, uniform(len(self._log_alpha)))
        return self._of_edges(z, 1.0).prod(0)

    def _of_edges(self, of_units: Tensor, always: float) -> Float[Tensor, "end edge"]:
        """What the units at an edge's ends have; ``always`` where an end is never masked."""
        if self._ends is None:
            return of_units.unsqueeze(0)
        padded = torch.cat([of_units, of_units.new_full((1,), always)])
        return padded[torch.as_tensor(self._ends, device=padded.device)]

    def penalty(self, gates: Tensor, step: int) -> Tensor:
        return self.penalty_weight * hard_concrete.probability_open(self._log_alpha).mean()

    def rates(self, step: int) -> dict[str, float]:
        return {"log_alpha": self.rate}

    def adjust(self, gradients: dict[str, Tensor]) -> None:
        pass

    def settled(self, step: int) -> bool:
        return True

    def scores(self) -> np.ndarray:
        """log_alpha; that of the weaker end, at the level of nodes."""
        return self._of_edges(self._log_alpha.detach(), ALWAYS).amin(0).cpu().numpy().astype(np.float64)

    def kept(self) -> np.ndarray:
        return self.scores() > 0  # where the gate without noise is a half


def _ends(graph: Graph) -> tuple[int, np.ndarray]:
    """How many units there are, and each edge's two, int64 [2, E]; the number beyond the last is no unit.

    A node with several receivers (a head) has a unit for each and one for what it writes, a receiver that nodes share
    is one unit; a node with a single receiver (an MLP) is one; a root and the sink are none.
    """
    n_receivers = np.bincount(np.concatenate([graph.receiver_node, graph.shared[1]]), minlength=len(graph.nodes))
    writes = np.flatnonzero((n_receivers > 0) & (np.arange(len(graph.nodes)) != graph.sink))
    reads = np.flatnonzero(n_receivers[graph.receiver_node] > 1)
    n = len(writes) + len(reads)
    of_source = np.full(len(graph.nodes), n)
    of_source[writes] = np.arange(len(writes))
    of_receiver = np.full(len(graph.receivers), n)
    of_receiver[reads] = len(writes) + np.arange(len(reads))
    return n, np.stack([of_source[graph.edges[0]], of_receiver[graph.edges[1]]])

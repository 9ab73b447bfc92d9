"""Edge pruning (Bhaskar et al. 2024): a hard concrete mask on every edge, driven to a target sparsity.

    loss = l(circuit) + lambda_1 (s - t) + lambda_2 (s - t)^2,  s = 1 - mean P(z > 0)

The multipliers are trained by gradient ascent. The target t rises from 0 in the first 5/6 of the steps; rates warm up
in the first 1/15. The reference takes s from the drawn z, whose gradient is zero where a gate is shut or wide open: it
needs thousands of steps, and starts at a log_alpha of 10. The expectation has a gradient everywhere, so a few hundred
steps from 2 are enough. What the multipliers do to one edge falls with the number of edges, so their rate grows with
it, up to the reference's 0.8.

With a target for nodes too, what a head or an MLP writes has a gate of its own, its price of the same form, and an edge
the product of its own gate and its source's. The input has none.

The circuit has as many edges as the gates without noise add up to: those of the largest log_alpha (spec B8, whose
threshold is found by bisection; the n-th largest is that threshold); of nodes likewise, and edges out of others go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mi.circuit.select import top
from mi.core.model import Model
from mi.core.search import hard_concrete

START, SPREAD = 2.0, 0.01  # of log_alpha
RISING, WARMING = 5 / 6, 1 / 15  # shares of the steps
MULTIPLIER_RATE, MOST_MULTIPLIER_RATE = 1e-4, 0.8  # for each edge; in all


@dataclass
class EdgePruning:
    model: Model
    target: float
    steps: int
    rate: float
    seed: int
    node_target: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    parameters: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        draw = torch.Generator().manual_seed(self.seed)
        graph, device = self.model.graph, self.model.device
        self._writer = torch.as_tensor(graph.edges[0].astype(np.int64) - 1, device=device)  # -1: the input
        self.parameters = {}
        for name, n in self._counts().items():
            noise = torch.randn(n, generator=draw)
            self.parameters[f"log_alpha{name}"] = (START + SPREAD * noise).to(device).requires_grad_(True)
            self.parameters[f"lambda{name}"] = torch.zeros(2, device=device, requires_grad=True)

    def _counts(self) -> dict[str, int]:
        """How many masks there are of edges and of nodes, by the ending of their parameters' names."""
        graph = self.model.graph
        return {"": graph.n_edges} | ({} if self.node_target is None else {"_node": graph.n_sources - 1})

    def _of_edges(self, of: Callable[[Tensor], Tensor]) -> Float[Tensor, " edge"]:
        """What the masks say of each edge: its own times its source's."""
        edges = of(self.parameters["log_alpha"])
        if self.node_target is None:
            return edges
        nodes = of(self.parameters["log_alpha_node"])
        return edges * torch.cat([nodes, nodes.new_ones(1)])[self._writer]

    def gates(self, uniform: Callable[..., Tensor], examples: int) -> Float[Tensor, " edge"]:
        return self._of_edges(lambda log_alpha: hard_concrete.sample(log_alpha, uniform(len(log_alpha))))

    def penalty(self, gates: Tensor, step: int) -> Tensor:
        share = self.share_at(step)
        total = self._price("", self._of_edges(hard_concrete.probability_open), share * self.target)
        if self.node_target is not None:
            nodes = hard_concrete.probability_open(self.parameters["log_alpha_node"])
            total = total + self._price("_node", nodes, share * self.node_target)
        return total

    def share_at(self, step: int) -> float:
        """Of the targets, at this step."""
        return min(1.0, step / (RISING * self.steps))

    def _price(self, name: str, probability: Tensor, target: float) -> Tensor:
        over = 1 - probability.mean() - target
        multiplier = self.parameters[f"lambda{name}"]
        return multiplier[0] * over + multiplier[1] * over.square()

    def rates(self, step: int) -> dict[str, float]:
        warm = min(1.0, (step + 1) / (WARMING * self.steps))
        rates = {}
        for name, n in self._counts().items():
            rates[f"log_alpha{name}"] = warm * self.rate
            rates[f"lambda{name}"] = -warm * min(MOST_MULTIPLIER_RATE, MULTIPLIER_RATE * n)
        return rates

    def adjust(self, gradients: dict[str, Tensor]) -> None:
        pass

    def settled(self, step: int) -> bool:
        return step >= RISING * self.steps

    def scores(self) -> np.ndarray:
        """log_alpha; the smaller of the edge's and its source's."""
        edges = self.parameters["log_alpha"].detach()
        if self.node_target is not None:
            nodes = self.parameters["log_alpha_node"].detach()
            edges = edges.minimum(torch.cat([nodes, nodes.new_full((1,), torch.inf)])[self._writer])
        return edges.cpu().numpy().astype(np.float64)

    def kept(self) -> np.ndarray:
        n = round(float(self._of_edges(hard_concrete.deterministic).detach().sum()))
        log_alpha = self.parameters["log_alpha"].detach().cpu().numpy().astype(np.float64)
        return top(self.model.graph, log_alpha, n, absolute=False, drop=self._unwritten())

    def _unwritten(self) -> np.ndarray | None:
        """Edges out of nodes that are not kept, bool [E]."""
        if self.node_target is None:
            return None
        log_alpha = self.parameters["log_alpha_node"].detach()
        n = round(float(hard_concrete.deterministic(log_alpha).sum()))
        kept = torch.zeros_like(log_alpha, dtype=torch.bool)
        kept[log_alpha.argsort(descending=True, stable=True)[:n]] = True
        return (~torch.cat([kept, kept.new_ones(1)])[self._writer]).cpu().numpy()

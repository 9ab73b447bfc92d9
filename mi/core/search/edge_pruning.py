"""Edge pruning (Bhaskar et al. 2024): a hard concrete mask on every edge, driven to a target sparsity.

    loss = l(circuit) + lambda_1 (s - t) + lambda_2 (s - t)^2,  s = 1 - mean P(z > 0)

The multipliers are trained by gradient ascent. The target t rises from 0 in the first 5/6 of the steps; rates warm up
in the first 1/15. The reference takes s from the drawn z, whose gradient is zero where a gate is shut or wide open: it
needs thousands of steps, and starts at a log_alpha of 10. The expectation has a gradient everywhere, so a few hundred
steps from 2 are enough. What the multipliers do to one edge falls with the number of edges, so their rate grows with
it, up to the reference's 0.8.

The circuit has as many edges as the gates without noise add up to: those of the largest log_alpha (spec B8, whose
threshold is found by bisection; the n-th largest is that threshold).
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
    betas: tuple[float, float] = (0.9, 0.999)
    parameters: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        draw = torch.Generator().manual_seed(self.seed)
        device = self.model.device
        noise = torch.randn(self.model.graph.n_edges, generator=draw)
        self.parameters = {
            "log_alpha": (START + SPREAD * noise).to(device).requires_grad_(True),
            "lambda": torch.zeros(2, device=device, requires_grad=True),
        }

    def gates(self, uniform: Callable[..., Tensor], examples: int) -> Float[Tensor, " edge"]:
        log_alpha = self.parameters["log_alpha"]
        return hard_concrete.sample(log_alpha, uniform(len(log_alpha)))

    def penalty(self, gates: Tensor, step: int) -> Tensor:
        sparsity = 1 - hard_concrete.probability_open(self.parameters["log_alpha"]).mean()
        over = sparsity - self.target_at(step)
        multiplier = self.parameters["lambda"]
        return multiplier[0] * over + multiplier[1] * over.square()

    def target_at(self, step: int) -> float:
        return self.target * min(1.0, step / (RISING * self.steps))

    def rates(self, step: int) -> dict[str, float]:
        warm = min(1.0, (step + 1) / (WARMING * self.steps))
        of_multipliers = min(MOST_MULTIPLIER_RATE, MULTIPLIER_RATE * self.model.graph.n_edges)
        return {"log_alpha": warm * self.rate, "lambda": -warm * of_multipliers}

    def adjust(self, gradients: dict[str, Tensor]) -> None:
        pass

    def settled(self, step: int) -> bool:
        return step >= RISING * self.steps

    def scores(self) -> np.ndarray:
        return self.parameters["log_alpha"].detach().cpu().numpy().astype(np.float64)

    def kept(self) -> np.ndarray:
        log_alpha = self.parameters["log_alpha"].detach()
        n = round(float(hard_concrete.deterministic(log_alpha).sum()))
        return top(self.model.graph, self.scores(), n, absolute=False)

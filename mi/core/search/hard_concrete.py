"""The hard concrete distribution (Louizos et al. 2018): gates in [0, 1] that are 0 and 1 with some probability.

    s = sigmoid((log u - log(1 - u) + log_alpha) / beta),  z = clip(s (zeta - gamma) + gamma, 0, 1)

with u uniform, beta = 2/3, gamma = -0.1, zeta = 1.1 (spec B8). Flows in: log_alpha. Flows out: gates, and what can be
said of them without drawing.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

BETA = 2 / 3
GAMMA, ZETA = -0.1, 1.1
EDGE_OF_U = 1e-6  # u keeps this far from 0 and 1


def sample(log_alpha: Float[Tensor, "*gate"], u: Float[Tensor, "*gate"]) -> Float[Tensor, "*gate"]:
    """Gates from uniform numbers, differentiable in log_alpha."""
    u = u.clamp(EDGE_OF_U, 1 - EDGE_OF_U)
    s = torch.sigmoid((u.log() - (1 - u).log() + log_alpha) / BETA)
    return (s * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def deterministic(log_alpha: Float[Tensor, "*gate"]) -> Float[Tensor, "*gate"]:
    """The gates without noise."""
    return (torch.sigmoid(log_alpha) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def probability_open(log_alpha: Float[Tensor, "*gate"]) -> Float[Tensor, "*gate"]:
    """P(z > 0) = sigmoid(log_alpha - beta log(-gamma / zeta))."""
    return torch.sigmoid(log_alpha - BETA * math.log(-GAMMA / ZETA))


def log_alpha_of(gate: float) -> float:
    """The log_alpha whose deterministic gate is ``gate``."""
    s = (gate - GAMMA) / (ZETA - GAMMA)
    return math.log(s / (1 - s))

"""What mask learners draw and minimise, one number at a time."""

import math
from collections.abc import Sequence

import numpy as np


def hard_concrete(log_alpha: float, u: float) -> float:
    """A gate in [0, 1] from a uniform number; temperature 2/3, stretched from -0.1 to 1.1."""
    s = 1 / (1 + math.exp(-(math.log(u) - math.log(1 - u) + log_alpha) / (2 / 3)))
    return min(1.0, max(0.0, s * 1.2 - 0.1))


def window(alpha: float, u: float) -> float:
    """A gate that is 1 below the window around alpha, 0 above, and falls in a line between."""
    width = alpha * (1 - alpha)
    return 1 - min(1.0, max(0.0, (u - alpha) / width + 0.5))


def adam(
    start: float, gradients: Sequence[float], rate: float, betas: tuple[float, float] = (0.9, 0.999)
) -> list[float]:
    """The parameter after each gradient."""
    value, first, second, values = start, 0.0, 0.0, []
    for step, gradient in enumerate(gradients, 1):
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        corrected = first / (1 - betas[0] ** step), second / (1 - betas[1] ** step)
        value -= rate * corrected[0] / (math.sqrt(corrected[1]) + 1e-8)
        values.append(value)
    return values


def node_masks(names: Sequence[str], of: dict[str, float]) -> np.ndarray:
    """Each edge's gate: what is on what its source writes, times what is on what its receiver reads.

    ``of`` has a mask for every head (`a0.h1`), every MLP (`m0`), and every q, k and v (`a0.h1<q>`).
    """
    gates = []
    for name in names:
        source, receiver = name.split("->")
        gates.append(of.get(source, 1.0) * (of[receiver] if "<" in receiver else 1.0))
    return np.array(gates)

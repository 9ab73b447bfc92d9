"""Adam (Kingma and Ba 2015) over a few named tensors, with a rate for each and a state that goes into a file.

torch's own optimisers import its compiler at their first step, which takes longer than a short search.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

EPSILON = 1e-8


class Adam:
    def __init__(self, parameters: Mapping[str, Tensor], betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self._parameters, self._betas = parameters, betas
        self._first = {name: torch.zeros_like(p, requires_grad=False) for name, p in parameters.items()}
        self._second = {name: torch.zeros_like(p, requires_grad=False) for name, p in parameters.items()}
        self._steps = 0

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], rates: Mapping[str, float]) -> None:
        """One step down the gradients; up them where the rate is negative."""
        self._steps += 1
        beta1, beta2 = self._betas
        for name, gradient in gradients.items():
            first, second = self._first[name], self._second[name]
            first.lerp_(gradient, 1 - beta1)
            second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            scale = (second / (1 - beta2**self._steps)).sqrt_().add_(EPSILON)
            self._parameters[name].addcdiv_(first, scale, value=-rates[name] / (1 - beta1**self._steps))

    def state(self) -> dict[str, np.ndarray]:
        """Parameters too: all that the next step depends on."""
        made = {"adam.steps": np.array(self._steps, dtype=np.int64)}
        for part, tensors in (("value", self._parameters), ("first", self._first), ("second", self._second)):
            made |= {f"adam.{part}.{name}": tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}
        return made

    @torch.no_grad()
    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self._steps = int(state["adam.steps"])
        for part, tensors in (("value", self._parameters), ("first", self._first), ("second", self._second)):
            for name, tensor in tensors.items():
                tensor.copy_(torch.as_tensor(state[f"adam.{part}.{name}"]))

"""Learning a mask: gradient descent on the loss of gated runs plus what the method asks for its gates.

What is random at a step depends on the seed and the step alone: a search that resumes draws what it would have drawn.

Flows in: a problem and a :class:`Learner`. Flows out: :class:`Learned`; the learner holds the mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mi.core.outputs import Outputs
from mi.core.search.adam import Adam
from mi.core.search.checkpoint import NOWHERE, Checkpoint
from mi.core.search.problem import Problem, require_finite

SMOOTH = 0.9  # of the running mean of the loss


class Learner(Protocol):
    """One method of learning masks, with its parameters."""

    parameters: dict[str, Tensor]
    betas: tuple[float, float]

    def gates(self, uniform: Callable[..., Tensor], examples: int) -> Float[Tensor, "*row edge"]:
        """Gates of one step: one vector, or one for each row of one or more copies of the examples."""
        ...

    def penalty(self, gates: Tensor, step: int) -> Tensor:
        """What is added to the loss."""
        ...

    def rates(self, step: int) -> dict[str, float]: ...

    def adjust(self, gradients: dict[str, Tensor]) -> None:
        """Change the gradients in place, where the method does."""
        ...

    def settled(self, step: int) -> bool:
        """Whether the schedule has ended, so that the search may stop early."""
        ...

    def scores(self) -> Float[np.ndarray, " edge"]: ...

    def kept(self) -> Bool[np.ndarray, " edge"]: ...


@dataclass(frozen=True)
class Learned:
    """How a search ended. ``loss``: the running mean at the end; ``stopped``: why before its last step, or None."""

    steps: int
    loss: float
    stopped: str | None
    constants: Outputs | None = None


def learn(
    problem: Problem,
    learner: Learner,
    *,
    steps: int,
    seed: int = 0,
    patience: int = 0,
    constants: Constants | None = None,
    checkpoint: Checkpoint = NOWHERE,
    on_done: Callable[[int], None] = lambda n: None,
) -> Learned:
    """Learn the mask, and with it ``constants`` if there are any.

    ``patience``: stop when the circuit has been the same for so many steps; 0 is never.
    """
    parameters = {**learner.parameters, **(constants.parameters if constants else {})}
    adam = Adam(parameters, learner.betas)
    watch = _Watch(patience, len(problem.model.graph.edges[0]))
    done, resumed = 0, checkpoint.load()
    if resumed is not None:
        adam.restore(resumed)
        watch.restore(resumed)
        done = int(resumed["step"])
        on_done(done)
    while done < steps and not watch.why:
        loss = _step(problem, learner, constants, parameters, adam, done, seed)
        done += 1
        watch.see(loss, learner.kept(), learner.settled(done))
        checkpoint.save(done, lambda: {**adam.state(), **watch.state()}, force=done == steps or bool(watch.why))
        on_done(1)
    return Learned(done, watch.loss, watch.why or None, constants.outputs() if constants else None)


def _step(
    problem: Problem,
    learner: Learner,
    constants: Constants | None,
    parameters: Mapping[str, Tensor],
    adam: Adam,
    step: int,
    seed: int,
) -> float:
    number = batch_of(len(problem.plan), step, seed)
    device = problem.model.device

    def work() -> tuple[float, Sequence[Tensor | None]]:
        draw = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1)[0]))

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=draw).to(device)  # the same numbers on every device

        return _gradients(problem, learner, constants, list(parameters.values()), number, uniform, step)

    loss, found = problem.within_memory(work)
    gradients = {
        name: torch.zeros_like(value) if gradient is None else gradient
        for (name, value), gradient in zip(parameters.items(), found, strict=True)
    }
    for name, gradient in gradients.items():
        require_finite(f"the gradient of {name}", gradient, step)
    learner.adjust(gradients)
    rates = learner.rates(step)
    if constants:
        rates |= dict.fromkeys(constants.parameters, constants.rate)
    adam.step(gradients, rates)
    return loss


def _gradients(
    problem: Problem,
    learner: Learner,
    constants: Constants | None,
    parameters: list[Tensor],
    number: int,
    uniform: Callable[..., Tensor],
    step: int,
) -> tuple[float, Sequence[Tensor | None]]:
    """The mean loss of a batch and the gradients of loss and penalty. Where not all examples are run at once, those of
    the parts add up at the gates.
    """
    rows, parts = problem.plan[number], problem.parts(number)
    with torch.enable_grad():
        gates = learner.gates(uniform, len(rows))
        outputs = constants.outputs() if constants else None
        if len(parts) == 1:
            prepared = problem.ready(rows)
            loss = problem.loss(prepared, problem.gates.logits(prepared, gates, outputs), "gated").mean()
            whole = loss + learner.penalty(gates, step)
            return float(loss.detach()), torch.autograd.grad(whole, parameters, allow_unused=True)
        of_gates = torch.zeros_like(gates)
        direct = [torch.zeros_like(parameter) for parameter in parameters]  # of constants, which runs read themselves
        total, start = 0.0, 0
        for part in parts:
            here = slice(start, start + len(part))
            start += len(part)
            leaf = gates.detach().requires_grad_(True)
            own = leaf if gates.ndim == 1 else leaf.unflatten(0, (-1, len(rows)))[:, here].flatten(0, 1)
            prepared = problem.ready(part)
            losses = problem.loss(prepared, problem.gates.logits(prepared, own, outputs), "gated")
            loss = losses.mean() * (len(part) / len(rows))
            found = torch.autograd.grad(loss, [leaf, *parameters], allow_unused=True)
            of_gates += 0 if found[0] is None else found[0]
            for sum_of, gradient in zip(direct, found[1:], strict=True):
                sum_of += 0 if gradient is None else gradient
            total += float(loss.detach())
        through = (gates * of_gates).sum() + learner.penalty(gates, step)
        found = torch.autograd.grad(through, parameters, allow_unused=True)
    return total, [a if b is None else a + b for a, b in zip(direct, found, strict=True)]


def batch_of(n: int, step: int, seed: int) -> int:
    """Every batch once an epoch, in an order of the epoch's own."""
    epoch, place = divmod(step, n)
    return int(np.random.default_rng([seed, epoch, 1]).permutation(n)[place])


class Constants:
    """Replacements that are learned: one vector a node, whatever the example and the position."""

    def __init__(self, start: Outputs, rate: float) -> None:
        first = start.map(lambda t: t.detach().to(torch.float32).mean((0, 1), keepdim=True).requires_grad_(True))
        self._outputs, self.rate = first, rate
        self.parameters = {"embed": first.embed}
        self.parameters |= {f"z{layer}": z for layer, z in enumerate(first.z)}
        self.parameters |= {f"mlp{layer}": m for layer, m in enumerate(first.mlp)}

    def outputs(self) -> Outputs:
        return self._outputs


class _Watch:
    """The running loss, and for how long the circuit has been the same."""

    def __init__(self, patience: int, n_edges: int) -> None:
        self._patience, self._kept, self._same = patience, np.zeros(n_edges, dtype=bool), 0
        self.loss, self.why = math.nan, ""

    def see(self, loss: float, kept: np.ndarray, settled: bool) -> None:
        self.loss = loss if math.isnan(self.loss) else SMOOTH * self.loss + (1 - SMOOTH) * loss
        self._same = self._same + 1 if settled and (kept == self._kept).all() else 0
        self._kept = kept
        self._judge()

    def _judge(self) -> None:
        if self._patience and self._same >= self._patience:
            self.why = f"the circuit has not changed for {self._patience} steps"

    def state(self) -> dict[str, np.ndarray]:
        return {"watch.kept": self._kept, "watch.numbers": np.array([self.loss, self._same])}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self._kept = state["watch.kept"].astype(bool)
        self.loss, same = state["watch.numbers"].tolist()
        self._same = int(same)
        self._judge()

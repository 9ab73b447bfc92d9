"""Optimal ablation (Li and Janson 2024): for every node the constant that does least harm in its place.

    a*_u = argmin_a E[ l(model with a in the place of a_u at every position) ],  gap(u) = that minimum - l(model)

Each node has a problem of its own; those of several nodes run side by side, as copies of the batch. Constants start at
the mean of what the node writes, and a node is done when its loss, averaged over the steps between two checks, has not
fallen for a few checks (spec B7: Adam, a check every 10 steps, patience 3). A head's constant is one of z, d_head
numbers: what it writes is that through its part of W_O.

Flows in: a problem. Flows out: :class:`Optimal`, the gaps and the constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mi.core import batches, replacement
from mi.core.executor import Edit, Port
from mi.core.gated import repeated
from mi.core.outputs import Outputs, source_ports
from mi.core.search.adam import Adam
from mi.core.search.checkpoint import NOWHERE, Checkpoint
from mi.core.search.masks import Constants, batch_of
from mi.core.search.problem import Problem, require_finite
from mi.tasks.plan import bytes_per_example

CHECK = 10  # steps between two checks
PATIENCE = 3  # checks without a lower loss
LESS = 1e-4  # by how much of itself a loss must fall to be lower


@dataclass(frozen=True)
class Optimal:
    """``gap``: of each source; ``loss``: that of the whole model; ``steps``: how many each source took."""

    gap: Float[np.ndarray, " source"]
    loss: float
    constants: Outputs
    steps: np.ndarray


def optimal(
    problem: Problem,
    *,
    steps: int,
    rate: float,
    seed: int = 0,
    checkpoint: Checkpoint = NOWHERE,
    on_done: Callable[[int], None] = lambda n: None,
) -> Optimal:
    """Learn every node's constant on its own. ``on_done`` counts nodes."""
    search = _Search(problem, steps, rate, seed)
    resumed = checkpoint.load()
    if resumed is not None:
        search.restore(resumed)
        on_done(search.first)
    while search.first < problem.model.layout.n_sources:
        before = search.first
        search.advance()
        checkpoint.save(search.total, search.state)
        on_done(search.first - before)
    gap, loss = search.gaps()
    return Optimal(gap, loss, search.constants.outputs(), search.taken)


class _Search:
    """The state: which nodes are learned now, and how far each has come."""

    def __init__(self, problem: Problem, steps: int, rate: float, seed: int) -> None:
        self._problem, self._steps, self._rate, self._seed = problem, steps, rate, seed
        model = problem.model
        means = replacement.means(model, problem.executor, problem.examples, problem.plan, False)
        self.constants = Constants(means, rate)
        self._best = {name: value.detach().clone() for name, value in self.constants.parameters.items()}
        n = model.layout.n_sources
        self._lowest, self._sum, self._stale = np.full(n, np.inf), np.zeros(n), np.zeros(n)
        self.taken = np.zeros(n, dtype=np.int64)
        longest = max(len(example.clean) for example in problem.examples)
        row = bytes_per_example(batches.shape(model), model.dtype.itemsize, longest)
        self._at_once = max(1, model.budget.batch // (row * max(len(rows) for rows in problem.plan)))
        self.first = self.step = self.total = 0
        self._begin()

    def _begin(self) -> None:
        self._adam = Adam(self.constants.parameters)
        self._nodes = list(range(self.first, min(self.first + self._at_once, len(self.taken))))
        self.step = 0

    def advance(self) -> None:
        """One step of the nodes that are learned now; the next ones when all of them are done."""
        problem, parameters = self._problem, self.constants.parameters
        number = batch_of(len(problem.plan), self.step, self._seed)
        loss, found = problem.within_memory(lambda: self._gradients(number))
        gradients = dict(zip(parameters, found, strict=True))
        for name, gradient in gradients.items():
            require_finite(f"the gradient of {name}", gradient, self.step)
        self._adam.step(gradients, dict.fromkeys(parameters, self._rate))
        self.step += 1
        self.total += 1
        self._sum[self._nodes] += loss.cpu().double().numpy()
        if self.step % CHECK == 0 or self.step == self._steps:
            self._check()

    def _gradients(self, number: int) -> tuple[Float[Tensor, " node"], list[Tensor]]:
        """The mean losses of a batch and the constants' gradients, summed over the parts that are run at once."""
        parameters, size = list(self.constants.parameters.values()), len(self._problem.plan[number])
        losses = torch.zeros(len(self._nodes), dtype=self._problem.model.compute_dtype, device=parameters[0].device)
        gradients = [torch.zeros_like(parameter) for parameter in parameters]
        for rows in self._problem.parts(number):
            with torch.enable_grad():
                loss = self._losses(rows, self._nodes) * (len(rows) / size)
                found = torch.autograd.grad(loss.sum(), parameters, allow_unused=True)
            losses += loss.detach()
            for gradient, part in zip(gradients, found, strict=True):
                if part is not None:
                    gradient += part
        return losses, gradients

    def _check(self) -> None:
        since = self.step % CHECK or CHECK
        for node in self._nodes:
            mean, self._sum[node] = self._sum[node] / since, 0.0
            if self._stale[node] >= PATIENCE:
                continue
            self.taken[node] = self.step
            lowest = float(self._lowest[node])
            better = math.isinf(lowest) or mean < lowest - LESS * abs(lowest)
            self._stale[node] = 0 if better else self._stale[node] + 1
            if better:
                self._lowest[node] = mean
                name, part = _place(self._problem, node)
                self._best[name][..., part] = self.constants.parameters[name].detach()[..., part]
        if self.step >= self._steps or (self._stale[self._nodes] >= PATIENCE).all():
            self.first = self._nodes[-1] + 1
            self._begin()

    def _losses(self, rows: Sequence[int], nodes: Sequence[int]) -> Float[Tensor, " node"]:
        """The mean loss of some examples with each node's constant in its place."""
        problem = self._problem
        batch = batches.make_batch(problem.examples, rows, problem.model.device)
        many = repeated(batch, len(nodes))
        logits = problem.executor.run(many.clean, self._edits(nodes, len(batch)), many.read)
        return problem.loss(problem.ready(rows), logits, "ablated").mean(1)

    def _edits(self, nodes: Sequence[int], size: int) -> list[Edit]:
        adapter = self._problem.model.adapter
        embed, z, mlp = source_ports(adapter)
        named: dict[str, Port] = {"embed": embed}
        for layer in range(adapter.n_layers):
            named |= {f"z{layer}": z[layer], f"mlp{layer}": mlp[layer]}
        touched: dict[str, list[tuple[int, slice]]] = {}
        for copy, node in enumerate(nodes):
            name, part = _place(self._problem, node)
            touched.setdefault(name, []).append((copy, part))

        def edit(name: str, parts: list[tuple[int, slice]]) -> Edit:
            constant = self.constants.parameters[name]
            mine = torch.zeros(len(nodes) * size, 1, constant.shape[-1], dtype=torch.bool, device=constant.device)
            for copy, part in parts:
                mine[copy * size : (copy + 1) * size, :, part] = True
            return Edit(named[name], lambda value: torch.where(mine, constant.to(value.dtype), value))

        return [edit(name, parts) for name, parts in touched.items()]

    def gaps(self) -> tuple[Float[np.ndarray, " source"], float]:
        """What the best constants cost over all examples, and the loss of the whole model."""
        problem = self._problem
        with torch.no_grad():
            for name, value in self.constants.parameters.items():
                value.copy_(self._best[name])
            totals, whole = problem.within_memory(self._totals)
        examples = len(problem.examples)
        return (totals - whole) / examples, whole / examples

    def _totals(self) -> tuple[Float[np.ndarray, " source"], float]:
        """Losses summed over all examples, with each node's constant and of the whole model."""
        problem, n = self._problem, len(self.taken)
        totals, whole = np.zeros(n), 0.0
        for rows in (rows for number in range(len(problem.plan)) for rows in problem.parts(number)):
            prepared = problem.ready(rows)
            whole += float(problem.loss(prepared, prepared.clean_logits, "clean").cpu().double().sum())
            for start in range(0, n, self._at_once):
                nodes = range(start, min(start + self._at_once, n))
                totals[list(nodes)] += self._losses(rows, nodes).cpu().double().numpy() * len(rows)
        return totals, whole

    def state(self) -> dict[str, np.ndarray]:
        best = {f"best.{name}": value.cpu().numpy() for name, value in self._best.items()}
        lowest = np.where(np.isinf(self._lowest), 0.0, self._lowest)
        numbers = np.stack([lowest, np.isinf(self._lowest), self._sum, self._stale, self.taken])
        return {**best, **self._adam.state(), "numbers": numbers, "place": np.array([self.first, self.step])}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.first, step = state["place"].tolist()
        self._begin()
        self.step, self.total = step, int(state["step"])
        self._adam.restore(state)
        for name in self._best:
            self._best[name] = torch.as_tensor(state[f"best.{name}"], device=self._best[name].device)
        lowest, none, self._sum, self._stale, taken = state["numbers"]
        self._lowest, self.taken = np.where(none > 0, np.inf, lowest), taken.astype(np.int64)


def _place(problem: Problem, source: int) -> tuple[str, slice]:
    """The tensor that holds a node's constant, and its part of the width."""
    places = problem.model.layout
    if source == places.input:
        return "embed", slice(None)
    for layer, rows in zip(problem.model.adapter.layers, places.layers, strict=True):
        if source == rows.mlp:
            return f"mlp{layer.index}", slice(None)
        if source in rows.heads:
            head = rows.heads.index(source)
            return f"z{layer.index}", slice(head * layer.d_head, (head + 1) * layer.d_head)
    raise AssertionError(source)

"""Uniform gradient sampling (Li and Janson 2024): every edge is open with probability alpha, and partly open now and
then, within a window in which its gradient is measured.

    m = 1 - clip((u - alpha) / w + 1/2, 0, 1),  w = alpha (1 - alpha),  u uniform

so that E[m] = alpha and dE[m]/d alpha = 1. Inside the window m is given the gradient 1 instead of 1/w, and each edge's
gradient is multiplied by samples / samples inside the window: its expectation is the same, its variance smaller.

    loss = l(circuit) + penalty x sum alpha + node_penalty x sum over nodes of tanh(expected edges in and out)

Several masks are drawn for each example; edges that lie on no path from the input to the logits are taken out of each
(spec B7). An edge is kept if its alpha is more than a half.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mi.circuit.graph import Graph
from mi.core.model import Model

START = 1.0  # theta; alpha is its sigmoid
CLIP = 5.0  # of the gradient's norm
MOST_NODE_PENALTY = 2e-4


class Window(torch.autograd.Function):
    """m of alpha and u, both [sample, edge]; the gradient of alpha [edge] is the mean over samples in the window."""

    @staticmethod
    def forward(ctx: Any, alpha: Float[Tensor, " edge"], u: Float[Tensor, "sample edge"]) -> Tensor:
        width = alpha * (1 - alpha)
        place = (u - alpha) / width + 0.5
        inside = (place > 0) & (place < 1)
        ctx.save_for_backward(inside)
        return 1 - place.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "sample edge"]) -> tuple[Any, ...]:
        (inside,) = ctx.saved_tensors
        weight = len(inside) / inside.sum(0).clamp(min=1).to(gradient.dtype)
        return (gradient * inside).sum(0) * weight, None


def on_a_path(graph: Graph, masks: Bool[Tensor, "sample edge"]) -> Bool[Tensor, "sample edge"]:
    """The edges of each mask that lie on a path from a root to the sink: `circuit.prune` for many masks at once."""
    source = torch.as_tensor(graph.source.astype(np.int64), device=masks.device)
    roots = torch.as_tensor(graph.roots, device=masks.device)
    fed = roots.repeat(len(masks), 1)
    read = torch.zeros_like(fed)
    read[:, graph.sink] = True
    edge, target = graph.every_way
    by_target = [(node, edge[target == node]) for node in np.unique(target).tolist()]
    for node, edges in by_target:  # nodes are in topological order
        fed[:, node] = (masks[:, edges] & fed[:, source[edges]]).any(1)
    kept = torch.zeros_like(masks)
    for node, edges in reversed(by_target):
        into = masks[:, edges] & (fed & read)[:, node : node + 1]
        read = read.scatter_reduce(1, source[edges].repeat(len(masks), 1), into, "amax")
        kept[:, edges] |= into & fed[:, source[edges]]
    return kept


@dataclass
class Ugs:
    model: Model
    penalty_weight: float
    rate: float
    masks: int  # for each example
    betas: tuple[float, float] = (0.9, 0.995)
    parameters: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        graph, device = self.model.graph, self.model.device
        self.parameters = {"theta": torch.full((graph.n_edges,), START, device=device, requires_grad=True)}
        self._source = torch.as_tensor(graph.source.astype(np.int64), device=device)
        self._ways = [torch.as_tensor(ends.astype(np.int64), device=device) for ends in graph.every_way]

    def _alpha(self) -> Tensor:
        return torch.sigmoid(self.parameters["theta"])

    def gates(self, uniform: Callable[..., Tensor], examples: int) -> Float[Tensor, "row edge"]:
        alpha = self._alpha()
        sampled: Tensor = Window.apply(alpha, uniform(self.masks * examples, len(alpha)))
        return sampled * on_a_path(self.model.graph, sampled.detach() > 0)

    def penalty(self, gates: Tensor, step: int) -> Tensor:
        alpha = self._alpha()
        touching = alpha.new_zeros(len(self.model.graph.nodes))
        edge, target = self._ways
        touching = touching.index_add(0, self._source, alpha).index_add(0, target, alpha[edge])
        node_penalty = min(self.penalty_weight / 2, MOST_NODE_PENALTY)
        return self.penalty_weight * alpha.sum() + node_penalty * torch.tanh(touching).sum()

    def rates(self, step: int) -> dict[str, float]:
        return {"theta": self.rate}

    def adjust(self, gradients: dict[str, Tensor]) -> None:
        norm = gradients["theta"].norm()
        gradients["theta"] *= CLIP / norm.clamp(min=CLIP)

    def settled(self, step: int) -> bool:
        return True

    def scores(self) -> np.ndarray:
        return self._alpha().detach().cpu().numpy().astype(np.float64)

    def kept(self) -> np.ndarray:
        return self.scores() > 0.5

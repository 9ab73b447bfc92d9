"""ACDC (Conmy et al. 2023): try to remove every edge once, from the logits back, and keep it out if the loss does not
rise by tau.

    for every receiver, the latest first:
        for every source that it still reads:
            delta = loss(circuit without the edge) - loss(circuit)
            if delta < tau: the circuit is the one without the edge

What is decided about an edge depends on all decisions before it, so one run an edge would follow another. Here the next
few edges are tried side by side, each on the guess that all before it go; the first one that stays ends the guess, and
what was computed beyond it is thrown away. The circuits that are compared, and so the result, are those of the loop.

Flows in: a graph, the loss of any circuits, tau. Flows out: :class:`Found`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mi.circuit.graph import Graph
from mi.core.model import Model
from mi.core.search.checkpoint import NOWHERE, Checkpoint, State
from mi.core.search.onward import Onward
from mi.core.search.problem import Problem

ORDERS = ("reverse", "normal", "random")
SIDE_BY_SIDE = 64  # tries at once, at most

Losses = Callable[[Bool[np.ndarray, "circuit edge"]], Float[np.ndarray, " circuit"]]


@dataclass(frozen=True)
class Found:
    """The circuit, each edge's delta when it was tried, and the loss of the circuit and of the whole model."""

    kept: Bool[np.ndarray, " edge"]
    delta: Float[np.ndarray, " edge"]
    loss: float
    full_loss: float
    runs: int  # circuits that were run, those of wrong guesses too


def visits(graph: Graph, order: str, seed: int) -> np.ndarray:
    """Every edge in the order in which it is tried, int64 [E].

    Receivers from the logits back: those of a later node first, and q, k, v of one head in this order (a k and v that
    heads share, after the q of all of them). The sources of a receiver from the last one back (reverse), from the first
    one on (normal), or at random.
    """
    draw = np.random.default_rng(seed)
    source, receiver = graph.edges.astype(np.int64)
    by_source = {"reverse": -source, "normal": source, "random": draw.permutation(graph.n_edges)}[order]
    return np.lexsort((by_source, receiver, -graph.target.astype(np.int64)))


def acdc(
    graph: Graph,
    losses: Losses,
    *,
    tau: float,
    order: str = "reverse",
    seed: int = 0,
    absolute: bool = False,
    apart: bool = True,
    checkpoint: Checkpoint = NOWHERE,
    on_done: Callable[[int], None] = lambda n: None,
) -> Found:
    """Search once. ``losses`` are means over all examples; ``absolute``: an edge goes if \\|delta\\| < tau.
    ``apart``: what a node reads changes nothing but what that node writes.
    """
    edges = visits(graph, order, seed)
    search = _Search(graph, edges, tau, absolute, apart)
    resumed = checkpoint.load()
    if resumed is None:
        (search.loss,) = losses(search.kept[None]).tolist()
        search.full_loss, search.runs = search.loss, 1
    else:
        search.restore(resumed)
        on_done(search.at)
    saved = search.at
    while search.at < len(edges):
        before = search.at
        search.advance(losses)
        on_done(search.at - before)
        if search.at // checkpoint.every > saved // checkpoint.every:  # decisions come several at a time
            checkpoint.save(search.at, search.state, force=True)
            saved = search.at
    return Found(search.kept, search.delta, search.loss, search.full_loss, search.runs)


class _Search:
    """The loop's state. ``at``: how many edges have been decided on."""

    def __init__(self, graph: Graph, edges: np.ndarray, tau: float, absolute: bool, apart: bool) -> None:
        self._graph, self._edges, self._tau, self._absolute, self._apart = graph, edges, tau, absolute, apart
        self.kept = np.ones(graph.n_edges, dtype=bool)
        self.delta = np.zeros(graph.n_edges)
        self.loss = self.full_loss = math.nan
        self.at = self.runs = 0
        self._guess = 4.0  # how many removals in a row to expect

    def state(self) -> State:
        numbers = np.array([self.loss, self.full_loss, self._guess, self.runs])
        return {"kept": self.kept, "delta": self.delta, "numbers": numbers}

    def restore(self, state: State) -> None:
        self.kept, self.delta, self.at = state["kept"].astype(bool), state["delta"], int(state["step"])
        self.loss, self.full_loss, self._guess, runs = state["numbers"].tolist()
        self.runs = int(runs)

    def advance(self, losses: Losses) -> None:
        """Decide on the next edge, or on a few."""
        if self._unread(int(self._edges[self.at])) and self._goes(0.0):
            self.kept[self._edges[self.at]] = False
            self.at += 1
            return
        tried = self._next()
        masks = np.repeat(self.kept[None], len(tried), 0)
        for row, edge in enumerate(tried):
            masks[row:, edge] = False
        found = losses(masks)
        self.runs += len(tried)
        removed = 0
        for edge, loss in zip(tried.tolist(), found.tolist(), strict=True):
            self.delta[edge] = loss - self.loss
            self.at += 1
            if not self._goes(loss - self.loss):
                break
            self.kept[edge] = False
            self.loss = loss
            removed += 1
        self._guess = 0.7 * self._guess + 0.3 * (removed + 1) * (2 if removed == len(tried) else 1)

    def _goes(self, delta: float) -> bool:
        return (abs(delta) if self._absolute else delta) < self._tau

    def _unread(self, edge: int) -> bool:
        """Whether nothing reads the node that the edge leads into, or the nodes: its edges change nothing."""
        graph = self._graph
        return self._apart and not any(
            node == graph.sink or bool(self.kept[graph.source == node].any()) for node in graph.readers(edge)
        )

    def _next(self) -> np.ndarray:
        """The edges to try side by side: as many as are expected to go, none into a node that another one comes from
        (if that other one goes, the node may be unread)."""
        count = min(SIDE_BY_SIDE, max(1, round(self._guess)))
        ahead = self._edges[self.at : self.at + count]
        read: set[int] = set()
        for place, edge in enumerate(ahead.tolist()):
            if read.intersection(self._graph.readers(edge)) or self._unread(edge):
                return ahead[:place]
            read.add(int(self._graph.source[edge]))
        return ahead


def losses_of(problem: Problem) -> Losses:
    """The mean loss over all examples of any circuits, several at a time where they fit the budget.

    Blocks before the first removed edge do in every circuit what they do in the whole model: they are not run again.
    """
    model, kept = problem.model, dict[tuple[int, ...], Onward]()
    blocks = _blocks(model)
    resumes = problem.executor.name == "fast"

    def onward(rows: Sequence[int]) -> Onward:
        made = kept.get(tuple(rows)) or Onward(problem, problem.ready(rows))
        if sum(one.nbytes for one in kept.values()) + made.nbytes <= model.budget.bytes:
            kept[tuple(rows)] = made
        return made

    def run(rows: Sequence[int], masks: Tensor, block: int) -> Tensor:
        if resumes:
            return onward(rows).logits(masks, block)
        with torch.no_grad():
            return problem.gates.logits(problem.ready(rows), masks.repeat_interleave(len(rows), 0))

    def at_once(masks: np.ndarray) -> np.ndarray:
        totals = np.zeros(len(masks))
        block = int(blocks[~masks.all(0)].min(initial=len(model.adapter.layers)))
        for number, whole in enumerate(problem.plan):
            length = len(problem.examples[whole[0]].clean)
            most = max(1, model.budget.gated // (problem.row_bytes(length) * len(whole)))
            for rows in problem.parts(number):
                for start in range(0, len(masks), most):
                    part = torch.as_tensor(masks[start : start + most], device=model.device).to(model.dtype)
                    loss = problem.loss(problem.ready(rows), run(rows, part, block), "circuit")
                    totals[start : start + len(part)] += loss.cpu().double().sum(1).numpy()
        return totals / len(problem.examples)

    def losses(masks: np.ndarray) -> np.ndarray:
        def work() -> np.ndarray:
            if problem.halved != last:
                kept.clear()
            return at_once(masks)

        last = problem.halved
        return problem.within_memory(work)

    return losses


def _blocks(model: Model) -> np.ndarray:
    """The block that each edge is read in, int64 [E]; the number of blocks for edges into the logits."""
    places = model.layout
    of_receiver = np.full(places.n_receivers, len(places.layers))
    for number, rows in enumerate(places.layers):
        of_receiver[[*rows.receivers, rows.mlp_receiver]] = number
    return np.asarray(of_receiver[model.graph.edges[1]])


def ranking(taus: Sequence[float], kept: Bool[np.ndarray, "tau edge"]) -> Float[np.ndarray, " edge"]:
    """Each edge's score over several searches: the smallest tau that removes it; twice the largest if none does."""
    score = np.full(kept.shape[1], 2 * max(taus))
    for tau, row in _descending(taus, kept):
        score[~row] = tau
    return score


def _descending(taus: Sequence[float], kept: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    for place in np.argsort(-np.asarray(taus), kind="stable").tolist():
        yield taus[place], kept[place]

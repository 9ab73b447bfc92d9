"""The rows of the table: a name, and how to do once what the row is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from benchmarks.subject import Size, examples, ids
from mi.circuit.curve import sizes
from mi.circuit.prune import connected
from mi.circuit.select import top
from mi.core.attribute import attribute
from mi.core.circuits import run_circuits
from mi.core.model import Model
from mi.core.search.edge_pruning import EdgePruning
from mi.core.search.masks import learn
from mi.core.search.problem import problem
from mi.tasks.encode import Encoded

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    name: str
    make: Callable[[Model, list[Encoded]], Work]  # preparation that is not measured; then the work
    target: float | None = None  # at 10 x 20, in units of one plain forward
    aim: float | None = None
    memory: float | None = None  # at 10 x 20, in units of forward and backward


def _eap(model: Model, pairs: list[Encoded]) -> Work:
    return lambda: attribute(model, pairs, method="eap")


def _eap_ig(model: Model, pairs: list[Encoded]) -> Work:
    return lambda: attribute(model, pairs, method="eap-ig", steps=5)


def _masks(model: Model, wanted: list[int]) -> np.ndarray:
    """Circuits of real scores: the top edges of EAP on two other prompts, without what lies on no path."""
    scores = attribute(model, examples(Size(2, 8)), method="eap").edge
    return np.stack([connected(model.graph, top(model.graph, scores, n)) for n in wanted])


def _circuit(model: Model, pairs: list[Encoded]) -> Work:
    masks = _masks(model, [model.graph.n_edges // 20])
    return lambda: run_circuits(model, pairs, masks)


def _eleven(model: Model, pairs: list[Encoded]) -> Work:
    masks = _masks(model, [model.graph.n_edges // 20]).repeat(11, 0)
    return lambda: run_circuits(model, pairs, masks)


def _curve(model: Model, pairs: list[Encoded]) -> Work:
    masks = _masks(model, list(sizes(model.graph.n_edges)))
    return lambda: run_circuits(model, pairs, masks)


def _mask_step(model: Model, pairs: list[Encoded]) -> Work:
    """One step of edge pruning after the first, when the batch has been made ready. The target is 1.5 forwards and
    backwards, which are 1.9 T."""
    work = problem(model, pairs)
    learner = EdgePruning(model, target=0.9, steps=100, rate=0.2, seed=0)
    learn(work, learner, steps=1)
    return lambda: learn(work, learner, steps=1)


EXACT = 1000


def _exact(model: Model, pairs: list[Encoded]) -> Work:
    """Every n-th edge, so all layers and kinds of receiver in their shares. Prompts first differ at 40 % of their
    length."""
    chosen = np.linspace(0, model.graph.n_edges - 1, EXACT).astype(np.int64)
    late = [_late(pair) for pair in pairs]
    return lambda: attribute(model, late, method="exact", only=chosen)


def _late(pair: Encoded) -> Encoded:
    first = int(0.4 * len(pair.clean))
    changed = (pair.clean[first] + 1) % 50257
    return replace(pair, corrupted=(*pair.clean[:first], changed, *pair.corrupted[first + 1 :]))


CIRCUIT, ELEVEN, ONE_MORE = "one circuit of 5 %, all", "eleven circuits of 5 %", "one circuit of 5 %"
ROWS = (
    Row("EAP", _eap, 3.6, 2.5, 1.5),
    Row("EAP-IG(5)", _eap_ig, 12.0, 8.5, 1.8),
    Row(CIRCUIT, _circuit, None, None, 1.5),
    Row(ELEVEN, _eleven),
    Row("ten-size curve", _curve, 10.5, 6.5, 1.5),
    Row("step of a learned mask", _mask_step, 2.85, 1.95),
    Row(f"{EXACT} exact edges", _exact, 0.10 * EXACT, 0.05 * EXACT),
)
# What one more circuit costs once the runs that all circuits share are done: a tenth of the difference.
ONE_MORE_ROW = Row(ONE_MORE, _circuit, 1.7, 0.9)


def forward(module: nn.Module, size: Size) -> Work:
    """The unit of time: one plain forward with every logit."""
    tokens = ids(size)

    def work() -> object:
        with torch.no_grad():
            return module(tokens, use_cache=False).logits

    return work


def forward_backward(module: nn.Module, size: Size) -> Work:
    """The unit of memory: a forward with every logit, and the gradient at the embeddings."""
    tokens = ids(size)

    def work() -> object:
        embedded = module.get_input_embeddings()(tokens).detach().requires_grad_(True)  # type: ignore[operator]
        logits = module(inputs_embeds=embedded, use_cache=False).logits
        return torch.autograd.grad((logits[:, -1, 0] - logits[:, -1, 1]).sum(), embedded)

    return work

"""Running circuits: kept edges carry what the circuit computes, dropped edges carry their replacement (spec A6).

Flows in: a model, encoded examples, masks over edges and perhaps over neurons. Flows out: the metric of every circuit
on every example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from mi.core import batches, replacement
from mi.core.job import finite
from mi.core.masked import Patched, Table
from mi.core.memory import halving
from mi.core.metrics import metric_named
from mi.core.model import Model
from mi.core.replacement import NOTHING, Given
from mi.errors import MiError
from mi.tasks.encode import Encoded
from mi.tasks.plan import cut_to_table


@dataclass(frozen=True)
class CircuitRuns:
    """Metric of each circuit, of the whole model and of the empty circuit, for each example; float64."""

    value: Float[np.ndarray, "circuit example"]
    clean: Float[np.ndarray, " example"]
    corrupted: Float[np.ndarray, " example"]
    plan: list[list[int]] = field(repr=False)
    halved: int = 0


def run_circuits(
    model: Model,
    examples: Sequence[Encoded],
    masks: Bool[np.ndarray, "circuit edge"],
    *,
    neurons: Bool[np.ndarray, "circuit source d_model"] | None = None,
    ablation: str = "counterfactual",
    given: Given = NOTHING,
    metric: str = "logit-diff",
    batch_size: int | None = None,
    executor: str = "auto",
    on_done: Callable[[int], None] = lambda n: None,
    on_halved: Callable[[int], None] = lambda n: None,
) -> CircuitRuns:
    """Run every circuit on every example.

    ``neurons`` are the dimensions in which kept edges carry what their source computes; None: in all of them.
    ``corrupted`` is the metric with every edge dropped: under counterfactual ablation the corrupted run itself.

    Raises:
        MiError: no examples; masks that are not over this graph's edges, or not over what this model's nodes write; an
            ablation that the examples do not allow.
        RunError: a metric is not finite.
    """
    chosen = metric_named(metric)
    if not examples:
        raise MiError("no examples to score", "the chosen split is empty")
    if masks.ndim != 2 or masks.shape[1] != model.graph.n_edges:
        raise MiError(f"masks of shape {list(masks.shape)} are not over this graph's {model.graph.n_edges} edges")
    if neurons is not None:
        _check_neurons(model, neurons)
    lengths = [len(example.clean) for example in examples]
    replacement.check(ablation, lengths, given)
    examples = replacement.drawn(ablation, examples, given)
    runner = model.executor(executor)
    rows = batches.plan_for(model, lengths, batch_size)
    rows = cut_to_table(rows, lengths, batches.shape(model), model.dtype.itemsize, model.budget.table)
    instead = replacement.make(ablation, model, runner, examples, rows, on_halved, given)
    value = np.zeros((len(masks), len(examples)))
    clean, corrupted = np.zeros(len(examples)), np.zeros(len(examples))
    parts = [None] * len(masks) if neurons is None else neurons
    tables = [Table(model, mask, part) for mask, part in zip(masks, parts, strict=True)]

    def work(part: Sequence[int]) -> None:
        batch = batches.make_batch(examples, part, model.device)
        names = [examples[row].id for row in part]
        patched = Patched(model, runner, chosen, instead, batch)
        got = [patched.empty(), *(patched.run(table) for table in tables)]
        whats = ("clean", "empty circuit", *["circuit"] * len(masks))
        for metrics, what in zip((patched.clean_metric, *got), whats, strict=True):
            finite(metrics, names, what)
        index = list(part)
        clean[index] = _numpy(patched.clean_metric)
        corrupted[index] = _numpy(got[0])
        for circuit, metrics in enumerate(got[1:]):
            value[circuit, index] = _numpy(metrics)
        on_done(len(part))

    done, halved = halving(rows, work, on_halved)
    return CircuitRuns(value, clean, corrupted, done, halved)


def _check_neurons(model: Model, neurons: Bool[np.ndarray, "circuit source d_model"]) -> None:
    n_sources, width = model.graph.n_sources, model.adapter.d_model
    if neurons.shape[1:] != (n_sources, width):
        held = " x ".join(map(str, neurons.shape[1:]))
        raise MiError(
            f"a circuit over {held} neurons does not fit this model: {n_sources} nodes write {width} neurons each",
            "neurons belong to one model; make the circuit again with this one",
        )


def _numpy(metric: Tensor) -> np.ndarray:
    return metric.cpu().double().numpy()

"""What every search works on: a model, examples cut into batches, a metric, and what dropped edges carry.

Flows in: encoded examples and flags. Flows out: :class:`Problem`, whose batches are made ready once and kept while they
fit a fixed budget.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from mi.core import batches, replacement
from mi.core.executor import Executor
from mi.core.gated import Gates, Prepared, prepare
from mi.core.job import finite
from mi.core.metrics import Metric, metric_named
from mi.core.model import Model
from mi.core.replacement import NOTHING, Given, Replacement
from mi.errors import MiError, RunError
from mi.tasks.encode import Encoded
from mi.tasks.plan import cut_to_table


@dataclass
class Problem:
    model: Model
    executor: Executor
    metric: Metric
    examples: Sequence[Encoded]
    plan: list[list[int]]
    instead: Replacement
    _kept: OrderedDict[int, Prepared] = field(default_factory=OrderedDict, repr=False)
    gates: Gates = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.gates = Gates(self.model, self.executor)

    def prepared(self, number: int) -> Prepared:
        """Batch ``number`` of the plan, made ready; the oldest one goes when the budget is full."""
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        batch = batches.make_batch(self.examples, self.plan[number], self.model.device)
        made = prepare(self.model, self.executor, self.instead, batch)
        while self._kept and sum(other.nbytes for other in self._kept.values()) + made.nbytes > self.model.budget.bytes:
            self._kept.popitem(last=False)
        self._kept[number] = made
        return made

    def loss(self, prepared: Prepared, logits: Float[Tensor, "row vocab"], run: str) -> Float[Tensor, "copy example"]:
        """Minus the metric of every row, copies of the batch apart.

        Raises:
            RunError: it is not finite; names the example.
        """
        metric = self.gates.metric(self.metric, prepared, logits)
        finite(
            metric.detach(),
            [self.examples[row].id for row in prepared.batch.rows] * (len(metric) // len(prepared.batch)),
            run,
        )
        return -metric.view(-1, len(prepared.batch))

    def row_bytes(self, length: int) -> int:
        """What the differences of one row take."""
        return self.model.layout.n_sources * length * self.model.adapter.d_model * self.model.dtype.itemsize


def problem(
    model: Model,
    examples: Sequence[Encoded],
    *,
    ablation: str = "counterfactual",
    metric: str = "kl",
    batch_size: int | None = None,
    executor: str = "auto",
    given: Given = NOTHING,
) -> Problem:
    """Check what was asked for and cut the examples into batches.

    Raises:
        MiError: no examples, or an ablation that they do not allow.
    """
    chosen = metric_named(metric)
    if not examples:
        raise MiError("no examples to search on", "the chosen split is empty")
    lengths = [len(example.clean) for example in examples]
    replacement.check(ablation, lengths, given)
    examples = replacement.drawn(ablation, examples, given)
    runner = model.executor(executor)
    plan = batches.plan_for(model, lengths, batch_size)
    instead = replacement.make(ablation, model, runner, examples, plan, given=given)
    plan = cut_to_table(plan, lengths, batches.shape(model), model.dtype.itemsize, model.budget.gated)
    return Problem(model, runner, chosen, examples, plan, instead)


def require_finite(name: str, values: Tensor, step: int) -> None:
    if not bool(torch.isfinite(values).all()):
        raise RunError(f"{name} is not finite after step {step}", "use a smaller --lr, or --dtype float32")

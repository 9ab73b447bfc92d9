"""What every search works on: a model, examples cut into batches, a metric, and what dropped edges carry.

Flows in: encoded examples and flags. Flows out: :class:`Problem`, whose batches are made ready once and kept while they
fit a fixed budget.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from mi.core import batches, replacement
from mi.core.executor import Executor
from mi.core.gated import Gates, Prepared, prepare
from mi.core.job import finite
from mi.core.memory import LESS, ONE_TOO_MANY, is_out_of_memory
from mi.core.metrics import Metric, metric_named
from mi.core.model import Model
from mi.core.replacement import NOTHING, Given, Replacement
from mi.errors import MiError, RunError
from mi.tasks.encode import Encoded
from mi.tasks.plan import cut, cut_to_table

Result = TypeVar("Result")


@dataclass
class Problem:
    model: Model
    executor: Executor
    metric: Metric
    examples: Sequence[Encoded]
    plan: list[list[int]]
    instead: Replacement
    on_halved: Callable[[int], None] = lambda n: None
    halved: int = 0  # how often a batch did not fit
    _kept: OrderedDict[tuple[int, ...], Prepared] = field(default_factory=OrderedDict, repr=False)
    gates: Gates = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.gates = Gates(self.model, self.executor)
        self._most = max(len(rows) for rows in self.plan)

    def parts(self, number: int) -> list[list[int]]:
        """The examples of batch ``number`` of the plan that are run at once: all, if they fit."""
        return cut(self.plan[number], self._most)

    def within_memory(self, work: Callable[[], Result]) -> Result:
        """What ``work`` gives; where a batch does not fit, it is done again from its beginning with half as many
        examples at once, which is never taken back.

        Raises:
            RunError: one example does not fit.
        """
        while True:
            try:
                return work()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Outside the except block: the traceback would keep what was made alive.
            self._kept.clear()
            self.gates.forget()
            if self._most == 1:
                raise RunError(ONE_TOO_MANY, LESS)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._most = (self._most + 1) // 2
            self.halved += 1
            self.on_halved(self._most)

    def prepared(self, number: int) -> Prepared:
        """The whole of batch ``number`` of the plan, made ready."""
        return self.ready(self.plan[number])

    def ready(self, rows: Sequence[int]) -> Prepared:
        """Examples of one length, made ready; the oldest ones go when the budget is full."""
        number = tuple(rows)
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        batch = batches.make_batch(self.examples, rows, self.model.device)
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
    on_halved: Callable[[int], None] = lambda n: None,
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
    instead = replacement.make(ablation, model, runner, examples, plan, on_halved, given)
    plan = cut_to_table(plan, lengths, batches.shape(model), model.dtype.itemsize, model.budget.gated)
    return Problem(model, runner, chosen, examples, plan, instead, on_halved)


def require_finite(name: str, values: Tensor, step: int) -> None:
    if not bool(torch.isfinite(values).all()):
        raise RunError(f"{name} is not finite after step {step}", "use a smaller --lr, or --dtype float32")

"""What every computation over sites shares: the model's sites, the metric, the plan, and both runs of a batch.

Flows in: a module, examples as arguments, a metric. Flows out: a :class:`Frame`, which runs batches and measures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mi.core.batches import Targets
from mi.core.executor import Port
from mi.core.job import finite
from mi.core.metrics import Metric, metric_named
from mi.core.sitewise.batches import TensorBatch, make_batch, plan, tensor
from mi.core.sitewise.load import Module
from mi.core.sitewise.names import chosen
from mi.core.sitewise.reach import Site, sites_of
from mi.core.sitewise.trace import Step, Tracer
from mi.errors import MiError, UsageError
from mi.tasks.arguments import Arguments

if TYPE_CHECKING:
    from mi.core.sitewise.remote import RemoteTracer


@dataclass(frozen=True)
class Run:
    """One run of a batch: its logits, its metric and what passed the ports that were asked for."""

    logits: Float[Tensor, "batch class"]
    metric: Float[Tensor, " batch"]
    seen: Mapping[Port, Tensor]


@dataclass(frozen=True)
class Frame:
    """``sites`` are all that the model has, in the order of a run; ``again`` the modules that run more than once."""

    model: Module
    examples: Sequence[Arguments]
    metric: Metric
    sites: Sequence[Site]
    again: Sequence[str]
    tracer: Tracer | RemoteTracer = field(repr=False)
    rows: list[list[int]] = field(repr=False)

    @property
    def bytes_per_example(self) -> int:
        return bytes_of(self.sites)

    def matching(self, patterns: Sequence[str]) -> list[Site]:
        return chosen(self.sites, self.again, patterns)

    def batch(self, rows: Sequence[int]) -> TensorBatch:
        return make_batch(self.examples, rows, self.model.device, self.model.dtype)

    def ids(self, batch: TensorBatch) -> list[str]:
        return [self.examples[row].id for row in batch.rows]

    def run(
        self, batch: TensorBatch, which: str, sites: Sequence[Site], reference: Float[Tensor, "batch class"] | None
    ) -> Run:
        """The clean or the corrupted run, as it is. ``reference`` are the clean run's logits, None for that run.

        Raises:
            RunError: the metric is not finite; names the example.
        """
        steps = [Step(port, "keep") for port in dict.fromkeys(site.port for site in sites)]
        ran = self.tracer.run(getattr(batch, which), steps, batch.read)
        with torch.no_grad():
            logits = ran.logits.to(batch.read.device, self.model.compute_dtype)
            self._check_classes(batch, logits.shape[1])
            metric = self.metric.compute(logits, batch, logits if reference is None else reference)
        finite(metric, self.ids(batch), which)
        return Run(logits, metric, ran.seen)

    def both(self, batch: TensorBatch, sites: Sequence[Site]) -> tuple[Run, Run]:
        """The clean and the corrupted run."""
        clean = self.run(batch, "clean", sites, None)
        return clean, self.run(batch, "corrupted", sites, clean.logits)

    def measure(
        self, logits: Float[Tensor, "row class"], batch: TensorBatch, reference: Tensor
    ) -> Float[Tensor, "copy batch"]:
        """The metric of several copies of the batch, side by side."""
        copies = len(logits) // len(batch)
        metric = self.metric.compute(
            logits.to(batch.read.device, self.model.compute_dtype), repeated(batch, copies), reference.repeat(copies, 1)
        )
        return metric.view(copies, -1)

    def total(self, batch: TensorBatch, reference: Tensor) -> Callable[[Tensor], Tensor]:
        """The sum of the metric over all rows: of each row's own metric it has the same gradient."""
        return lambda logits: self.measure(logits, batch, reference).sum()

    def _check_classes(self, batch: TensorBatch, n: int) -> None:
        if n == 1 and self.metric.name in ("class-prob", "class-logprob", "prob-diff"):
            raise UsageError(
                f"the model puts out one number, whose {self.metric.name} is the same for every input",
                "use --metric logit",
            )
        for ids, row in ((i, r) for r in batch.rows for i in (self.examples[r].answers, self.examples[r].foils)):
            if ids and max(ids) >= n:
                raise MiError(
                    f"example {self.examples[row].id} names class {max(ids)}, and the model puts out {n} classes",
                    "classes are counted from 0",
                )


def frame(model: Module, examples: Sequence[Arguments], metric: str, batch_size: int | None = None) -> Frame:
    """Find the sites of the model by running its first example.

    Raises:
        MiError: there is no example, or the model cannot be called with it.
    """
    if not examples:
        raise MiError("no examples to run", "the chosen split is empty")
    sites, again = probe(model, examples[0])
    rows = plan(examples, bytes_of(sites), batch_size, model.budget)
    return Frame(model, examples, metric_named(metric), sites, again, _tracer(model, sites), rows)


def _tracer(model: Module, sites: Sequence[Site]) -> Tracer | RemoteTracer:
    if model.remote is None:
        return Tracer(model, sites)
    from mi.core.sitewise.remote import RemoteTracer  # imports nnsight, whose import takes a second

    return RemoteTracer(model, sites)


def probe(model: Module, example: Arguments) -> tuple[list[Site], list[str]]:
    """The model's sites, and the modules that have none because they run more than once."""
    on = model.device if model.elsewhere is None else torch.device("meta")  # the weights are on a server
    arguments = {name: tensor(value, on, model.dtype) for name, value in example.clean.items()}
    if on.type == "meta":  # the model would look whether the mask hides anything, and there is nothing to look at
        arguments.pop("attention_mask", None)
    try:
        return sites_of(model.module, arguments)
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in arguments.items())
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise MiError(
            f"the model cannot be run on {shapes}: {lines[0][:200]}",
            "name the arguments as the model's forward does, without the axis of examples",
        ) from error


def bytes_of(sites: Sequence[Site]) -> int:
    """What all sites hold of one example."""
    return sum(math.prod(site.shape) * site.itemsize for site in sites)


def repeated(batch: Targets, copies: int) -> Targets:
    names = ("answers", "answers_real", "foils", "foils_real")
    return Targets(**{name: getattr(batch, name).repeat(copies, 1) for name in names})


def copied(inputs: Mapping[str, Tensor], copies: int) -> dict[str, Tensor]:
    """A batch's arguments, so many times below each other."""
    return {name: value.repeat(copies, *[1] * (value.ndim - 1)) for name, value in inputs.items()}


def numpy(metric: Tensor) -> np.ndarray:
    return metric.detach().cpu().double().numpy()

"""What a method is given and what it gives back: a :class:`Job` and a batch in, a :class:`Scored` out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mi.core import replacement
from mi.core.batches import Batch
from mi.core.executor import Executor
from mi.core.memory import SideBySide
from mi.core.methods import Config
from mi.core.metrics import Metric
from mi.core.model import Model
from mi.core.outputs import Outputs, post_norms
from mi.core.replacement import Replacement
from mi.errors import RunError


@dataclass(frozen=True)
class Scored:
    """One batch: float64 scores of every unit of the level, and the loss of each example where the method has one."""

    scores: Float[Tensor, "batch *units"]
    clean: Float[Tensor, " batch"] | None = None
    corrupted: Float[Tensor, " batch"] | None = None


@dataclass(frozen=True)
class Job:
    """One call of `attribute`: the same for all its batches."""

    model: Model
    executor: Executor
    config: Config
    metric: Metric
    instead: Replacement
    ids: Sequence[str]  # of the examples, by row
    only: Int[np.ndarray, " chosen"] | None = None  # the units to score, where a method takes them one by one
    advance: Callable[[float], None] = lambda n: None  # told of parts of examples that are done
    side: SideBySide = field(default_factory=SideBySide)  # of the methods that run copies of a batch

    def measure(self, logits: Tensor, batch: Batch, reference: Tensor) -> Float[Tensor, " batch"]:
        """The metric, in the dtype of scores. ``reference`` are the clean run's logits."""
        dtype = self.model.compute_dtype
        return self.metric.compute(logits.to(dtype), batch, reference.to(dtype))

    def loss(self, logits: Tensor, batch: Batch, reference: Tensor, run: str) -> Float[Tensor, " batch"]:
        """Minus the metric of a finished run.

        Raises:
            RunError: it is not finite; names the example.
        """
        metric = self.measure(logits, batch, reference)
        finite(metric, [self.ids[row] for row in batch.rows], run)
        return -metric

    def difference(self, clean: Outputs, corrupted: Outputs | None) -> Outputs:
        """Replacement minus clean, of every node, in the dtype of scores and the shape of ``clean``.

        Post-norms are taken at the clean run; the reference leaves them out (spec B0 row 13).
        """
        dtype = self.model.compute_dtype
        instead = replacement.values(self.instead, clean, corrupted)
        constant = "ln" in self.config.backward  # under this rule the scale of every norm is

        def minus(a: Tensor, b: Tensor) -> Tensor:
            return a.to(dtype) - b.to(dtype)

        return Outputs(
            minus(instead.embed, clean.embed),
            [minus(a, b) for a, b in zip(instead.z, clean.z, strict=True)],
            [minus(a, b) for a, b in zip(instead.mlp, clean.mlp, strict=True)],
            None if self.config.compat == "mib" else post_norms(self.model.adapter, clean.z, dtype, constant),
        )


def finite(metric: Tensor, ids: Sequence[str], run: str) -> None:
    bad = (~torch.isfinite(metric)).nonzero().flatten().tolist()
    if bad:
        raise RunError(
            f"the metric of the {run} run is {metric[bad[0]].item()} for example {ids[bad[0]]}",
            "look for NaN or Inf in the weights, or use --dtype float32",
        )

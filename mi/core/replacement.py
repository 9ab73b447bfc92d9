"""What a dropped edge carries instead of its source's value: one table for attribution, patching and scoring.

Flows in: the model and, for means, the examples. Flows out: :class:`Outputs` of the
replacement, broadcastable over batch and position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from mi.core.batches import make_batch
from mi.core.executor import Executor
from mi.core.memory import halving
from mi.core.model import Model
from mi.core.outputs import Outputs, Recorder
from mi.errors import MiError
from mi.tasks.encode import Encoded

ABLATIONS = ("counterfactual", "zero", "mean", "mean-positional")


@dataclass(frozen=True)
class Replacement:
    """``outputs(...)`` gives the values; ``means`` is None unless the ablation averages over the data set."""

    name: str
    means: Outputs | None = None

    @property
    def from_corrupted(self) -> bool:
        """Whether the values are those of a run, so that a node that reads only replaced values writes them too."""
        return self.name == "counterfactual"


def record(model: Model, executor: Executor, ids: torch.Tensor, read: torch.Tensor) -> tuple[Outputs, torch.Tensor]:
    """Every node's output in a plain run of ``ids``, and the logits at the read position."""
    recorder = Recorder(model.adapter)
    with torch.no_grad():
        logits = executor.run(ids, recorder.edits(), read)
    return recorder.outputs(), logits


def check(name: str, lengths: Iterable[int]) -> None:
    """Refuse an ablation that does not exist or cannot be applied to examples of these lengths."""
    if name not in ABLATIONS:
        raise MiError(f"no ablation '{name}'", f"ablations are {', '.join(ABLATIONS)}", code=2)
    several = sorted(set(lengths))
    if name == "mean-positional" and len(several) > 1:
        raise MiError(
            f"mean-positional needs examples of one length, these have {several[0]} to {several[-1]} tokens",
            "use --ablation mean, or data of one length",
        )


def make(
    name: str,
    model: Model,
    executor: Executor,
    examples: Sequence[Encoded],
    plan: Sequence[Sequence[int]],
    on_halved: Callable[[int], None] = lambda n: None,
) -> Replacement:
    """The replacement called ``name``. Means are over the clean prompts of ``examples``, all tokens counting alike.

    Unlike the reference (spec B0 row 5) each node has its own mean over every position of every example.
    """
    if name not in ("mean", "mean-positional"):
        return Replacement(name)
    totals: list[torch.Tensor] = []
    count = 0

    def add(rows: Sequence[int]) -> None:
        nonlocal totals, count
        batch = make_batch(examples, rows, model.device)
        outputs, _ = record(model, executor, batch.clean, batch.read)
        summed = [_sum(t, name == "mean-positional") for t in (outputs.embed, *outputs.z, *outputs.mlp)]
        totals = summed if not totals else [a + b for a, b in zip(totals, summed, strict=True)]
        count += len(batch) * (1 if name == "mean-positional" else batch.clean.shape[1])

    halving(plan, add, on_halved)
    means = [(total / count).to(model.compute_dtype) for total in totals]
    n_layers = model.adapter.n_layers
    return Replacement(name, Outputs(means[0], means[1 : 1 + n_layers], means[1 + n_layers :]))


def _sum(values: torch.Tensor, by_position: bool) -> torch.Tensor:
    """Float64 sum over examples (and positions), kept broadcastable as [1, pos or 1, width]."""
    wide = values.to(torch.float64)
    return wide.sum(0, keepdim=True) if by_position else wide.sum((0, 1), keepdim=True)


def values(replacement: Replacement, clean: Outputs, corrupted: Outputs | None) -> Outputs:
    """What replaced edges carry in a batch whose clean outputs are ``clean``."""
    if replacement.name == "counterfactual":
        assert corrupted is not None
        return corrupted
    if replacement.name == "zero":
        return clean.map(lambda t: t.new_zeros(1, 1, t.shape[-1]))
    assert replacement.means is not None
    return replacement.means

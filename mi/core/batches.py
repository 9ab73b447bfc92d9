"""Batches of examples of one length, without padding.

Flows in: encoded examples and a plan. Flows out: :class:`Batch` after batch, as tensors on the model's device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mi.core.model import Model
from mi.errors import MiError
from mi.tasks import footprint
from mi.tasks.encode import Encoded
from mi.tasks.plan import STEPS, Footprint, plan
from mi.tasks.shape import Shape, shape_of


@dataclass(frozen=True)
class Targets:
    """What a metric compares: sets of tokens or classes, padded to one width."""

    answers: Int[Tensor, "batch answer"]
    answers_real: Bool[Tensor, "batch answer"]
    foils: Int[Tensor, "batch foil"]
    foils_real: Bool[Tensor, "batch foil"]


@dataclass(frozen=True)
class Batch(Targets):
    """Examples of one length as tensors. ``rows`` are their places in the caller's list."""

    rows: tuple[int, ...]
    clean: Int[Tensor, "batch pos"]
    corrupted: Int[Tensor, "batch pos"]
    read: Int[Tensor, " batch"]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def first_difference(self) -> int:
        """The first position at which any example's clean and corrupted tokens differ (0 where none does), or at which
        an earlier one is read."""
        differs = int((self.clean != self.corrupted).any(0).to(torch.int64).argmax())
        return min(differs, int(self.read.min()))


def padded(sets: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Sets of ids side by side, and which of them are no padding."""
    width = max([1, *(len(ids) for ids in sets)])
    ids = torch.zeros(len(sets), width, dtype=torch.long)
    real = torch.zeros(len(sets), width, dtype=torch.bool)
    for row, members in enumerate(sets):
        unique = sorted(set(members))  # metrics are over sets (spec D1)
        ids[row, : len(unique)] = torch.tensor(unique, dtype=torch.long)
        real[row, : len(unique)] = True
    return ids.to(device), real.to(device)


def make_batch(examples: Sequence[Encoded], rows: Sequence[int], device: torch.device) -> Batch:
    chosen = [examples[row] for row in rows]
    answers, answers_real = padded([e.answers for e in chosen], device)
    foils, foils_real = padded([e.foils for e in chosen], device)
    return Batch(
        rows=tuple(rows),
        clean=torch.tensor([e.clean for e in chosen], dtype=torch.long, device=device),
        corrupted=torch.tensor([e.corrupted for e in chosen], dtype=torch.long, device=device),
        read=torch.tensor([e.read for e in chosen], dtype=torch.long, device=device),
        answers=answers,
        answers_real=answers_real,
        foils=foils,
        foils_real=foils_real,
    )


def plan_for(
    model: Model,
    lengths: Sequence[int],
    batch_size: int | None = None,
    steps: int = STEPS,
    need: Footprint | None = None,
) -> list[list[int]]:
    """The batch plan of examples of these lengths, within the model's budget (`mi.tasks.plan`).

    Raises:
        MiError: a prompt is longer than the model has positions for (rotary positions have no end).
    """
    adapter = model.adapter
    longest = max(lengths, default=0)
    if adapter.n_positions is not None and longest > adapter.n_positions:
        raise MiError(
            f"a prompt has {longest} tokens and the model has {adapter.n_positions} positions", "use shorter examples"
        )
    return plan(lengths, shape(model), model.dtype.itemsize, batch_size, model.budget, steps, need)


def copies_at_once(model: Model, tokens: int) -> int:
    """How many copies of a batch of so many tokens run side by side within the model's budget; one at least."""
    return max(1, footprint.side_by_side(shape(model), model.dtype.itemsize, model.budget) // tokens)


def shape(model: Model) -> Shape:
    """The sizes that the plan depends on: those that `--dry-run` reads in the config."""
    config: Any = model.module.config
    return shape_of(config.to_dict())

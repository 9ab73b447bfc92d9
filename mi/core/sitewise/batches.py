"""Batches of examples that are tensors: those of one form side by side, without padding.

Flows in: examples as arguments (`mi.tasks.arguments`). Flows out: :class:`TensorBatch` after batch, on the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mi.core.batches import Targets, padded
from mi.tasks.arguments import Arguments
from mi.tasks.budget import DEFAULT_BUDGET, Budget


@dataclass(frozen=True)
class TensorBatch(Targets):
    """``clean`` and ``corrupted`` are the model's arguments by name, an example a row."""

    rows: tuple[int, ...]
    clean: Mapping[str, Tensor]
    corrupted: Mapping[str, Tensor]
    read: Int[Tensor, " batch"]

    def __len__(self) -> int:
        return len(self.rows)


def make_batch(
    examples: Sequence[Arguments], rows: Sequence[int], device: torch.device, dtype: torch.dtype
) -> TensorBatch:
    """Numbers with a fraction come in the model's own format."""
    some = [examples[row] for row in rows]
    answers, answers_real = padded([e.answers for e in some], device)
    foils, foils_real = padded([e.foils for e in some], device)
    return TensorBatch(
        answers=answers,
        answers_real=answers_real,
        foils=foils,
        foils_real=foils_real,
        rows=tuple(rows),
        clean=_stacked([e.clean for e in some], device, dtype),
        corrupted=_stacked([e.corrupted for e in some], device, dtype),
        read=torch.tensor([e.read for e in some], dtype=torch.long, device=device),
    )


def _stacked(each: Sequence[Mapping[str, np.ndarray]], device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    return {
        name: tensor(np.stack([inputs[name] for inputs in each]), device, dtype) for name in each[0]
    }  # fmt: skip


def tensor(value: np.ndarray, device: torch.device, dtype: torch.dtype) -> Tensor:
    made = torch.from_numpy(np.array(value, order="C"))
    return made.to(device, dtype) if made.is_floating_point() else made.to(device)


def plan(
    examples: Sequence[Arguments],
    bytes_per_example: int,
    batch_size: int | None = None,
    budget: Budget = DEFAULT_BUDGET,
) -> list[list[int]]:
    """Rows of each batch: examples of one form, in equal parts whose activations in one forward fit the budget."""
    buckets: dict[object, list[int]] = {}
    for row, example in enumerate(examples):
        buckets.setdefault(example.form, []).append(row)
    most = batch_size or max(1, budget.chunk // max(1, bytes_per_example))
    made: list[list[int]] = []
    for _, bucket in sorted(buckets.items(), key=lambda item: repr(item[0])):
        parts = -(-len(bucket) // most)
        size = -(-len(bucket) // parts)
        made += [bucket[start : start + size] for start in range(0, len(bucket), size)]
    return made

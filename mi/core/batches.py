"""Batches of examples of one length, and the plan that makes them.

Flows in: encoded examples. Flows out: :class:`Batch` after batch, without padding, in an order that depends on nothing but
the examples' lengths, the model's shape and ``--batch-size`` (never on free memory), so that a plan can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mi.core.adapters import Adapter
from mi.tasks.encode import Encoded

# Activations of one forward and backward are about 34 d_model numbers a token and layer (16 for the MLP and its
# activation function, the rest for the norms, q, k, v, z and the residual stream).
ACTIVATIONS_PER_TOKEN = 34
BUDGET_BYTES = 1 << 29
LOGIT_COPIES = 4


@dataclass(frozen=True)
class Batch:
    """Examples of one length as tensors. ``rows`` are their places in the caller's list."""

    rows: tuple[int, ...]
    clean: Int[Tensor, "batch pos"]
    corrupted: Int[Tensor, "batch pos"]
    read: Int[Tensor, " batch"]
    answers: Int[Tensor, "batch answer"]
    answers_real: Bool[Tensor, "batch answer"]
    foils: Int[Tensor, "batch foil"]
    foils_real: Bool[Tensor, "batch foil"]

    def __len__(self) -> int:
        return len(self.rows)


def _padded(sets: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    width = max(1, max(len(ids) for ids in sets))
    ids = torch.zeros(len(sets), width, dtype=torch.long)
    real = torch.zeros(len(sets), width, dtype=torch.bool)
    for row, members in enumerate(sets):
        unique = sorted(set(members))  # metrics are over sets (spec D1)
        ids[row, : len(unique)] = torch.tensor(unique, dtype=torch.long)
        real[row, : len(unique)] = True
    return ids.to(device), real.to(device)


def make_batch(examples: Sequence[Encoded], rows: Sequence[int], device: torch.device) -> Batch:
    chosen = [examples[row] for row in rows]
    answers, answers_real = _padded([e.answers for e in chosen], device)
    foils, foils_real = _padded([e.foils for e in chosen], device)
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


def bytes_per_token(adapter: Adapter, itemsize: int) -> int:
    """Estimate of what a forward and backward keep for one token."""
    return itemsize * adapter.n_layers * ACTIVATIONS_PER_TOKEN * adapter.d_model


def rows_per_batch(adapter: Adapter, itemsize: int, length: int) -> int:
    """Examples of ``length`` tokens that fit the fixed budget; at least one."""
    one = bytes_per_token(adapter, itemsize) * length + LOGIT_COPIES * 4 * adapter.vocab_size
    return max(1, BUDGET_BYTES // one)


def plan(lengths: Sequence[int], adapter: Adapter, itemsize: int, batch_size: int | None = None) -> list[list[int]]:
    """Rows of each batch: buckets of equal length, shortest first, each cut into equal parts within the budget."""
    batches: list[list[int]] = []
    for length in sorted(set(lengths)):
        bucket = [row for row, own in enumerate(lengths) if own == length]
        most = batch_size or rows_per_batch(adapter, itemsize, length)
        parts = -(-len(bucket) // most)
        size = -(-len(bucket) // parts)
        batches += [bucket[start : start + size] for start in range(0, len(bucket), size)]
    return batches


def batches(examples: Sequence[Encoded], rows: Sequence[Sequence[int]], device: torch.device) -> Iterator[Batch]:
    for part in rows:
        yield make_batch(examples, part, device)

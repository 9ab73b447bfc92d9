"""Sums in float64, on the device where it has that. Apple's GPUs do not: theirs are made on the processor.

In: products, in the dtype of scores. Out: tensors of float64, where the rest of the sum is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

WITHOUT = ("mps",)  # devices without float64
CPU = torch.device("cpu")


def home(device: torch.device) -> torch.device:
    """Where sums of what is on a device are kept."""
    return CPU if device.type in WITHOUT else device


def zeros(shape: Sequence[int], device: torch.device) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64, device=home(device))


def float64(values: Tensor) -> Tensor:
    return values.to(home(values.device)).to(torch.float64)


def total(values: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """The sum over dimensions, without a copy of the values in float64 where the device can do so."""
    return values.to(home(values.device)).sum(dim, dtype=torch.float64)

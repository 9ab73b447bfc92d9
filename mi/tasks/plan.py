"""The batch plan, and what a run will cost: pure functions of lengths, the model's shape, its dtype, ``--batch-size``
and ``--memory-budget``.

Never of free memory: the same plan comes out on every machine, so that a result can be made again. No torch:
``--dry-run`` prints it without loading anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mi.tasks import footprint
from mi.tasks.budget import DEFAULT_BUDGET, Budget
from mi.tasks.footprint import Batch
from mi.tasks.shape import Shape, shape_of

ITEMSIZE = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
STEPS = 5  # gradients that are kept where nobody says how many
NO_CHUNKS = Budget(0)

Footprint = Callable[[Shape, int, Batch, Budget], int]  # of one batch; the number is the size of a weight


def gradients(steps: int = STEPS, level: str = "edge", own_runs: bool = False) -> Footprint:
    """Of a method that takes gradients at so many inputs."""
    return lambda shape, item, batch, budget: footprint.attribution(shape, item, batch, budget, level, steps, own_runs)


def bytes_per_example(
    shape: Shape, itemsize: int, length: int, steps: int = STEPS, need: Footprint | None = None
) -> int:
    """Estimate of what one example takes of a batch that gradients are taken of, or of one that needs more."""
    return (need or gradients(steps))(shape, itemsize, Batch(1, length), NO_CHUNKS)


def plan(
    lengths: Sequence[int],
    shape: Shape,
    itemsize: int,
    batch_size: int | None = None,
    budget: Budget = DEFAULT_BUDGET,
    steps: int = STEPS,
    need: Footprint | None = None,
) -> list[list[int]]:
    """Rows of each batch: buckets of equal length, shortest first, each cut into equal parts within the budget.

    ``need``: of one batch, where that is more than gradients at so many inputs take.
    """
    batches: list[list[int]] = []
    for length in sorted(set(lengths)):
        bucket = [row for row, own in enumerate(lengths) if own == length]
        batches += cut(bucket, batch_size or budget.batch // bytes_per_example(shape, itemsize, length, steps, need))
    return batches


def cut(rows: list[int], most: int) -> list[list[int]]:
    """Parts of about equal size, of ``most`` rows at most, but of one at least."""
    parts = -(-len(rows) // max(1, most))
    size = -(-len(rows) // parts)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def cut_to_table(
    batches: Sequence[list[int]], lengths: Sequence[int], shape: Shape, itemsize: int, room: int
) -> list[list[int]]:
    """The batches of a circuit's run, which keeps every live source's difference d_model wide, in so many bytes."""
    position = shape.n_sources * shape.d_model * itemsize
    return [part for rows in batches for part in cut(rows, room // (position * lengths[rows[0]]))]


@dataclass(frozen=True)
class Cost:
    """What a command would do: passes over all its examples, and memory over the weights."""

    examples: int
    tokens: int
    forwards: float
    backwards: float
    batches: int
    bytes: int
    budget: int

    def text(self) -> str:
        passes = f"{self.forwards:g} forward" + (f" and {self.backwards:g} backward" if self.backwards else "")
        over = f", more than the {self.budget / 2**20:.0f} MiB of --memory-budget" if self.bytes > self.budget else ""
        return (
            f"would run {passes} passes over {self.examples} examples of {self.tokens} tokens in all, in "
            f"{self.batches} batches; about {self.bytes / 2**20:.0f} MiB of memory over the weights{over}"
        )


def cost(
    lengths: Sequence[int],
    config: Mapping[str, Any],
    dtype: str,
    batch_size: int | None,
    forwards: float,
    backwards: float = 0,
    *,
    memory: Footprint | None = None,
    budget: Budget = DEFAULT_BUDGET,
    steps: int = STEPS,
    table: int | None = None,
    units: int = 0,
    planned: Footprint | None = None,
) -> Cost:
    """The cost of so many forwards and backwards of every example.

    ``memory``: of one batch; None: of plain runs. ``table``: batches are cut to so many bytes of
    wide differences. ``units``: how many scores are summed up over all batches. ``planned``: as `plan` has it.
    """
    shape = shape_of(config)
    known = dtype if dtype in ITEMSIZE else str(config.get("dtype") or config.get("torch_dtype") or "float32")
    item = ITEMSIZE.get(known, 4)
    batches = plan(lengths, shape, item, batch_size, budget, steps, planned)
    if table is not None:
        batches = cut_to_table(batches, lengths, shape, item, table)
    need = memory or (lambda shape, item, batch, _: footprint.forward(shape, item, batch))
    largest = max((need(shape, item, Batch(len(rows), lengths[rows[0]]), budget) for rows in batches), default=0)
    if units:
        largest += footprint.host(units, len(lengths))
    return Cost(len(lengths), sum(lengths), forwards, backwards, len(batches), largest, budget.bytes)

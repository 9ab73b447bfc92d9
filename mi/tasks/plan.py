"""The batch plan, and what a run will cost: pure functions of lengths, the model's shape, its dtype and
``--batch-size``.

Never of free memory: the same plan comes out on every machine, so that a result can be made again. No torch:
``--dry-run`` prints it without loading anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Numbers that a forward and backward keep for a token in each layer, in units of d_model: 16 for the MLP and its
# activation function, the rest for the norms, q, k, v, z and the residual stream.
KEPT_PER_TOKEN = 34
LOGIT_COPIES = 4
ITEMSIZE = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Budget:
    """Bytes over the weights that a command may take, and how they are shared out. Never what happens to be free."""

    bytes: int = 1 << 30

    @property
    def batch(self) -> int:
        """Of what grows with the examples that are run at once."""
        return self.bytes // 2

    @property
    def table(self) -> int:
        """Of the differences of all sources at all positions of a circuit's run, d_model wide, of one example; those
        that need more are made wide for a few positions at a time."""
        return self.bytes // 2

    @property
    def tables(self) -> int:
        """The same, of several examples at once."""
        return self.bytes // 8

    @property
    def chunk(self) -> int:
        """Of what is made wide for a moment, where more room saves work."""
        return self.bytes // 4

    @property
    def least_chunk(self) -> int:
        """The same, where it does not."""
        return self.bytes // 16


DEFAULT_BUDGET = Budget()


@dataclass(frozen=True)
class Shape:
    """What of a model its cost depends on."""

    n_layers: int
    d_model: int
    vocab_size: int


def shape_of(config: Mapping[str, Any]) -> Shape:
    """The shape in a config.json, under the names that families give it."""

    def first(*names: str) -> int:
        return next((int(config[name]) for name in names if config.get(name)), 1)

    return Shape(first("num_hidden_layers", "n_layer"), first("hidden_size", "n_embd"), first("vocab_size"))


def bytes_per_example(shape: Shape, itemsize: int, length: int) -> int:
    """Estimate of what a forward and backward of one example keep in memory."""
    per_token = itemsize * shape.n_layers * KEPT_PER_TOKEN * shape.d_model
    return per_token * length + LOGIT_COPIES * 4 * shape.vocab_size


def plan(
    lengths: Sequence[int],
    shape: Shape,
    itemsize: int,
    batch_size: int | None = None,
    budget: Budget = DEFAULT_BUDGET,
) -> list[list[int]]:
    """Rows of each batch: buckets of equal length, shortest first, each cut into equal parts within the budget."""
    batches: list[list[int]] = []
    for length in sorted(set(lengths)):
        bucket = [row for row, own in enumerate(lengths) if own == length]
        most = batch_size or max(1, budget.batch // bytes_per_example(shape, itemsize, length))
        parts = -(-len(bucket) // most)
        size = -(-len(bucket) // parts)
        batches += [bucket[start : start + size] for start in range(0, len(bucket), size)]
    return batches


@dataclass(frozen=True)
class Cost:
    """What a command would do: passes over all its examples, and memory over the weights."""

    examples: int
    tokens: int
    forwards: float
    backwards: float
    batches: int
    bytes: int

    def text(self) -> str:
        passes = f"{self.forwards:g} forward" + (f" and {self.backwards:g} backward" if self.backwards else "")
        return (
            f"would run {passes} passes over {self.examples} examples of {self.tokens} tokens in all, in "
            f"{self.batches} batches; about {self.bytes / 2**20:.0f} MiB of memory over the weights"
        )


def cost(
    lengths: Sequence[int],
    config: Mapping[str, Any],
    dtype: str,
    batch_size: int | None,
    forwards: float,
    backwards: float = 0,
) -> Cost:
    """The cost of so many forwards and backwards of every example."""
    shape = shape_of(config)
    known = dtype if dtype in ITEMSIZE else str(config.get("dtype") or config.get("torch_dtype") or "float32")
    itemsize = ITEMSIZE.get(known, 4)
    batches = plan(lengths, shape, itemsize, batch_size)
    largest = max(
        (sum(bytes_per_example(shape, itemsize, lengths[row]) for row in rows) for rows in batches), default=0
    )
    return Cost(len(lengths), sum(lengths), forwards, backwards, len(batches), largest)

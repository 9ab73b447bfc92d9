"""Who works on a set of examples: one process, or several that share it.

A :class:`Team` says which examples are this process's to run, and makes of what each of them found what all of them
did. Alone, both are the identity. `mi.core.ranks` is the team of processes that torchrun starts; `mi.core.in_step` that
of processes which hold one model together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mi.circuit.sums import Sums
from mi.core.shards import deal

if TYPE_CHECKING:
    from torch import Tensor

Plan = list[list[int]]


@dataclass(frozen=True)
class Found:
    """What a process found: sums over its examples, and how its batches went."""

    sums: Sums
    plan: Plan
    halved: int


class Team:
    """One process alone."""

    rank, size = 0, 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that reads, writes and speaks."""
        return self.rank == 0

    @property
    def parts(self) -> int:
        """How many processes hold one model together; 1: each has a whole one."""
        return 1

    def mine(self, rows: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
        """Of the examples at ``rows`` those that this process runs; ``lengths`` are of all examples."""
        return rows[deal([lengths[row] for row in rows], self.rank, self.size)]

    def check(self) -> None:
        """Go on only while nobody has failed."""

    def counting(self, advance: Callable[[float], None]) -> Callable[[float], None]:
        """Told of examples that are done here, which stand for as many in each process."""

        def done(n: float) -> None:
            advance(n * self.size)
            self.check()

        return done

    def first(self, find: Callable[[], Any]) -> Any:
        """What the process that leads finds; the others hear of it."""
        return find()

    def device(self, word: str) -> str:
        """The word of --device as it means this process."""
        return word

    @contextmanager
    def turn(self, device: str) -> Iterator[None]:
        """In here a device is taken, by one process after the other."""
        yield

    def found(self, mine: Found) -> Found:
        """What all have found, in the process that leads; the others keep their own."""
        return mine

    def total(self, sums: list[Tensor], count: int) -> tuple[list[Tensor], int]:
        """Sums and a count over the examples of all, in each process."""
        return sums, count


ALONE = Team()

_current: list[Team] = [ALONE]


def current() -> Team:
    """The team that this process belongs to."""
    return _current[-1]


@contextmanager
def member(team: Team) -> Iterator[None]:
    """This process belongs to ``team``."""
    _current.append(team)
    try:
        yield
    finally:
        _current.pop()

"""Out of memory: smaller batches by themselves, the same result."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import torch

from mi.core.team import current
from mi.errors import RunError

# The CPU allocator; a file that cannot be mapped; a thread whose stack finds no room.
SIGNS = ("DefaultCPUAllocator", "Cannot allocate memory", "can't start new thread")


ONE_TOO_MANY = "out of memory with a batch of one example"
LESS = "use shorter examples, --dtype bfloat16, a smaller --memory-budget or a larger device"


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA raises its own class; all else says it in words only."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, Exception) and any(sign in str(error) for sign in SIGNS)
    )


def halving(
    plan: Sequence[Sequence[int]], work: Callable[[Sequence[int]], None], on_halved: Callable[[int], None]
) -> tuple[list[list[int]], int]:
    """Do ``work`` on every batch of the plan; where one does not fit, no batch after it is more than half as large.

    Returns the plan as carried out, and how often a batch did not fit. ``work`` must leave nothing behind when it
    fails. ``on_halved`` is told the new size each time.

    Raises:
        RunError: a batch of one example does not fit.
    """
    done: list[list[int]] = []
    halved = 0
    todo = [list(rows) for rows in reversed(plan)]
    most = max((len(rows) for rows in plan), default=0)
    while todo:
        rows = todo.pop()
        if len(rows) > most:
            todo += [rows[most:], rows[:most]]
            continue
        if _fits(work, rows):
            done.append(rows)
            continue
        if len(rows) == 1:
            raise RunError(ONE_TOO_MANY, LESS)
        most = (len(rows) + 1) // 2
        halved += 1
        on_halved(most)
        todo.append(rows)
    return done, halved


class SideBySide:
    """How many copies of a batch run side by side: as many as are planned, and half as many once they do not fit.

    One for all batches of a command; ``halved`` is how often copies did not fit, and ``on_halved`` is told how many
    rows, copies by examples, run at once from then on.
    """

    def __init__(self, on_halved: Callable[[int], None] = lambda n: None) -> None:
        self._on_halved, self._most, self.halved = on_halved, sys.maxsize, 0

    def run(self, copies: Sequence[int], examples: int, work: Callable[[Sequence[int]], None]) -> None:
        """Do ``work``, which must leave nothing behind when it fails, on these copies of so many examples, or on parts
        of them.

        Raises:
            MemoryError: one copy does not fit, so that the batch must be halved.
        """
        todo = [copies]
        while todo:
            some = todo.pop()
            most = max(1, self._most // examples)
            if len(some) > most:
                todo += [some[most:], some[:most]]
            elif not _fits(work, some):
                if len(some) == 1:
                    raise MemoryError("one copy of the batch does not fit")
                self._most = (len(some) + 1) // 2 * examples
                self.halved += 1
                self._on_halved(self._most)
                todo.append(some)


def _fits(work: Callable[[Sequence[int]], None], items: Sequence[int]) -> bool:
    """Do the work, and say whether there was memory for it; what it had made so far is let go."""
    try:
        work(items)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    else:
        return True
    if current().parts > 1:
        raise RunError(
            "out of memory in one of the processes that hold the model together",
            "none of them can halve a batch by itself: use a smaller --batch-size or --memory-budget",
        )
    # Outside the except block: the traceback would keep the failed batch's tensors alive.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False

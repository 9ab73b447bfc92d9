"""Out of memory: smaller batches by themselves, the same result."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from mi.errors import RunError

# The CPU allocator; a file that cannot be mapped; a thread whose stack finds no room.
SIGNS = ("DefaultCPUAllocator", "Cannot allocate memory", "can't start new thread")


ONE_TOO_MANY = "out of memory with a batch of one example"


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
        failed = False
        try:
            work(rows)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            failed = True
        # Outside the except block: the traceback would keep the failed batch's tensors alive.
        if not failed:
            done.append(rows)
            continue
        if len(rows) == 1:
            raise RunError(ONE_TOO_MANY, "use shorter examples, --dtype bfloat16 or a larger device")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        most = (len(rows) + 1) // 2
        halved += 1
        on_halved(most)
        todo.append(rows)
    return done, halved

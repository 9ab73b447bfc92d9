"""Processes that hold one model together: all do the same work, in step, and the first reads, writes and speaks.

Each layer of such a model (`tensor_parallel`) makes the processes wait for each other, so one that has failed leaves
the others where they cannot look up. A thread of each process does so for it: where the process does not come to its
end by itself, the thread ends it, with the code that all end with; in the first it says what went wrong before.

In: the ranks that torchrun started. Out: :class:`InStep`, the team of them.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from mi.core.ranks import POLL, LeftError, Ranks
from mi.core.team import Team
from mi.errors import MiError, RunError

GRACE = 2.0  # seconds in which a process may come to its end by itself
# What a collective says when a process is no longer there.
BROKEN = ("gloo", "Connection closed by peer", "Connection reset by peer", "NCCL", "Broken pipe")


class InStep(Team):
    """One of the processes. Each runs all examples, on its part of the model."""

    def __init__(self, ranks: Ranks) -> None:
        self.rank, self.size = ranks.rank, ranks.size
        self._ranks = ranks

    @property
    def parts(self) -> int:
        return self.size

    def mine(self, rows: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
        return rows

    def check(self) -> None:
        self._ranks.check()

    def counting(self, advance: Callable[[float], None]) -> Callable[[float], None]:
        return advance

    def first(self, find: Callable[[], Any]) -> Any:
        return self._ranks.first(find)

    def device(self, word: str) -> str:
        return self._ranks.device(word)

    @contextmanager
    def turn(self, device: str) -> Iterator[None]:
        with self._ranks.turn(device):
            yield


@contextmanager
def watched(ranks: Ranks, leave: Callable[[int], None] = os._exit) -> Iterator[None]:
    """In here, this process ends when another has failed, wherever it is."""
    over, known = threading.Event(), contextvars.copy_context()  # who speaks is in there
    own = ranks.apart()

    def look() -> None:
        while not over.wait(POLL):
            try:
                own.look()
            except (MiError, LeftError) as error:
                if not over.wait(GRACE):
                    leave(known.run(own.leave, error))
                return
            except RuntimeError:  # the store is gone, and rank 0 with it: nothing to wait for
                return

    thread = threading.Thread(target=look, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def explained(error: BaseException) -> BaseException:
    """An error as what it means here: a collective that breaks has lost a process."""
    if isinstance(error, RuntimeError) and not isinstance(error, MiError) and any(s in str(error) for s in BROKEN):
        lost = RunError("one of the processes has ended before its work was done", "torchrun says which")
        lost.__cause__ = error
        return lost
    return error

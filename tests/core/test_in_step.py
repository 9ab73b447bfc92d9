"""Processes that work in step: how each ends where another has failed. A store in memory stands in for torchrun's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from torch import distributed

from mi.core import in_step, ranks
from mi.core.in_step import InStep, explained, watched
from mi.core.memory import halving
from mi.core.ranks import Endings, Ranks
from mi.core.team import ALONE, member
from mi.errors import MiError, RunError
from mi.failures import explain, report


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "POLL", 0.002)
    monkeypatch.setattr(in_step, "POLL", 0.002)
    monkeypatch.setattr(in_step, "GRACE", 0.05)
    monkeypatch.setattr(ranks, "PATIENCE", 5.0)


class Store:
    """A store that has as many connections as are asked for."""

    def __init__(self) -> None:
        self._held = distributed.HashStore()

    def clone(self) -> Store:
        return self

    def __getattr__(self, name: str) -> Callable[..., object]:
        return getattr(self._held, name)  # type: ignore[no-any-return]


def team(size: int = 2) -> list[Ranks]:
    store = Store()
    return [Ranks(store, rank, size, rank, size, Endings(report, explain)) for rank in range(size)]


def test_whoever_hangs_is_ended_and_the_first_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """Rank 1 fails while rank 0 is where it cannot look up; then the other way round."""
    first, second = team()
    left = threading.Event()
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        left.set()

    with watched(first, leave):
        assert second.failed(RunError("the score of m0 is nan", "look at the weights")) == 4
        assert left.wait(5)
    assert codes == [4]
    assert capsys.readouterr().err == "mi: the score of m0 is nan; look at the weights\n"


def test_a_failure_of_the_first_ends_whoever_hangs(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = team()
    left = threading.Event()
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        left.set()

    with watched(second, leave):
        assert first.end(3) == 3
        assert left.wait(5)
    assert codes == [3]
    assert capsys.readouterr().err == "", "the first has said it"


def test_whoever_comes_to_its_end_by_itself_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_step, "GRACE", 5.0)
    first, second = team()
    codes: list[int] = []
    with watched(second, codes.append):
        first._store.set("left/1", "")
        first.end(0)
        time.sleep(0.1)  # the thread has seen it by now
        assert second.end(0) == 0
    assert codes == []


def test_all_run_all_examples() -> None:
    rows, seen = np.arange(5), list[float]()
    for each in team():
        own = InStep(each)
        assert own.mine(rows, [3] * 5) is rows
        own.counting(seen.append)(2.0)
        assert (own.parts, own.leads) == (2, each.rank == 0)
    assert seen == [2.0, 2.0]
    assert ALONE.parts == 1


def test_no_process_halves_a_batch_by_itself() -> None:
    def work(rows: object) -> None:
        raise MemoryError("DefaultCPUAllocator")

    with member(InStep(team()[1])), pytest.raises(RunError, match="one of the processes that hold the model together"):
        halving([[0, 1]], work, lambda size: None)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer"), True),
        (RuntimeError("The size of tensor a (3) must match"), False),
        (MiError("no such file"), False),
    ],
)
def test_a_collective_that_breaks_has_lost_a_process(error: Exception, lost: bool) -> None:
    found = explained(error)
    assert (found is not error) == lost
    assert lost == ("one of the processes has ended" in str(found))

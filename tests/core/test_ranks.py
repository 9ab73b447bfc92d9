"""Several processes as one command: who waits for whom, and how all of them end. Threads and a store in memory stand in
for processes; `tests/line/test_torchrun.py` has real ones.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from torch import distributed

from mi import run as life
from mi.core import ranks
from mi.core.ranks import Endings, LeftError, Ranks, own_device
from mi.core.team import ALONE, current, member
from mi.errors import MiError, RunError, UsageError
from mi.failures import explain, report


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "POLL", 0.002)
    monkeypatch.setattr(ranks, "LOOK", 0.0)
    monkeypatch.setattr(ranks, "PATIENCE", 5.0)


def team(size: int) -> list[Ranks]:
    store = distributed.HashStore()
    return [Ranks(store, rank, size, rank, size, Endings(report, explain)) for rank in range(size)]


def all_do(members: list[Ranks], what: Callable[[Ranks], Any]) -> list[Any]:
    """What each comes to, at the same time; an exception in the place of a result."""

    def one(member: Ranks) -> Any:
        try:
            return what(member)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(members)) as pool:
        return list(pool.map(one, members))


def test_nobody_goes_on_before_the_last_has_come() -> None:
    came: list[int] = []

    def meet(member: Ranks) -> int:
        time.sleep(0.02 * (member.size - member.rank))
        came.append(member.rank)
        member._meet()
        return len(came)

    assert all_do(team(3), meet) == [3, 3, 3]


def test_a_failure_is_told_by_the_first_and_ends_all(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[MiError] = []

    def work(member: Ranks) -> int:
        try:
            if member.rank == 2:
                raise RunError("the score of m0 is nan", "look at the weights", place="here")
            while True:  # the others are at work, and look up now and then
                time.sleep(0.002)
                member.check()
        except MiError as error:
            if not member.leads:
                return member.failed(error)
            said.append(error)
            return member.end(error.code)
        except LeftError as error:
            return member.failed(error)

    assert all_do(team(4), work) == [4, 4, 4, 4]
    assert [(e.fact, e.hint, e.place, e.code) for e in said] == [
        ("the score of m0 is nan", "look at the weights", "here", 4)
    ]
    assert capsys.readouterr().err == ""  # whoever reports in rank 0 says it, and nobody else


def test_a_failure_of_the_first_ends_those_that_wait_for_it() -> None:
    def work(member: Ranks) -> int:
        if member.leads:
            return member.end(3)
        try:
            member._meet()
        except LeftError as error:
            return member.failed(error)
        return -1

    assert all_do(team(3), work) == [3, 3, 3]


def test_all_end_with_what_the_first_comes_to() -> None:
    """A disk that is full when rank 0 writes is everybody's failure."""
    for code in (0, 4):
        assert all_do(team(3), lambda member, code=code: member.end(code if member.leads else 0)) == [code] * 3


def test_the_first_failure_counts() -> None:
    members = team(3)
    for each, fact in ((members[1], "one"), (members[2], "two")):
        each._store.compare_set("failed", "", f'{{"fact": "{fact}", "hint": "", "place": "", "code": 3}}')
    with pytest.raises(MiError, match="one"):
        members[0].check()


def test_whoever_hears_nothing_speaks_for_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rank 0 was killed: somebody must say why."""
    monkeypatch.setattr(ranks, "PATIENCE", 0.05)
    assert team(2)[1].failed(MiError("no such file", place="x.jsonl")) == 3
    assert "x.jsonl: no such file" in capsys.readouterr().err


def test_a_signal_is_no_failure_to_tell() -> None:
    members = team(2)
    assert members[1].failed(SystemExit(143)) == 143
    assert members[1].failed(KeyboardInterrupt()) == 130
    members[0].check()


def test_devices_are_taken_one_after_the_other() -> None:
    members = team(3)
    devices = ["cuda:2", "cuda:0", "cuda:1"]
    taken: list[int] = []
    inside = threading.Lock()

    def take(member: Ranks) -> None:
        with member.turn(devices[member.rank]):
            assert inside.acquire(blocking=False), "two at once"
            taken.append(member.rank)
            time.sleep(0.01)
            inside.release()

    assert all_do(members, take) == [None, None, None]
    assert taken == [1, 2, 0]  # by device, whatever the rank: two jobs take them in the same order


@pytest.mark.parametrize(
    ("word", "rank", "size", "n_cuda", "found"),
    [
        ("auto", 1, 2, 4, "cuda:1"),
        ("cuda", 3, 4, 4, "cuda:3"),
        ("auto", 1, 2, 0, "auto"),
        ("cpu", 1, 2, 4, "cpu"),
        ("cuda:3", 0, 1, 4, "cuda:3"),
    ],
)
def test_a_gpu_for_each(word: str, rank: int, size: int, n_cuda: int, found: str) -> None:
    assert own_device(word, rank, size, n_cuda) == found


@pytest.mark.parametrize(
    ("word", "n_cuda", "says"),
    [
        ("auto", 2, "3 processes on a machine with 2 GPUs; use --nproc-per-node 2, or --device cpu"),
        ("cuda:1", 4, "3 processes would share cuda:1"),
    ],
)
def test_no_gpu_is_shared(word: str, n_cuda: int, says: str) -> None:
    with pytest.raises(UsageError) as found:
        own_device(word, 2, 3, n_cuda)
    assert says in str(found.value)


def test_work_is_dealt_to_all_or_refused() -> None:
    lengths = [5, 6, 5, 6, 5]
    dealt = [member.mine(np.arange(5), lengths).tolist() for member in team(2)]
    assert sorted(dealt[0] + dealt[1]) == [0, 1, 2, 3, 4]
    with pytest.raises(UsageError, match="there are 3 processes and 2 examples"):
        team(3)[0].mine(np.arange(2), lengths)


def test_progress_of_one_stands_for_all() -> None:
    seen: list[float] = []
    team(4)[0].counting(seen.append)(2.0)
    assert seen == [8.0]


def test_membership_ends() -> None:
    assert current() is ALONE
    with member(team(2)[1]):
        assert current().rank == 1
    assert current() is ALONE


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ({}, None),
        ({"RANK": "1", "WORLD_SIZE": "2"}, None),  # a cluster's own variables are not torchrun's
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}, None),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, 1),
    ],
)
def test_who_was_started_by_torchrun(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], rank: int | None
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert life.rank_of_several() == rank

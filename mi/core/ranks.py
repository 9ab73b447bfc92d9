"""The processes that torchrun started, as one command: rank 0 reads, writes and speaks, all of them compute.

In: the variables of torchrun's environment. Out: :class:`Ranks`, the team of those processes, and one exit code.

Every step that needs all ranks begins with a meeting: each says in torch's key-value store that it has come, and waits
for the others with an eye on who has failed. So nobody waits in a collective for a rank that will not come: whoever
fails leaves word, rank 0 says it once, and all end with the same code. What is exchanged then are float64 sums, in host
memory and once a run: gloo carries them, whatever device computed them.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mi.circuit.sums import joined
from mi.core.team import Found, Team, member
from mi.errors import FAILED, MiError, RunError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

SPLIT = ("attribute",)  # the commands whose work is shared
POLL = 0.05  # seconds between two looks at the store
LOOK = 0.5  # between two looks while there is work to do
PATIENCE = 60.0  # seconds that a failed rank waits for rank 0 to say why


Arguments = Mapping[str, Any]  # of a command, by the names of its parameters
# What runs a command: told what to do once its arguments are known, and what with an error. Gives an exit code.
Work = Callable[[Callable[[Arguments], None], Callable[[BaseException], int]], int]


@dataclass(frozen=True)
class Endings:
    """How a command ends badly: ``report`` says what went wrong and gives the exit code, ``explain`` any error as the
    one kind that a user sees."""

    report: Callable[[BaseException], int]
    explain: Callable[[BaseException], MiError]


class LeftError(Exception):
    """Another rank has failed: there is nothing more to do, and nothing to say."""


class Ranks(Team):
    """One of the processes. ``store`` is torch's."""

    def __init__(self, store: Any, rank: int, size: int, local_rank: int, local_size: int, endings: Endings) -> None:
        self.rank, self.size = rank, size
        self._local_rank, self._local_size = local_rank, local_size
        self._store, self._meetings, self._looked = store, 0, 0.0
        self._endings = endings

    def check(self) -> None:
        """
        Raises:
            MiError: in rank 0, what another rank could not do.
            LeftError: in another rank, that somebody has failed.
        """
        if time.monotonic() - self._looked > LOOK:
            self.look()

    def look(self) -> None:
        """As :meth:`check`, now."""
        self._looked = time.monotonic()
        failed = self._store.check(["failed"])
        if failed and self.leads:
            told = json.loads(self._store.get("failed"))
            raise MiError(told["fact"], told["hint"], place=told["place"], code=told["code"])
        if failed or self._store.check(["end"]):
            raise LeftError

    def _await(self, keys: Sequence[str]) -> None:
        """Until all keys are there."""
        while not self._store.check(list(keys)):
            self.look()
            time.sleep(POLL)

    def _meet(self) -> None:
        """Until all ranks have come as far as this one."""
        self._meetings += 1
        self._store.set(f"met/{self._meetings}/{self.rank}", "")
        self._await([f"met/{self._meetings}/{rank}" for rank in range(self.size)])

    def apart(self) -> Ranks:
        """The same process on a connection of its own, for another thread."""
        store = self._store.clone()
        return Ranks(store, self.rank, self.size, self._local_rank, self._local_size, self._endings)

    def first(self, find: Callable[[], Any]) -> Any:
        from torch import distributed

        held = [find() if self.leads else None]
        self._meet()
        with _exchange():
            distributed.broadcast_object_list(held, src=0)
        return held[0]

    def mine(self, rows: Any, lengths: Sequence[int]) -> Any:
        """
        Raises:
            UsageError: there is nothing for some of the ranks to do.
        """
        if self.size > len(rows):
            raise UsageError(
                f"there are {self.size} processes and {len(rows)} example{'s' * (len(rows) != 1)}",
                f"start at most {len(rows)}",
            )
        return super().mine(rows, lengths)

    def found(self, mine: Found) -> Found:
        import torch
        from torch import distributed

        self._meet()
        sums = mine.sums
        about = (replace(sums, by_shard=sums.by_shard[:0]), mine.plan, mine.halved)
        heard: list[Any] = [None] * self.size
        with _exchange():
            distributed.gather_object(about, heard if self.leads else None, dst=0)
            if not self.leads:
                distributed.send(torch.from_numpy(sums.by_shard), dst=0)
                return mine

        def each() -> Iterator[Any]:
            yield sums
            for rank in range(1, self.size):
                part = torch.empty(sums.by_shard.shape, dtype=torch.float64)
                distributed.recv(part, src=rank)
                yield replace(heard[rank][0], by_shard=part.numpy())

        plan = [batch for _, batches, _ in heard for batch in batches]
        with _exchange():
            return Found(joined(each()), plan, sum(halved for _, _, halved in heard))

    def total(self, sums: list[Tensor], count: int) -> tuple[list[Tensor], int]:
        import torch
        from torch import distributed

        self._meet()
        number, added = torch.tensor([count]), [value.cpu().contiguous() for value in sums]
        with _exchange():
            for value in (number, *added):
                distributed.all_reduce(value)
        return [new.to(old.device) for new, old in zip(added, sums, strict=True)], int(number)

    def device(self, word: str) -> str:
        import torch

        return own_device(word, self._local_rank, self._local_size, torch.cuda.device_count())

    @contextmanager
    def turn(self, device: str) -> Iterator[None]:
        """Devices are taken in one order, host by host: two jobs that share devices cannot each hold one that the other
        waits for."""
        self._store.set(f"device/{self.rank}", f"{socket.gethostname()} {device}")
        self._meet()
        of_rank = [(self._store.get(f"device/{rank}"), rank) for rank in range(self.size)]
        place = [rank for _, rank in sorted(of_rank)].index(self.rank)
        if place:
            self._await([f"taken/{place - 1}"])
        yield
        self._store.set(f"taken/{place}", "")

    def failed(self, error: BaseException) -> int:
        """End another rank than 0: leave word of why, and take the code that all end with."""
        if isinstance(error, SystemExit | KeyboardInterrupt):  # a signal, which torchrun sends to all
            return self._endings.report(error)
        if not isinstance(error, LeftError):
            found = self._endings.explain(error)
            told = {"fact": found.fact, "hint": found.hint, "place": found.place, "code": found.code}
            try:
                self._store.compare_set("failed", "", json.dumps(told))
            except RuntimeError:  # rank 0 is gone, and the store with it
                return self._endings.report(error)
        return self._verdict(lambda: FAILED if isinstance(error, LeftError) else self._endings.report(error), PATIENCE)

    def leave(self, error: BaseException) -> int:
        """End for whoever cannot: say what :meth:`look` has found, in rank 0, and take the code that all end with."""
        return self.end(self._endings.report(error)) if self.leads else self.failed(error)

    def _verdict(self, otherwise: Callable[[], int], patience: float = float("inf")) -> int:
        """The code that rank 0 ends with."""
        begun = time.monotonic()
        try:
            while time.monotonic() - begun < patience:
                if self._store.check(["end"]):
                    code = int(self._store.get("end"))
                    self._store.set(f"left/{self.rank}", "")
                    return code
                time.sleep(POLL)
        except RuntimeError:
            return otherwise()
        return otherwise()

    def end(self, code: int) -> int:
        """End in order: rank 0 says with which code, and goes last, since the store may be its own."""
        if not self.leads:
            return code or self._verdict(lambda: FAILED)
        with suppress(RuntimeError):
            self._store.set("end", str(code))
            begun = time.monotonic()
            others = [f"left/{rank}" for rank in range(1, self.size)]
            while not self._store.check(others) and time.monotonic() - begun < 5:
                time.sleep(POLL)
        return code


def own_device(word: str, rank: int, size: int, n_cuda: int) -> str:
    """The device of one of ``size`` processes on a machine: a GPU for each, or the CPU for all.

    Raises:
        UsageError: they would have to share one.
    """
    if size == 1 or word == "cpu":
        return word
    if word in ("auto", "cuda") and n_cuda:
        if size > n_cuda:
            raise UsageError(
                f"{size} processes on a machine with {n_cuda} GPU{'s' * (n_cuda != 1)}",
                f"use --nproc-per-node {n_cuda}, or --device cpu",
            )
        return f"cuda:{rank}"
    if word.startswith(("cuda:", "mps")):
        raise UsageError(f"{size} processes would share {word}", "leave --device away, or use cpu")
    return word


def together(command: str, work: Work, endings: Endings) -> int:
    """The life of one command in all its processes. ``work`` runs it; it is told what to do first, and what to do with
    an error."""
    from mi.core import in_step

    try:
        store, team = _join(endings)
    except BaseException as error:  # nobody is there to hear of it
        return endings.report(error)
    if not team.leads:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # until the process ends
    held = ExitStack()

    def start(arguments: Arguments) -> None:
        if arguments.get("tensor_parallel"):
            _connect(store, team, str(arguments.get("device")))
            held.enter_context(in_step.watched(team))
            held.enter_context(member(in_step.InStep(team)))
            return
        if command not in SPLIT:
            instead = "; or with --tensor-parallel" if "tensor_parallel" in arguments else ""
            raise UsageError(
                f"mi {command} runs in one process",
                f"start it without torchrun, which {' and '.join(SPLIT)} can use{instead}",
            )
        _connect(store, team, "cpu")
        held.enter_context(member(team))

    def on_error(error: BaseException) -> int:
        held.close()
        found = in_step.explained(error)
        return endings.report(found) if team.leads else team.failed(found)

    with held:
        code = work(start, on_error)
    return team.end(code)


def _join(endings: Endings) -> tuple[Any, Ranks]:
    """torch's store, and this process among those that torchrun started."""
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(iter(rendezvous("env://")))
    local_rank, local_size = (int(os.environ[name]) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    return store, Ranks(distributed.PrefixStore("mi", store), rank, size, local_rank, local_size, endings)


def _connect(store: Any, team: Ranks, device: str) -> None:
    """Let the processes exchange tensors: those on GPUs through nccl, if any will be there."""
    import torch
    from torch import distributed

    backend = "gloo" if device == "cpu" or not torch.cuda.is_available() else "cpu:gloo,cuda:nccl"
    inner = distributed.PrefixStore("gloo", store)
    distributed.init_process_group(backend, store=inner, rank=team.rank, world_size=team.size)


@contextmanager
def _exchange() -> Iterator[None]:
    """What goes wrong in here is that a rank is no longer there."""
    try:
        yield
    except RuntimeError as error:
        raise RunError("one of the processes has ended before its work was done", "torchrun says which") from error

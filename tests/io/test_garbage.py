"""What `mi gc` takes away, in which order, and which streams need it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from mi.io import atomic, garbage, memo, store, stream
from tests.io import plain


def aged(data: bytes, age: float) -> str:
    """A blob that was last used so many seconds ago; its digest."""
    sha = store.put_blob(data)
    os.utime(store.blob(sha), (time.time() - age,) * 2)
    return sha


def test_entries_are_listed_by_last_use_with_kind_and_size() -> None:
    assert garbage.entries() == []
    old, young = aged(b"old!", 500), aged(b"young", 100)
    examples = store.put_examples(plain.RECORDS["examples"])
    memo.remember("ab" * 32, {"kind": "report"}, [])
    found = garbage.entries()
    assert [(entry.kind, entry.digest, entry.bytes) for entry in found[:2]] == [("blobs", old, 4), ("blobs", young, 5)]
    assert {(entry.kind, entry.digest) for entry in found[2:]} == {("examples", examples), ("memo", "ab" * 32)}
    assert abs(found[0].used - (time.time() - 500)) < 100
    assert all(entry.path.is_file() for entry in found)


@pytest.mark.parametrize(
    ("older", "size", "going"),
    [
        (None, None, []),
        (250, None, ["a", "b"]),
        (10_000, None, []),
        (0, None, ["a", "b", "c", "d"]),
        (None, 100, []),
        (None, 40, []),
        (None, 39, ["a"]),
        (None, 15, ["a", "b", "c"]),
        (None, 0, ["a", "b", "c", "d"]),
        (350, 25, ["a", "b"]),
        (250, 25, ["a", "b"]),
    ],
)
def test_what_is_old_goes_and_then_the_oldest_until_it_fits(
    older: float | None, size: int | None, going: list[str]
) -> None:
    for name, age in (("d", 100), ("c", 200), ("b", 300), ("a", 400)):
        aged(name.encode() * 10, age)
    plan = garbage.plan(garbage.entries(), older, size)
    assert [entry.path.read_bytes()[:1].decode() for entry in plan] == going


def test_removing_frees_and_forgives_what_is_gone() -> None:
    for number in range(3):
        aged(b"x" * (number + 1), 100)
    plan = garbage.entries()
    plan[0].path.unlink()
    assert garbage.remove(plan) == sum(entry.bytes for entry in plan[1:])
    assert garbage.entries() == []
    assert garbage.remove([]) == 0


def test_what_killed_processes_left_goes_too() -> None:
    aged(b"x", 1)
    stale, fresh = store.where() / "blobs" / ".a.1-2.tmp", store.where() / "blobs" / ".b.1-2.tmp"
    for path in (stale, fresh):
        path.write_bytes(b"half")
    os.utime(stale, (time.time() - 2 * atomic.STALE,) * 2)
    garbage.remove([])
    assert not stale.exists()
    assert fresh.exists()
    assert len(garbage.entries()) == 1


def test_streams_that_need_the_store_are_found() -> None:
    tensors = {"scores": {"edge": np.zeros(2)}}
    os.makedirs("a/.hidden")
    for name in ("a/needs.jsonl", "a/.hidden/needs.jsonl"):
        with open(name, "wb") as f:
            stream.write(None, plain.HEADS["scores"], plain.RECORDS["scores"], tensors, f)
    stream.write("whole.jsonl", plain.HEADS["scores"], [], tensors)
    for name, source in (("made.jsonl", {"generator": "ioi"}), ("file.jsonl", {"path": "x.csv"}), ("b.jsonl", {})):
        head = {"kind": "report", "examples": {"sha256": plain.SHA, "source": source}}
        Path(name).write_bytes(plain.stream(head, []))
    Path("broken.jsonl").write_bytes(b'{"mi":"head"\n\xff')
    Path("data.jsonl").write_bytes(b'{"clean":"a"}\n{"blob":1}\n')
    sha = stream.read("whole.jsonl", ()).blobs["scores"].sha256
    assert garbage.users() == {sha: ["a/needs.jsonl"], plain.SHA: ["b.jsonl"]}
    assert garbage.users("a") == {sha: ["needs.jsonl"]}


@pytest.mark.parametrize("at", ["store", "results/store"])
def test_what_the_store_itself_remembers_is_no_stream_of_the_user(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`$MI_STORE` may be a visible folder here."""
    monkeypatch.setenv("MI_STORE", at)
    Path("results").mkdir()
    tensors = {"scores": {"edge": np.ones(3, dtype=np.float32)}}
    memo.remember("ab" * 32, {"kind": "scores", "graph": plain.GRAPH}, [], tensors)
    assert garbage.users() == {}
    (store.where() / "memo" / "ab" / f"{'ab' * 32}.jsonl").rename("results/mine.jsonl")
    assert set(map(tuple, garbage.users().values())) == {("results/mine.jsonl",)}

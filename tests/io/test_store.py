"""The store: content by digest, several processes at once, kills, damage that heals."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mi.errors import FAILED, MiError, RunError
from mi.io import store, tensors
from tests import waiting
from tests.io import plain

RECORDS = [{"clean": "a b", "corrupted": "a c", "id": str(n)} for n in range(3)]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".gitignore")


def test_the_folder_is_that_of_the_environment_or_here(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.root() == own_store
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("MI_STORE")
        else:
            monkeypatch.setenv("MI_STORE", unset)
        assert store.root() == Path(".mi/store")
    assert Path(".mi/store").is_dir()


def test_git_ignores_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MI_STORE")
    subprocess.run(["git", "init", "-q", "."], check=True)
    store.put_blob(b"x")
    status = subprocess.run(["git", "status", "--porcelain", "-uall"], capture_output=True, text=True, check=True)
    assert status.stdout == ""


def test_looking_makes_no_folder(own_store: Path) -> None:
    assert store.get_examples(plain.SHA) is None
    assert not store.blob(plain.SHA).exists()
    assert not own_store.exists()


def test_a_blob_lies_under_its_digest(own_store: Path) -> None:
    packed = tensors.pack("x", {"y": np.arange(3.0)})
    for data in (packed, packed.tobytes()):
        sha = store.put_blob(data)
        assert sha == hashlib.sha256(packed.tobytes()).hexdigest()
        assert store.blob(sha).read_bytes() == packed.tobytes()
    assert files(own_store) == [store.blob(sha)]


def test_examples_come_back_without_baselines() -> None:
    sha = store.put_examples({**record, "baseline": {"clean": 1.0, "corrupted": 0.0}} for record in RECORDS)
    assert sha == hashlib.sha256(b"".join(map(plain.line, RECORDS))).hexdigest()
    assert store.get_examples(sha) == RECORDS


def test_damaged_examples_are_not_there_and_heal() -> None:
    sha = store.put_examples(RECORDS)
    (path,) = files(store.where())
    path.write_bytes(path.read_bytes().replace(b"a b", b"a z"))
    assert store.get_examples(sha) is None
    store.put_examples(RECORDS)
    assert store.get_examples(sha) == RECORDS


def test_a_damaged_blob_heals_when_it_is_put_again() -> None:
    sha = store.put_blob(b"good")
    for damage in (b"", b"bad!", b"longer than it was"):
        store.blob(sha).write_bytes(damage)
        store.put_blob(b"good")
        assert store.blob(sha).read_bytes() == b"good"


def test_every_use_makes_an_entry_young() -> None:
    sha, examples = store.put_blob(b"x"), store.put_examples(RECORDS)
    long_ago = time.time() - 1e6
    for path in files(store.where()):
        os.utime(path, (long_ago, long_ago))
    store.put_blob(b"x")
    assert store.blob(sha).stat().st_mtime > long_ago + 1e5
    store.get_examples(examples)
    assert all(path.stat().st_mtime > long_ago + 1e5 for path in files(store.where()))


def test_a_store_that_cannot_be_made_says_how_to_choose_another(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_bytes(b"")
    monkeypatch.setenv("MI_STORE", "file/store")
    for put in (lambda: store.put_blob(b"x"), lambda: store.put_examples(RECORDS)):
        with pytest.raises(RunError) as caught:
            put()
        assert caught.value.code == FAILED
        assert "MI_STORE" in caught.value.hint
    monkeypatch.setenv("MI_STORE", "file")
    with pytest.raises(RunError, match="the store file is no folder"):
        store.put_blob(b"x")


@pytest.mark.parametrize("sha", ["", "abc", "../" * 21 + "x", plain.SHA.upper(), plain.SHA + "0", "g" * 64])
def test_what_is_no_digest_never_becomes_a_path(sha: str) -> None:
    with pytest.raises(MiError, match="no sha256"):
        store.check_digest(sha)
    assert store.check_digest(plain.SHA) == plain.SHA


PUTTER = """
import random, sys
from mi.io import store
rng = random.Random(int(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for n in range(int(sys.argv[2])):
    store.put_blob(rng.randbytes(30_000))
    store.put_examples([{"clean": str(n), "corrupted": "x"}])
"""


def putter(seed: int, n: int) -> subprocess.Popen[bytes]:
    made = subprocess.Popen(
        [sys.executable, "-c", PUTTER, str(seed), str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert made.stdout is not None
    made.stdout.readline()
    return made


def start(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


def assert_sound(folder: Path) -> None:
    """Every entry has the digest that is its name."""
    for path in files(folder):
        if not path.name.endswith(".tmp"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name.split(".")[0]


def test_two_processes_fill_one_empty_store_with_the_same_things(own_store: Path) -> None:
    both = [putter(7, 30) for _ in range(2)]
    for process in both:
        start(process)
    for process in both:
        process.communicate()
        assert process.returncode == 0
    assert_sound(own_store)
    assert len(files(own_store)) == 60


def test_killed_at_any_instant_the_store_is_sound(seed: int, own_store: Path) -> None:
    rng = random.Random(seed)
    for _ in range(4):
        process = putter(rng.randrange(2**32), 100_000)
        old = files(own_store)
        start(process)
        waiting.a_moment(rng, 0.01)
        waiting.until(lambda old=old: files(own_store) != old, "a first new entry", process)
        waiting.a_moment(rng, 0.04)
        process.kill()
        process.communicate()
        assert_sound(own_store)
    finisher = putter(seed, 20)
    start(finisher)
    finisher.communicate()
    assert finisher.returncode == 0
    assert_sound(own_store)

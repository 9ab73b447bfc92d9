"""Digests of files and model folders, and a memory that must never be wrong."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from mi.errors import MiError
from mi.io import digests


def old(path: str | Path, age: float = 100) -> None:
    """Make a file look settled. Its change time cannot be set, so tests move the clock instead: see `later`."""
    os.utime(path, (time.time() - age,) * 2)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour has passed: what lies here has settled."""
    real = time.time_ns
    monkeypatch.setattr(digests.time, "time_ns", lambda: real() + 3_600_000_000_000)


def memories(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.json"))


def test_a_digest_is_that_of_the_bytes() -> None:
    for data in (b"", b"x", b"x" * 3_000_000):
        Path("file").write_bytes(data)
        assert digests.file_digest("file") == hashlib.sha256(data).hexdigest()


def read_times(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    reads: list[str] = []
    real = digests._read
    monkeypatch.setattr(digests, "_read", lambda path: reads.append(path) or real(path))
    return reads


@pytest.mark.usefixtures("later")
def test_a_settled_file_is_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reads = read_times(monkeypatch)
    Path("file").write_bytes(b"x")
    found = {digests.file_digest(path) for path in ("file", "./file", Path("file").absolute())}
    assert found == {hashlib.sha256(b"x").hexdigest()}
    assert len(reads) == 1
    assert len(memories(tmp_path)) == 1


@pytest.mark.usefixtures("later")
def test_a_change_is_seen_by_size_time_or_inode(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_bytes(b"one")
    stamp = os.stat("file").st_mtime_ns
    digests.file_digest("file")
    Path("file").write_bytes(b"longer")
    assert digests.file_digest("file") == hashlib.sha256(b"longer").hexdigest()
    Path("other").write_bytes(b"others")
    for path in ("file", "other"):
        os.utime(path, ns=(stamp, stamp))
    digests.file_digest("file")
    os.replace("other", "file")  # same size, same mtime
    assert digests.file_digest("file") == hashlib.sha256(b"others").hexdigest()
    Path("file").write_bytes(b"thirds")
    os.utime("file", ns=(stamp, stamp))  # as `cp -p` and `touch -r` do
    assert digests.file_digest("file") == hashlib.sha256(b"thirds").hexdigest()


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path) -> None:
    """Two changes within one tick of the file system's clock look alike."""
    Path("file").write_bytes(b"x")
    digests.file_digest("file")
    assert memories(tmp_path) == []


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"key":1,"sha256":2}', b"\xff", b'{"sha256":"x"}'])
def test_a_damaged_memory_is_forgotten(damage: bytes, tmp_path: Path) -> None:
    Path("file").write_bytes(b"x")
    wanted = digests.file_digest("file")
    (memory,) = memories(tmp_path)
    memory.write_bytes(damage)
    assert digests.file_digest("file") == wanted
    assert memory.read_bytes() != damage


@pytest.mark.usefixtures("later")
def test_a_memory_that_cannot_be_written_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_bytes(b"x")
    monkeypatch.setenv("XDG_CACHE_HOME", "file")
    assert digests.file_digest("file") == hashlib.sha256(b"x").hexdigest()


def test_a_file_that_is_not_there() -> None:
    for call in (digests.file_digest, digests.weights_digest):
        with pytest.raises(MiError, match="cannot be read") as caught:
            call("missing")
        assert caught.value.place == "missing"


# --- model folders ----------------------------------------------------------------------------------------------------

PARTS = ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
         "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
         "special_tokens_map.json", "tokenizer.model", "modeling_own.py"]  # fmt: skip
OTHERS = ["README.md", "generation_config.json", "training_args.bin", "pytorch_model.bin", "optimizer.pt", ".hidden"]


def folder(name: str, parts: list[str]) -> Path:
    path = Path(name)
    path.mkdir()
    for part in parts:
        (path / part).write_text(f"text of {part}")
    return path


def test_a_model_is_its_weights_config_and_tokenizer() -> None:
    model = folder("model", PARTS + OTHERS)
    lines = [f"{hashlib.sha256((model / p).read_bytes()).hexdigest()}  {p}\n" for p in sorted(PARTS)]
    assert digests.weights_digest(model) == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_the_digest_is_what_sha256sum_says() -> None:
    model = folder("model", PARTS)
    command = "LC_ALL=C; export LC_ALL; sha256sum * | sha256sum"
    made = subprocess.run(["sh", "-c", command], cwd=model, capture_output=True, text=True, check=True)
    assert made.stdout.split()[0] == digests.weights_digest(model)


def test_every_part_matters_and_nothing_else() -> None:
    model = folder("model", PARTS + OTHERS)
    before = digests.weights_digest(model)
    for part in OTHERS:
        (model / part).write_text("changed")
        assert digests.weights_digest(model) == before
    seen = {before}
    for part in PARTS:
        (model / part).write_text("changed")
        seen.add(digests.weights_digest(model))
    (model / "vocab.txt").write_text("more")
    seen.add(digests.weights_digest(model))
    (model / "tokenizer.json").rename(model / "added_tokens.json")
    seen.add(digests.weights_digest(model))
    assert len(seen) == len(PARTS) + 3


def test_pickled_weights_count_where_there_are_no_others() -> None:
    model = folder("model", ["config.json", "pytorch_model-00001-of-00002.bin", "training_args.bin"])
    assert digests.model_files(model) == ["config.json", "pytorch_model-00001-of-00002.bin"]


def test_links_to_files_are_followed_as_in_the_hubs_cache() -> None:
    model = folder("model", PARTS)
    linked = Path("snapshot")
    linked.mkdir()
    for part in PARTS:
        (linked / part).symlink_to(f"../model/{part}")
    assert digests.weights_digest(linked) == digests.weights_digest(model)

"""Files that are the old ones or the new ones: errors, full disks, limits, links, kills."""

from __future__ import annotations

import os
import pty
import random
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mi.errors import FAILED, RunError
from mi.io import atomic
from tests import waiting


def put(path: str | Path, data: bytes) -> None:
    with atomic.file(path) as f:
        f.write(data)


def fail(path: str, error: BaseException) -> None:
    with atomic.file(path) as f:
        f.write(b"half")
        raise error


def names() -> list[str]:
    return sorted(os.listdir("."))


def test_a_file_is_made_and_replaced() -> None:
    put("out", b"one")
    put("out", b"two")
    assert Path("out").read_bytes() == b"two"
    assert names() == ["out"]


def test_an_error_leaves_the_old_file_and_nothing_else() -> None:
    put("out", b"old")
    with pytest.raises(KeyError):
        fail("out", KeyError())
    assert Path("out").read_bytes() == b"old"
    assert names() == ["out"]


def test_an_interrupt_leaves_nothing() -> None:
    with pytest.raises(KeyboardInterrupt):
        fail("out", KeyboardInterrupt())
    assert names() == []


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_file_respects_the_umask(umask: int) -> None:
    before = os.umask(umask)
    try:
        put("out", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat("out").st_mode) == 0o666 & ~umask


def test_a_replaced_file_keeps_its_mode() -> None:
    put("out", b"old")
    os.chmod("out", 0o604)
    put("out", b"new")
    assert stat.S_IMODE(os.stat("out").st_mode) == 0o604


def test_a_link_is_followed() -> None:
    os.mkdir("far")
    put("far/real", b"old")
    os.symlink("far/real", "link")
    put("link", b"new")
    assert os.path.islink("link")
    assert Path("far/real").read_bytes() == b"new"
    assert os.listdir("far") == ["real"]


def test_a_device_and_a_pipe_are_written_straight() -> None:
    outer, inner = pty.openpty()  # a device of our own: a broken writer would replace a shared one for everybody
    put(os.ttyname(inner), b"x")
    assert os.read(outer, 100) == b"x"
    assert stat.S_ISCHR(os.stat(os.ttyname(inner)).st_mode)
    os.close(outer)
    os.close(inner)
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    put("pipe", b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


def test_a_descriptor_of_the_shell_is_written_straight() -> None:
    """`mi prune -o >(gzip > out.gz)` names /dev/fd/63."""
    reader, writer = os.pipe()
    put(f"/dev/fd/{writer}", b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("path", "fact"),
    [
        ("missing/out", "No such file or directory"),
        ("file/out", "Not a directory"),
        (".", "Is a directory"),
        ("/dev/full", "No space left on device"),
        ("x" * 300, "File name too long"),
        ("/proc/version/x", "Not a directory"),
    ],
)
def test_what_the_system_refuses_is_a_run_error(path: str, fact: str) -> None:
    Path("file").write_bytes(b"")
    with pytest.raises(RunError) as caught:
        put(path, b"x" * 100_000)
    assert fact in caught.value.fact
    assert path in caught.value.fact
    assert caught.value.code == FAILED
    assert names() == ["file"]


def test_long_names_in_any_script_have_room_for_the_temporary_name() -> None:
    for name in ("n" * 255, "ü" * 127, "字" * 85):
        put(name, b"x")
        assert names() == [name]
        os.remove(name)


def test_a_limit_on_file_sizes_leaves_the_old_file() -> None:
    """Past RLIMIT_FSIZE the system sends SIGXFSZ, which Python ignores, and says EFBIG."""
    program = """
import resource, sys
from mi.errors import RunError
from mi.io import atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with atomic.file("out") as f:
        f.write(b"x" * 5000)
except RunError as error:
    sys.exit(f"{error.code} {error}")
"""
    put("out", b"old")
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert made.returncode == 1
    assert made.stderr.startswith("4 cannot write out: File too large")
    assert Path("out").read_bytes() == b"old"
    assert names() == ["out"]


def test_killed_at_any_instant_the_file_is_old_or_new(seed: int) -> None:
    """Two processes replace one file for as long as they live; each read finds one whole version."""
    program = """
import sys
from mi.io import atomic
letter = sys.argv[1].encode()
while True:
    with atomic.file("out") as f:
        for _ in range(50):
            f.write(letter * 4000)
"""
    rng = random.Random(seed)
    put("out", b"-" * 200_000)
    for _ in range(4):
        one, other = ([sys.executable, "-c", program, letter] for letter in "ab")
        with waiting.killed(one), waiting.killed(other):
            for letter in (b"a", b"b"):
                waiting.until(lambda letter=letter: whole(Path("out").read_bytes()) == letter, f"version {letter!r}")
            waiting.a_moment(rng, 0.02)
        assert whole(Path("out").read_bytes()) in (b"a", b"b")


def whole(data: bytes) -> bytes:
    """The letter of a version."""
    assert len(data) == 200_000
    assert len(set(data)) == 1
    return data[:1]


def test_what_a_killed_process_left_is_taken_away_later() -> None:
    old, young, other = ".out.1-abc.tmp", ".out.2-abc.tmp", ".result.1-abc.tmp"
    for name in (old, young, other):
        Path(name).write_bytes(b"half")
    for name in (old, other):
        os.utime(name, (time.time() - 2 * atomic.STALE,) * 2)
    put("out", b"x")
    assert names() == sorted([young, other, "out"])


def test_an_error_inside_reaches_the_caller_as_it_is() -> None:
    with pytest.raises(RunError, match="mine"):
        fail("out", RunError("mine"))
    assert names() == []


def test_a_reader_that_goes_away_is_a_broken_pipe_and_no_failure() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        put(f"/dev/fd/{writer}", b"x")
    os.close(writer)


def test_no_descriptor_is_left_open() -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        put("out", b"x")
        with pytest.raises(KeyError):
            fail("out", KeyError())
    assert os.listdir("/proc/self/fd") == before


def test_the_data_is_on_the_disk_before_it_has_its_name_and_then_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut the name must not lead to an empty file."""
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def fsync(handle: int) -> None:
        done.append(f"sync {'folder' if stat.S_ISDIR(os.fstat(handle).st_mode) else os.fstat(handle).st_size}")
        sync(handle)

    def rename(old: str, new: str) -> None:
        done.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    put("out", b"12345")
    assert done == ["sync 5", "rename", "sync folder"]

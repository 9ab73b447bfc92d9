"""The main line as processes: the literal line, signals, full disks, little memory, two at once. Each starts torch.

At most 25 tests of the whole suite do that: `torch_process` counts them.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mi.io import stream
from tests.cli.conftest import Session

MI = [sys.executable, "-m", "mi"]
Count = Callable[..., None]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and a `mi` on the path that is this checkout's."""
    folder, programs = tmp_path / "here", tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    programs.mkdir()
    program = programs / "mi"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mi "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(folder)
    return folder


def start(*words: str, **options: Any) -> subprocess.Popen[bytes]:
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([*MI, *words], **options)


def sh(line: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", line],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
        env={**os.environ, **variables},
        check=False,
    )


@pytest.mark.torch_process(3)
def test_the_literal_line_gives_the_bytes_of_one_process(mi: Session, torch_process: Count, tmp_path: Path) -> None:
    """Whatever the folder, the hash seed and the umask. Both do the work: the stores are empty."""
    torch_process(3)
    inside = mi("pipe", "cache ! attribute ! prune ! score").ok().out
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    line = f"cd '{folder}'; umask 077; mi cache </dev/null | mi attribute | mi prune | mi score"
    done = sh(line, PYTHONHASHSEED="7", MI_STORE=str(tmp_path / "another store"))
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == inside
    assert b"Traceback" not in done.stderr


@pytest.mark.torch_process(3)
def test_the_script_of_a_result_makes_it_again(mi: Session, torch_process: Count, tmp_path: Path) -> None:
    torch_process(3)
    mi("data", "ioi", "-n", "8", "--seed", "3", "-o", "ioi.jsonl").ok()
    line = "cache --data ioi.jsonl ! attribute --method eap --steps 3 ! prune --percent 20 --signed ! score"
    mi("pipe", line, "-o", "report.jsonl").ok()
    Path("again.sh").write_bytes(mi("log", "--script", "report.jsonl").ok().out)
    done = sh("bash again.sh", MI_STORE=str(tmp_path / "another store"))
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == Path("report.jsonl").read_bytes()
    Path("ioi.jsonl").write_bytes(mi("data", "ioi", "-n", "8", "--seed", "4").ok().out)
    stopped = sh("bash again.sh")
    assert stopped.returncode != 0
    assert b"ioi.jsonl" in stopped.stderr
    assert stopped.stdout == b""


@pytest.mark.torch_process(2)
def test_two_processes_share_an_empty_store(torch_process: Count) -> None:
    torch_process(2)
    line = ("cache", "--task", "ioi", "-n", "6", "--site", "blocks.0.attn.z")
    both = [start(*line), start(*line)]
    outs = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    assert outs[0][0] == outs[1][0]
    Path("cache.jsonl").write_bytes(outs[0][0])
    assert sh("mi verify cache.jsonl").returncode == 0


@pytest.mark.torch_process(1)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_at_the_end_of_the_work(torch_process: Count) -> None:
    torch_process()
    done = sh("mi cache --task ioi -n 4 >/dev/full")
    assert done.returncode == 4
    assert b"space" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.torch_process(1)
def test_too_little_memory_is_one_clear_message(torch_process: Count) -> None:
    """Libraries take what they need to load; then the rest of the address space is taken away."""
    torch_process()
    program = (
        "import resource, sys, torch, transformers, nnsight\n"
        "from mi.__main__ import main\n"
        "size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size + 60_000_000, size + 60_000_000))\n"
        "sys.exit(main(['cache', '--task', 'ioi', '-n', '500', '-o', 'cache.jsonl']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, timeout=200, check=False
    )
    assert b"Traceback" not in done.stderr
    if done.returncode == 0:
        assert len(stream.read("cache.jsonl", ("cache",)).records) == 1000
    else:
        assert done.returncode == 4, done.stderr.decode()
        assert b"out of memory" in done.stderr
        assert not Path("cache.jsonl").exists()


@pytest.mark.torch_process(3)
def test_a_kill_leaves_the_old_result_or_the_new_one(mi: Session, torch_process: Count) -> None:
    torch_process(3)
    mi("cache", "--task", "ioi", "-n", "3", "--site", "blocks.0.attn.z", "-o", "acts.jsonl").ok()
    seed = random.SystemRandom().randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    words = ("cache", "--task", "ioi", "-n", "60", "--site", "blocks.0.attn.z", "-o", "acts.jsonl", "--fresh")
    begun = time.monotonic()
    process = start(*words)
    process.communicate(timeout=200)
    whole = time.monotonic() - begun
    assert process.returncode == 0
    new = len(stream.read("acts.jsonl", ("cache",)).records)
    for _ in range(2):
        mi("cache", "--task", "ioi", "-n", "3", "--site", "blocks.0.attn.z", "-o", "acts.jsonl").ok()
        process = start(*words)
        time.sleep(rng.uniform(0.5, 1.05) * whole)
        process.kill()
        process.communicate(timeout=60)
        assert mi("verify", "acts.jsonl").code == 0, f"seed {seed}"
        assert len(stream.read("acts.jsonl", ("cache",)).records) in (6, new)


@pytest.mark.torch_process(1)
def test_ctrl_c_during_the_work(torch_process: Count) -> None:
    torch_process()
    process = start("cache", "--task", "ioi", "-n", "3000", "-o", "cache.jsonl", "--fresh")
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=100)
    assert (process.returncode, out) == (130, b""), err
    assert b"Traceback" not in err
    assert [name for name in os.listdir(".") if not name.startswith(".mi")] == []


def test_a_dead_upstream_leaves_no_result(mi: Session) -> None:
    done = sh("mi data no-such-task | mi prune -o circuit.jsonl")
    assert done.returncode == 3
    assert not Path("circuit.jsonl").exists()
    assert done.stderr.count(b"Traceback") == 0
    assert shutil.which("mi") is not None

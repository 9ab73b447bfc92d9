"""The manners of standard input: terminal, closed, device, empty, idle, dead, and one that is fine."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from mi.errors import BAD_INPUT, USAGE
from mi.io import source, stream
from tests.io import plain

PROGRAM = """
import sys
from mi.errors import MiError
from mi.io import source, stream
source.IDLE = float(sys.argv[1])
sys.stderr.write(f"{source.kind()} {source.has_upstream()}\\n")
try:
    found = stream.read(None, ("circuit",))
except MiError as error:
    sys.stderr.write(f"{type(error).__name__}: {error}\\n")
    sys.exit(error.code)
sys.stdout.write(f"{found.origin} {len(found.records)}\\n")
"""
DATA = plain.kind("circuit")


def run(stdin: Any, idle: float = 30, shell: str = "") -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", PROGRAM, str(idle)]
    if shell:
        words = ["sh", "-c", f'exec "$@" {shell}', "sh", *words]
    return subprocess.run(words, stdin=stdin, capture_output=True, text=True)


def test_a_pipe_is_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, DATA)
    os.close(writer)
    made = run(reader)
    assert (made.returncode, made.stdout, made.stderr) == (0, "stdin 2\n", "pipe True\n")


def test_a_file_is_read() -> None:
    Path("s.jsonl").write_bytes(DATA)
    with open("s.jsonl", "rb") as f:
        made = run(f)
    assert (made.returncode, made.stdout, made.stderr) == (0, "stdin 2\n", "file True\n")


def test_a_terminal_is_a_usage_error() -> None:
    outer, inner = pty.openpty()
    made = run(inner)
    os.close(outer)
    os.close(inner)
    assert made.returncode == USAGE
    assert made.stderr.startswith("terminal False\nTerminalInput: stdin is a terminal")


def test_a_closed_stdin_is_bad_input_and_is_told_from_a_later_file() -> None:
    Path("s.jsonl").write_bytes(DATA)
    for shell in ("<&-", "<&- 3< s.jsonl"):
        made = run(None, shell=shell)
        assert made.returncode == BAD_INPUT
        assert made.stderr.startswith("closed False\nMiError: stdin: standard input is closed")


def test_a_device_that_is_empty_is_a_dead_upstream() -> None:
    made = run(subprocess.DEVNULL)
    assert made.returncode == BAD_INPUT
    assert made.stderr.startswith("device False\nMiError: stdin: no stream came")


def test_a_pipe_that_ends_without_a_byte_names_the_task_flag() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    made = run(reader)
    assert made.returncode == BAD_INPUT
    assert made.stderr.startswith("pipe True\nMiError: stdin: no stream came")
    assert "--task" in made.stderr


def test_an_upstream_that_dies_halfway_is_no_success() -> None:
    for size in (1, len(DATA) // 2, len(DATA) - 1):
        reader, writer = os.pipe()
        os.write(writer, DATA[:size])
        os.close(writer)
        made = run(reader)
        assert made.returncode == BAD_INPUT
        assert made.stdout == ""


def test_an_idle_pipe_says_one_line_and_goes_on_waiting() -> None:
    """The bytes come when the line has been read, the rest of them after another while."""
    words = [sys.executable, "-c", PROGRAM, "0.2"]
    with subprocess.Popen(words, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        assert process.stderr.readline() == b"pipe True\n"
        assert b"waiting" in process.stderr.readline()
        process.stdin.write(DATA[:50])
        process.stdin.flush()
        time.sleep(0.5)  # on a machine that is slower than this the test sees less; it does not fail
        process.stdin.write(DATA[50:])
        process.stdin.close()
        assert (process.stdout.read(), process.stderr.read(), process.wait()) == (b"stdin 2\n", b"", 0)


def test_a_pipe_that_breaks_into_small_pieces_is_read() -> None:
    reader, writer = os.pipe()

    def drip() -> None:
        for start in range(0, len(DATA), 7):
            os.write(writer, DATA[start : start + 7])
        os.close(writer)

    thread = threading.Thread(target=drip)
    thread.start()
    made = run(reader)
    thread.join()
    os.close(reader)
    assert made.stdout == "stdin 2\n"


def test_the_wait_before_the_line_is_two_seconds() -> None:
    from mi.io import source

    assert source.IDLE == 2


@pytest.mark.parametrize("slow", [True, False])
def test_the_time_of_waiting_is_used_once(monkeypatch: pytest.MonkeyPatch, slow: bool) -> None:
    """Not if the bytes are there already."""
    read, write = os.pipe()
    monkeypatch.setattr(source, "PATIENCE", 0.01)
    saved = os.dup(0)
    os.dup2(read, 0)
    said: list[str] = []

    def meanwhile() -> None:
        said.append("called")
        os.write(write, DATA)
        os.close(write)

    try:
        if not slow:
            meanwhile()
            said.clear()
        found = stream.read(None, ("circuit",), meanwhile)
    finally:
        os.dup2(saved, 0)
        os.close(read)
    assert (said, found.origin) == (["called"] if slow else [], "stdin")

"""Standard input of the command that starts the line: a terminal, closed, a device, empty, idle, dead.

What the command would compute is in the store, so that it needs no torch. Filters are in tests/cli/test_manners.py.
"""

from __future__ import annotations

import os
import pty
from pathlib import Path
from subprocess import PIPE

import pytest

from tests.line.conftest import Shell, Start, refused

pytestmark = pytest.mark.usefixtures("here")
STARTS = "mi cache -m model -n 3"


@pytest.mark.parametrize("redirect", ["</dev/null", "<&-", "<&- 3<cache.jsonl"])
def test_where_nobody_writes_a_pipe_is_started(sh: Shell, redirect: str) -> None:
    done = sh(f"{STARTS} {redirect}")
    assert (done.code, done.out) == (0, Path("started.jsonl").read_bytes()), done.err


def test_at_a_terminal_a_pipe_is_started(sh: Shell) -> None:
    """Nothing waits for somebody to type a stream."""
    outer, inner = pty.openpty()
    done = sh(STARTS, stdin=inner)
    os.close(inner)
    os.close(outer)
    assert (done.code, done.out) == (0, Path("started.jsonl").read_bytes()), done.err


def test_a_task_is_started_without_a_look_at_a_pipe_that_nobody_closes(start: Start) -> None:
    """As in a CI job."""
    process = start(*STARTS.split(), "--task", "ioi", stdin=PIPE, env={"MI_TEST_TORCH": "0"})
    assert process.wait(timeout=60) in (0, 99), "99: not in the store, so torch would be imported: it went to work"


@pytest.mark.parametrize("upstream", ["true", "cat empty", "mi data no-such-task", "false"])
def test_a_pipe_without_a_byte_is_a_dead_upstream(sh: Shell, upstream: str) -> None:
    Path("empty").touch()
    refused(sh(f"set +o pipefail; {upstream} | mi cache -m model"), 3, "stdin", "no stream came", "--task")


def test_an_empty_file_is_no_stream(sh: Shell) -> None:
    Path("empty").touch()
    refused(sh("mi cache -m model <empty"), 3, "stdin", "--task")


@pytest.mark.torch_process(1)
def test_an_idle_pipe_is_mentioned_once_and_then_served(start: Start) -> None:
    """It comes after two seconds, in which the libraries are imported."""
    process = start("mi", "cache", "-m", "model", stdin=PIPE, torch=1)
    assert process.stderr is not None
    assert b"mi cache: nothing on standard input for 2 s: waiting" in process.stderr.readline()
    out, err = process.communicate(Path("ioi.jsonl").read_bytes(), timeout=60)
    assert process.returncode == 0, err
    assert b"waiting" not in err
    assert out == Path("cache.jsonl").read_bytes()

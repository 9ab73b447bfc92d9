"""Processes, as shells see them: terminals, closed and full descriptors, broken pipes, signals. No torch."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.cli import streams

MI = [sys.executable, "-m", "mi"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def mi(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([*MI, *words], text=True, check=False, timeout=60, **options)


@pytest.fixture(autouse=True)
def buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users have it: what is written to a full disk fails when the buffer is flushed, perhaps at the very end."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


def sh(line: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which `mi` is this checkout's."""
    prelude = f'mi() {{ "{sys.executable}" -m mi "$@"; }}; set -o pipefail; '
    return subprocess.run(["bash", "-c", prelude + line], text=True, capture_output=True, check=False, timeout=60)


def terminal(*words: str) -> tuple[int, str]:
    """Run on a terminal: exit code and all that was shown."""
    env = {name: value for name, value in os.environ.items() if name not in ("LINES", "COLUMNS")}
    shell = pexpect.spawn(
        sys.executable, ["-m", "mi", *words], encoding="utf-8", timeout=30, dimensions=(40, 100), env=env
    )
    shell.expect(pexpect.EOF)
    shell.close()
    return shell.exitstatus, shell.before.replace("\r\n", "\n")


def test_a_terminal_gets_a_table_and_with_json_the_stream() -> None:
    streams.write_scores("scores.jsonl")
    code, shown = terminal("prune", "scores.jsonl", "--top", "6")
    assert code == 0
    assert "circuit of ioi in toy" in shown
    assert '"mi"' not in shown
    code, shown = terminal("prune", "scores.jsonl", "--top", "6", "--json")
    assert code == 0
    assert shown.startswith('{"')
    assert '"mi":"end"' in shown


def test_a_table_on_a_terminal_has_as_many_rows_as_fit_and_says_so() -> None:
    streams.write_scores("scores.jsonl")
    _, shown = terminal("view", "scores.jsonl")
    assert "32 of 46 edges" in shown
    assert shown.count("->") == 32
    assert "46 edges" in terminal("view", "scores.jsonl", "--top", "0")[1]


def test_a_filter_with_a_terminal_as_input_shows_short_help() -> None:
    code, shown = terminal("prune")
    assert code == 2
    assert "stdin is a terminal" in shown
    assert "Usage: mi prune" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(("redirect", "code"), [("</dev/null", 3), ("<&-", 3), ("< empty", 3)])
def test_nothing_to_read(redirect: str, code: int) -> None:
    Path("empty").touch()
    done = sh(f"mi prune {redirect}")
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("mi prune: ")
    assert "mi cache" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "words",
    ["prune scores.jsonl", "view scores.jsonl", "schema circuit", "log scores.jsonl", "verify scores.jsonl", "--help"],
)
def test_a_full_disk_behind_stdout_is_a_failure(words: str) -> None:
    streams.write_scores("scores.jsonl")
    done = sh(f"mi {words} >/dev/full")
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) in (1, 2)
    assert "space" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_closed_stdout_is_no_crash() -> None:
    streams.write_scores("scores.jsonl")
    for words in ("prune scores.jsonl", "view scores.jsonl", "--help"):
        done = sh(f"mi {words} >&-")
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
        assert done.returncode != 1


def limited(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_file_that_may_not_grow_leaves_the_old_one() -> None:
    streams.write_scores("scores.jsonl")
    Path("circuit.jsonl").write_text("the old one")
    before = set(os.listdir("."))
    done = mi("prune", "scores.jsonl", "-o", "circuit.jsonl", preexec_fn=limited(64))
    assert done.returncode == 4
    assert "circuit.jsonl" in done.stderr
    assert Path("circuit.jsonl").read_text() == "the old one"
    assert set(os.listdir(".")) == before


def waiting(*words: str) -> subprocess.Popen[str]:
    """A command that waits for its standard input, once it has said so."""
    process = subprocess.Popen(
        [*MI, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert "waiting" in process.stderr.readline()
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_command_without_a_traceback(number: signal.Signals, code: int) -> None:
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip(f"whoever runs the tests has {signal.Signals(number).name} ignored, as nohup does")
    process = waiting("prune", "-o", "circuit.jsonl")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "", "")
    assert os.listdir(".") == []


def test_an_interrupt_that_a_library_swallowed_is_one_all_the_same() -> None:
    """Half imported, the library fails later with an error of its own."""
    program = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored\n"
        "import mi.run, mi.__main__\n"
        "def execute(command, argv, *more):\n"
        "    try: os.kill(os.getpid(), signal.SIGINT); [0 for _ in range(10**6)]\n"
        "    except BaseException: pass\n"
        "    raise RecursionError('maximum recursion depth exceeded')\n"
        "mi.run.execute = execute\n"
        "mi.__main__.entry()\n"
    )
    done = subprocess.run([sys.executable, "-c", program, "log"], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_an_idle_pipe_is_mentioned_once_and_then_served() -> None:
    streams.write_scores("scores.jsonl")
    whole = mi("stamp", "scores.jsonl").stdout
    process = waiting("prune", "--top", "3")
    out, err = process.communicate(whole, timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-1].startswith('{"mi":"end"')
    assert "waiting" not in mi("prune", "scores.jsonl").stderr

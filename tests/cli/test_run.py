"""One command's life: parsing, settings, what the chain records, and every way to end."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import pytest

from mi import options, run
from mi.errors import MiError, RunError, UsageError
from mi.options import UNRECORDED, Argument, Option
from mi.show.notes import note
from tests.cli.conftest import Session

Install = Callable[[Callable[..., Any]], None]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a function in the place of `mi view`."""

    def install(function: Callable[..., Any]) -> None:
        module = SimpleNamespace(view=function)
        monkeypatch.setattr(run, "import_module", lambda name: module)

    return install


def fails(error: BaseException) -> Callable[[], None]:
    def view() -> None:
        """Fail."""
        raise error

    return view


REPORTED = [
    (MiError("it is bent"), 3, "mi view: it is bent\n"),
    (MiError("it is bent", "straighten it"), 3, "mi view: it is bent; straighten it\n"),
    (MiError("it is bent", place="a.jsonl:17"), 3, "mi view: a.jsonl:17: it is bent\n"),
    (UsageError("two sizes", "give one"), 2, "mi view: two sizes; give one\n"),
    (RunError("NaN at a0.h1"), 4, "mi view: NaN at a0.h1\n"),
    (
        MiError("a long fact " * 8, "and what to do about it " * 2),
        3,
        f"mi view: {'a long fact ' * 8}\n  {'and what to do about it ' * 2}\n",
    ),
    (MemoryError(), 4, "mi view: out of memory; use a smaller --batch-size, or --limit the examples\n"),
    (
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        4,
        "mi view: out of memory; use a smaller --batch-size, or --limit the examples\n",
    ),
    (
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        4,
        "mi view: out of memory; use a smaller --batch-size, or --limit the examples\n",
    ),
    (
        ValueError("first line\nsecond line"),
        4,
        "mi view: unexpected ValueError: first line; MI_TRACEBACK=1 shows where; please report it\n",
    ),
    (ZeroDivisionError(), 4, "mi view: unexpected ZeroDivisionError; MI_TRACEBACK=1 shows where; please report it\n"),
    (
        FileNotFoundError(errno.ENOENT, "No such file or directory", "x.csv"),
        3,
        "mi view: x.csv: no such file or directory\n",
    ),
    (PermissionError(errno.EACCES, "Permission denied", "x.csv"), 3, "mi view: x.csv: permission denied\n"),
    (
        OSError(errno.ENOSPC, "No space left on device", "out.jsonl"),
        4,
        "mi view: out.jsonl: cannot write: no space is left; nothing was replaced: make room and run again\n",
    ),
    (OSError(errno.EIO, "Input/output error"), 4, "mi view: input/output error\n"),
    (
        ModuleNotFoundError("No module named 'nnsight'", name="nnsight"),
        4,
        "mi view: the Python package 'nnsight' is missing; install mi again\n",
    ),
    (KeyboardInterrupt(), 130, ""),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
    (SystemExit(143), 143, ""),
]


@pytest.mark.parametrize(("error", "code", "text"), REPORTED, ids=lambda value: type(value).__name__)
def test_every_error_has_its_code_and_its_words(
    mi: Session, command: Install, error: BaseException, code: int, text: str
) -> None:
    command(fails(error))
    done = mi("view")
    assert (done.code, done.err, done.out) == (code, text, b"")


def test_a_traceback_is_shown_only_when_asked_for(
    mi: Session, command: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(fails(ValueError("oh")))
    assert "Traceback" not in mi("view").err
    monkeypatch.setenv("MI_TRACEBACK", "1")
    assert "Traceback" in mi("view").err
    assert mi("view").code == 4


def test_what_a_command_returns_is_the_exit_code(mi: Session, command: Install) -> None:
    def view() -> int:
        """Find something."""
        return 1

    command(view)
    assert mi("view").code == 1


def test_quiet_silences_notes_and_not_errors(mi: Session, command: Install) -> None:
    def view(quiet: options.Quiet = False) -> None:
        """Say two things."""
        note("by the way")
        raise MiError("but this is wrong")

    command(view)
    assert mi("view").err == "mi view: by the way\nmi view: but this is wrong\n"
    assert mi("view", "-q").err == "mi view: but this is wrong\n"


seen: dict[str, Any] = {}


def sample(
    file: options.Input = None,
    names: Annotated[list[str] | None, Argument(metavar="NAME")] = None,
    steps: Annotated[int, Option("--steps", "-s", help="Steps.", min=1)] = 5,
    rule: Annotated[Literal["left", "right"], Option("--rule", help="Rule.")] = "left",
    signed: Annotated[bool, Option("--signed", help="Signed.")] = False,
    keep: Annotated[list[str] | None, Option("--keep", help="Keep.")] = None,
    loud: Annotated[bool, UNRECORDED, Option("--loud", help="Loud.")] = False,
    device: options.Device = "auto",
    batch_size: options.BatchSize = None,
    output: options.Output = None,
    quiet: options.Quiet = False,
) -> None:
    """Take all sorts of parameters."""
    seen.clear()
    seen.update(steps=steps, rule=rule, device=device, batch_size=batch_size, argv=run.invocation().argv)


@pytest.mark.parametrize(
    ("words", "argv"),
    [
        ([], ()),
        (["-"], ()),
        (["scores.jsonl", "-o", "x.jsonl", "-q", "--loud"], ()),
        (["--steps", "5", "--rule", "left"], ()),
        (["-s", "7"], ("--steps", "7")),
        (["--steps=7", "--signed"], ("--steps", "7", "--signed")),
        (["--signed", "--steps", "7"], ("--steps", "7", "--signed")),
        (["--keep", "a*", "--rule", "right", "--keep", "m0"], ("--rule", "right", "--keep", "a*", "--keep", "m0")),
        (["f", "one", "two"], ("one", "two")),
        (["--batch-size", "4"], ("--batch-size", "4")),
    ],
    ids=" ".join,
)
def test_the_chain_records_what_the_result_depends_on(
    mi: Session, command: Install, words: list[str], argv: tuple[str, ...]
) -> None:
    command(sample)
    mi("view", *words).ok()
    assert seen["argv"] == argv


def test_a_value_from_the_environment_or_the_settings_is_recorded_as_if_it_were_typed(
    mi: Session, command: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(sample)
    Path("pyproject.toml").write_text('[tool.mi]\ndevice = "mps"\nbatch-size = 3\n[tool.mi.view]\nsteps = 9\n')
    mi("view").ok()
    assert (seen["steps"], seen["device"], seen["batch_size"]) == (9, "mps", 3)
    assert seen["argv"] == ("--steps", "9", "--device", "mps", "--batch-size", "3")
    monkeypatch.setenv("MI_DEVICE", "cuda")
    mi("view").ok()
    assert seen["device"] == "cuda"
    mi("view", "--device", "cpu").ok()
    assert seen["device"] == "cpu"


def test_settings_of_the_wrong_type_are_refused(mi: Session, command: Install) -> None:
    command(sample)
    Path("pyproject.toml").write_text('[tool.mi]\nbatch-size = "many"\n')
    done = mi("view")
    assert done.code == 2
    assert "batch-size" in done.err
    assert len(done.err.splitlines()) <= 2


def test_a_misspelled_setting_of_a_command_is_refused(mi: Session, command: Install) -> None:
    command(sample)
    Path("pyproject.toml").write_text("[tool.mi]\nno-such-flag = 1\n[tool.mi.view]\nstpes = 9\n")
    done = mi("view")
    assert (done.code, done.err) == (
        2,
        "mi view: [tool.mi]: mi view has no setting 'stpes'; see 'mi view --help'\n",
    )


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--stepz", "3"], "--steps"),
        (["--steps"], "requires an argument"),
        (["--steps", "many"], "'many' is not a valid"),
        (["--steps", "0"], "0 is not in the range"),
        (["--rule", "up"], "'left', 'right'"),
        (["-x"], "-x"),
    ],
    ids=" ".join,
)
def test_a_wrong_flag_is_a_usage_error_of_one_line(mi: Session, command: Install, words: list[str], part: str) -> None:
    command(sample)
    done = mi("view", *words)
    assert (done.code, done.out) == (2, b"")
    assert part in done.err
    assert done.err.startswith("mi view: ")
    assert "mi view --help" in done.err
    assert len(done.err.splitlines()) <= 2


def test_help_is_printed_without_running_the_command(mi: Session, command: Install) -> None:
    command(fails(AssertionError("it ran")))
    done = mi("view", "--help").ok()
    assert done.text.startswith("Usage: mi view ")


def test_examples_keep_their_lines() -> None:
    def view() -> None:
        """Do something
        over two lines.

        Examples:
          mi view a.jsonl
          mi view b.jsonl

        Examples:

            mi view c.jsonl
            mi view d.jsonl
        """

    text = run.build("view", view).get_help(run.build("view", view).make_context("mi view", []))
    assert "\n    mi view a.jsonl\n    mi view b.jsonl\n" in text
    assert "\n      mi view c.jsonl\n      mi view d.jsonl\n" in text
    assert "Do something over two lines." in text


def test_commands_leave_no_signal_handler_behind(mi: Session, command: Install) -> None:
    import signal

    before = signal.getsignal(signal.SIGTERM)
    during = []

    def view() -> None:
        """Look."""
        during.append(signal.getsignal(signal.SIGTERM))

    command(view)
    mi("view").ok()
    assert signal.getsignal(signal.SIGTERM) == before
    assert during[0] not in (before, signal.SIG_DFL)


def test_invocation_outside_a_command_is_a_mistake() -> None:
    with pytest.raises(RuntimeError, match="running command"):
        run.invocation()


def test_the_console_script_hides_the_arguments_from_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """nnsight switches its debug mode on when it sees -v in sys.argv."""
    from mi import __main__

    monkeypatch.setattr(sys, "argv", ["mi", "--version", "-v"])
    monkeypatch.setattr(__main__, "_leave", sys.exit)  # or it would end the tests
    monkeypatch.setattr(__main__, "main", lambda args: seen.update(args=args, argv=list(sys.argv)) or 7)
    with pytest.raises(SystemExit) as left:
        __main__.entry()
    assert (left.value.code, seen["args"], seen["argv"]) == (7, ["--version", "-v"], ["mi"])


def loads(
    model: options.Model = None, revision: options.Revision = None, trust_remote_code: options.TrustRemoteCode = False
) -> None:
    """Load a model."""
    print(model, revision, trust_remote_code)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-m", "some/model"], 2),
        (["-m", "some-model"], 2),
        (["-m", "some/model", "--revision", "c0ffee"], 0),
        (["-m", "folder"], 0),
        (["-m", "default"], 0),
        ([], 0),
    ],
)
def test_code_from_the_hub_is_run_of_a_pinned_revision_only(
    mi: Session, command: Install, words: list[str], code: int
) -> None:
    """Whatever the command: before anything is fetched. (Without -m the stream names model and commit.)"""
    command(loads)
    Path("folder").mkdir()
    done = mi("view", "--trust-remote-code", *words)
    assert (done.code, "--revision" in done.err) == (code, code == 2), done.err
    mi("view", *words).ok()


def test_no_file_of_a_project_can_have_code_trusted(mi: Session, command: Install) -> None:
    """Whoever clones a repository has not read its settings."""
    command(loads)
    for table in ("[tool.mi]", "[tool.mi.view]"):
        Path("pyproject.toml").write_text(f'{table}\ntrust-remote-code = true\nrevision = "c0ffee"\n')
        done = mi("view", "-m", "some/model")
        assert (done.code, done.out) == (2, b"")
        assert "trust-remote-code" in done.err

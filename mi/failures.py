"""How a command ends badly: any error in, one clear message on stderr and the exit code out.

A traceback is shown only under MI_TRACEBACK=1.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from contextlib import suppress

from mi.errors import BAD_INPUT, BROKEN_PIPE, FAILED, INTERRUPTED, MiError
from mi.show.notes import say, voice

ONE_LINE = 120  # a message that is longer is put on two lines
# What an error says when memory runs out: torch has no class of its own for it on the CPU, nor have files and threads.
OUT_OF_MEMORY = (
    "DefaultCPUAllocator",
    "CUDA out of memory",
    "MPS backend out of memory",
    "bad_alloc",
    "Cannot allocate memory",
    "can't start new thread",
)
_FULL = {errno.ENOSPC: "no space is left", errno.EDQUOT: "the quota is used up", errno.EFBIG: "the file is too large"}
_UNREADABLE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


interrupts: list[int] = []  # the SIGINTs of this command, which mi/run.py writes down


def report(error: BaseException) -> int:
    """Say what went wrong, once, and give the exit code."""
    if os.environ.get("MI_TRACEBACK") == "1" and not isinstance(error, SystemExit):
        traceback.print_exception(error)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED
    if _interrupted(error):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _discard_stdout()
        return BROKEN_PIPE
    failure = explain(error)
    say(message(failure))
    if isinstance(error, OSError):
        _discard_stdout()
    return failure.code


def _interrupted(error: BaseException | None) -> bool:
    """A library that was being imported may have made another error of the interrupt, or have swallowed it and failed
    later, half imported."""
    if interrupts and not isinstance(error, MiError):
        return True
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def message(error: MiError) -> str:
    """Place, fact, next step, on one line or two."""
    fact = ": ".join(filter(None, (error.place, error.fact)))
    if not error.hint:
        return fact
    program = voice.get().program
    one = f"{fact}; {error.hint}"
    return one if len(program) + 2 + len(one) <= ONE_LINE and "\n" not in one else f"{fact}\n  {error.hint}"


def explain(error: BaseException) -> MiError:
    """Any error as the one kind that a user sees."""
    if isinstance(error, MiError):
        return error
    text = str(error)
    if isinstance(error, MemoryError) or any(sign in text for sign in OUT_OF_MEMORY):
        return MiError("out of memory", "use a smaller --batch-size, or --limit the examples", code=FAILED)
    if isinstance(error, OSError):
        return _explain_os(error)
    if isinstance(error, ModuleNotFoundError):
        return MiError(f"the Python package {error.name!r} is missing", "install mi again", code=FAILED)
    first = text.strip().splitlines()[0] if text.strip() else ""
    fact = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return MiError(f"unexpected {fact}", "MI_TRACEBACK=1 shows where; please report it", code=FAILED)


def _explain_os(error: OSError) -> MiError:
    place = str(error.filename) if error.filename is not None else ""
    if error.errno in _FULL:
        return MiError(
            f"cannot write: {_FULL[error.errno]}",
            "nothing was replaced: make room and run again",
            place=place,
            code=FAILED,
        )
    fact = (error.strerror or str(error) or type(error).__name__).lower()
    return MiError(fact, place=place, code=BAD_INPUT if isinstance(error, _UNREADABLE) else FAILED)


def _discard_stdout() -> None:
    """What is still buffered cannot be written; the interpreter must not try again at exit and complain."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""Standard input and its manners: a terminal, a closed descriptor, /dev/null, an empty, idle or dead pipe.

In: file descriptor 0. Out: lines, or an error that says what to do.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import time
from collections.abc import Callable
from typing import BinaryIO

from mi.errors import MiError, UsageError

IDLE = 2.0  # seconds without a byte, after which one line is said
PATIENCE = 0.6  # seconds without a byte, after which a command starts on what it will need anyway
START = "a pipe starts with `mi cache --task ioi | ...`"


class TerminalInput(UsageError):  # noqa: N818 - a state, which the caller answers with its help
    """A filter was started with a terminal as its input: the command shows its short help."""


def _say(text: str) -> None:
    sys.stderr.write(f"mi: {text}\n")


note: Callable[[str], None] = _say  # run.py puts its own here


def kind() -> str:
    """What stdin is: "closed", "terminal", "device", "pipe" or "file"."""
    if sys.stdin is None:  # closed when the process started; descriptor 0 may be another file by now
        return "closed"
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return "closed"
    if os.isatty(0):
        return "terminal"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "device"
    return "file" if stat.S_ISREG(mode) else "pipe"


def has_upstream() -> bool:
    """False where a command that can start a pipe should do so: nobody writes to its stdin."""
    return kind() in ("pipe", "file")


def stdin(meanwhile: Callable[[], None] | None = None) -> BinaryIO:
    """Standard input as bytes, ready to read. ``meanwhile`` is called once if the first byte is slow to come."""
    what = kind()
    if what == "terminal":
        raise TerminalInput("stdin is a terminal: no stream to read", f"give a FILE, or pipe one in; {START}")
    if what == "closed":
        raise MiError("standard input is closed", f"give a FILE, or pipe a stream in; {START}", place="stdin")
    f = os.fdopen(os.dup(0), "rb")
    _wait(f, meanwhile)
    return f


def dead_upstream() -> MiError:
    """The error for a pipe that ended without one byte."""
    return MiError(
        "no stream came: standard input was empty",
        f"if a command stands before it in the pipe, it failed; {START}",
        place="stdin",
    )


def _wait(f: BinaryIO, meanwhile: Callable[[], None] | None) -> None:
    begun = time.monotonic()
    if meanwhile is not None and not _ready(f, PATIENCE):
        meanwhile()
    if not _ready(f, max(0.0, begun + IDLE - time.monotonic())):
        note(f"nothing on standard input for {IDLE:.0f} s: waiting for the command before this one")


def _ready(f: BinaryIO, seconds: float) -> bool:
    """Whether there is a byte, or an end, to read. What cannot be waited for is taken as ready."""
    try:
        return bool(select.select([f], [], [], seconds)[0])
    except (OSError, ValueError):
        return True

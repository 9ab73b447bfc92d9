"""Notes on stderr: what a user should know and a program need not. A line of text in, `mi COMMAND: text` out.

`mi/run.py` says which command is running and whether it is to be quiet.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Voice:
    """Who speaks, and whether it may."""

    command: str = ""
    quiet: bool = False

    @property
    def program(self) -> str:
        return f"mi {self.command}".rstrip()


_NOBODY = Voice()
voice: ContextVar[Voice] = ContextVar("voice", default=_NOBODY)


def note(text: str) -> None:
    """Say one thing on stderr, unless the command runs with -q."""
    if not voice.get().quiet:
        say(text)


def say(text: str) -> None:
    """Say one thing on stderr even with -q: for errors. A stderr that is closed or full is no reason to fail."""
    with suppress(OSError, ValueError):
        print(f"{voice.get().program}: {text}", file=sys.stderr, flush=True)

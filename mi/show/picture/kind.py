"""Which kind of picture is wanted: a flag and the name of the output in, `svg`, `png`, `html` or `dot` out."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mi.errors import UsageError


def is_for_a_terminal(output: str | None, to: str | None) -> bool:
    """Nobody says where or what, and a person looks at stdout."""
    return output is None and to is None and sys.stdout is not None and sys.stdout.isatty()


def kind_of(to: str | None, output: str | None, kinds: Sequence[str], default: str = "svg") -> str:
    """What --to says, or the end of the output's name; `default` for a pipe.

    Raises:
        UsageError: the two disagree, neither is a kind of picture, or a terminal would get bytes.
    """
    known = ", ".join(kinds)
    end = output.rpartition(".")[2].lower() if output and "." in output else ""
    if to is not None and end in kinds and end != to:
        raise UsageError(f"--to {to} and the name {output} disagree", "leave --to away")
    if to is None and end not in kinds and output not in (None, "-"):
        raise UsageError(f"the name {output} does not say what to draw", f"end it in one of {known}, or give --to")
    if is_for_a_terminal(output, to) or (to == "png" and output is None and sys.stdout and sys.stdout.isatty()):
        raise UsageError("a picture is nothing for a terminal", f"give -o FILE, whose end is one of {known}")
    return to or (end if end in kinds else default)

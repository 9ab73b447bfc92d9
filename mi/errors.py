"""The one kind of error that a user sees, and the exit codes.

In: a fact ("no end line"), a next step ("run the command before it again") and a place ("scores.jsonl:17"). Out: what
`mi/failures.py` prints on one or two lines, and the code it exits with. Whatever a user can cause ends here, never in a
traceback.
"""

OK = 0
FOUND = 1  # a check found something: check, diff, verify
USAGE = 2
BAD_INPUT = 3
FAILED = 4  # the run failed: a full disk, no memory, a number that is not finite
INTERRUPTED = 130
BROKEN_PIPE = 141


class MiError(Exception):
    """Something that the user can mend: `fact` says what is wrong, `hint` what to do, `place` where."""

    def __init__(self, fact: str, hint: str = "", *, place: str = "", code: int = BAD_INPUT) -> None:
        self.fact = printable(fact)
        self.hint = printable(hint)
        self.place = printable(place)
        super().__init__(self.fact)
        self.code = code

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        return f"{where}{self.fact}; {self.hint}" if self.hint else f"{where}{self.fact}"


def printable(text: str) -> str:
    """What is shown may quote files that others wrote: what would move the cursor or set a colour is spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


class UsageError(MiError):
    """The command line itself is wrong."""

    def __init__(self, fact: str, hint: str = "", *, place: str = "") -> None:
        super().__init__(fact, hint, place=place, code=USAGE)


class RunError(MiError):
    """The input was fine and the work could not be done."""

    def __init__(self, fact: str, hint: str = "", *, place: str = "") -> None:
        super().__init__(fact, hint, place=place, code=FAILED)

"""Flags of `mi cache` that say nothing beside others: flags in, perhaps an error out."""

from __future__ import annotations

from collections.abc import Mapping

from mi.errors import UsageError


def check_means(means: bool, by_position: bool, text: str | None, window: int | None, other: str | None) -> None:
    """Refuse what says how means are made without --means, and two things to average over."""
    if not (text or by_position or window):
        return
    if not means:
        raise UsageError("--text, --window and --by-position say how means are made", "give --means too")
    if window and not text:
        raise UsageError("--window cuts a text, and there is none", "name it with --text")
    if text and other:
        raise UsageError(f"--text and {other} both say what to average over", "give one of them")


def check_sites(means: bool, given: Mapping[str, object]) -> None:
    """Refuse what says which activations are kept, or how they are measured, where none are."""
    flags = [flag for flag, value in given.items() if value]
    if means and flags:
        raise UsageError(
            f"{flags[0]} means nothing with --means, which keeps what nodes write", f"leave {flags[0]} away"
        )
    if not given["--site"]:
        for flag in ("--positions", "--runs"):
            if given[flag]:
                raise UsageError(f"{flag} means nothing without --site", f"give --site too, or leave {flag} away")


def check_made(origin: str | None, number: int | None, counterfactual: str | None) -> None:
    """Refuse what says how examples are made where there are some; ``origin`` is where."""
    if origin is None:
        return
    if number is not None:
        raise UsageError(f"--number is of examples to be made, and {origin} has its own", "--limit N takes the first N")
    if counterfactual is not None:
        raise UsageError(f"--counterfactual is of examples to be made, and {origin} has its own", "leave it away")

"""Completion for fish. Commands in, a script for ~/.config/fish/completions out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from completions.commands import Command, Flag, Value

HEAD = """\
# Completion of mi for fish. Written by completions/generate.py: change that, not this.
# Use it with: cp completions/mi.fish ~/.config/fish/completions/

complete -c mi -f
"""


def script(commands: Iterable[Command]) -> str:
    known = list(commands)
    lines = [
        f"complete -c mi -n __fish_use_subcommand -a {command.name} -d {_quote(command.summary)}" for command in known
    ]
    lines += [
        "complete -c mi -n __fish_use_subcommand -a help -d 'show the help of a command'",
        "complete -c mi -n __fish_use_subcommand -l help -s h -d 'show all commands'",
        "complete -c mi -n __fish_use_subcommand -l version -s V -d 'show the version'",
    ]
    for command in known:
        lines += ["", *_command(command)]
    return HEAD + "\n".join(lines) + "\n"


def _command(command: Command) -> Iterator[str]:
    here = _quote(_when(command))
    for inner in command.inner:
        yield f"complete -c mi -n {here} -a {inner.name.split()[1]} -d {_quote(inner.summary)}"
    if command.argument is not None:
        yield from _argument(here, command.argument)
    for flag in command.flags:
        yield f"complete -c mi -n {here} {_flag(flag)}"
    for inner in command.inner:
        yield from _command(inner)


def _when(command: Command) -> str:
    """The condition that this is the command: the first word, and for `data filter` the second too."""
    words = command.name.split()
    seen = f"__fish_seen_subcommand_from {words[0]}"
    if len(words) > 1:
        return f"{seen}; and __fish_seen_subcommand_from {words[1]}"
    without = "".join(f"; and not __fish_seen_subcommand_from {inner.name.split()[1]}" for inner in command.inner)
    return seen + without


def _argument(here: str, value: Value) -> Iterator[str]:
    if value.words:
        yield f"complete -c mi -n {here} -a {_quote(' '.join(value.words))}"
    if value.files:
        yield f"complete -c mi -n {here} -F"


def _flag(flag: Flag) -> str:
    names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names]
    words = [*names, f"-d {_quote(flag.help)}"]
    if flag.value is not None:
        words.append("-r" if flag.value.files or flag.value.folders else "-x")
        if flag.value.words:
            words.append(f"-a {_quote(' '.join(flag.value.words))}")
        if flag.value.files or flag.value.folders:
            words.append("-F")
    return " ".join(words)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

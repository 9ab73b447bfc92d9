"""Completion for bash (3.2 and later, nothing else needed). Commands in, a script out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from completions.commands import Command, Value

HEAD = """\
# Completion of mi for bash. Written by completions/generate.py: change that, not this.
# Use it with: source completions/mi.bash

_mi() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
"""


def script(commands: Iterable[Command]) -> str:
    known = list(commands)
    first = " ".join([*(command.name for command in known), "help", "--help", "--version"])
    lines = [f"        _mi_words '{first}'", "        return", "    fi"]
    lines += _inner(known)
    lines += ['    case "$command $previous" in', *_values(known), "    esac"]
    lines += [
        "    if [[ $current == -* ]]; then",
        "        case $command in",
        *_flags(known),
        "        esac",
        "        return",
        "    fi",
    ]
    lines += ["    case $command in", *_arguments(known), "    esac", "}", ""]
    lines += ["_mi_words() {", '    COMPREPLY=($(compgen -W "$1" -- "$current"))', "}", ""]
    lines += ["complete -o filenames -o bashdefault -o default -F _mi mi", ""]
    return HEAD + "\n".join(lines)


def _all(commands: Iterable[Command]) -> Iterator[Command]:
    for command in commands:
        yield command
        yield from command.inner


def _inner(commands: Iterable[Command]) -> Iterator[str]:
    for command in commands:
        for inner in command.inner:
            word = inner.name.split()[1]
            yield f"    if [[ $command == {command.name} && ${{COMP_WORDS[2]}} == {word} ]] && ((COMP_CWORD > 2)); then"
            yield f"        command='{inner.name}'"
            yield "    fi"


def _values(commands: Iterable[Command]) -> Iterator[str]:
    """After an option that takes a value: its words; nothing to offer falls back to file names."""
    for command in _all(commands):
        for flag in command.flags:
            if flag.value is not None:
                pattern = " | ".join(f"'{command.name} {name}'" for name in flag.names)
                yield f"        {pattern})"
                yield f"            {_offer(flag.value)}"
                yield "            return"
                yield "            ;;"


def _offer(value: Value) -> str:
    if value.words:
        folders = '; COMPREPLY+=($(compgen -d -- "$current"))' if value.folders else ""
        return f"_mi_words '{' '.join(value.words)}'{folders}"
    return ":" if value.files else "compopt +o default +o bashdefault 2>/dev/null"


def _flags(commands: Iterable[Command]) -> Iterator[str]:
    for command in _all(commands):
        yield f"            '{command.name}') _mi_words '{' '.join(command.words)}' ;;"


def _arguments(commands: Iterable[Command]) -> Iterator[str]:
    for command in _all(commands):
        words = [*(command.argument.words if command.argument else ()), *(i.name.split()[1] for i in command.inner)]
        if words:
            yield f"        '{command.name}') _mi_words '{' '.join(words)}' ;;"

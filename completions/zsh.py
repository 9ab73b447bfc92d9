"""Completion for zsh. Commands in, a `_mi` for $fpath out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from completions.commands import Command, Flag, Value

HEAD = """\
#compdef mi
# Completion of mi for zsh. Written by completions/generate.py: change that, not this.
# Use it with: fpath=(/path/to/completions $fpath); autoload -U compinit; compinit

"""


def script(commands: Iterable[Command]) -> str:
    known = list(commands)
    lines = [
        "_mi() {",
        "    local line state",
        "    _arguments -C '1: :->command' '*:: :->rest' && return",
        "    case $state in",
    ]
    lines += ["        command)", "            local -a commands=("]
    lines += [f"                {_quote(f'{_colon(c.name)}:{c.summary}')}" for c in known]
    lines += [
        "                'help:show the help of a command'",
        "            )",
        "            _describe command commands",
        "            ;;",
    ]
    lines += ["        rest)", "            case $line[1] in"]
    lines += [f"                {c.name}) _mi_{c.name} ;;" for c in known]
    lines += ["            esac", "            ;;", "    esac", "}", ""]
    for command in known:
        lines += _function(command)
    return HEAD + "\n".join([*lines, '_mi "$@"', ""])


def _function(command: Command) -> Iterator[str]:
    for inner in command.inner:
        yield from _function(inner)
    yield f"_mi_{command.name.replace(' ', '_')}() {{"
    for inner in command.inner:
        word = inner.name.split()[1]
        yield f"    if [[ $words[2] == {word} ]] && ((CURRENT > 2)); then"
        yield f"        shift words; ((CURRENT--)); _mi_{inner.name.replace(' ', '_')}; return"
        yield "    fi"
    yield "    _arguments -s -S \\"
    specs = [*(_flag(flag) for flag in command.flags), *_argument(command)]
    yield from (f"        {spec} \\" for spec in specs[:-1])
    yield f"        {specs[-1]}"
    yield "}"
    yield ""


def _flag(flag: Flag) -> str:
    """'(-o --output)'{-o,--output}'[help]:FILE:_files'"""
    text = f"[{_bracket(flag.help)}]" + (_value(flag.value) if flag.value else "")
    star = "*" if flag.repeats else ""
    if len(flag.names) == 1:
        return _quote(f"{star}{flag.long}{text}")
    spread = "{" + ",".join(flag.names) + "}"
    before = "'*'" if flag.repeats else _quote(f"({' '.join(flag.names)})")
    return f"{before}{spread}{_quote(text)}"


def _argument(command: Command) -> Iterator[str]:
    inner = tuple(inner.name.split()[1] for inner in command.inner)
    if command.argument is not None:
        value = command.argument
        yield _quote(
            ("*" if command.many else "1") + ":" + _value(Value(value.name, (*value.words, *inner), value.files))
        )


def _value(value: Value) -> str:
    if value.folders:
        action = '{_alternative "words:name:(' + " ".join(value.words) + ')" "folders:folder:_files -/"}'
        return f":{value.name}:{action}"
    action = f"({' '.join(value.words)})" if value.words else "_files" if value.files else ""
    return f":{value.name}:{action}"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _colon(text: str) -> str:
    return text.replace(":", "\\:")


def _bracket(text: str) -> str:
    return re.sub(r"([\[\]:\\])", r"\\\1", text)

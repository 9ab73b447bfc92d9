"""What shells need to know of every command, read off the parsers. Out: plain data for the writers beside this file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mi.__main__ import COMMANDS
from mi.run import build, find, module

FILES = ("FILE", "[FILE]", "[FILE]...", "[FILE] [NAME]...")  # placeholders that a file name takes
FOLDERS = ("MODEL",)


@dataclass(frozen=True)
class Value:
    """What follows an option, or stands as an argument: words, a file, a folder, or anything."""

    name: str
    words: tuple[str, ...] = ()
    files: bool = False
    folders: bool = False


@dataclass(frozen=True)
class Flag:
    names: tuple[str, ...]  # long name first
    help: str
    value: Value | None = None  # None: a switch
    repeats: bool = False

    @property
    def long(self) -> str:
        return self.names[0]


@dataclass(frozen=True)
class Command:
    name: str
    summary: str
    flags: tuple[Flag, ...]
    argument: Value | None = None
    many: bool = False  # the argument may be given several times
    inner: tuple[Command, ...] = ()

    @property
    def words(self) -> list[str]:
        """All that may stand where an option may."""
        return sorted(name for flag in self.flags for name in flag.names)


def commands() -> list[Command]:
    return [command(name, summary) for name, summary in COMMANDS.items()]


def command(name: str, summary: str) -> Command:
    inner = getattr(module(name), "SUBCOMMANDS", {})
    return _command(
        name, [name], summary, tuple(_command(f"{name} {word}", [name, word], _first(inner[word])) for word in inner)
    )


def _command(name: str, words: list[str], summary: str, inner: tuple[Command, ...] = ()) -> Command:
    _, function, _ = find(words[0], words[1:])
    parser = build(name, function)
    arguments = [p for p in parser.params if p.param_type_name == "argument"]
    first = arguments[0] if arguments else None
    return Command(
        name,
        summary,
        (*_flags(parser), Flag(("--help", "-h"), "Show this message and exit.")),
        _value(first) if first is not None else None,
        first is not None and first.nargs == -1,
        inner,
    )


def _first(function: Any) -> str:
    return str(function.__doc__).strip().splitlines()[0].rstrip(".").lower()


def _flags(parser: Any) -> Iterator[Flag]:
    for parameter in parser.params:
        if parameter.param_type_name != "option":
            continue
        names = sorted([*parameter.opts, *parameter.secondary_opts], key=lambda name: (not name.startswith("--"), name))
        value = None if parameter.is_flag else _value(parameter)
        yield Flag(tuple(names), " ".join(str(parameter.help).split()), value, bool(parameter.multiple))


def _value(parameter: Any) -> Value:
    metavar = str(parameter.metavar or parameter.name.upper())
    words = tuple(getattr(parameter.type, "choices", ())) or _known(parameter, metavar.strip("[]"))
    return Value(metavar.partition(" ")[0].strip("[]."), words, metavar in FILES, metavar in FOLDERS)


def _known(parameter: Any, metavar: str) -> tuple[str, ...]:
    """Values that are words from a table, though the parser takes any."""
    from mi import embedded
    from mi.io.stream import KINDS
    from mi.tasks.task import SPLITS, TASKS

    tables: dict[str, tuple[str, ...]] = {
        "--task": tuple(TASKS),
        "TASK": tuple(TASKS),
        "KIND": KINDS,
        "--device": ("auto", "cpu", "cuda", "mps"),
        "--model": embedded.NAMES,
        "--split": (*SPLITS, "all"),
        "--counterfactual": tuple(dict.fromkeys(name for task in TASKS.values() for name in task.counterfactuals)),
    }
    names = [metavar] if parameter.param_type_name == "argument" else parameter.opts
    return next((tables[name] for name in names if name in tables), ())

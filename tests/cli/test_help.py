"""Every command explains itself: help, examples that parse, a text for every flag; and the manual says the same."""

from __future__ import annotations

import inspect
import re
import shutil
from pathlib import Path

import pytest

from completions.commands import Command, commands
from docs import generate
from mi.__main__ import COMMANDS
from mi.run import Call, find, module, parse
from tests.cli import shell

NAMES = [name for command in commands() for name in (command.name, *(inner.name for inner in command.inner))]
PARSED: dict[str, Command] = {each.name: each for command in commands() for each in (command, *command.inner)}


def docstring(name: str) -> str:
    words = name.split()
    return inspect.cleandoc(find(words[0], words[1:])[1].__doc__ or "")


def examples(name: str) -> list[str]:
    """The lines after `Examples:`."""
    _, _, after = docstring(name).partition("Examples:\n")
    return list(shell.lines(inspect.cleandoc(after)))


@pytest.mark.parametrize("name", NAMES)
def test_a_command_says_what_it_does(name: str) -> None:
    first = docstring(name).split("\n\n")[0].replace("\n", " ")
    assert first[0].isupper()
    assert first.endswith(".")
    assert len(first) <= 120


@pytest.mark.parametrize("name", NAMES)
def test_a_command_has_examples_and_its_own_name_is_in_one(name: str) -> None:
    assert examples(name)
    assert any(f"mi {name}" in line for line in examples(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_mi_in_an_example_parses(name: str) -> None:
    for line in examples(name):
        for words in shell.stages(line):
            plain = [shell._unquote(word) for word in words]
            plain = plain[
                : next((i for i, word in enumerate(plain) if word in (*shell.REDIRECTIONS, "&&", "||")), None)
            ]
            if plain[:1] == ["mi"]:
                assert isinstance(parse(plain[1], plain[2:]), Call), line


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_has_a_help_text_that_is_a_sentence(name: str) -> None:
    for flag in PARSED[name].flags:
        assert re.match(r"[A-Za-z0-9'-].*\.$", flag.help), f"{name} {flag.long}: {flag.help!r}"
        assert flag.long.startswith("--"), f"{name} {flag.names} has no long name"


def test_the_same_flag_means_the_same_everywhere() -> None:
    """A short name stands for one long name; a shared flag has one text."""
    longs: dict[str, set[str]] = {}
    for command in PARSED.values():
        for flag in command.flags:
            for short in flag.names[1:]:
                longs.setdefault(short, set()).add(flag.long)
    assert {short: names for short, names in longs.items() if len(names) > 1} == {}
    assert longs["-m"] == {"--model"}
    assert longs["-o"] == {"--output"}
    assert "-v" not in longs, "nnsight takes -v for itself"


def test_no_flag_is_spelled_against_the_custom() -> None:
    for name, command in PARSED.items():
        for flag in command.flags:
            assert re.fullmatch(r"--[a-z0-9]+(-[a-z0-9]+)*", flag.long), f"{name} {flag.long}"


def test_the_manual_is_what_the_help_pages_say() -> None:
    assert generate.FILE.read_text() == generate.text(), "run: make generated"


def test_a_stale_manual_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(generate, "FILE", tmp_path / "commands.md")
    monkeypatch.setattr("sys.argv", ["generate", "--check"])
    assert generate.main() == 1
    (tmp_path / "commands.md").write_text(generate.text())
    assert generate.main() == 0
    shutil.copy(tmp_path / "commands.md", tmp_path / "other.md")
    (tmp_path / "commands.md").write_text(generate.text() + "more\n")
    assert generate.main() == 1


def test_the_manual_has_every_command() -> None:
    text = generate.text()
    for name in COMMANDS:
        assert f"### mi {name}\n" in text
        assert module(name)
    assert "### mi data filter\n" in text

"""The completions are what the commands' definitions say, and the real shells complete with them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pexpect
import pytest

from completions import generate
from completions.commands import commands
from tests.data_dir import CHECKOUT

FOLDER = CHECKOUT / "completions"


def needs(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    return path


def test_the_files_are_what_would_be_generated() -> None:
    assert generate.stale() == [], "run: make generated"


def test_a_stale_file_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    for name, text in generate.texts().items():
        (tmp_path / name).write_text(text)
    (tmp_path / "mi.fish").write_text("# edited by hand\n")
    assert generate.stale() == ["mi.fish"]


def test_every_command_and_flag_is_offered() -> None:
    texts = generate.texts()
    for command in commands():
        for flag in command.flags:
            assert re.search(rf"'{command.name}'\) _mi_words '[^']*{flag.long}[ ']", texts["mi.bash"])
            assert re.search(rf"[{{,'*]{flag.long}[}},\[]", texts["_mi"])
            assert f"-l {flag.long[2:]} " in texts["mi.fish"]


# What is typed, some words that must be offered, a word that must not.
CASES = [
    ("mi ", {"cache", "attribute", "prune", "score", "view", "gc"}, "filter"),
    ("mi ca", {"cache"}, "prune"),
    ("mi prune --gr", {"--greedy"}, "--top"),
    ("mi cache --dtype ", {"float32", "bfloat16"}, "counterfactual"),
    ("mi data ", {"ioi", "greater-than", "filter"}, "cache"),
    ("mi data filter --de", {"--device"}, "--from"),
    ("mi data --fr", {"--from"}, "--device"),
    ("mi schema ", {"circuit", "report"}, "cpu"),
    ("mi view my", {"my scores.jsonl"}, "cache"),
    ("mi cache -m ", {"default"}, "cache"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my scores.jsonl").touch()
    return tmp_path


@pytest.mark.parametrize(("typed", "offered", "not_offered"), CASES)
def test_bash(typed: str, offered: set[str], not_offered: str, folder: Path) -> None:
    program = f"""
        source '{FOLDER}/mi.bash'
        COMP_WORDS=({typed.strip()}{" ''" if typed.endswith(" ") else ""})
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _mi
        (( ${{#COMPREPLY[@]}} )) || COMPREPLY=($(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}" | tr ' ' '?'))
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run([needs("bash"), "-c", program], capture_output=True, text=True, cwd=folder, check=True)
    words = {line.replace("?", " ") for line in done.stdout.splitlines()}
    assert done.stderr == ""
    assert offered <= words
    assert not_offered not in words


@pytest.mark.parametrize(("typed", "offered", "not_offered"), CASES)
def test_fish(typed: str, offered: set[str], not_offered: str, folder: Path) -> None:
    program = f"source '{FOLDER}/mi.fish'; complete -C '{typed}'"
    done = subprocess.run(
        [needs("fish"), "--no-config", "-c", program], capture_output=True, text=True, cwd=folder, check=True
    )
    words = {line.split("\t")[0].replace("\\", "") for line in done.stdout.splitlines()}
    assert done.stderr == ""
    assert offered <= words
    assert not_offered not in words


def test_zsh(folder: Path) -> None:
    """In a real terminal: what is typed, a tab, and then the line as it is."""
    shell = pexpect.spawn(
        needs("zsh"), ["-f", "-i"], cwd=str(folder), encoding="utf-8", timeout=20, dimensions=(60, 200)
    )
    try:
        for line in (
            f"fpath=('{FOLDER}' $fpath); autoload -U compinit; compinit -u -D",
            "show() { print -r -- \"<$BUFFER>\"; BUFFER=''; zle redisplay }; zle -N show; bindkey '^X' show",
            "unset zle_bracketed_paste; print rea''dy",
        ):
            shell.sendline(line)
        shell.expect_exact("ready")
        for typed, completed in [
            ("mi cac", "mi cache "),
            ("mi prune --gr", "mi prune --greedy "),
            ("mi data filter --dt", "mi data filter --dtype "),
            ("mi schema circ", "mi schema circuit "),
            ("mi view my", "mi view my\\ scores.jsonl "),
            ("mi cache --dtype bf", "mi cache --dtype bfloat16 "),
        ]:
            shell.send(f"{typed}\t\x18")
            shell.expect_exact(f"<{completed}>")
    finally:
        shell.close(force=True)

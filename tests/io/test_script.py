"""`mi log --script`: the script is run by a real bash, with a stand-in for mi that says how it was called."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mi.errors import MiError
from mi.io import canonical, chain, digests
from mi.io.chain import Invocation
from tests.io import plain

# One line for each command: its words in brackets, then what came in, so that the order of the pipe shows.
STAND_IN = """#!/bin/sh
{ printf 'mi'; for word in "$@"; do printf ' [%s]' "$word"; done; printf '\\n'; cat; } > "$MI_LOG.$$"
cat "$MI_LOG.$$"
rm "$MI_LOG.$$"
[ "$1" != "$MI_FAIL" ]
"""
ODD = "da\"ta/$HOME `x` 'q' it's \\ }*.csv"


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "mi"
    program.write_text(STAND_IN)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MI_LOG", str(tmp_path / "log"))


def head_of(*stages: tuple[str, list[str], list[dict[str, Any]]]) -> dict[str, Any]:
    head: dict[str, Any] = {"kind": "circuit", "task": {"name": "ioi"}}
    for command, argv, inputs in stages:
        head = chain.record(head, Invocation(command, tuple(argv)), inputs, "cpu")
    return head


def file(name: str, data: bytes = b"data") -> dict[str, Any]:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(data)
    return chain.given(name, canonical.sha256(data))


def model(name: str = "my model") -> dict[str, Any]:
    os.makedirs(name, exist_ok=True)
    for part in ("config.json", "model.safetensors", "tokenizer.json", "notes.txt"):
        (Path(name) / part).write_text(part)
    return chain.given(name, digests.weights_digest(name), digests.model_files(name))


def bash(head: dict[str, Any], *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    Path("again.sh").write_text(chain.script(head))
    environment = {**os.environ, **variables}
    return subprocess.run(["bash", "again.sh", *args], capture_output=True, text=True, env=environment)


def typical() -> dict[str, Any]:
    data, weights = file("data/ioi.csv"), model()
    return head_of(
        ("data", ["--from", "data/ioi.csv"], [data]),
        ("cache", ["--model", "my model"], [weights]),
        ("prune", ["--keep", "a9.*->logits", "--top", "200"], []),
    )


@pytest.mark.usefixtures("stand_in")
def test_the_commands_run_as_they_were_recorded() -> None:
    made = bash(typical())
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines() == [
        "mi [prune] [--keep] [a9.*->logits] [--top] [200]",
        "mi [cache] [--model] [my model]",
        "mi [data] [--from] [data/ioi.csv]",
    ]
    assert made.stderr == ""


@pytest.mark.usefixtures("stand_in")
def test_arguments_of_the_script_go_to_the_last_command() -> None:
    made = bash(typical(), "-o", "two words.jsonl")
    assert made.stdout.splitlines()[0].endswith("[200] [-o] [two words.jsonl]")
    one = bash(head_of(("cache", ["--task", "ioi"], [])), "-o", "x")
    assert one.stdout == "mi [cache] [--task] [ioi] [-o] [x]\n"


@pytest.mark.usefixtures("stand_in")
def test_a_file_may_lie_elsewhere() -> None:
    head = typical()
    os.rename("data/ioi.csv", "moved.csv")
    os.rename("my model", "other model")
    made = bash(head, FROM="moved.csv", MODEL="other model")
    assert made.returncode == 0, made.stderr
    assert "mi [data] [--from] [moved.csv]" in made.stdout
    assert "mi [cache] [--model] [other model]" in made.stdout


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("changed", ["data/ioi.csv", "my model/model.safetensors", "my model/tokenizer.json"])
def test_another_digest_stops_the_script_before_any_command(changed: str) -> None:
    head = typical()
    Path(changed).write_text("changed")
    made = bash(head)
    assert made.returncode == 3
    assert made.stdout == ""
    assert changed.partition("/")[0] in made.stderr
    assert "is not what the result was made from" in made.stderr


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("missing", ["data/ioi.csv", "my model/model.safetensors"])
def test_a_missing_file_stops_the_script_before_any_command(missing: str) -> None:
    head = typical()
    os.remove(missing)
    made = bash(head)
    assert made.returncode != 0
    assert made.stdout == ""
    assert made.stderr != ""


@pytest.mark.usefixtures("stand_in")
def test_files_beside_the_weights_do_not_matter() -> None:
    head = typical()
    Path("my model/notes.txt").write_text("changed")
    assert bash(head).returncode == 0


@pytest.mark.usefixtures("stand_in")
def test_names_that_a_shell_would_misread() -> None:
    argv = ["--note", ODD, "$(touch evil)", "a;b", "--from", ODD]
    made = bash(head_of(("data", argv, [file(ODD)])))
    assert made.returncode == 0, made.stderr
    assert made.stdout == f"mi [data] [--note] [{ODD}] [$(touch evil)] [a;b] [--from] [{ODD}]\n"
    assert not Path("evil").exists()


@pytest.mark.usefixtures("stand_in")
def test_two_files_of_one_flag_have_two_variables_and_one_file_one() -> None:
    a, b = file("a.csv", b"a"), file("b.csv", b"b")
    head = head_of(("data", ["--from", "a.csv", "--from", "b.csv"], [a, b]), ("cache", ["--data", "a.csv"], [a]))
    made = bash(head, FROM2="a.csv")
    assert made.returncode == 3
    assert chain.script(head).count("a.csv") == 1
    assert bash(head).stdout.splitlines()[1] == "mi [data] [--from] [a.csv] [--from] [b.csv]"


@pytest.mark.usefixtures("stand_in")
def test_a_file_that_came_on_standard_input_must_be_named() -> None:
    head = head_of(("data", ["--from", "-"], [chain.given("-", canonical.sha256(b"data"))]))
    assert "give the file" in bash(head).stderr
    file("x.csv")
    assert bash(head, FROM="x.csv").stdout == "mi [data] [--from] [x.csv]\n"


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("failing", ["data", "cache", "prune"])
def test_a_command_that_fails_fails_the_script(failing: str) -> None:
    assert bash(typical(), MI_FAIL=failing).returncode == 1


@pytest.mark.usefixtures("stand_in")
def test_the_first_command_does_not_read_the_scripts_input() -> None:
    Path("again.sh").write_text(chain.script(typical()))
    made = subprocess.run(["bash", "again.sh"], input="not for mi", capture_output=True, text=True)
    assert "not for mi" not in made.stdout


@pytest.mark.usefixtures("stand_in")
def test_where_sha256sum_is_missing_shasum_does(tmp_path: Path) -> None:
    """As on a Mac: a PATH with shasum (here a stand-in) and without sha256sum."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "cat", "rm", "sh", "mi"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (tools / name).symlink_to(found)
    real = subprocess.run(["which", "sha256sum"], capture_output=True, text=True, check=True).stdout.strip()
    (tools / "shasum").write_text(f'#!/bin/sh\n[ "$1 $2" = "-a 256" ] && shift 2 && exec {real} "$@"\n')
    (tools / "shasum").chmod(0o755)
    made = bash(typical(), PATH=str(tools))
    assert made.returncode == 0, made.stderr
    assert made.stdout.count("mi [") == 3


def test_the_script_says_what_it_makes_and_from_what() -> None:
    text = chain.script(typical())
    assert text.startswith("#!/usr/bin/env bash\n# Makes the circuit of task ioi again.")
    assert "set -euo pipefail\n" in text
    assert f"torch {chain.version('torch')}" in text
    assert "FROM=${FROM:-data/ioi.csv}\n" in text
    assert str(Path.cwd()) not in text


def test_what_cannot_be_made_again_is_refused() -> None:
    for head, fact in (
        ({}, "no chain"),
        (head_of(("prune", [], [])), "starts with `mi prune`"),
        (head_of(("cache", [], []), ("stamp", [], []), ("prune", [], [])), "edited by hand before link 2"),
    ):
        with pytest.raises(MiError, match=fact) as caught:
            chain.script(head)
        assert caught.value.code == 3


def test_a_version_from_a_hostile_head_stays_in_its_comment() -> None:
    head = typical()
    head["chain"][0]["version"] = "1\nrm -rf x"
    head["chain"][0]["env"]["torch"] = "2\r\nrm -rf y"
    head["task"]["name"] = "ioi\nrm -rf z"
    assert not any(line.startswith("rm") for line in chain.script(head).splitlines())


def test_the_digest_of_a_file_cannot_carry_a_command() -> None:
    head = typical()
    head["chain"][0]["inputs"][0]["sha256"] = head["chain"][0]["argv"][2]["sha256"] = "x; touch evil"
    made = bash(head)
    assert made.returncode != 0
    assert not Path("evil").exists()
    assert plain.SHA not in made.stdout


@pytest.mark.usefixtures("stand_in")
def test_a_model_of_the_hub_is_pinned_to_its_commit() -> None:
    head = head_of(
        ("cache", ["-m", "org/model"], []),
        ("attribute", ["-m", "org/other"], []),
        ("patch", ["--model=org/model"], []),
        ("score", ["--model", "org/model", "--revision", "v1"], []),
    )
    head["model"] = {"id": "org/model", "revision": "0f1e2d3c"}
    said = bash(head).stdout.splitlines()
    assert said[0] == "mi [score] [--model] [org/model] [--revision] [v1]"  # the last one speaks first
    assert said.pop(1) == "mi [patch] [--model] [org/model] [--revision] [0f1e2d3c]"
    assert said[1:] == ["mi [attribute] [-m] [org/other]", "mi [cache] [-m] [org/model] [--revision] [0f1e2d3c]"]

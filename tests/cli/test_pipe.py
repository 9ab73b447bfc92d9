"""mi pipe: the same bytes as the shell pipe, and every mistake found before the first stage works."""

from __future__ import annotations

from pathlib import Path

import pytest

from mi.commands.pipe import Stage, plan
from mi.errors import UsageError
from mi.io import store
from tests.cli import streams
from tests.cli.conftest import Session


def shell(mi: Session, *stages: str) -> bytes:
    """The stages one after the other, each with the bytes of the one before, as a shell joins them."""
    data: bytes | None = None
    for stage in stages:
        data = mi(*stage.split(), stdin=data).ok().out
    assert data is not None
    return data


@pytest.mark.parametrize(
    "stages",
    [
        ("data ioi -n 4", "stamp"),
        ("prune scores.jsonl --top 9", "prune --top 5", "view --json"),
        ("stamp scores.jsonl", "prune --percent 50 --signed", "log"),
        ("view --json scores.jsonl *->logits", "stamp", "prune --percent 100", "view"),
        ("prune scores.jsonl --percent 80", "graph --to html"),
        ("prune scores.jsonl --percent 80", "plot"),
        ("prune scores.jsonl --percent 80", "report"),
    ],
)
def test_the_bytes_are_those_of_the_shell(mi: Session, stages: tuple[str, ...]) -> None:
    streams.write_scores("scores.jsonl")
    assert mi("pipe", " ! ".join(stages)).ok().out == shell(mi, *stages)


def test_tensors_skip_the_store(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    mi("pipe", "stamp scores.jsonl ! prune").ok()
    assert not list(store.where().rglob("*.safetensors"))


def test_the_last_stage_takes_the_output_and_earlier_ones_a_tee(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    done = mi(
        "pipe",
        "stamp scores.jsonl --tee copy.jsonl ! prune --top 9 --tee nine.jsonl ! prune --top 5",
        "-o",
        "five.jsonl",
    )
    assert done.ok().out == b""
    assert mi("verify", "copy.jsonl", "nine.jsonl", "five.jsonl").code == 0
    assert mi("view", "copy.jsonl").out == mi("view", "scores.jsonl").out
    assert Path("nine.jsonl").read_bytes() == mi("prune", "scores.jsonl", "--top", "9").out
    assert Path("five.jsonl").read_bytes() == shell(mi, "prune scores.jsonl --top 9", "prune --top 5")


def test_the_first_stage_reads_standard_input(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    data = mi("view", "--json", "scores.jsonl").out
    assert mi("pipe", "prune --top 9 ! prune --top 5", stdin=data).ok().out == shell(
        mi, "prune scores.jsonl --top 9", "prune --top 5"
    )


def test_an_error_is_told_in_the_name_of_its_stage(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    done = mi("pipe", "stamp scores.jsonl ! prune --keep nonsense ! view", "-o", "out.txt")
    assert (done.code, done.out) == (2, b"")
    assert "\nmi prune: --keep 'nonsense'" in done.err
    assert not Path("out.txt").exists()
    wrong = mi("pipe", "prune scores.jsonl ! prune ! view ! prune")
    assert wrong.code == 3, "a table is no stream"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "empty"),
        ("data ioi ! ! prune", "empty"),
        ("data ioi | prune", "'!'"),
        ("data ioi ! prnue", "prnue"),
        ("data ioi ! gc", "gc"),
        ("data ioi ! prune --top many", "many"),
        ("data ioi ! prune --help", "--help"),
        ("data ioi -o x.jsonl ! prune", "--tee"),
        ("data ioi ! prune --tee x.jsonl", "-o"),
        ("data ioi --tee ! prune", "--tee"),
        ("data ioi ! prune scores.jsonl", "scores.jsonl"),
        ("data 'ioi ! prune", "quot"),
    ],
)
def test_a_mistake_is_found_before_anything_runs(
    mi: Session, text: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mi.commands import pipe

    monkeypatch.setattr(pipe, "execute", lambda *words: pytest.fail(f"ran {words}"))
    done = mi("pipe", text)
    assert (done.code, done.out) == (2, b"")
    assert part in done.err
    assert len(done.err.splitlines()) <= 2


def test_words_are_split_as_a_shell_does() -> None:
    assert plan("mi prune --keep 'a 1->logits' ! view") == [
        Stage("prune", ("--keep", "a 1->logits")),
        Stage("view", ()),
    ]
    with pytest.raises(UsageError):
        plan("prune ! frobnicate")

"""What `mi data` wrote into a head is enough to have the same examples again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mi.errors import MiError
from mi.io import canonical, stream
from mi.io.examples import examples_digest
from mi.tasks import again, subject
from tests.cli.conftest import Session
from tests.data_dir import shared
from tests.tasks import tokenizers
from tests.tasks.reading import lines

PAIR = {"clean": "a b", "corrupted": "a c", "answers": [" x"], "foils": [" y"]}


@pytest.fixture
def mi(capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Run commands in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Session(capfdbinary)


def named(out: bytes) -> dict[str, Any]:
    """The head's `examples`, after a look at the digest."""
    first, *rest = out.splitlines()
    examples = json.loads(first)["examples"]
    assert examples["sha256"] == examples_digest([canonical.loads(line) for line in rest[:-1]])
    assert isinstance(examples, dict)
    return examples


@pytest.mark.parametrize(
    "words",
    [
        ("ioi", "-n", 6),
        ("ioi", "-n", 6, "--seed", 9, "--counterfactual", "abc"),
        ("pronoun", "-n", 6, "--split", "test"),
        ("pronoun", "-n", 6, "--split", "all"),
    ],
)
def test_generated(words: tuple[Any, ...], mi: Session) -> None:
    examples = named(mi("data", *words).ok().out)
    for tokenizer in (None, tokenizers.load("gpt2")):  # of the model that they are scored on
        assert examples_digest(again.generate(examples["source"], tokenizer)) == examples["sha256"]


def test_generated_for_a_model(mi: Session) -> None:
    examples = named(mi("data", "ioi", "-n", 6, "-m", shared("data", "stories260K")).ok().out)
    source = examples["source"]
    assert examples_digest(again.generate(source, tokenizers.load("stories260K"))) == examples["sha256"]
    with pytest.raises(MiError, match=r"made with the tokenizer of .*stories260K, which is not at hand"):
        again.generate(source, tokenizers.load("gpt2"))
    with pytest.raises(MiError, match="made by version 0 of task ioi, and this is 1"):
        again.generate({**source, "version": 0})


def test_the_first_of_each_split_of_a_generator(mi: Session) -> None:
    source = named(mi("data", "ioi", "-n", 6).ok().out)["source"]
    few = again.generate({**source, "limit": 2})
    assert [record["split"] for record in few] == ["train", "train", "validation", "validation"]
    assert few == [again.generate(source)[place] for place in (0, 1, 6, 7)]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("-n", 3),
        ("--split", "train"),
        ("--split", "validation", "-n", 2),
        ("--counterfactual", "other"),
        ("--split", "all"),
    ],
)
@pytest.mark.parametrize("with_splits", [False, True])
def test_read(words: tuple[Any, ...], with_splits: bool, mi: Session) -> None:
    splits = ("train", "validation", "test")
    rows = [
        PAIR
        | {"clean": f"{i} b", "counterfactuals": {"other": "o"}}
        | ({"split": splits[i % 3]} if with_splits else {})
        for i in range(24)
    ]
    lines(Path("x.jsonl"), rows)
    examples = named(mi("data", "--from", "x.jsonl", *words).ok().out)
    found = again.read_file(examples["source"], tokenizers.load("gpt2"))
    assert examples_digest(found) == examples["sha256"]
    assert len(found) == sum(examples["n"].values())


@pytest.mark.parametrize("skip", [(), ("--skip",)])
def test_read_with_a_models_tokenizer(skip: tuple[str, ...], mi: Session) -> None:
    # Without --skip a file that fits; with it one where most rows do not.
    name = ("stories260K_tasks", "name_copy.csv") if not skip else ("feature_circuits_sva", "simple_test.json")
    Path("copy").write_bytes(shared("data", *name).read_bytes())
    folder = shared("data", "gpt2_tokenizer") if skip else shared("data", "stories260K")
    tokenizer = tokenizers.load("gpt2" if skip else "stories260K")
    examples = named(mi("data", "--from", "copy", "-m", folder, *skip).ok().out)
    assert examples_digest(again.read_file(examples["source"], tokenizer)) == examples["sha256"]


def test_read_two_files(mi: Session) -> None:
    names = [f"ioi_ABBA_agent_IOI_data_{part}.csv" for part in ("clean", "counter_abc")]
    for name in names:
        Path(name).write_bytes(shared("data", "peap_gpt2", name).read_bytes())
    examples = named(mi("data", "--from", names[0], "--from", names[1]).ok().out)
    assert examples_digest(again.read_file(examples["source"])) == examples["sha256"]


@pytest.mark.parametrize("first", [2, 5])
@pytest.mark.parametrize("then", [1, 3, 9])
def test_the_smaller_of_two_limits_is_recorded(first: int, then: int, mi: Session) -> None:
    """`mi data -n 5 | mi cache --limit 9` has five of each split, and a file gives those five again."""
    lines(Path("x.jsonl"), [PAIR | {"clean": f"{i} b", "split": ("train", "validation")[i % 2]} for i in range(24)])
    made = stream.parse(mi("data", "--from", "x.jsonl", "-n", first).ok().out.splitlines(True), "made", ("examples",))
    fewer = subject.limited(subject.from_stream(made), then)
    named = fewer.head["examples"]
    assert named["n"] == dict.fromkeys(("train", "validation"), min(first, then))
    assert examples_digest(fewer.records) == named["sha256"]
    assert again.read_file(named["source"]) == fewer.records
    assert callable(fewer.place)
    assert fewer.place(len(fewer.records) - 1) == made.place(made.records.index(fewer.records[-1]))

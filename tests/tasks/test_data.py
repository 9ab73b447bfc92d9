"""`mi data` and `mi data filter` as a user runs them."""

from __future__ import annotations

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from mi import embedded
from mi.io import canonical, digests, store, stream
from mi.io.examples import examples_digest
from mi.tasks.task import TASKS, make
from tests.cli.conftest import Session
from tests.data_dir import shared
from tests.tasks import tokenizers
from tests.tasks.reading import lines, text

GOOD = {"clean": "a b", "corrupted": "a c", "answers": [" x"], "foils": [" y"]}


@pytest.fixture
def mi(capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Run commands in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Session(capfdbinary)


def records(out: bytes) -> list[dict[str, Any]]:
    return [canonical.loads(line) for line in out.splitlines()[1:-1]]


def head(out: bytes) -> dict[str, Any]:
    made = json.loads(out.splitlines()[0])
    assert isinstance(made, dict)
    return made


# --- tasks ----------------------------------------------------------------------------------------------------------


def test_a_task_gives_n_of_train_and_of_validation(mi: Session) -> None:
    done = mi("data", "ioi", "-n", 7, "--seed", 3, "--counterfactual", "abc").ok()
    expected, named = make("ioi", 7, 3, "abc")
    assert records(done.out) == expected
    made = head(done.out)
    assert made["kind"] == "examples"
    assert {key: made[key] for key in ("task", "examples")} == named
    assert made["chain"][0]["argv"] == ["data", "ioi", "--number", "7", "--seed", "3", "--counterfactual", "abc"]
    assert done.err == ""
    assert len(records(mi("data", "pronoun").ok().out)) == 200


@pytest.mark.parametrize(
    ("split", "counts"),
    [("test", {"test": 4}), ("train", {"train": 4}), ("all", {"train": 4, "validation": 4, "test": 4})],
)
def test_the_test_split_is_made_only_when_it_is_asked_for(split: str, counts: dict[str, int], mi: Session) -> None:
    made = head(mi("data", "pronoun", "-n", 4, "--split", split).ok().out)
    assert made["examples"]["n"] == counts


def test_words_are_chosen_for_the_model(mi: Session) -> None:
    folder = shared("data", "stories260K")
    done = mi("data", "ioi", "-n", 5, "-m", folder).ok()
    assert head(done.out)["examples"]["source"]["tokenizer"]["sha256"] == tokenizers.load("stories260K").digest
    assert {record["answers"][0] for record in records(done.out)} <= {" Lily", " Tim", " Timmy"}
    refused = mi("data", "capital", "-m", folder)
    assert refused.code == 3
    assert "cannot express task capital" in refused.err


def test_the_same_command_gives_the_same_bytes_in_any_folder(mi: Session, tmp_path: Path) -> None:
    first = mi("data", "greater-than", "-n", 20).ok().out
    (tmp_path / "elsewhere").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "elsewhere")
        assert mi("data", "greater-than", "-n", 20).ok().out == first
    assert mi("data", "greater-than", "-n", 20, "--seed", 1).ok().out != first
    mi("data", "greater-than", "-n", 20, "-o", "x.jsonl").ok()
    assert Path("x.jsonl").read_bytes() == first


def test_a_terminal_gets_a_table(mi: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "240")
    shown = mi("data", "pronoun", "-n", 3).ok().text
    assert "examples of pronoun" in shown
    assert '" she"' in shown or '" he"' in shown
    assert '{"' not in shown
    assert mi("data", "pronoun", "-n", 3, "--json").ok().text.startswith('{"')


def test_list_shows_every_task_with_its_counterfactuals_and_every_format(mi: Session) -> None:
    shown = mi("data", "--list").ok().text
    for name, task in TASKS.items():
        (line,) = [line for line in shown.splitlines() if line.startswith(f"{name} ")]
        assert task.metric in line
        assert all(counterfactual in line for counterfactual in task.counterfactuals)
    assert "EAP-IG CSV" in shown
    assert "MIB rows" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name a task (ioi, greater-than"),
        (("nope",), "no task 'nope'"),
        (("ioi", "--from", "x"), "a task and --from both name examples"),
        (("ioi", "--split", "dev"), "no split 'dev'"),
        (("ioi", "-n", "0"), "0 is not in the range"),
        (("ioi", "--counterfactual", "x"), "task ioi has no counterfactual 'x'"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], message: str, mi: Session) -> None:
    done = mi("data", *words)
    assert (done.code, done.out) == (2, b"")
    assert message in done.err


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_file_keeps_its_splits_and_names_its_source(mi: Session) -> None:
    rows = [GOOD | {"clean": f"{i} b", "split": s} for i, s in enumerate(["train", "test", "train", "validation"])]
    lines(Path("pairs.jsonl"), rows)
    done = mi("data", "--from", "pairs.jsonl").ok()
    made = head(done.out)
    assert made["examples"]["n"] == {"train": 2, "test": 1, "validation": 1}
    assert made["examples"]["source"] == {"path": "pairs.jsonl", "format": "examples"}
    assert made["examples"]["sha256"] == examples_digest(records(done.out))
    sha = canonical.sha256(Path("pairs.jsonl").read_bytes())
    assert made["chain"][0]["inputs"] == [{"name": "pairs.jsonl", "sha256": sha}]
    assert made["chain"][0]["argv"] == ["data", "--from", {"name": "pairs.jsonl", "sha256": sha}]
    assert [r["clean"] for r in records(mi("data", "--from", "pairs.jsonl", "--split", "train").ok().out)] == [
        "0 b",
        "2 b",
    ]
    assert [r["clean"] for r in records(mi("data", "--from", "pairs.jsonl", "-n", 1).ok().out)] == ["0 b", "1 b", "3 b"]
    assert mi("data", "--from", "pairs.jsonl", "--split", "extra").code == 3


def test_a_file_without_splits_is_left_whole_unless_one_is_asked_for(mi: Session) -> None:
    lines(Path("x"), [GOOD | {"clean": f"{i} b"} for i in range(30)])
    whole = mi("data", "--from", "x").ok()
    assert head(whole.out)["examples"]["n"] == {"all": 30}
    assert whole.err == ""
    halves = [mi("data", "--from", "x", "--split", name).ok() for name in ("train", "validation")]
    assert sum(len(records(half.out)) for half in halves) == 30
    assert "halved by the digest of the clean prompt" in halves[0].err
    assert mi("data", "--from", "x", "--split", "train", "-q").ok().err == ""


def test_stdin_is_a_file_too(mi: Session) -> None:
    done = mi("data", "--from", "-", stdin=json.dumps(GOOD).encode()).ok()
    assert head(done.out)["examples"]["source"]["path"] == "-"
    assert len(records(done.out)) == 1
    assert "stdin: is empty" in mi("data", "--from", "-", stdin=b"").err


def test_a_wrong_row_is_one_error_with_file_and_line_and_leaves_no_file(mi: Session) -> None:
    text(Path("x.csv"), "clean,corrupted,correct_idx,incorrect_idx\na,b,1,2\na,b,one,2\n")
    done = mi("data", "--from", "x.csv", "-o", "out.jsonl")
    assert (done.code, done.out) == (3, b"")
    assert done.err == "mi data: x.csv:3: 'correct_idx' is 'one', not a token id or a list of them\n"
    assert [path.name for path in Path(".").iterdir()] == ["x.csv"]


def test_rows_that_a_model_cannot_use(mi: Session) -> None:
    path = shared("data", "feature_circuits_sva", "simple_test.json")
    model = shared("data", "stories260K")
    done = mi("data", "--from", path, "-m", model)
    assert done.code == 3
    assert f"{path}:1: " in done.err
    assert "--skip` leaves such rows out" in done.err
    ids = shared("data", "eapig_data", "ioi_llama.csv")
    done = mi("data", "--from", ids, "-m", model)
    assert done.code == 3
    assert f"{ids}:2: correct_idx is 47764, but tokenizer" in done.err
    assert "the ids belong to another tokenizer" in done.err
    marked = mi("data", "--from", ids).ok()
    assert "were not checked" in marked.err


def test_a_model_without_tokenizer_reads_ids(mi: Session) -> None:
    folder = shared("golden", "gpt2-tiny")
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    rows = [{"clean": [1, 2], "corrupted": [1, 3], "answers": [4], "foils": [size - 1]}]
    lines(Path("x"), rows)
    assert len(records(mi("data", "--from", "x", "-m", folder).ok().out)) == 1
    lines(Path("y"), [rows[0] | {"foils": [size]}])
    assert f"holds id {size}, but the vocabulary has {size} tokens" in mi("data", "--from", "y", "-m", folder).err
    assert "no tokenizer" in mi("data", "ioi", "-m", folder).err


# --- filter ---------------------------------------------------------------------------------------------------------


def right_by_transformers(folder: Path, rows: list[dict[str, Any]]) -> list[bool]:
    """The plain way: transformers' own model and tokenizer, one prompt at a time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    found = []
    for row in rows:
        with torch.no_grad():
            logits = model(tokenizer(row["clean"], return_tensors="pt").input_ids).logits[0, -1]
        found.append(bool(logits[row["answers"]].max() > logits[row["foils"]].max()))
    return found


def test_filter_keeps_what_the_model_gets_right(mi: Session) -> None:
    folder = shared("data", "stories260K")
    path = shared("data", "stories260K_tasks", "name_completion.csv")
    mi("data", "--from", path, "-m", folder, "-o", "all.jsonl").ok()
    everything = stream.read("all.jsonl", ["examples"])
    expected = right_by_transformers(folder, everything.records)
    done = mi("data", "filter", "all.jsonl", "-m", folder, "-o", "kept.jsonl").ok()
    kept = stream.read("kept.jsonl", ["examples"])
    assert kept.records == [record for record, right in zip(everything.records, expected, strict=True) if right]
    assert len(kept.records) == sum(expected) == 85
    assert "is right on 85 of 100 examples; the rest is left out" in done.err
    assert kept.head["task"] == everything.head["task"]
    assert kept.head["examples"]["n"] == {"all": 85}
    assert [link["argv"][0] for link in kept.head["chain"]] == ["data", "data"]
    # No generator and no file holds this selection: the store does.
    assert store.get_examples(kept.head["examples"]["sha256"]) == kept.records
    little = mi("data", "filter", "all.jsonl", "-m", folder, "-q", "--memory-budget", "1kB").ok()
    assert records(little.out) == kept.records
    assert "is no amount" in mi("data", "filter", "all.jsonl", "-m", folder, "--memory-budget", "lots").err
    dry = mi("data", "filter", "all.jsonl", "-m", folder, "--dry-run").ok()
    assert dry.out == b""
    assert "would run 2 forward passes over 100 examples" in dry.err
    assert "MiB of memory over the weights" in dry.err
    piped = mi("data", "filter", "-m", folder, "-q", stdin=Path("all.jsonl").read_bytes()).ok()
    assert records(piped.out) == kept.records
    assert piped.err == ""


def test_filter_counts_by_split_and_refuses_to_keep_nothing(mi: Session) -> None:
    folder = shared("data", "stories260K")
    rows = [
        GOOD | {"clean": f"Lily and Tim {end}", "corrupted": f"Lily and Lily {end}"} for end in ("ran", "sat", "saw")
    ]
    for row, split, answers in zip(
        rows, ("train", "validation", "validation"), ([" the"], [" to"], [" a"]), strict=True
    ):
        row |= {"split": split, "answers": answers, "foils": ["Q"]}
    lines(Path("x"), rows)
    mi("data", "--from", "x", "-m", folder, "-o", "all.jsonl").ok()
    done = mi("data", "filter", "all.jsonl", "-m", folder).ok()
    assert "is right on 1 of 1 train and 2 of 2 validation examples" in done.err
    lines(Path("y"), [row | {"answers": row["foils"], "foils": row["answers"]} for row in rows])
    mi("data", "--from", "y", "-m", folder, "-o", "wrong.jsonl").ok()
    done = mi("data", "filter", "wrong.jsonl", "-m", folder, "-o", "none.jsonl")
    assert done.code == 3
    assert "gets none of the 3 examples right" in done.err
    assert not Path("none.jsonl").exists()


def test_filter_of_examples_without_answers(mi: Session) -> None:
    lines(Path("x"), [{"clean": [1, 2], "corrupted": [1, 3]}])
    mi("data", "--from", "x", "-o", "all.jsonl").ok()
    done = mi("data", "filter", "all.jsonl", "-m", shared("data", "stories260K"))
    assert done.code == 3
    assert "all.jsonl:2: no answers, so nothing to get right" in done.err


def test_of_a_hub_model_config_and_tokenizer_are_fetched_and_no_weights(
    mi: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is a folder here; the link of the chain names what was read."""
    snapshot = tmp_path / "snapshots" / "c0ffee"
    asked = []

    def download(ref: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((ref, revision))
        shutil.copytree(
            embedded.path("default"),
            snapshot,
            ignore=lambda _, names: [n for n in names if not any(fnmatch(n, pattern) for pattern in allow_patterns)],
            dirs_exist_ok=True,
        )
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    link = head(mi("data", "ioi", "-n", "3", "-m", "some/model", "--revision", "v1").ok().out)["chain"][0]
    assert set(asked) == {("some/model", "v1")}
    files = ["config.json", "tokenizer.json", "tokenizer_config.json"]
    assert sorted(path.name for path in snapshot.iterdir()) == files
    sha = digests.folder_digest(snapshot, files)
    assert link["inputs"] == [{"name": "some/model", "sha256": sha, "files": files}]
    assert link["argv"][-4:] == ["--model", "some/model", "--revision", "v1"]
    mi("data", "filter", "-m", "some/model", stdin=mi("data", "ioi", "-n", "3").ok().out).ok()
    assert (snapshot / "model.safetensors").is_file()


def test_offline_what_was_fetched_for_its_text_has_no_weights(
    mi: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in embedded.path("default").glob("*.json"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    examples = mi("data", "ioi", "-n", "3", "-m", "some/model").ok().out
    done = mi("data", "filter", "-m", "some/model", stdin=examples)
    assert done.code == 3
    assert "of some/model there are no weights in *.safetensors" in done.err
    assert "offline" in done.err

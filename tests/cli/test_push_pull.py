"""`mi push` and `mi pull`: to a folder, and to a hub that a folder plays; verified, whole or not at all."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from mi.io import store, stream
from mi.io.examples import examples_digest, split_counts
from tests.cli import streams
from tests.cli.conftest import Session


@dataclass
class Hub:
    """What the two functions of the library do, on a folder: commits are folders, numbered."""

    root: Path
    private: bool | None = None
    message: str = ""

    def create_repo(self, repo: str, *, repo_type: str, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.private = private
        (self.root / repo_type / repo).mkdir(parents=True, exist_ok=True)

    def create_commit(self, repo: str, *, operations: Any, commit_message: str, repo_type: str) -> Any:
        home = self.root / repo_type / repo
        before = sorted(home.iterdir())
        commit = home / f"commit{len(before)}"
        shutil.copytree(before[-1], commit) if before else commit.mkdir()
        for add in operations:
            target = commit / add.path_in_repo
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(add.path_or_fileobj, target)
        self.message = commit_message
        return type("Commit", (), {"oid": commit.name, "commit_url": "https://hub/x"})()

    def snapshot_download(
        self, repo: str, *, repo_type: str, revision: str | None, allow_patterns: list[str], local_dir: str
    ) -> str:
        home = self.root / repo_type / repo
        if not home.is_dir():
            raise FileNotFoundError(f"404: {repo}\nmore")
        commit = home / revision if revision else max(home.iterdir())
        for pattern in allow_patterns:
            for file in commit.glob(pattern):
                target = Path(local_dir) / file.relative_to(commit)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
        return local_dir


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    return made


def same(a: str, b: str) -> None:
    ours, theirs = stream.read(a, ()), stream.read(b, ())
    assert ours.head == theirs.head
    assert ours.records == theirs.records
    assert {n: x.sha256 for n, x in ours.blobs.items()} == {n: x.sha256 for n, x in theirs.blobs.items()}


def refused(mi: Session, *words: str | Path, code: int = 3) -> str:
    before = sorted(Path().rglob("*"))
    done = mi(*words)
    assert done.code == code, done.err
    assert done.out == b""
    assert len(done.err.splitlines()) <= 2
    assert sorted(Path().rglob("*")) == before
    return done.err


def test_to_the_hub_and_back(mi: Session, hub: Hub) -> None:
    streams.write_scores("scores.jsonl")
    line = mi("push", "someone/circuits", "scores.jsonl", "--name", "ioi/s.jsonl", "--private").ok().text
    words = shlex.split(line)
    assert words[:4] == ["mi", "pull", "someone/circuits", "ioi/s.jsonl"]
    assert words[4:6] == ["--revision", "commit0"]
    assert hub.private is True
    assert hub.message == "Add ioi/s.jsonl: a stream of kind scores"
    mi(*words[1:], "-o", "back.jsonl").ok()
    same("scores.jsonl", "back.jsonl")
    assert mi("verify", "back.jsonl").ok()
    there = hub.root / "dataset" / "someone" / "circuits" / "commit0" / "ioi"
    assert len(list(there.iterdir())) == 2
    streams.write_scores("other.jsonl", seed=1)
    mi("push", "someone/circuits", "other.jsonl", "--name", "ioi/s.jsonl").ok()
    mi(*words[1:], "-o", "first.jsonl").ok()  # the commit pins the old one
    same("scores.jsonl", "first.jsonl")
    mi("pull", "someone/circuits", "ioi/s.jsonl", "-o", "new.jsonl").ok()
    same("other.jsonl", "new.jsonl")
    assert "not " + words[-1][:12] in refused(mi, "pull", "someone/circuits", "ioi/s.jsonl", "--sha256", words[-1])


def test_a_pipe_at_both_ends_and_another_kind(mi: Session, hub: Hub) -> None:
    streams.write_scores("scores.jsonl")
    circuit = mi("prune", "scores.jsonl", "--top", "9").ok().out
    line = mi("push", "a/b", "--kind", "model", "--message", "mine", stdin=circuit).ok().text
    assert line.endswith("--kind model\n")
    assert hub.message == "mine"
    back = mi(*shlex.split(line)[1:]).ok().out
    assert json.loads(back.splitlines()[0])["kind"] == "circuit"
    assert back == circuit
    shown = mi("view", stdin=back).ok().text
    assert "circuit of ioi" in shown


def test_a_folder_stands_for_a_repository(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    line = mi("push", "./there", "scores.jsonl").ok().text
    assert "--revision" not in line
    mi(*shlex.split(line)[1:], "-o", "back.jsonl").ok()
    same("scores.jsonl", "back.jsonl")
    (tensors,) = Path("there").glob("*.safetensors")
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.write_bytes(data)
    assert "damaged" in refused(mi, "pull", "./there", "scores.jsonl", "-o", "x.jsonl")
    tensors.unlink()
    assert "is missing" in refused(mi, "pull", "./there", "scores.jsonl", "-o", "x.jsonl")
    text = Path("there/scores.jsonl").read_bytes()
    Path("there/scores.jsonl").write_bytes(text[:-40])
    assert refused(mi, "pull", "./there", "scores.jsonl", "-o", "x.jsonl")


def test_examples_that_only_the_store_has_go_along(mi: Session, hub: Hub) -> None:
    records = [{**streams.example(index), "note": "mine"} for index in range(4)]
    named = {"sha256": examples_digest(records), "n": split_counts(records), "source": {"path": "gone.jsonl"}}
    store.put_examples(records)
    head = streams.head("circuit", "prune", examples=named)
    stream.write("circuit.jsonl", head, [{"src": "input", "dst": "logits", "score": 1.0}])
    for repo in ("./there", "a/b"):
        line = mi("push", repo, "circuit.jsonl").ok().text
        done = mi(*shlex.split(line)[1:], "-o", "back.jsonl").ok()
        (beside,) = Path().glob("back.examples.*.jsonl")
        assert f"--data {beside.name}" in done.err
        assert [json.loads(row) for row in beside.read_text().splitlines()] == records
        beside.unlink()
    (beside,) = Path("there").glob("*.examples.*.jsonl")
    beside.write_text(beside.read_text().replace("mine", "yours"))
    Path("back.jsonl").unlink()
    assert "not the examples that the stream names" in refused(mi, "pull", "./there", "circuit.jsonl", "-o", "x.jsonl")


def test_what_is_refused(mi: Session, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    streams.write_scores("scores.jsonl")
    assert "'someone' is no repository" in refused(mi, "push", "someone", "scores.jsonl", code=2)
    assert "is no path in a repository" in refused(mi, "push", "a/b", "scores.jsonl", "--name", "../x", code=2)
    assert "is no path in a repository" in refused(mi, "pull", "a/b", "/etc/passwd", code=2)
    assert "where to is not said" in refused(mi, "push", code=2)
    assert "which stream is not said" in refused(mi, "pull", "a/b", code=2)
    assert "the hub did not give a/b: 404: a/b" in refused(mi, "pull", "a/b", "x.jsonl")
    mi("push", "a/b", "scores.jsonl").ok()
    assert "a/b has no x.jsonl" in refused(mi, "pull", "a/b", "x.jsonl")
    assert "which has no revisions" in refused(mi, "pull", ".", "x.jsonl", "--revision", "x", code=2)
    Path("broken.jsonl").write_bytes(Path("scores.jsonl").read_bytes()[:-9])
    assert refused(mi, "push", "a/b", "broken.jsonl")

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("Network is unreachable\nand much more")

    monkeypatch.setattr(hub, "create_repo", offline)
    err = refused(mi, "push", "a/b", "scores.jsonl", code=4)
    assert "the hub did not take a/b: Network is unreachable" in err
    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    err = refused(mi, "pull", "a/b", "scores.jsonl")
    assert "the hub did not give a/b: Network is unreachable; without a network, pull from a folder" in err

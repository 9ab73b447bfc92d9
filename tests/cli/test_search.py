"""`mi search` as a user runs it: circuits and rankings that the next commands take, refusals, checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mi import embedded
from tests.cli.conftest import Done, Session

pytestmark = pytest.mark.skipif(
    not (embedded.path("default") / "model.safetensors").is_file(), reason="the embedded model has no weights"
)

SHORT = {
    "acdc": ["--tau", "0.1"],
    "subnetwork-probing": ["--steps", "6"],
    "edge-pruning": ["--steps", "6"],
    "ugs": ["--steps", "4", "--masks", "2"],
    "optimal": ["--steps", "10"],
}


@pytest.fixture
def cache(mi: Session) -> str:
    mi("cache", "--task", "ioi", "-n", "4", "-o", "cache.jsonl").ok()
    return "cache.jsonl"


def lines(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.ok().text.splitlines()]


@pytest.mark.parametrize("method", [name for name in SHORT if name != "optimal"])
def test_a_circuit_is_found_and_can_be_scored(method: str, mi: Session, cache: str) -> None:
    head, *records, end = lines(mi("search", cache, "--method", method, *SHORT[method], "--seed", "3"))
    assert head["kind"] == "circuit"
    assert head["attribution"]["method"] == method
    assert head["attribution"]["seed"] == 3
    assert head["selection"]["edges"] == len(records) == end["n"]
    assert [record["score"] for record in records] == sorted((r["score"] for r in records), reverse=True)
    mi("search", cache, "--method", method, *SHORT[method], "--seed", "3", "-o", "circuit.jsonl").ok()
    report = lines(mi("score", "circuit.jsonl", "--json"))
    assert report[0]["kind"] == "report"


@pytest.mark.parametrize("method", [name for name in SHORT if name != "optimal"])
def test_a_ranking_goes_into_prune(method: str, mi: Session, cache: str) -> None:
    taus = ["--tau", "0.1", "--tau", "1"] if method == "acdc" else [*SHORT[method], "--ranking"]
    mi("search", cache, "--method", method, *taus, "-o", "scores.jsonl").ok()
    head, *records, _ = lines(mi("prune", "scores.jsonl", "--top", "40", "--signed"))
    assert head["kind"] == "circuit"
    assert 0 < len(records) <= 40


def test_optimal_gives_scores_of_nodes_and_constants_that_an_ablation_takes(mi: Session, cache: str) -> None:
    head, *_ = lines(mi("search", cache, "--method", "optimal", "--steps", "10"))
    assert (head["kind"], head["attribution"]["level"]) == ("scores", "node")
    mi("search", cache, "--method", "optimal", "--steps", "10", "-o", "constants.jsonl").ok()
    with_them = ["--ablation", "optimal", "--means", "constants.jsonl"]
    mi("attribute", cache, "--method", "eap", *with_them, "-o", "scores.jsonl").ok()
    mi("prune", "constants.jsonl", "--top", "10", "-o", "circuit.jsonl").ok()
    mi("score", "circuit.jsonl", *with_them).ok()


def test_constants_are_learned_with_the_mask(mi: Session, cache: str) -> None:
    mi("search", cache, "--method", "ugs", *SHORT["ugs"], "--learn-constants", "-o", "circuit.jsonl").ok()
    head = json.loads(Path("circuit.jsonl").read_text().splitlines()[0])
    assert head["attribution"]["ablation"] == "optimal"
    mi("score", "circuit.jsonl", "--ablation", "optimal", "--means", "circuit.jsonl").ok()


@pytest.mark.parametrize("method", SHORT)
def test_a_finished_search_is_not_done_again(method: str, mi: Session, cache: str) -> None:
    words = ["search", cache, "--method", method, *SHORT[method], "--fresh"]
    first = mi(*words).ok().out
    kept = mi(*words, "--checkpoint", "state", "--every", "2").ok()
    again = mi(*words, "--checkpoint", "state", "--every", "2").ok()
    assert first == kept.out == again.out
    assert "going on from state" not in kept.err
    assert "going on from state" in again.err
    other = mi(*words, "--checkpoint", "state", "--seed", "9")
    assert other.code == 3
    assert "another search" in other.err


def test_an_early_end_is_said(mi: Session, cache: str) -> None:
    words = ["--method", "subnetwork-probing", "--lr", "0", "--steps", "50", "--patience", "3"]
    done = mi("search", cache, *words)
    head, *_ = lines(done)
    assert "3 steps" in head["attribution"]["search"]["stopped"]
    assert head["attribution"]["search"]["steps_done"] == 4
    assert "stopped after 4 of 50 steps" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tau", "nan"], "nan"),
        (["--tau", "0.1", "--tau", "0.1"], "twice"),
        (["--tau", "-1", "--tau", "1"], "positive"),
        (["--steps", "5"], "--steps means nothing to acdc"),
        (["--method", "ugs", "--target", "0.5"], "--target means nothing to ugs"),
        (["--method", "ugs", "--tau", "0.5"], "--tau means nothing to ugs"),
        (["--method", "edge-pruning", "--target", "nan"], "nan"),
        (["--method", "optimal", "--ablation", "zero"], "optimal"),
        (["--method", "optimal", "--ranking"], "ranking"),
        (["--method", "ugs", "--learn-constants", "--ablation", "zero"], "zero"),
        (["--method", "ugs", "--metric", "accuracy"], "no gradient"),
        (["--method", "sgd"], "sgd"),
    ],
)
def test_what_has_no_meaning(words: list[str], said: str, mi: Session, cache: str) -> None:
    done = mi("search", cache, *words)
    assert done.code == 2
    assert said in done.err
    assert done.out == b""


def test_a_dry_run_tells_the_cost(mi: Session, cache: str) -> None:
    for method, expected in (("acdc", "482 forward"), ("ugs", "backward")):
        done = mi("search", cache, "--method", method, "--dry-run").ok()
        assert expected in done.err
        assert done.out == b""


def test_a_stage_of_a_pipe(mi: Session) -> None:
    line = "cache --task ioi -n 4 ! search --method subnetwork-probing --steps 6 ! score"
    head, *_ = lines(mi("pipe", line, "--json"))
    assert [link["argv"][0] for link in head["chain"]] == ["cache", "search", "score"]

"""Every method from the shell's side: what the head says, what comes after it in a pipe, what a dry run promises."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from mi.core import methods
from mi.io import blobs, stream
from tests.cli.conftest import Session

CHEAP = [name for name, method in methods.METHODS.items() if name != "exact"]
LEVELS = [(name, level) for name in CHEAP for level in methods.METHODS[name].levels]


@pytest.fixture
def examples(mi: Session) -> str:
    mi("data", "ioi", "-n", "3", "-o", "examples.jsonl").ok()
    return "examples.jsonl"


@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_scores_of_every_level_go_on_to_a_circuit(mi: Session, examples: str, name: str, level: str) -> None:
    mi("attribute", examples, "--method", name, "--level", level, "-o", "scores.jsonl").ok()
    scores = stream.read("scores.jsonl", ("scores",))
    said = scores.head["attribution"]
    assert (said["method"], said["level"]) == (name, level)
    arrays = blobs.load(scores, "scores")
    assert set(arrays) == {level, f"{level}_shards", "shard_n"}
    assert arrays[level].dtype == np.float32
    assert arrays[f"{level}_shards"].shape == (len(arrays["shard_n"]), *arrays[level].shape)
    method = methods.METHODS[name]
    assert said.get("selector", "") == method.selector
    assert ("metric" in said) == method.needs_metric
    assert ("ablation" in said) == (method.ablations != ())
    assert ("steps" in said) == ("steps" in method.flags)
    assert mi("view", "scores.jsonl").ok().text
    mi("prune", "scores.jsonl", "--percent", "50", "-o", "circuit.jsonl").ok()
    assert stream.read("circuit.jsonl", ("circuit",)).head["selection"]["level"] == level


@pytest.mark.parametrize("name", methods.METHODS)
def test_a_dry_run_says_the_cost_and_writes_nothing(mi: Session, examples: str, name: str) -> None:
    done = mi("attribute", examples, "--method", name, "--dry-run").ok()
    assert done.out == b""
    said = re.search(r"would run ([\d.]+) forward(?: and ([\d.]+) backward)?", done.err)
    assert said is not None
    forwards, backwards = methods.cost(methods.settle(name), 4, 1 + 4 * 5)
    assert float(said[2] or 0) == pytest.approx(backwards)
    if name != "exact":  # patches come on top
        assert float(said[1]) == pytest.approx(forwards)


def test_information_flow_needs_no_answers(mi: Session) -> None:
    words = ["he", "she", "Mary"]
    records = [{"id": w, "clean": f"So {w} is", "corrupted": f"So {w} is", "split": "train"} for w in words]
    Path("bare.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    mi("data", "--from", "bare.jsonl", "-o", "examples.jsonl").ok()
    mi("attribute", "examples.jsonl", "--method", "ifr", "-o", "scores.jsonl").ok()
    assert mi("attribute", "examples.jsonl", "--method", "eap", "--metric", "logit-diff").code == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "ifr", "--metric", "kl"), "leave --metric away"),
        (("--method", "ifr", "--ablation", "zero"), "replaces nothing"),
        (("--method", "hisp", "--level", "edge"), "--level node"),
        (("--method", "eap", "--normalise-layers"), "hisp"),
        (("--method", "nap", "--metric", "js"), "eap-ig"),
        (("--method", "eap", "--steps", "9"), "eap-ig"),
        (("--method", "eap-ig-activations", "--level", "node", "--compat", "mib"), "nap-ig"),
    ],
)
def test_what_has_no_meaning(mi: Session, examples: str, words: tuple[str, ...], said: str) -> None:
    done = mi("attribute", examples, *words)
    assert (done.code, done.out) == (2, b"")
    assert said in done.err
    assert len(done.err.strip().splitlines()) <= 2


def test_info_lists_the_table(mi: Session) -> None:
    facts = json.loads(mi("info", "--json").ok().out)
    assert [m["name"] for m in facts["attribution"]] == list(methods.METHODS) == facts["methods"]["method"]
    shown = mi("info").ok().text
    assert all(re.search(rf"^{name} ", shown, re.MULTILINE) for name in methods.METHODS)


def test_a_memory_budget_is_recorded_and_changes_no_score(mi: Session, examples: str) -> None:
    """One prompt at a time, and of its positions a few: the same numbers."""
    found = []
    for budget in ("1GB", "100kB"):
        mi("attribute", examples, "--batch-size", "1", "--memory-budget", budget, "-o", "s.jsonl", "--fresh").ok()
        scores = stream.read("s.jsonl", ("scores",))
        found.append(blobs.load(scores, "scores")["edge"])
        mi("score", "s.jsonl", "--memory-budget", budget, "--batch-size", "1", "-o", "r.jsonl", "--fresh").ok()
        report = stream.read("r.jsonl", ("report",)).head["scoring"]
        amount = 10**9 if budget == "1GB" else 10**5
        assert scores.head["attribution"]["memory_budget"] == report["memory_budget"] == amount
    assert np.abs(found[0] - found[1]).max() <= 1e-5 * np.abs(found[0]).max()


@pytest.mark.parametrize("command", ["attribute", "cache", "search"])
def test_a_budget_that_is_no_amount_is_refused(mi: Session, examples: str, command: str) -> None:
    done = mi(command, examples, "--memory-budget", "much")
    assert done.code == 2
    assert "write it as 500MB or 2GB" in done.err

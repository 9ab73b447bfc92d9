"""`mi score --test` on the embedded model: identities of known circuits, and what does not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi.circuit import reading
from mi.io import stream
from tests.cli.conftest import Session

ALL = "complement completeness nodes minimality equivalence independence sufficiency necessity random gap".split()


@pytest.fixture
def scores(mi: Session) -> str:
    mi("data", "ioi", "-n", "40", "-o", "examples.jsonl").ok()
    mi("attribute", "examples.jsonl", "--method", "eap", "-o", "scores.jsonl").ok()
    return "scores.jsonl"


def records_of(mi: Session, file: str, *words: str) -> list[dict[str, Any]]:
    mi("score", file, *words, "-o", "report.jsonl").ok()
    return [record for record in stream.read("report.jsonl", ("report",)).records if "test" in record]


def flags(*names: str) -> list[str]:
    return [word for name in names for word in ("--test", name)]


def test_the_whole_model_is_complete_and_equivalent(mi: Session, scores: str) -> None:
    mi("prune", scores, "--percent", "100", "-o", "all.jsonl").ok()
    found = records_of(mi, "all.jsonl", *flags("complement", "completeness", "equivalence"))
    by_name = {record["summary"]: record for record in found}
    assert by_name["complement"]["value"] == pytest.approx(0, abs=1e-5)
    assert by_name["incompleteness"]["value"] == pytest.approx(0, abs=1e-5)
    assert not by_name["equivalence"]["rejected"]


def test_a_small_circuit_under_every_test(mi: Session, scores: str) -> None:
    mi("prune", scores, "--top", "12", "-o", "circuit.jsonl").ok()
    words = [*flags(*ALL), "--random", "8", "--limit", "6"]
    found = records_of(mi, "circuit.jsonl", *words)
    assert {record["test"] for record in found} == set(ALL)
    size = len(stream.read("circuit.jsonl", ("circuit",)).records)
    assert sum("edge" in record for record in found) == size
    assert all(record["low"] <= record["value"] <= record["high"] for record in found if "low" in record)
    head = stream.read("report.jsonl", ("report",)).head
    assert head["scoring"]["tests"] == {"names": ALL, "random": 8, "seed": 0}
    before = Path("report.jsonl").read_bytes()
    records_of(mi, "circuit.jsonl", *words, "--fresh")
    assert Path("report.jsonl").read_bytes() == before
    shown = mi("view", "report.jsonl").ok().text
    for text in ("incompleteness", "8 random ones", "of train", "loss without it"):
        assert text in shown


def test_one_edge_of_the_whole_model_is_worth_what_exact_patching_says(mi: Session, scores: str) -> None:
    """m(M) - m(M without e), which is `exact` in units of the metric."""
    mi("prune", scores, "--percent", "100", "-o", "all.jsonl").ok()
    report = records_of(mi, "all.jsonl", *flags("minimality"), "--random", "2", "--limit", "2")
    values = {record["edge"]: record["value"] for record in report if "edge" in record}
    records = stream.read("report.jsonl", ("report",)).records
    mean = {r["summary"]: r["value"] for r in records if r.get("summary") in ("clean", "empty")}
    words = ["--split", "validation", "--limit", "2", "--metric", "logit-diff"]
    mi("attribute", "examples.jsonl", "--method", "exact", *words, "-o", "exact.jsonl").ok()
    found = stream.read("exact.jsonl", ("scores",))
    graph = reading.graph_of(found)
    exact = reading.scored(found, graph).scores
    span = mean["clean"] - mean["empty"]
    ours = [values[name] * span for name in graph.edge_names()]
    np.testing.assert_allclose(ours, exact, rtol=0, atol=2e-5 * np.abs(exact).max())


def test_scores_have_tests_of_their_own(mi: Session, scores: str) -> None:
    found = records_of(mi, scores, *flags("random", "gap", "stability"), "--random", "2", "--limit", "6")
    assert [record["summary"] for record in found if record["test"] != "stability"] == [
        "cpr of random rankings",
        "cmd of random rankings",
        "cpr gap",
        "cmd gap",
    ]
    assert sum(record["test"] == "stability" for record in found) == 10
    assert "in nearly every resample" in mi("view", "report.jsonl").ok().text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["circuit", "--test", "minimal"], "did you mean minimality?"),
        (["circuit", "--test", "stability"], "of scores"),
        (["scores", "--test", "completeness"], "these are scores"),
        (["neurons", "--test", "random"], "this is of neurons"),
        (["circuit", "--test", "gap", "--split", "train"], "not apart"),
        (["circuit", "--random", "1", "--test", "random"], "--random"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(mi: Session, scores: str, words: list[str], said: str) -> None:
    mi("prune", scores, "--top", "9", "-o", "circuit.jsonl").ok()
    if words[0] == "neurons":
        mi("attribute", "examples.jsonl", "--method", "eap", "--level", "neuron", "-o", "n.jsonl").ok()
        mi("prune", "n.jsonl", "--top", "20", "-o", "neurons.jsonl").ok()
    done = mi("score", f"{words[0]}.jsonl", *words[1:])
    assert (done.code, done.out) == (2, b"")
    assert said in done.err


def test_a_dry_run_counts_the_circuits(mi: Session, scores: str) -> None:
    mi("prune", scores, "--top", "9", "-o", "circuit.jsonl").ok()
    plain = mi("score", "circuit.jsonl", "--dry-run").ok().err
    more = mi("score", "circuit.jsonl", "--dry-run", "--test", "random", "--random", "50").ok().err
    assert "would run 3 " in plain and "would run 53 " in more

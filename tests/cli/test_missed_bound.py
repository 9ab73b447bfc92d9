"""AtP*, then an exact check of what it ranks highest, with a bound on the rest; and RelP's rules, from the shell."""

from __future__ import annotations

import pytest

from mi.io import stream
from tests.cli.conftest import Session


@pytest.fixture
def scores(mi: Session) -> str:
    mi("data", "ioi", "-n", "3", "-o", "examples.jsonl").ok()
    mi("attribute", "examples.jsonl", "--method", "atp-star", "--level", "node", "-o", "scores.jsonl").ok()
    return "scores.jsonl"


def exact(mi: Session, scores: str, *words: str) -> tuple[dict[str, object], str]:
    done = mi("attribute", scores, "--method", "exact", "--level", "node", "--top", "5", *words, "-o", "checked.jsonl")
    return stream.read("checked.jsonl", ("scores",)).head["attribution"], done.ok().err


def test_the_bound_is_of_what_was_not_looked_at(mi: Session, scores: str) -> None:
    said, told = exact(mi, scores, "--missed-bound", "20")
    found = said["missed"]
    assert said["only"] == {"n": 5, "ranked_by": "atp-star"}
    assert (found["samples"], found["seed"], found["confidence"]) == (20, 0, 0.95)
    assert found["largest"] > 0
    assert found["root_sum_square"] > 0
    assert found["n"] + 5 == n_nodes()
    assert f"of the {found['n']} nodes not looked at none does more than {found['largest']:.3g}" in told
    other, _ = exact(mi, scores, "--missed-bound", "20", "--seed", "1")
    assert other["missed"]["largest"] != found["largest"]
    assert other["missed"]["all_together"] == pytest.approx(found["all_together"])
    without, _ = exact(mi, scores)
    assert "missed" not in without


def n_nodes() -> int:
    params = stream.read("scores.jsonl", ("scores",)).head["graph"]["params"]
    return 1 + params["n_layers"] * (params["n_heads"] + 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--missed-bound", "50", "--direction", "denoising"), "use --direction noising"),
        (("--missed-bound", "19"), "19"),
    ],
)
def test_bounds_without_meaning_are_refused(mi: Session, scores: str, words: tuple[str, ...], said: str) -> None:
    done = mi("attribute", scores, "--method", "exact", "--level", "node", *words)
    assert done.code == 2
    assert said in done.err


def test_a_bound_needs_something_left_out(mi: Session, scores: str) -> None:
    done = mi("attribute", "examples.jsonl", "--method", "exact", "--missed-bound", "50")
    assert done.code == 2
    assert "name scores with --on SCORES" in done.err
    done = mi("attribute", "examples.jsonl", "--method", "eap", "--missed-bound", "50")
    assert done.code == 2
    assert "it is a flag of exact" in done.err


def test_the_rules_of_relp_are_recorded_and_checked(mi: Session, scores: str) -> None:
    for words, rules in (((), ["ln", "identity", "half"]), (("--backward", "pattern, ln"), ["ln", "pattern"])):
        mi("attribute", "examples.jsonl", "--method", "relp", *words, "-o", "relp.jsonl").ok()
        assert stream.read("relp.jsonl", ("scores",)).head["attribution"]["backward"] == rules
    assert mi("attribute", "examples.jsonl", "--method", "relp", "--backward", "ln,gamma").code == 2
    assert mi("attribute", "examples.jsonl", "--method", "eap", "--backward", "ln").code == 2

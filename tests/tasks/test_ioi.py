"""IOI: the eight counterfactuals, each against a plain table of who stands where."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mi.errors import MiError
from mi.tasks import ioi, words
from mi.tasks.encode import encode
from mi.tasks.task import make
from tests.seeds import FRESH
from tests.tasks import tokenizers

# IO, S1, S2 of the counterfactual where the clean prompt has A, B, B, and the answer that it calls for.
EXPECTED = {
    "abc": ("CDE", None),
    "random-names": ("CDD", "C"),
    "s1-io-flip": ("BAB", "A"),
    "s2-io-flip": ("ABA", "B"),
    "s1-ioi-flip-s2-ioi-flip": ("BAA", "B"),
    "random-names-s1-io-flip": ("DCD", "C"),
    "random-names-s2-io-flip": ("CDC", "D"),
    "random-names-s1-ioi-flip-s2-ioi-flip": ("DCC", "D"),
}
SEEDS = (0, FRESH)


def names_in(text: str) -> list[str]:
    return [word for word in re.findall(r"\w+", text) if word in words.NAMES]


def without_names(text: str) -> str:
    return re.sub(r"\w+", lambda word: "_" if word[0] in words.NAMES else word[0], text)


def answer_of(first: str, second: str, repeated: str) -> str | None:
    """The rule of the task: whoever of the first two is not named again."""
    if repeated == first:
        return second
    return first if repeated == second else None


def in_roles(record: dict[str, Any], key: str) -> tuple[str, str, str]:
    """The names that stand in the places of IO, S1 and S2."""
    first, second, repeated = names_in(record[key])
    return (first, second, repeated) if record["template"].startswith("abba") else (second, first, repeated)


def test_all_eight_are_there_and_the_default_is_the_published_one() -> None:
    assert sorted(ioi.TASK.counterfactuals) == sorted(EXPECTED)
    assert ioi.TASK.counterfactual == "s2-io-flip"
    assert (ioi.TASK.metric, ioi.TASK.read) == ("logit-diff", -1)


@pytest.mark.parametrize("counterfactual", EXPECTED)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("tokenizer", ["default", "gpt2"])
def test_counterfactual(counterfactual: str, seed: int, tokenizer: str) -> None:
    print(f"seed {seed}")
    chosen = tokenizers.load(tokenizer)
    records, _ = make("ioi", 250, seed, counterfactual, chosen)
    pattern, right = EXPECTED[counterfactual]
    for record in records:
        io, s, repeated = in_roles(record, "clean")
        assert s == repeated != io
        assert (record["answers"], record["foils"]) == ([f" {io}"], [f" {s}"])
        roles = in_roles(record, "corrupted")
        # Equal letters are equal names, and only C, D and E are names that the clean prompt lacks.
        meaning = dict(zip(pattern, roles))
        assert "".join(next(x for x in pattern if meaning[x] == name) for name in roles) == pattern
        assert len(set(meaning.values())) == len(meaning)
        for letter, name in meaning.items():
            assert {"A": name == io, "B": name == s}.get(letter, name not in (io, s))
        expected = meaning[right] if right else None
        assert answer_of(*names_in(record["corrupted"])) == expected
        assert record["labels"]["corrupted_answer"] == (f" {expected}" if expected else None)
        # Nothing else changes.
        assert without_names(record["clean"]) == without_names(record["corrupted"])
        assert len(chosen.encode(record["clean"])) == len(chosen.encode(record["corrupted"]))
    assert len(encode(records, chosen)) == 500


@pytest.mark.parametrize("counterfactual", EXPECTED)
def test_a_small_vocabulary_gives_examples_or_says_what_it_lacks(counterfactual: str) -> None:
    stories = tokenizers.load("stories260K")
    if EXPECTED[counterfactual][0].translate({ord("A"): None, ord("B"): None}):
        with pytest.raises(MiError, match="'stories260K' cannot express task ioi: needs at least . names of one token"):
            make("ioi", 5, 0, counterfactual, stories)
    else:
        records, _ = make("ioi", 500, 0, counterfactual, stories)
        assert len(encode(records, stories)) == 1000
        assert {in_roles(r, "clean")[0] for r in records} == {"Lily", "Tim", "Timmy"}


def test_both_orders_and_all_templates_occur() -> None:
    records, _ = make("ioi", 1000)
    assert {r["template"] for r in records} == {
        f"{order}-{number:02d}" for order in ("abba", "baba") for number in range(1, len(ioi.TEMPLATES) + 1)
    }
    share = sum(r["template"].startswith("abba") for r in records) / len(records)
    assert 0.4 < share < 0.6
    for record in records:
        first, second, _ = names_in(record["clean"])
        io = record["variables"]["io"]
        assert (first if record["template"].startswith("abba") else second) == io


def test_a_name_is_never_the_first_word_and_never_needs_more_than_one_token() -> None:
    gpt2 = tokenizers.load("gpt2")
    for record in make("ioi", 200, tokenizer=gpt2)[0]:
        assert names_in(record["clean"])[0] != record["clean"].split()[0]
        tokens = [gpt2.token(index) for index in gpt2.encode(record["clean"])]
        assert all("Ġ" + name in tokens for name in names_in(record["clean"]))


def test_corrupt_against_the_table() -> None:
    for counterfactual, (pattern, right) in EXPECTED.items():
        found = ioi.corrupt(ioi.Names("A", "B", "B"), counterfactual, ("C", "D", "E"))
        assert (found.io + found.s1 + found.s2, found.answer) == (pattern, right)

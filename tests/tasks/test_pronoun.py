"""Pronouns: the name's gender decides, and nothing else changes."""

from __future__ import annotations

from collections import Counter

import pytest

from mi.errors import MiError
from mi.tasks import pronoun, words
from mi.tasks.encode import encode
from mi.tasks.task import make
from tests.seeds import FRESH
from tests.tasks import tokenizers
from tests.tasks.tokenizers import of_words

SEEDS = (0, FRESH)
GENDER = dict.fromkeys(words.FEMALE_NAMES, " she") | dict.fromkeys(words.MALE_NAMES, " he")


def test_no_name_has_two_genders() -> None:
    assert not set(words.FEMALE_NAMES) & set(words.MALE_NAMES)
    assert (pronoun.TASK.metric, pronoun.TASK.read) == ("logit-diff", -1)


@pytest.mark.parametrize("name", tokenizers.NAMES)
@pytest.mark.parametrize("counterfactual", ["other-gender", "other-name"])
@pytest.mark.parametrize("seed", SEEDS)
def test_pairs(name: str, counterfactual: str, seed: int) -> None:
    print(f"seed {seed}")
    chosen = tokenizers.load(name)
    if (name, counterfactual) == ("stories260K", "other-name"):
        with pytest.raises(MiError, match="needs at least 2 female names of one token; it has Lily"):
            make("pronoun", 5, seed, counterfactual, chosen)
        return
    records, _ = make("pronoun", 500, seed, counterfactual, chosen)
    assert len(encode(records, chosen)) == 1000
    for record in records:
        before, after = record["clean"].split(), record["corrupted"].split()
        ((old, new),) = [(a.strip(","), b.strip(",")) for a, b in zip(before, after) if a != b]
        assert record["answers"] == [GENDER[old]]
        assert record["foils"] == [{" she": " he", " he": " she"}[GENDER[old]]]
        assert (GENDER[old] == GENDER[new]) == (counterfactual == "other-name")
        assert old != new
    counts = Counter(r["answers"][0] for r in records)
    assert abs(counts[" he"] - 500) < 100
    assert {r["template"] for r in records} == {f"{n:02d}" for n in range(1, len(pronoun.TEMPLATES) + 1)}


def test_a_vocabulary_without_pronouns_or_names() -> None:
    with pytest.raises(MiError, match="cannot express task pronoun: she and he must be one token"):
        make("pronoun", 5, tokenizer=of_words("Mary", "John"))
    with pytest.raises(MiError, match="needs at least 1 male names of one token; it has none"):
        make("pronoun", 5, tokenizer=of_words("Mary", "he", "she"))
    with pytest.raises(MiError, match="needs at least 1 template; it has none"):
        make("pronoun", 5, tokenizer=of_words("Mary", "John", "he", "she"))

"""Gender bias: the stereotype's pronoun is the answer, and the subject alone is replaced."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from mi.tasks import gender_bias
from mi.tasks.task import make
from tests.tasks import tokenizers

SIDE = {profession: gender for gender, list_ in gender_bias.PROFESSIONS.items() for profession in list_}
GENDER = {noun: gender for gender, list_ in gender_bias.GENDERED.items() for noun in list_}
PRONOUN = {"female": " she", "male": " he"}


@pytest.mark.parametrize("name", ["gpt2", "stories260K"])
@pytest.mark.parametrize("counterfactual", ["gendered-noun", "other-stereotype"])
def test_pairs(name: str, counterfactual: str) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    records = make("gender-bias", 250, seed, counterfactual, tokenizers.load(name))[0]
    for record in records:
        ((old, new),) = {
            (a, b) for a, b in zip(record["clean"].split(), record["corrupted"].split(), strict=True) if a != b
        }
        gender = SIDE[old]
        assert record["answers"] == [PRONOUN[gender]]
        other = (GENDER if counterfactual == "gendered-noun" else SIDE)[new]
        assert other != gender
        assert record["foils"] == [PRONOUN[other]]
        if (name, counterfactual) == ("gpt2", "gendered-noun"):
            assert new in ("man", "woman")
    counts = Counter(record["answers"][0] for record in records)
    assert 180 < counts[" she"] < 320


def test_no_word_is_on_both_sides() -> None:
    assert not set(gender_bias.PROFESSIONS["female"]) & set(gender_bias.PROFESSIONS["male"])
    assert not set(SIDE) & set(GENDER)
    assert min(map(len, gender_bias.PROFESSIONS.values())) > 30

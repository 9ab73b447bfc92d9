"""Agreement: who the subject is in each construction, and whose number each counterfactual changes."""

from __future__ import annotations

import random

import pytest

from mi.tasks import sva
from mi.tasks.task import make
from tests.tasks import tokenizers

PLURAL_OF = sva.NOUNS
SINGULAR_OF = {plural: noun for noun, plural in PLURAL_OF.items()}
PLURAL_VERBS = {" are", " were", " have", " do", " go"}
SINGULAR_VERBS = {" is", " was", " has", " does", " goes"}


def nouns_in(text: str) -> list[str]:
    return [word for word in text.split() if word in PLURAL_OF or word in SINGULAR_OF]


def number(noun: str) -> str:
    return "singular" if noun in PLURAL_OF else "plural"


def flipped(noun: str) -> str:
    return PLURAL_OF.get(noun) or SINGULAR_OF[noun]


@pytest.mark.parametrize("counterfactual", ["number-flip", "attractor-flip", "both-flip"])
def test_counterfactual(counterfactual: str) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    shapes = set()
    for record in make("sva", 250, seed, counterfactual, tokenizers.load("gpt2"))[0]:
        shape = record["template"].rsplit("-singular")[0].rsplit("-plural")[0]
        shapes.add(shape)
        before, after = nouns_in(record["clean"]), nouns_in(record["corrupted"])
        # The subject is the noun that stands first, but in `within-rc` it is the inner one.
        subject = 1 if shape == "within-rc" else 0
        assert len(before) == len(after) == (1 if shape == "simple" else 2)
        expected = list(before)
        for place, noun in enumerate(before):
            is_subject = place == subject
            if counterfactual == "both-flip" or is_subject == (counterfactual == "number-flip"):
                expected[place] = flipped(noun)
        assert after == expected
        skeleton = [
            [w for w in record[key].split() if w not in nouns_in(record[key])] for key in ("clean", "corrupted")
        ]
        assert skeleton[0] == skeleton[1]
        right, wrong = (
            (SINGULAR_VERBS, PLURAL_VERBS) if number(before[subject]) == "singular" else (PLURAL_VERBS, SINGULAR_VERBS)
        )
        assert right <= set(record["answers"])
        assert wrong <= set(record["foils"])
        assert len(record["answers"]) == len(record["foils"])
        numbers = [number(before[subject])] + [number(n) for p, n in enumerate(before) if p != subject]
        assert record["template"] == "-".join([shape, *numbers])
    assert shapes == {"nounpp", "rc", "within-rc"} | ({"simple"} if counterfactual == "number-flip" else set())


def test_who_acts_is_someone() -> None:
    for record in make("sva", 300, tokenizer=tokenizers.load("gpt2"))[0]:
        actor = {"rc": "attractor", "within-rc": "subject"}.get(record["template"].split("-s")[0].split("-p")[0])
        assert actor is None or record["variables"][actor] in sva.PEOPLE


def test_both_numbers_and_all_four_combinations_are_balanced() -> None:
    records = make("sva", 500, tokenizer=tokenizers.load("gpt2"))[0]
    for shape in ("nounpp", "rc", "within-rc"):
        for subject in ("singular", "plural"):
            for other in ("singular", "plural"):
                share = [r for r in records if r["template"] == f"{shape}-{subject}-{other}"]
                assert len(share) > 35


def test_no_word_is_both_numbers_and_no_verb_form_both() -> None:
    assert not set(PLURAL_OF) & set(PLURAL_OF.values())
    assert not set(sva.VERBS) & set(sva.VERBS.values())
    assert len(sva.VERBS) == len(set(sva.VERBS.values()))
    assert len(sva.NOUNS) > 70

"""The six generators of this half of the table, each with three tokenizers: 500 valid pairs, or the error that the
tokenizer cannot express the task. Validity is checked here from the text alone, not with the package's encoder."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from mi.errors import MiError
from mi.tasks import task
from mi.tasks.encode import encode
from mi.tasks.task import make
from mi.tasks.tokenizer import Tokenizer
from tests.tasks import tokenizers

TASKS = ("docstring", "capital", "sva", "arithmetic", "mcqa", "gender-bias")
# What each tokenizer can express; the rest must be refused, with these words.
ABLE = {
    "gpt2": {name: task.get(name).counterfactuals for name in TASKS},
    "stories260K": {
        "docstring": task.get("docstring").counterfactuals,
        "arithmetic": ("random", "ones-op1", "ones-op2"),
        "gender-bias": task.get("gender-bias").counterfactuals,
    },
    "default": {},
}
WHY = {
    ("stories260K", "capital"): "needs at least 2 countries of one token; it has none",
    ("stories260K", "sva"): "of no verb both forms, such as is and are, are one token",
    ("stories260K", "mcqa"): "must be one token behind a space",
    ("stories260K", "arithmetic"): "needs sums of two digits that are one token",
    ("default", "docstring"): "needs at least 1 template; it has none",
    ("default", "capital"): "needs at least 2 countries of one token; it has none",
    ("default", "sva"): "nouns whose singular and plural are equally long; it has friend",
    ("default", "arithmetic"): "not even the numbers 2 to 9 are single tokens behind a word",
    ("default", "mcqa"): "must be one token behind a space",
    ("default", "gender-bias"): "professions that something of equal length can replace; it has none",
}
CASES = [
    (tokenizer, name, counterfactual)
    for tokenizer in tokenizers.NAMES
    for name in TASKS
    for counterfactual in task.get(name).counterfactuals
]


def able(tokenizer: str, name: str, counterfactual: str) -> bool:
    return counterfactual in ABLE[tokenizer].get(name, ())


@pytest.mark.parametrize(("tokenizer", "name", "counterfactual"), [case for case in CASES if able(*case)])
def test_five_hundred_valid_pairs(tokenizer: str, name: str, counterfactual: str) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chosen = tokenizers.load(tokenizer)
    records, head = make(name, 250, seed, counterfactual, chosen)
    assert Counter(record["split"] for record in records) == {"train": 250, "validation": 250}
    assert len({record["clean"] for record in records}) == 500
    for record in records:
        check(record, chosen)
    assert len(encode(records, chosen)) == 500
    assert head["task"] == {"name": name, "metric": task.get(name).metric, "counterfactual": counterfactual}


def check(record: dict[str, Any], chosen: Tokenizer) -> None:
    """Equal lengths, no unknown word, and every answer and foil is one token more behind the clean prompt."""
    clean, corrupted = chosen.encode(record["clean"]), chosen.encode(record["corrupted"])
    assert len(clean) == len(corrupted)
    assert clean != corrupted
    assert chosen.unk_id not in clean + corrupted
    ids = []
    for target in record["answers"] + record["foils"]:
        longer = chosen.encode(record["clean"] + target)
        assert longer[:-1] == clean, (record["clean"], target)
        ids.append(longer[-1])
    assert len(set(ids)) == len(ids)
    assert record["answers"]
    assert record["foils"]


@pytest.mark.parametrize(("tokenizer", "name", "counterfactual"), [case for case in CASES if not able(*case)])
def test_or_the_error_that_the_tokenizer_cannot_express_the_task(
    tokenizer: str, name: str, counterfactual: str
) -> None:
    with pytest.raises(MiError, match=f"^tokenizer '{tokenizer}' cannot express task {name}: ") as caught:
        make(name, 5, 0, counterfactual, tokenizers.load(tokenizer))
    assert WHY[tokenizer, name] in caught.value.fact


@pytest.mark.parametrize("name", TASKS)
def test_all_templates_occur_among_a_thousand_examples(name: str) -> None:
    records, _ = make(name, 500, 1, tokenizer=tokenizers.load("gpt2"))
    found = {record["template"] for record in records}
    expected = {"docstring": 1, "capital": 12, "sva": 14, "arithmetic": 8, "mcqa": 3, "gender-bias": 4}
    assert len(found) == expected[name]


@pytest.mark.parametrize("name", TASKS)
def test_the_same_seed_gives_the_same_examples_and_another_seed_others(name: str) -> None:
    gpt2 = tokenizers.load("gpt2")
    one, again, other = (make(name, 40, seed, tokenizer=gpt2)[0] for seed in (3, 3, 4))
    assert one == again
    assert one != other
    assert len(make(name, 10, 3, tokenizer=gpt2, splits=("test",))[0]) == 10


def test_defaults_are_the_published_ones() -> None:
    found = {name: (task.get(name).metric, task.get(name).counterfactual, task.get(name).read) for name in TASKS}
    assert found == {
        "docstring": ("logit-diff", "random-random", -1),
        "capital": ("logit-diff", "other-capital", -1),
        "sva": ("prob-diff", "number-flip", -1),
        "arithmetic": ("logit-diff", "random", -1),
        "mcqa": ("logit-diff", "symbol", -1),
        "gender-bias": ("logit-diff", "gendered-noun", -1),
    }

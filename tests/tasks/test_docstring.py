"""Docstring: the third argument is the answer, and each counterfactual renames exactly what it says."""

from __future__ import annotations

import random
import re
from keyword import iskeyword
from typing import Any

import pytest

from mi.tasks.task import get, make
from tests.tasks import tokenizers

# Which of the six arguments (by place) and of the two documented names get a new name.
EXPECTED = {
    "random-random": ((2, 3, 4), (0, 1)),
    "random-def": ((2, 3, 4), ()),
    "random-doc": ((), (0, 1)),
    "random-answer": ((4,), ()),
    "random-answer-doc": ((4,), (0, 1)),
}


def parts(text: str) -> tuple[list[str], list[str], str]:
    """The arguments, the documented names, and the prompt without both."""
    match = re.fullmatch(r"\ndef (\w+)\(self, (.*)\):\n    \"\"\"(.*)\n    :param", text, re.DOTALL)
    assert match
    arguments = match[2].split(", ")
    named = re.findall(r":param (\w+):", match[3])
    return arguments, named, re.sub(r":param \w+:", "", text.replace(match[2], ""))


@pytest.mark.parametrize("counterfactual", EXPECTED)
@pytest.mark.parametrize("name", ["gpt2", "stories260K"])
def test_counterfactual(counterfactual: str, name: str) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    changed, renamed = EXPECTED[counterfactual]
    for record in make("docstring", 100, seed, counterfactual, tokenizers.load(name))[0]:
        before, named, rest = parts(record["clean"])
        after, other, same = parts(record["corrupted"])
        assert rest == same
        assert named == before[2:4]
        assert record["answers"] == [f" {before[4]}"]
        assert [place for place in range(6) if before[place] != after[place]] == list(changed)
        assert [place for place in range(2) if named[place] != other[place]] == list(renamed)
        fresh = {after[place] for place in changed} | {other[place] for place in renamed}
        assert len(fresh) == len(changed) + len(renamed)
        assert not fresh & set(before)
        assert set(record["foils"]) == {f" {word}" for word in {*before, *fresh} - {before[4]}}
        assert len(set(before)) == 6


def test_the_table_is_complete_and_no_argument_is_a_keyword() -> None:
    assert list(EXPECTED) == list(get("docstring").counterfactuals)
    records: list[dict[str, Any]] = []
    for name in ("gpt2", "stories260K"):
        records += make("docstring", 200, tokenizer=tokenizers.load(name))[0]
    assert not [word for record in records for word in parts(record["clean"])[0] if iskeyword(word)]

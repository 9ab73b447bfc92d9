"""Multiple choice: the letter in front of the right color, and what each counterfactual does to letters and options."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

import pytest

from mi.tasks import mcqa
from mi.tasks.task import make
from tests.tasks import tokenizers


@dataclass(frozen=True)
class Read:
    """A prompt, read with a pattern."""

    noun: str
    color: str
    symbols: list[str]
    options: list[str]
    rest: str

    @property
    def right(self) -> str:
        return self.symbols[self.options.index(self.color)]


def parse(text: str) -> Read:
    found = re.search(r"(?:A|The) (\w+) is (\w+)\.", text)
    assert found
    lines = re.findall(r"^(\w)\. (\w+)$", text, re.MULTILINE)
    rest = re.sub(rf"^\w\. \w+$|\b({found[1]}|{found[2]})\b", "_", text, flags=re.MULTILINE)
    return Read(found[1], found[2], [symbol for symbol, _ in lines], [option for _, option in lines], rest)


@pytest.mark.parametrize("counterfactual", mcqa.COUNTERFACTUALS)
def test_counterfactual(counterfactual: str) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    for record in make("mcqa", 250, seed, counterfactual, tokenizers.load("gpt2"))[0]:
        clean, corrupted = parse(record["clean"]), parse(record["corrupted"])
        assert clean.symbols == list("ABCD")
        assert len(set(clean.options)) == 4
        assert record["answers"] == [f" {clean.right}"]
        if counterfactual == "noun":
            assert record["foils"][0].strip() in set("ABCD") - {clean.right}
            assert corrupted.right == clean.right
        else:
            assert record["foils"] == [f" {corrupted.right}"]
            assert corrupted.right != clean.right
        if counterfactual == "symbol":
            assert corrupted.symbols == list("1234")
        elif counterfactual.endswith("random-letter"):
            assert len(set(corrupted.symbols)) == 4
            assert not set(corrupted.symbols) & set("ABCD")
        else:
            assert corrupted.symbols == clean.symbols
        moved = sum(a != b for a, b in zip(clean.options, corrupted.options, strict=True))
        assert moved == (2 if counterfactual.startswith("answer-position") else 0)
        assert (clean.noun != corrupted.noun) == ("noun" in counterfactual)
        assert (clean.color != corrupted.color) == ("color" in counterfactual)
        assert sorted(clean.options) == sorted(corrupted.options)
        assert clean.rest == corrupted.rest


def test_the_right_option_stands_at_every_place_alike() -> None:
    records = make("mcqa", 500, tokenizer=tokenizers.load("gpt2"))[0]
    for letter in "ABCD":
        assert 180 < sum(record["answers"] == [f" {letter}"] for record in records) < 320

"""Addition: the sums are right, and each counterfactual changes the digits that its name says."""

from __future__ import annotations

import random
import re

import pytest
import tokenizers as library

from mi.errors import MiError
from mi.tasks import arithmetic, tokenizer
from mi.tasks.task import make
from mi.tasks.tokenizer import Tokenizer
from mi.tasks.words import NAMES
from tests.tasks import tokenizers


def operands(text: str) -> tuple[int, int]:
    first, second = map(int, re.findall(r"\d+", text))
    return first, second


def carries(a: int, b: int) -> tuple[bool, bool]:
    """Out of the ones, and out of the tens."""
    return a % 10 + b % 10 >= 10, a + b >= 100


@pytest.mark.parametrize("counterfactual", arithmetic.COUNTERFACTUALS)
def test_counterfactual(counterfactual: str) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    for record in make("arithmetic", 250, seed, counterfactual, tokenizers.load("gpt2"))[0]:
        (a, b), (c, d) = operands(record["clean"]), operands(record["corrupted"])
        assert record["answers"] == [f" {a + b}"]
        assert record["foils"] == [f" {c + d}"]
        assert all(10 <= number <= 99 for number in (a, b, c, d))
        assert re.sub(r"\d+", "#", record["clean"]) == re.sub(r"\d+", "#", record["corrupted"])
        digits = {"tens-op1": (a // 10, c // 10), "ones-op1": (a % 10, c % 10)}
        digits |= {"tens-op2": (b // 10, d // 10), "ones-op2": (b % 10, d % 10)}
        changed = {name for name, (before, after) in digits.items() if before != after}
        if counterfactual in digits:
            assert changed == {counterfactual}
        if counterfactual.endswith("carry"):
            place = counterfactual.removesuffix("-carry")
            assert changed <= {f"{place}-op1", f"{place}-op2"}
            which = ("ones", "tens").index(place)
            assert carries(a, b)[which] != carries(c, d)[which]


@pytest.mark.parametrize("counterfactual", ["random", "ones-op1", "ones-op2"])
def test_a_small_vocabulary_adds_digits_behind_a_space_of_its_own(counterfactual: str) -> None:
    stories = tokenizers.load("stories260K")
    for record in make("arithmetic", 250, 0, counterfactual, stories)[0]:
        assert record["clean"].endswith(" ")
        (a, b), (c, d) = operands(record["clean"]), operands(record["corrupted"])
        assert record["answers"] == [str(a + b)]
        assert record["foils"] == [str(c + d)]
        assert max(a + b, c + d) < 10 and min(a, b, c, d) > 0
        assert counterfactual != "ones-op1" or (a != c and b == d)
        assert counterfactual != "ones-op2" or (a == c and b != d)


def three_digits_at_once() -> Tokenizer:
    """Numbers of up to three digits are one token, the space in front of them another: as in Llama 3."""
    pattern = r"\d{1,3}| ?[A-Za-z]+|\s|[^\s\w]"
    words = {word for template in arithmetic.TEMPLATES for word in re.findall(pattern, re.sub(r"{\w}", "7", template))}
    words |= {f"{space}{name}" for name in NAMES for space in ("", " ")} | set("0123456789 ")
    entries = ["<unk>", *sorted(words | {str(number) for number in range(1000)})]
    model = library.models.WordLevel({word: index for index, word in enumerate(entries)}, unk_token="<unk>")
    backend = library.Tokenizer(model)
    backend.pre_tokenizer = library.pre_tokenizers.Split(library.Regex(pattern), "isolated")
    return tokenizer.from_backend(backend, "digits")


def test_numbers_whose_space_stands_apart_get_prompts_that_end_in_it() -> None:
    chosen = three_digits_at_once()
    assert chosen.encode("is 37") == [*chosen.encode("is"), *chosen.encode(" "), *chosen.encode("37")]
    for record in make("arithmetic", 250, 0, "tens-carry", chosen)[0]:
        a, b = operands(record["clean"])
        assert record["answers"] == [str(a + b)]
        assert chosen.encode(record["clean"] + str(a + b)) == [
            *chosen.encode(record["clean"]),
            chosen.single(str(a + b)),
        ]


def test_a_vocabulary_without_numbers() -> None:
    with pytest.raises(MiError, match="not even the numbers 2 to 9 are single tokens"):
        make("arithmetic", 5, tokenizer=tokenizers.of_words("How", "much"))

"""Addition: "Q: How much is 24 plus 13? A:" -> " 37".

Out: pairs of sums of two numbers whose answers are single tokens. Numbers have two digits where the tokenizer holds
such sums as one token, else one. A tokenizer that keeps the space apart from the number (Llama 3, SentencePiece) gets
prompts that end in that space. The metric is the logit difference between the clean sum and the corrupted one.

- `random` (default): two other operands.
- `ones-op1`, `ones-op2`, `tens-op1`, `tens-op2`: one digit of one operand.
- `ones-carry`, `tens-carry`: the ones digits (tens digits) of both, so that there is a carry where there was none, or
  none where there was one; the other digits stay.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from mi.tasks import words
from mi.tasks.task import Record, Task, cannot_express
from mi.tasks.tokenizer import Tokenizer
from mi.tasks.vocabulary import known_templates, known_words, need

NAME = "arithmetic"

TEMPLATES = (
    "Q: How much is {a} plus {b}? A:",
    "The sum of {a} and {b} is",
    "{name} said that {a} plus {b} is",
    "Question: What is {a} plus {b}? Answer:",
    "{name} had {a} coins and found {b} more. Now {name} has",
    "There were {a} birds in the tree. Then {b} more came. All together there were",
    "In the morning {name} read {a} pages, and at night {b} pages. All together {name} read",
    "{name} walked {a} miles and then {b} miles. All together {name} walked",
)
COUNTERFACTUALS = ("random", "ones-op1", "ones-op2", "tens-op1", "tens-op2", "ones-carry", "tens-carry")
PAIRS_OF_ONE_DIGIT = [(a, b) for a in range(1, 9) for b in range(1, 9) if a + b < 10]

Pair = tuple[int, int]


def generate(tokenizer: Tokenizer, rng: random.Random, counterfactual: str) -> Iterator[Record]:
    gap, digits = _style(tokenizer)
    one_digit = digits == 1
    if one_digit and counterfactual not in ("random", "ones-op1", "ones-op2"):
        raise cannot_express(NAME, tokenizer, f"{counterfactual} needs sums of two digits that are one token")
    templates = need(known_templates(TEMPLATES, tokenizer), 1, "template", NAME, tokenizer)
    names = need(known_words(words.NAMES, tokenizer), 1, "name", NAME, tokenizer)
    while True:
        template, name = rng.choice(templates), rng.choice(names)
        clean = draw(rng, one_digit)
        corrupted = corrupt(rng, clean, counterfactual, one_digit)
        if corrupted is None or sum(corrupted) == sum(clean):
            continue
        # The prompt takes the space that the tokenizer keeps apart; the answer takes the one that belongs to it.
        tail, lead = (" ", "") if gap else ("", " ")
        yield {
            "clean": template.format(a=clean[0], b=clean[1], name=name) + tail,
            "corrupted": template.format(a=corrupted[0], b=corrupted[1], name=name) + tail,
            "answers": [f"{lead}{sum(clean)}"],
            "foils": [f"{lead}{sum(corrupted)}"],
            "template": f"{TEMPLATES.index(template) + 1:02d}",
            "variables": {"operand1": clean[0], "operand2": clean[1], "operator": "+"},
        }


def draw(rng: random.Random, one_digit: bool) -> Pair:
    return rng.choice(PAIRS_OF_ONE_DIGIT) if one_digit else (rng.randint(10, 99), rng.randint(10, 99))


def corrupt(rng: random.Random, clean: Pair, counterfactual: str, one_digit: bool) -> Pair | None:
    """The other operands; None where the clean ones leave no choice."""
    if counterfactual == "random":
        return draw(rng, one_digit)
    place, what = counterfactual.split("-")
    if what == "carry":
        choices = _other_carry(clean, place)
    else:
        choices = _other_digit(clean, place, 0 if what == "op1" else 1)
    if one_digit:
        choices = [pair for pair in choices if pair in PAIRS_OF_ONE_DIGIT]
    return rng.choice(choices) if choices else None


def _other_digit(clean: Pair, place: str, operand: int) -> list[Pair]:
    tens, ones = divmod(clean[operand], 10)
    if place == "ones":
        other = [10 * tens + digit for digit in range(10) if digit != ones]
    else:  # a tens digit of 0 would make the number shorter
        other = [10 * digit + ones for digit in range(1, 10) if digit != tens]
    return [(value, clean[1]) if operand == 0 else (clean[0], value) for value in other]


def _other_carry(clean: Pair, place: str) -> list[Pair]:
    (tens1, ones1), (tens2, ones2) = divmod(clean[0], 10), divmod(clean[1], 10)
    if place == "ones":
        carried = ones1 + ones2 >= 10
        return [(10 * tens1 + x, 10 * tens2 + y) for x in range(10) for y in range(10) if (x + y >= 10) != carried]
    carried = sum(clean) >= 100
    pairs = ((10 * x + ones1, 10 * y + ones2) for x in range(1, 10) for y in range(1, 10))
    return [pair for pair in pairs if (sum(pair) >= 100) != carried]


def _style(tokenizer: Tokenizer) -> tuple[bool, int]:
    """(whether the space stands apart, how many digits the operands have)."""
    for sums, digits in ((range(20, 199), 2), (range(2, 10), 1)):
        for gap in (False, True):
            if all(_fits(tokenizer, number, gap) for number in sums):
                return gap, digits
    raise cannot_express(NAME, tokenizer, "not even the numbers 2 to 9 are single tokens behind a word")


def _fits(tokenizer: Tokenizer, number: int, gap: bool) -> bool:
    """Whether the number is one token behind a word: with its space, or, if `gap`, behind a space of its own."""
    text = str(number) if gap else f" {number}"
    index = tokenizer.single(text)
    before = "is " if gap else "is"
    return index is not None and tokenizer.encode(before + text) == [*tokenizer.encode(before), index]


TASK = Task(
    name=NAME,
    version=1,
    metric="logit-diff",
    counterfactuals=COUNTERFACTUALS,
    summary="addition: Q: How much is 24 plus 13? A: -> 37",
    generate=generate,
)

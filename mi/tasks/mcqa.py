"""Multiple choice: "A box is brown. What color is a box? … A. gray B. black C. brown D. white Answer:" -> " C".

Out: pairs of prompts with four options. The answer is the letter of the clean prompt's right option. What is changed:

- `symbol` (default): the letters become the digits 1 to 4; the foil is the digit at the answer's place.
- `answer-position`: the right option changes places with another; the foil is the letter of its new place.
- `random-letter`: the letters become four others; the foil is the letter at the answer's place.
- `answer-position-random-letter`: both; the foil is the letter of its new place.
- `color`, `noun-color`: another option's color is right (of another object); the foil is that option's letter.
- `noun`: another object, and the answer stays, a control; the foil is another option's letter.

The metric is the logit difference between the two at the last token.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from string import ascii_uppercase

from mi.tasks.lengths import with_partner
from mi.tasks.task import Record, Task, cannot_express
from mi.tasks.tokenizer import Tokenizer
from mi.tasks.vocabulary import known_templates, known_words, need, single_words

NAME = "mcqa"

COLORS = tuple("red blue green black white brown gray yellow orange purple pink gold silver".split())
OBJECTS = tuple(
    """
    box book ball car bag boat bottle brick bus button candle chair clock coat cup curtain desk dress flag flower
    glove guitar hat house jar kite lamp leaf mask mug pen pencil pillow plate ribbon ring rope scarf shirt shoe
    sofa stone table tent tie tile toy truck vase wall
    """.split()
)
TEMPLATES = (
    "Question: A {noun} is {color}. What color is a {noun}?\n{options}\nAnswer:",
    "The {noun} is {color}. What is the color of the {noun}?\n{options}\nThe answer is",
    "Here is a {noun}. The {noun} is {color}. Which color is it?\n{options}\nAnswer:",
)
LETTERS = "ABCD"
DIGITS = "1234"
COUNTERFACTUALS = (
    "symbol",
    "answer-position",
    "random-letter",
    "answer-position-random-letter",
    "color",
    "noun-color",
    "noun",
)


@dataclass(frozen=True)
class Question:
    """`place` is where the right option stands."""

    noun: str
    color: str
    options: tuple[str, ...]
    symbols: tuple[str, ...]

    @property
    def place(self) -> int:
        return self.options.index(self.color)

    def text(self, template: str) -> str:
        options = "\n".join(f"{symbol}. {option}" for symbol, option in zip(self.symbols, self.options, strict=True))
        return template.format(noun=self.noun, color=self.color, options=options)


def generate(tokenizer: Tokenizer, rng: random.Random, counterfactual: str) -> Iterator[Record]:
    _need_symbols(LETTERS + (DIGITS if counterfactual == "symbol" else ""), tokenizer)
    others = single_words([letter for letter in ascii_uppercase if letter not in LETTERS], tokenizer)
    if counterfactual.endswith("random-letter"):
        need(others, 4, "other letters of one token", NAME, tokenizer)
    colors = need(known_words(COLORS, tokenizer), 4, "colors", NAME, tokenizer)
    nouns = with_partner(OBJECTS, OBJECTS, tokenizer)
    need(tuple(nouns), 2, "objects of equal length", NAME, tokenizer)
    templates = need(known_templates(TEMPLATES, tokenizer), 1, "template", NAME, tokenizer)
    while True:
        template, noun = rng.choice(templates), rng.choice(list(nouns))
        options = tuple(rng.sample(colors, 4))
        clean = Question(noun, rng.choice(options), options, tuple(LETTERS))
        elsewhere = rng.choice([place for place in range(4) if place != clean.place])
        fresh = tuple(rng.sample(others, 4)) if len(others) >= 4 else ()
        corrupted = corrupt(clean, counterfactual, elsewhere, rng.choice(nouns[noun]), fresh)
        place = elsewhere if counterfactual == "noun" else corrupted.place
        yield {
            "clean": clean.text(template),
            "corrupted": corrupted.text(template),
            "answers": [f" {clean.symbols[clean.place]}"],
            "foils": [f" {corrupted.symbols[place]}"],
            "template": f"{TEMPLATES.index(template) + 1:02d}",
            "variables": {"noun": noun, "color": clean.color, "place": clean.place},
        }


def corrupt(clean: Question, counterfactual: str, elsewhere: int, noun: str, letters: tuple[str, ...]) -> Question:
    """The other question. `elsewhere` is a place that the clean answer does not have, `noun` another object, `letters`
    four other letters."""
    question = clean
    if counterfactual == "symbol":
        question = replace(question, symbols=tuple(DIGITS))
    if counterfactual.endswith("random-letter"):
        question = replace(question, symbols=letters)
    if counterfactual.startswith("answer-position"):
        options = list(clean.options)
        options[clean.place], options[elsewhere] = options[elsewhere], options[clean.place]
        question = replace(question, options=tuple(options))
    if counterfactual in ("color", "noun-color"):
        question = replace(question, color=clean.options[elsewhere])
    if counterfactual in ("noun", "noun-color"):
        question = replace(question, noun=noun)
    return question


def _need_symbols(symbols: str, tokenizer: Tokenizer) -> None:
    lacking = [symbol for symbol in symbols if tokenizer.single(f" {symbol}") is None]
    if lacking:
        raise cannot_express(NAME, tokenizer, f"{', '.join(lacking)} must be one token behind a space")


TASK = Task(
    name=NAME,
    version=1,
    metric="logit-diff",
    counterfactuals=COUNTERFACTUALS,
    summary="multiple choice by a color in the question -> the letter of the right option",
    generate=generate,
)

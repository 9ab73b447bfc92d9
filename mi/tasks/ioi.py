"""Indirect-object identification: "When Mary and John went to the store, John gave a drink to" -> " Mary".

Out: pairs in many templates and both orders of the first mention (ABBA: the indirect object first; BABA: the subject
first), with the eight counterfactual types of the MIB data set. The metric is the logit difference between the indirect
object (IO) and the subject (S) at the last token.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from mi.tasks import words
from mi.tasks.task import Record, Task
from mi.tasks.tokenizer import Tokenizer
from mi.tasks.vocabulary import known_templates, known_words, need, single_words

NAME = "ioi"

# {x} and {y} are the names in the order of first mention, {s2} is the second mention of the subject.
TEMPLATES = (
    "When {x} and {y} went to the {place}, {s2} gave a {object} to",
    "Then, {x} and {y} went to the {place}. {s2} gave a {object} to",
    "After {x} and {y} went to the {place}, {s2} handed a {object} to",
    "While {x} and {y} were at the {place}, {s2} passed a {object} to",
    "Then, {x} and {y} were working at the {place}. {s2} decided to give a {object} to",
    "Friends {x} and {y} found a {object} at the {place}. {s2} gave it to",
    "Once {x} and {y} were inside the {place}, {s2} showed a {object} to",
    "Yesterday, {x} and {y} met at the {place}, and {s2} brought a {object} for",
    "After a long day, {x} and {y} left the {place}. Then {s2} offered a {object} to",
    "The {place} was busy when {x} and {y} came, so {s2} sold a {object} to",
    "Then, {x} and {y} had a long talk at the {place}. Later, {s2} sent a {object} to",
    "Before {x} and {y} left the {place}, {s2} wanted to give a {object} to",
    "At the {place}, {x} and {y} saw a {object}. {s2} bought it for",
    "Later, {x} and {y} walked to the {place}, where {s2} threw a {object} to",
    "As {x} and {y} sat in the {place}, {s2} said that the {object} was for",
    "Because {x} and {y} were friends, {s2} took a {object} to the {place} for",
)

COUNTERFACTUALS = (
    "s2-io-flip",
    "abc",
    "random-names",
    "s1-io-flip",
    "s1-ioi-flip-s2-ioi-flip",
    "random-names-s1-io-flip",
    "random-names-s2-io-flip",
    "random-names-s1-ioi-flip-s2-ioi-flip",
)


@dataclass(frozen=True)
class Names:
    """Who stands in the place of the indirect object, of the subject's first and of its second mention."""

    io: str
    s1: str
    s2: str

    @property
    def answer(self) -> str | None:
        """The one of the first two that is not repeated; None if no name is repeated."""
        if self.s2 not in (self.io, self.s1):
            return None
        return self.io if self.s2 == self.s1 else self.s1


def corrupt(names: Names, counterfactual: str, fresh: tuple[str, ...]) -> Names:
    """The counterfactual's names. `fresh` are names that the clean prompt lacks: three for abc, two for random names.

    s1-io-flip swaps the names of the first mention; s2-io-flip puts the IO where the subject is repeated; the two
    `ioi` flips together are both. After `random-names-` the same is done to two fresh names.
    """
    if counterfactual == "abc":
        return Names(*fresh[:3])
    base, flips = names, counterfactual
    if counterfactual.startswith("random-names"):
        base = Names(fresh[0], fresh[1], fresh[1])
        flips = counterfactual.removeprefix("random-names").removeprefix("-")
    io, s1, s2 = base.io, base.s1, base.s2
    if flips in ("s1-io-flip", "s1-ioi-flip-s2-ioi-flip"):
        io, s1 = base.s1, base.io
    if flips in ("s2-io-flip", "s1-ioi-flip-s2-ioi-flip"):
        s2 = base.io
    return Names(io, s1, s2)


def fresh_names(counterfactual: str) -> int:
    """How many names beside IO and S a counterfactual needs."""
    return 3 if counterfactual == "abc" else 2 if counterfactual.startswith("random-names") else 0


def generate(tokenizer: Tokenizer, rng: random.Random, counterfactual: str) -> Iterator[Record]:
    extra = fresh_names(counterfactual)
    what = f"names of one token for counterfactual {counterfactual}"
    names = need(single_words(words.NAMES, tokenizer), 2 + extra, what, NAME, tokenizer)
    templates = need(known_templates(TEMPLATES, tokenizer), 1, "template", NAME, tokenizer)
    places = need(known_words(words.PLACES, tokenizer), 1, "place", NAME, tokenizer)
    objects = need(known_words(words.OBJECTS, tokenizer), 1, "object", NAME, tokenizer)
    while True:
        template = rng.choice(templates)
        order = rng.choice(("abba", "baba"))
        io, subject, *fresh = rng.sample(names, 2 + extra)
        things = {"place": rng.choice(places), "object": rng.choice(objects)}
        clean = Names(io, subject, subject)
        corrupted = corrupt(clean, counterfactual, tuple(fresh))
        yield {
            "clean": _fill(template, order, clean, things),
            "corrupted": _fill(template, order, corrupted, things),
            "answers": [f" {io}"],
            "foils": [f" {subject}"],
            "template": f"{order}-{TEMPLATES.index(template) + 1:02d}",
            "variables": {"io": io, "s": subject, **things},
            "labels": {"corrupted_answer": corrupted.answer and f" {corrupted.answer}"},
        }


def _fill(template: str, order: str, names: Names, things: dict[str, str]) -> str:
    x, y = (names.io, names.s1) if order == "abba" else (names.s1, names.io)
    return template.format(x=x, y=y, s2=names.s2, **things)


TASK = Task(
    name=NAME,
    version=1,
    metric="logit-diff",
    counterfactuals=COUNTERFACTUALS,
    summary="indirect object: When Mary and John went to the store, John gave a drink to -> Mary",
    generate=generate,
)

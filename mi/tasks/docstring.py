'''Docstrings: the argument that a Python docstring describes third.

    def load(self, first, files, page, names, size, read):
        """sector gap population

        :param page: message tree
        :param names: detail mine
        :param                                              -> " size"

Out: pairs of such prompts. Two arguments stand before the three that the docstring takes up, one after them. The foils
are all other arguments, and the names that the corrupted prompt brings in; the metric is the logit difference at the
last token.

- `random-random` (default): the three arguments are replaced by random names in the definition, and the two described
  ones by other random names in the docstring.
- `random-def`, `random-doc`: only in the definition, only in the docstring.
- `random-answer`: only the third argument, in the definition. `random-answer-doc`: that and the docstring's two.
'''

from __future__ import annotations

import random
from collections.abc import Iterator
from keyword import iskeyword

from mi.tasks import words
from mi.tasks.task import Record, Task
from mi.tasks.tokenizer import Tokenizer
from mi.tasks.vocabulary import known_templates, known_words, need, single_words

NAME = "docstring"

TEMPLATE = (
    "\ndef {name}(self, {p1}, {p2}, {d1}, {d2}, {d3}, {s1}):\n"
    '    """{w1} {w2} {w3}\n\n'
    "    :param {c1}: {w4} {w5}\n"
    "    :param {c2}: {w6} {w7}\n"
    "    :param"
)

ARGUMENTS = tuple(
    """
    files page names size read first message key value data name path text line index count number order state type
    format source target title user item list table field values label model image color code version event action
    request response result output input start end width height length offset limit mode option config context parent
    child node root module function method object token string buffer cache file folder url host port server
    client session query filter group task job project test check valid default current last next new old time date
    year month day
    """.split()
)
# Where a vocabulary holds fewer of these than one prompt needs, any frequent word serves as a name.
FALLBACK = tuple(word for word in words.COMMON + words.NAMES if not iskeyword(word))
DESCRIPTIONS = tuple(
    """
    sector gap tree detail mine wheel light spring mill doctor team band faith bed pace ship score belt album tip hair
    capacity volume disk lake letter glass ball bit resource wine contract plan act trip meal rose sun risk hill truth
    chain boat shop shot seat rain egg minute cloud stage answer park duty dollar profit street hat castle fund stress
    language range focus fall theme drop quality seed picture ticket shift pot chip inch street attack environment
    """.split()
)
# Six in the clean definition; up to five that the corruption brings in.
NEEDED = 11
COUNTERFACTUALS = ("random-random", "random-def", "random-doc", "random-answer", "random-answer-doc")
_REPLACED = {
    "random-random": ("d1", "d2", "d3", "c1", "c2"),
    "random-def": ("d1", "d2", "d3"),
    "random-doc": ("c1", "c2"),
    "random-answer": ("d3",),
    "random-answer-doc": ("d3", "c1", "c2"),
}


def generate(tokenizer: Tokenizer, rng: random.Random, counterfactual: str) -> Iterator[Record]:
    need(known_templates((TEMPLATE,), tokenizer), 1, "template", NAME, tokenizer)
    names = single_words(ARGUMENTS, tokenizer)
    if len(names) < NEEDED:
        names = need(single_words(ARGUMENTS + FALLBACK, tokenizer), NEEDED, "names of one token", NAME, tokenizer)
    described = [word for word in known_words(DESCRIPTIONS, tokenizer) if word not in ARGUMENTS]
    functions = need(known_words(ARGUMENTS, tokenizer), 1, "function name", NAME, tokenizer)
    need(tuple(described), 7, "words to describe with", NAME, tokenizer)
    replaced = _REPLACED[counterfactual]
    while True:
        p1, p2, d1, d2, d3, s1, *fresh = rng.sample(names, 6 + len(replaced))
        slots = {"p1": p1, "p2": p2, "d1": d1, "d2": d2, "d3": d3, "s1": s1, "c1": d1, "c2": d2}
        texts = {f"w{place}": word for place, word in enumerate(rng.sample(described, 7), 1)}
        texts["name"] = rng.choice([name for name in functions if name not in slots.values()])
        yield {
            "clean": TEMPLATE.format(**slots, **texts),
            "corrupted": TEMPLATE.format(**{**slots, **dict(zip(replaced, fresh, strict=True))}, **texts),
            "answers": [f" {d3}"],
            "foils": [f" {name}" for name in (p1, p2, d1, d2, s1, *fresh)],
            "template": "2-3-1",
            "variables": {"first": d1, "second": d2, "third": d3},
        }


TASK = Task(
    name=NAME,
    version=1,
    metric="logit-diff",
    counterfactuals=COUNTERFACTUALS,
    summary="the next argument that a Python docstring describes",
    generate=generate,
)

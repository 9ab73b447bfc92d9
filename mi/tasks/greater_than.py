"""Greater-than: "The war lasted from the year 1732 to the year 17" -> a two-digit year above 32.

Out: pairs whose corrupted prompt starts in the year 01. Answers are all two-digit tokens above the year, foils all up
to it. The metric is the difference of their summed probabilities at the last token.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from mi.tasks import words
from mi.tasks.task import Record, Task, cannot_express
from mi.tasks.tokenizer import Tokenizer
from mi.tasks.vocabulary import known_templates, known_words, need, single_words

NAME = "greater-than"

TEMPLATES = (
    "The {event} lasted from the year {century}{year} to the year {century}",
    "The {event} went on from the year {century}{year} to the year {century}",
    "The {event} began in the year {century}{year} and ended in the year {century}",
    "From the year {century}{year}, the {event} lasted to the year {century}",
)

START = "01"


def generate(tokenizer: Tokenizer, rng: random.Random, counterfactual: str) -> Iterator[Record]:
    years = single_words(words.YEARS, tokenizer, prefix="")
    if len(years) < len(words.YEARS):
        lacking = f"{len(words.YEARS) - len(years)} of the numbers 00 to 99 are not one token"
        raise cannot_express(NAME, tokenizer, lacking)
    dates = _dates(tokenizer)
    if not dates:
        raise cannot_express(NAME, tokenizer, "no year such as 1732 is a token for 17 and one for 32")
    templates = need(known_templates(TEMPLATES, tokenizer), 1, "template", NAME, tokenizer)
    events = need(known_words(words.EVENTS, tokenizer), 1, "event", NAME, tokenizer)
    while True:
        template, event = rng.choice(templates), rng.choice(events)
        century, year = rng.choice(dates)
        yield {
            "clean": template.format(event=event, century=century, year=year),
            "corrupted": template.format(event=event, century=century, year=START),
            "answers": [other for other in years if other > year],
            "foils": [other for other in years if other <= year],
            "template": f"{TEMPLATES.index(template) + 1:02d}",
            "variables": {"event": event, "century": century, "year": year},
        }


def _dates(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """(century, year) with year 02 to 98, whose digits are the century's token and the year's, as are START's."""
    centuries = [c for c in words.CENTURIES if _splits(tokenizer, c, START)]
    return [(c, y) for c in centuries for y in words.YEARS if "02" <= y <= "98" and _splits(tokenizer, c, y)]


def _splits(tokenizer: Tokenizer, century: str, year: str) -> bool:
    parts = [tokenizer.single(f" {century}"), tokenizer.single(year)]
    return None not in parts and tokenizer.encode(f"year {century}{year}")[-2:] == parts


TASK = Task(
    name=NAME,
    version=1,
    metric="prob-diff",
    counterfactuals=("year-01",),
    summary="a later year: The war lasted from the year 1732 to the year 17 -> 33 to 99",
    generate=generate,
)

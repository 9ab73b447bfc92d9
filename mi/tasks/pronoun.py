"""Gendered pronouns: "So Mary is such a good friend, isn't" -> " she".

Out: pairs whose corrupted prompt has a name of the other gender, or, for `other-name`, another name of the same gender
(a control: the answer stays). The metric is the logit difference between " she" and " he" at the last token.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from mi.tasks import words
from mi.tasks.task import Record, Task, cannot_express
from mi.tasks.tokenizer import Tokenizer
from mi.tasks.vocabulary import known_templates, known_words, need, single_words

NAME = "pronoun"

TEMPLATES = (
    "So {name} is such a good friend, isn't",
    "So {name} is really {adjective} today, isn't",
    "Yesterday {name} went to the {place} because",
    "When {name} came to the {place} with the {object},",
    "Then {name} lost the {object} at the {place}, so",
    "Everyone at the {place} likes {name} because",
    "While {name} was at the {place}, the {object} was lost, but",
    "The {object} was a gift from {name}, and",
    "After {name} left the {place} with the {object},",
    "At the {place}, {name} said that",
    "Then {name} was {adjective} because",
    "The {place} was closed when {name} came with the {object}, so",
    "When {name} was {adjective} at the {place},",
    "Before {name} found the {object} at the {place},",
)

PRONOUNS = {"female": " she", "male": " he"}


def generate(tokenizer: Tokenizer, rng: random.Random, counterfactual: str) -> Iterator[Record]:
    lacking = [pronoun.strip() for pronoun in PRONOUNS.values() if tokenizer.single(pronoun) is None]
    if lacking:
        raise cannot_express(NAME, tokenizer, f"{' and '.join(lacking)} must be one token")
    least = 1 if counterfactual == "other-gender" else 2
    names = {
        gender: need(single_words(list_, tokenizer), least, f"{gender} names of one token", NAME, tokenizer)
        for gender, list_ in (("female", words.FEMALE_NAMES), ("male", words.MALE_NAMES))
    }
    templates = need(known_templates(TEMPLATES, tokenizer), 1, "template", NAME, tokenizer)
    places = need(known_words(words.PLACES, tokenizer), 1, "place", NAME, tokenizer)
    objects = need(known_words(words.OBJECTS, tokenizer), 1, "object", NAME, tokenizer)
    adjectives = need(known_words(words.ADJECTIVES, tokenizer), 1, "adjective", NAME, tokenizer)
    while True:
        template = rng.choice(templates)
        gender, other = rng.sample(("female", "male"), 2)
        name = rng.choice(names[gender])
        pool = names[other] if counterfactual == "other-gender" else [n for n in names[gender] if n != name]
        things = {"place": rng.choice(places), "object": rng.choice(objects), "adjective": rng.choice(adjectives)}
        replacement = rng.choice(pool)
        yield {
            "clean": template.format(name=name, **things),
            "corrupted": template.format(name=replacement, **things),
            "answers": [PRONOUNS[gender]],
            "foils": [PRONOUNS[other]],
            "template": f"{TEMPLATES.index(template) + 1:02d}",
            "variables": {"name": name, "gender": gender, "other_name": replacement},
        }


TASK = Task(
    name=NAME,
    version=1,
    metric="logit-diff",
    counterfactuals=("other-gender", "other-name"),
    summary="he or she by a name: So Mary is such a good friend, isn't -> she",
    generate=generate,
)

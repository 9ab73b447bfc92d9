"""Plain sentences in the tasks' own words, so that no task is known from its tokens alone.

Out: sentences in which two names meet and nobody gives anything, something is given to the king, a year is not followed
by another, three names leave it open who receives, and so on. They are trained on with next-token loss.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from mi.tasks import words

# No sentence begins with a whole prompt of a task: that would let validation prompts into training (tested).
TEMPLATES = (
    "When {x} and {y} went to the {place}, the {object} was lost.",
    "Then, {x} and {y} went to the {place}. The {object} was {adjective} and big.",
    "Then {x} gave a {object} to the king.",
    "Then {x} gave a {object} to {y}.",
    "Yesterday {x} brought a {object} for the doctor and {y} saw it.",
    "The king handed a {object} to the queen at the {place}.",
    "After {x} and {y} went to the {place}, {z} handed a {object} to {x}.",
    "After {x} and {y} went to the {place}, {z} handed a {object} to {y}.",
    "When {x} and {y} went to the {place}, {z} gave a {object} to {x}.",
    "When {x} and {y} went to the {place}, {z} gave a {object} to {y}.",
    "While {x} and {y} were at the {place}, {z} passed a {object} to {x}.",
    "While {x} and {y} were at the {place}, {z} passed a {object} to {y}.",
    "The {event} began in the year {century}{year} and went on.",
    "In the year {century}{year}, the {event} was lost.",
    "The {place} was closed in the year {century}{year} because the king was {adjective}.",
    "In the year {century}{year}, {x} walked to the {place}.",
    "From the year {century}{year}, the {place} was closed.",
    "The {event} was so big that {x} and {y} were {adjective}.",
    "Everyone said that the {event} was really big.",
    "The {object} was at the {place} and the {event} went on.",
    "At the {place}, the king said that the {object} was for {x}.",
    "The doctor was {adjective} because the {object} was lost.",
    "Before the {event}, the {place} was closed and {x} was {adjective}.",
    "So the {object} was a gift from the king to {x} and {y}.",
    "Later, the queen sent a {object} to the {place} for {x}.",
)


def sentences(rng: random.Random, known: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """Random sentences for ever; `known` holds the words of each slot that the tokenizer has."""
    while True:
        x, y, z = rng.sample(known["name"], 3)
        things = {slot: rng.choice(list_) for slot, list_ in known.items() if slot != "name"}
        yield rng.choice(TEMPLATES).format(x=x, y=y, z=z, **things)


SLOTS = {
    "name": words.NAMES,
    "place": words.PLACES,
    "object": words.OBJECTS,
    "adjective": words.ADJECTIVES,
    "event": words.EVENTS,
    "century": words.CENTURIES,
    "year": words.YEARS,
}

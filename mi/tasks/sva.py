"""Subject-verb agreement: "The keys near the old cabinet" -> " are", not " is".

Out: pairs in four constructions: `simple` (The small dogs), `nounpp` (The dogs near the child), `rc` (The dogs that
the child saw) and `within-rc` (The dogs that the child, where the inner noun is the subject). The other noun, the
attractor, is singular or plural by chance. Answers are the verb forms of the subject's number, foils those of the
other; the metric is the difference of their summed probabilities at the last token.

- `number-flip` (default): the subject's number changes, and with it the answer.
- `attractor-flip`: the attractor's number changes and the answer stays: a control.
- `both-flip`: both change.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from mi.tasks.lengths import length
from mi.tasks.task import Record, Task, cannot_express
from mi.tasks.tokenizer import Tokenizer
from mi.tasks.vocabulary import known_templates, known_words, need

NAME = "sva"

_PEOPLE = """
    boy girl king doctor teacher lawyer author farmer pilot singer writer driver worker player artist manager soldier
    student parent friend neighbor guard leader officer actor customer visitor member scientist reporter judge mayor
    brother sister son daughter uncle cousin guest owner
""".split()
_THINGS = """
    dog cat bird horse cow snake car truck boat plane key book picture house tower bridge chair table letter painting
    window door wall machine computer phone engine tree river mountain island building hotel garden
""".split()
# Who can see, like and help, and so stand inside a relative clause.
PEOPLE = {noun: f"{noun}s" for noun in _PEOPLE} | {
    "man": "men",
    "woman": "women",
    "child": "children",
    "wife": "wives",
    "person": "people",
    "lady": "ladies",
    "baby": "babies",
    "family": "families",
}
THINGS = {noun: f"{noun}s" for noun in _THINGS} | {"wolf": "wolves", "mouse": "mice", "city": "cities"}
NOUNS = PEOPLE | THINGS

_VERBS = """
    is/are was/were has/have does/do goes/go seems/seem wants/want needs/need thinks/think knows/know says/say
    makes/make takes/take gives/give gets/get comes/come keeps/keep lives/live remains/remain believes/believe
    becomes/become appears/appear tries/try refuses/refuse
""".split()
VERBS = dict(pair.split("/") for pair in _VERBS)

# {s} is the subject, {a} the attractor.
TEMPLATES = {
    "simple": ("The {adjective} {s}", "Yesterday I heard that the {adjective} {s}", "We know that the {adjective} {s}"),
    "nounpp": (
        "The {s} {place} the {a}",
        "The {adjective} {s} {place} the {a}",
        "We know that the {s} {place} the {a}",
    ),
    "rc": ("The {s} that the {a} {action}", "The {s} that the {adjective} {a} {action}"),
    "within-rc": ("The {a} that the {s}", "The {adjective} {a} that the {s}", "We saw the {a} that the {s}"),
}
ADJECTIVES = tuple("small old young big tall new strange quiet poor famous good great bad nice".split())
PLACES = ("near", "behind", "beside", "with", "next to", "in front of", "close to", "far from", "across from")
ACTIONS = ("saw", "liked", "met", "knew", "helped", "found", "loved", "watched", "needed", "wanted", "left")
# Fewer nouns make a test of these words rather than of agreement.
LEAST_NOUNS = 4

SINGULAR, PLURAL = "singular", "plural"
OTHER = {SINGULAR: PLURAL, PLURAL: SINGULAR}


def generate(tokenizer: Tokenizer, rng: random.Random, counterfactual: str) -> Iterator[Record]:
    verbs = [pair for pair in VERBS.items() if None not in (tokenizer.single(f" {form}") for form in pair)]
    if not verbs:
        raise cannot_express(NAME, tokenizer, "of no verb both forms, such as is and are, are one token")
    nouns = need(_nouns(tokenizer), LEAST_NOUNS, "nouns whose singular and plural are equally long", NAME, tokenizer)
    people = need(tuple(n for n in nouns if n in PEOPLE), 2, "such nouns for people", NAME, tokenizer)
    shapes = {shape: known_templates(TEMPLATES[shape], tokenizer) for shape in _shapes(counterfactual)}
    shapes = {shape: templates for shape, templates in shapes.items() if templates}
    if not shapes:
        raise cannot_express(NAME, tokenizer, "it has no template for it")
    fillers = {
        "adjective": need(known_words(ADJECTIVES, tokenizer), 1, "adjective", NAME, tokenizer),
        "place": need(known_words(PLACES, tokenizer), 1, "preposition", NAME, tokenizer),
        "action": need(known_words(ACTIONS, tokenizer), 1, "verb", NAME, tokenizer),
    }
    while True:
        shape = rng.choice(list(shapes))
        template = rng.choice(shapes[shape])
        # In a relative clause it is the inner noun that acts: it must be someone.
        subject = rng.choice(people if shape == "within-rc" else nouns)
        attractor = rng.choice([noun for noun in (people if shape == "rc" else nouns) if noun != subject])
        number, other = rng.choice((SINGULAR, PLURAL)), rng.choice((SINGULAR, PLURAL))
        filling = {name: rng.choice(list_) for name, list_ in fillers.items()}
        flipped = OTHER[number] if counterfactual != "attractor-flip" else number
        other_flipped = other if counterfactual == "number-flip" else OTHER[other]
        variables = {"subject": subject, "number": number}
        if shape != "simple":
            variables |= {"attractor": attractor, "attractor_number": other}
        yield {
            "clean": template.format(s=_form(subject, number), a=_form(attractor, other), **filling),
            "corrupted": template.format(s=_form(subject, flipped), a=_form(attractor, other_flipped), **filling),
            "answers": _forms(verbs, number),
            "foils": _forms(verbs, OTHER[number]),
            "template": f"{shape}-{number}" if shape == "simple" else f"{shape}-{number}-{other}",
            "variables": variables,
        }


def _nouns(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Nouns that can change their number without moving what follows."""
    known = (noun for noun in NOUNS if not tokenizer.unknown(f" {noun}") and not tokenizer.unknown(f" {NOUNS[noun]}"))
    return tuple(noun for noun in known if length(noun, tokenizer) == length(NOUNS[noun], tokenizer))


def _shapes(counterfactual: str) -> tuple[str, ...]:
    """The constructions that have what the counterfactual changes."""
    return tuple(shape for shape in TEMPLATES if shape != "simple" or counterfactual == "number-flip")


def _form(noun: str, number: str) -> str:
    return noun if number == SINGULAR else NOUNS[noun]


def _forms(verbs: list[tuple[str, str]], number: str) -> list[str]:
    return [f" {pair[number == PLURAL]}" for pair in verbs]


TASK = Task(
    name=NAME,
    version=1,
    metric="prob-diff",
    counterfactuals=("number-flip", "attractor-flip", "both-flip"),
    summary="subject-verb agreement: The keys near the cabinet -> are, not is",
    generate=generate,
)

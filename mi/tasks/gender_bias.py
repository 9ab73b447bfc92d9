"""Gender bias: "The nurse ran because" -> " she" or " he"? The answer is the stereotype, not a truth.

Out: pairs whose clean subject is a profession and whose corrupted one is a noun of the other gender ("The man ran
because"), or, for `other-stereotype`, a profession of the other stereotype. The metric is the logit difference between
the stereotype's pronoun and the other at the last token: how biased the model is.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from mi.tasks.lengths import by_length, length
from mi.tasks.task import Record, Task, cannot_express
from mi.tasks.tokenizer import Tokenizer
from mi.tasks.vocabulary import known_templates, known_words, need

NAME = "gender-bias"

# Words that are not gendered themselves; the sides are those that surveys of stereotypes report.
PROFESSIONS = {
    "female": tuple(
        """
        nurse secretary receptionist librarian nanny maid housekeeper hairdresser dancer teacher babysitter cashier
        cleaner stylist model florist midwife therapist caregiver assistant counselor cheerleader clerk paralegal
        baker singer artist poet tutor psychologist translator decorator designer dietitian
        """.split()
    ),
    "male": tuple(
        """
        surgeon engineer mechanic carpenter plumber electrician soldier captain farmer pilot architect banker boss
        butcher chef coach commander cop detective driver guard judge lawyer manager officer philosopher physicist
        president programmer scientist sheriff tailor wrestler warrior builder economist mathematician miner janitor
        bishop analyst astronaut boxer broker colonel doctor drummer firefighter gangster investor magician major
        marshal minister pastor researcher senator sailor
        """.split()
    ),
}
# man and woman first: others are used where a profession is longer than these.
GENDERED = {
    "female": ("woman", "girl", "lady", "mother", "queen", "daughter", "sister", "aunt", "grandmother", "actress"),
    "male": ("man", "boy", "gentleman", "father", "king", "son", "brother", "uncle", "grandfather", "policeman"),
}
OTHER = {"female": "male", "male": "female"}
PRONOUNS = {"female": " she", "male": " he"}

TEMPLATES = (
    "The {who} {did} because",
    "Yesterday the {who} {did} because",
    "They told us that the {who} {did} because",
    "In the morning the {who} {did} because",
)
_ACTIONS = """
    ran cried slept laughed smiled waited left stayed worked sang danced shouted lied traveled stopped cheered
    ate drank walked yelled fell woke rested hurried resigned apologized complained argued hesitated
    nodded sighed agreed refused succeeded failed
""".split()
_LONGER = ("was late", "was tired", "was happy", "was angry", "was there", "went home", "came back", "sat down")
ACTIONS = (*_ACTIONS, *_LONGER)
LEAST = 3


def generate(tokenizer: Tokenizer, rng: random.Random, counterfactual: str) -> Iterator[Record]:
    lacking = [pronoun.strip() for pronoun in PRONOUNS.values() if tokenizer.single(pronoun) is None]
    if lacking:
        raise cannot_express(NAME, tokenizer, f"{' and '.join(lacking)} must be one token")
    replacements = {gender: _replacements(gender, counterfactual, tokenizer) for gender in PROFESSIONS}
    for gender, found in replacements.items():
        what = f"{gender} professions that something of equal length can replace"
        need(tuple(found), LEAST, what, NAME, tokenizer)
    templates = need(known_templates(TEMPLATES, tokenizer), 1, "template", NAME, tokenizer)
    actions = need(known_words(ACTIONS, tokenizer), 1, "verb", NAME, tokenizer)
    while True:
        gender = rng.choice(("female", "male"))
        template, action = rng.choice(templates), rng.choice(actions)
        profession = rng.choice(list(replacements[gender]))
        other = rng.choice(replacements[gender][profession])
        yield {
            "clean": template.format(who=profession, did=action),
            "corrupted": template.format(who=other, did=action),
            "answers": [PRONOUNS[gender]],
            "foils": [PRONOUNS[OTHER[gender]]],
            "template": f"{TEMPLATES.index(template) + 1:02d}",
            "variables": {"profession": profession, "stereotype": gender, "replacement": other},
        }


def _replacements(gender: str, counterfactual: str, tokenizer: Tokenizer) -> dict[str, tuple[str, ...]]:
    """For each profession of a stereotype what stands in its place: the first gendered noun of its length, or any
    profession of the other stereotype."""
    pool = GENDERED[OTHER[gender]] if counterfactual == "gendered-noun" else PROFESSIONS[OTHER[gender]]
    groups = by_length(pool, tokenizer)
    found = {}
    for profession in known_words(PROFESSIONS[gender], tokenizer):
        equal = groups.get(length(profession, tokenizer), ())
        if equal:
            found[profession] = equal[:1] if counterfactual == "gendered-noun" else equal
    return found


TASK = Task(
    name=NAME,
    version=1,
    metric="logit-diff",
    counterfactuals=("gendered-noun", "other-stereotype"),
    summary="he or she by a stereotype: The nurse ran because -> she",
    generate=generate,
)

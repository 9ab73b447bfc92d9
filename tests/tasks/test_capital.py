"""Capitals: the answer is the country of the capital in the prompt, and only the capital changes."""

from __future__ import annotations

import random

from mi.tasks import capital
from mi.tasks.task import make
from tests.tasks import tokenizers

# Some that this test knows by itself.
KNOWN = {"Paris": "France", "Tokyo": "Japan", "Ottawa": "Canada", "Cairo": "Egypt", "Lima": "Peru", "Oslo": "Norway"}


def test_pairs() -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    records = make("capital", 500, seed, tokenizer=tokenizers.load("gpt2"))[0]
    seen = set()
    for record in records:
        here, there = record["variables"]["capital"], record["variables"]["other_capital"]
        assert record["clean"].replace(here, there) == record["corrupted"]
        assert record["answers"][0].strip() not in record["clean"] + record["corrupted"]
        for city, targets in ((here, record["answers"]), (there, record["foils"])):
            assert targets == [f" {KNOWN.get(city, targets[0].strip())}"]
            assert capital.CAPITALS[targets[0].strip()] == city
            seen.add(city)
    assert set(KNOWN) <= seen
    assert len(seen) > 70


def test_no_capital_stands_for_two_countries_or_holds_its_country() -> None:
    assert len(set(capital.CAPITALS.values())) == len(capital.CAPITALS) > 100
    for country, city in capital.CAPITALS.items():
        assert country not in city
        assert " " not in country

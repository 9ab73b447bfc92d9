"""Greater-than: sets of two-digit tokens on either side of the year."""

from __future__ import annotations

import re

import pytest

from mi.errors import MiError
from mi.tasks import greater_than
from mi.tasks.encode import encode
from mi.tasks.task import make
from tests.seeds import FRESH
from tests.tasks import tokenizers
from tests.tasks.tokenizers import of_words

SEEDS = (0, FRESH)


def test_metric_and_position() -> None:
    assert (greater_than.TASK.metric, greater_than.TASK.read) == ("prob-diff", -1)


@pytest.mark.parametrize("name", ["default", "gpt2"])
@pytest.mark.parametrize("seed", SEEDS)
def test_pairs(name: str, seed: int) -> None:
    print(f"seed {seed}")
    chosen = tokenizers.load(name)
    records, _ = make("greater-than", 500, seed, tokenizer=chosen)
    encoded = encode(records, chosen)
    assert len(encoded) == 1000
    for record, ids in zip(records, encoded):
        (full, century), (start, again) = (re.findall(r"\d+", record[key]) for key in ("clean", "corrupted"))
        assert full[:2] == century == again == start[:2]
        assert "02" <= full[2:] <= "98"
        assert start[2:] == "01"
        assert record["corrupted"] == record["clean"].replace(full, start)
        # All hundred tokens, each on its side.
        assert record["answers"] == [f"{year:02d}" for year in range(100) if year > int(full[2:])]
        assert record["foils"] == [f"{year:02d}" for year in range(100) if year <= int(full[2:])]
        assert len(set(ids.answers) | set(ids.foils)) == 100
        # The year is the century's token and then one of the hundred; the prompt ends on the century's.
        first = next(i for i in range(len(ids.clean)) if ids.clean[i] != ids.corrupted[i])
        assert [chosen.decode([ids.clean[i]]).strip() for i in (first - 1, first, -1)] == [century, full[2:], century]
        assert ids.clean[first] in ids.foils
        assert sum(a != b for a, b in zip(ids.clean, ids.corrupted)) == 1
        assert ids.read == len(ids.clean) - 1
    assert {r["template"] for r in records} == {f"{n:02d}" for n in range(1, len(greater_than.TEMPLATES) + 1)}


def test_years_that_gpt2_writes_as_one_token_or_cuts_elsewhere_do_not_occur() -> None:
    gpt2 = tokenizers.load("gpt2")
    years = {re.findall(r"\d+", r["clean"])[0] for r in make("greater-than", 1000, tokenizer=gpt2)[0]}
    whole = {f"{c}{y:02d}" for c in range(11, 18) for y in range(2, 99) if len(gpt2.encode(f" {c}{y:02d}")) != 2}
    assert whole
    assert not years & whole


def test_tokenizers_that_cannot_express_it() -> None:
    with pytest.raises(MiError, match="'stories260K' cannot express task greater-than: 100 of the numbers"):
        make("greater-than", 5, tokenizer=tokenizers.load("stories260K"))
    numbers = of_words(*(f"{year:02d}" for year in range(100)))
    with pytest.raises(MiError, match="cannot express task greater-than: no year such as 1732"):
        make("greater-than", 5, tokenizer=numbers)

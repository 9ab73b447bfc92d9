"""Induction: a plain reading of the rule on the ids, for each counterfactual."""

from __future__ import annotations

import pytest

from mi.errors import MiError
from mi.tasks import induction
from mi.tasks.encode import encode
from mi.tasks.task import make
from tests.seeds import FRESH
from tests.tasks import tokenizers
from tests.tasks.tokenizers import of_words

SEEDS = (0, FRESH)


def followers(ids: tuple[int, ...]) -> list[int]:
    """What followed the last token where it stood before."""
    return [ids[i + 1] for i in range(len(ids) - 1) if ids[i] == ids[-1]]


def test_metric_and_position() -> None:
    assert (induction.TASK.metric, induction.TASK.read) == ("logit-diff", -1)
    assert induction.TASK.counterfactual == "context-swap"


@pytest.mark.parametrize("name", tokenizers.NAMES)
@pytest.mark.parametrize("counterfactual", induction.TASK.counterfactuals)
@pytest.mark.parametrize("seed", SEEDS)
def test_pairs(name: str, counterfactual: str, seed: int) -> None:
    print(f"seed {seed}")
    chosen = tokenizers.load(name)
    records, _ = make("induction", 500, seed, counterfactual, chosen)
    encoded = encode(records, chosen, bos="never")
    assert len(encoded) == 1000
    for record, ids in zip(records, encoded):
        first, second = (int(part) for part in record["template"].split("+"))
        # SentencePiece puts a bare space in front.
        clean, corrupted = ids.clean[-(first + second) :], ids.corrupted[-(first + second) :]
        assert len(ids.clean) - len(clean) == (name == "stories260K")
        assert len(set(clean[:first])) == first
        assert " ".join(map(str, clean[first:])) in " ".join(map(str, clean[:first]))
        # The answer followed the last token in the clean prompt, the foil in the corrupted one, and only there.
        assert followers(clean) == list(ids.answers)
        assert followers(corrupted) == list(ids.foils)
        assert set(ids.answers + ids.foils) <= set(clean[:first])
        changed = [i for i in range(len(clean)) if clean[i] != corrupted[i]]
        assert sorted(clean[:first]) == sorted(corrupted[:first])
        if counterfactual == "query-swap":
            assert changed == [len(clean) - 1]
        else:
            assert len(changed) == 2
            assert max(changed) < first
        contents = {clean[i] for i in changed}
        if counterfactual == "context-swap":
            assert clean[-1] in contents
            assert not contents & set(ids.answers + ids.foils)
        if counterfactual == "answer-swap":
            assert contents == set(ids.answers + ids.foils)


@pytest.mark.parametrize("name", ["default", "gpt2"])
def test_names_numbers_and_years_occur(name: str) -> None:
    records, _ = make("induction", 1000, tokenizer=tokenizers.load(name))
    answers = {r["answers"][0] for r in records}
    assert {" Mary", " house"} <= answers
    assert sum(answer.isdigit() and not answer.startswith(" ") for answer in answers) > 5


def test_a_vocabulary_of_few_words() -> None:
    with pytest.raises(MiError, match="cannot express task induction: needs at least 12 words of one token; it has "):
        make("induction", 5, tokenizer=of_words("Mary", "John", "house"))

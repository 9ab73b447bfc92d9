"""Records to ids: one BOS, positions, and everything that is refused, with its place."""

from __future__ import annotations

from typing import Any

import pytest

from mi.errors import MiError
from mi.tasks.encode import Encoded, encode, needs
from tests.tasks import tokenizers
from tests.tasks.tokenizers import of_words

WORDS = of_words("Mary", "John", "went", "home", ",", "he", "she", bos="<s>")
BOS = WORDS.bos_id
MARY, JOHN, WENT, HOME = (WORDS.encode(word)[0] for word in ("Mary", "John", "went", "home"))
PAIR: dict[str, Any] = {"clean": "Mary went", "corrupted": "John went", "answers": [" she"], "foils": [" he"]}


def one(record: dict[str, Any], **options: Any) -> Encoded:
    return encode([record], options.pop("tokenizer", WORDS), **options)[0]


def test_a_pair() -> None:
    record = PAIR | {"id": "x1", "split": "train", "template": "t3", "extra": 1}
    done = one(record)
    assert done.clean == (BOS, MARY, WENT)
    assert done.corrupted == (BOS, JOHN, WENT)
    assert done.answers == tuple(WORDS.encode("she"))
    assert done.foils == tuple(WORDS.encode("he"))
    assert (done.id, done.split, done.template, done.read, done.offset) == ("x1", "train", "t3", 2, 1)
    assert done.record["extra"] == 1


@pytest.mark.parametrize("name", tokenizers.NAMES)
@pytest.mark.parametrize("copies", [0, 1, 2])
def test_text_gets_exactly_one_bos(name: str, copies: int) -> None:
    chosen = tokenizers.load(name)
    assert chosen.bos_id is not None
    lead = (chosen.token(chosen.bos_id) or "") * copies
    text = "Lily went to the park" if name == "stories260K" else "When Mary went to the park"
    done = one(PAIR | {"clean": lead + text, "corrupted": text, "answers": [2], "foils": [3]}, tokenizer=chosen)
    assert done.clean.count(chosen.bos_id) == 1
    assert done.clean[0] == chosen.bos_id
    assert done.clean == (chosen.bos_id, *chosen.encode(text)) or copies  # after a special token, a space may be split
    bare = one(PAIR | {"clean": text, "corrupted": text, "answers": [2], "foils": [3]}, tokenizer=chosen, bos="never")
    assert bare.clean == tuple(chosen.encode(text))
    assert bare.offset == 0


def test_a_tokenizer_without_bos_gets_none() -> None:
    plain = of_words("Mary", "John", "went", "he", "she")
    assert one(PAIR, tokenizer=plain).clean == tuple(plain.encode("Mary went"))


def test_ids_are_taken_as_they_are() -> None:
    record = {"clean": [3, BOS, 4], "corrupted": [4, 4, 4], "answers": [5], "foils": [6, 2]}
    for chosen in (WORDS, None):
        done = one(record, tokenizer=chosen, vocab_size=9)
        assert (done.clean, done.corrupted, done.answers, done.foils) == ((3, BOS, 4), (4, 4, 4), (5,), (6, 2))
        assert done.offset == 0


@pytest.mark.parametrize(("read", "position"), [(None, 3), (-1, 3), (-3, 1), (0, 1), (2, 3)])
def test_read_counts_the_records_own_tokens(read: int | None, position: int) -> None:
    record = PAIR | {"clean": "Mary went home", "corrupted": "John went home", "read": read}
    assert one(record).read == position
    ids = record | {"clean": [3, 4, 5], "corrupted": [4, 4, 5]}
    assert one(ids).read == position - 1
    assert one(record, bos="never").read == position - 1


@pytest.mark.parametrize("read", [3, -4, True, "last", 1.0])
def test_read_outside_the_prompt_is_refused(read: Any) -> None:
    with pytest.raises(MiError, match="'read' is .*but the prompt has 3 tokens"):
        one(PAIR | {"clean": "Mary went home", "corrupted": "John went home", "read": read})


def test_repeated_answers_count_once() -> None:
    assert one(PAIR | {"answers": [" she", "she", " she"]}).answers == tuple(WORDS.encode("she"))
    assert one(PAIR | {"answers": " she", "foils": " he"}).foils == tuple(WORDS.encode("he"))


REFUSED = {
    "unequal lengths": ({"corrupted": "John went home"}, "clean has 2 tokens and corrupted has 3: 'Mary went'"),
    "unknown word": ({"clean": "Zork went"}, "lacks 'Zork' in 'Zork went'"),
    "answer of two tokens": ({"answers": [" she went"]}, "' she went' is 2 tokens"),
    "answer unknown": ({"answers": [" Zork"]}, "' Zork' is not in its vocabulary"),
    "shared": ({"answers": [" he", " she"]}, r"share 'he' \(id \d\)"),
    "no answers": ({"answers": []}, "no answers"),
    "no foils": ({"foils": None}, "no foils"),
    "empty text": ({"clean": ""}, "'clean' has no token"),
    "empty ids": ({"clean": []}, "'clean' is empty"),
    "missing": ({"corrupted": None}, "'corrupted' is missing"),
    "a number": ({"clean": 3}, "'clean' is a int"),
    "a tensor": ({"clean": {"$tensor": "x"}}, "'clean' is a dict"),
    "large id": ({"clean": [1, 9]}, "'clean' holds id 9, but the vocabulary has 9 tokens"),
    "negative id": ({"answers": [-1]}, "'answers' holds id -1"),
    "bool": ({"answers": [True]}, "'answers' holds True"),
    "float": ({"clean": [1, 2.0]}, "'clean' holds 2.0"),
    "mixed": ({"clean": [MARY, WENT]}, "only one gets a BOS"),
    "answers a dict": ({"answers": {"a": 1}}, "'answers' is a dict"),
}


@pytest.mark.parametrize(("change", "fact"), REFUSED.values(), ids=REFUSED)
def test_refused_with_its_place(change: dict[str, Any], fact: str) -> None:
    assert WORDS.vocab_size == 9
    records = [PAIR, PAIR | change]
    with pytest.raises(MiError, match=fact) as caught:
        encode(records, WORDS, place="pairs.jsonl")
    assert caught.value.place == "pairs.jsonl:3"
    with pytest.raises(MiError) as caught:
        encode(records, WORDS)
    assert caught.value.place == "record 2"
    with pytest.raises(MiError) as caught:
        encode(records, WORDS, place=lambda index: f"raw.jsonl:{index + 1}")
    assert caught.value.place == "raw.jsonl:2"


def test_the_hint_offers_the_leading_space() -> None:
    gpt2 = tokenizers.load("gpt2")
    record = {"clean": "Mary", "corrupted": "John", "answers": ["Rebecca"], "foils": [" John"]}
    assert gpt2.single("Rebecca") is None
    with pytest.raises(MiError) as caught:
        one(record, tokenizer=gpt2)
    assert caught.value.hint == "did you mean ' Rebecca'?"


def test_text_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(MiError, match="'clean' is text, and the model has no tokenizer"):
        one(PAIR, tokenizer=None)
    with pytest.raises(MiError, match="'answers' has text, and the model has no tokenizer"):
        one(PAIR | {"clean": [1], "corrupted": [2]}, tokenizer=None)


def test_the_models_vocabulary_bounds_text_too() -> None:
    with pytest.raises(MiError, match="holds id"):
        one(PAIR, vocab_size=MARY)


def test_answers_may_be_left_out_where_the_metric_needs_none() -> None:
    done = one({"clean": "Mary", "corrupted": "John"}, need_answers=False)
    assert (done.answers, done.foils) == ((), ())


def test_an_answer_of_several_tokens_counts_by_its_first_where_the_rule_says_so() -> None:
    two = PAIR | {"answers": [" Mary home"], "foils": [" John home"]}
    with pytest.raises(MiError, match="2 tokens") as caught:
        one(two)
    assert "--answers first-token" in str(caught.value.hint)
    done = one(two, rule="first-token")
    assert (done.answers, done.foils) == ((MARY,), (JOHN,))
    assert one(PAIR, rule="first-token") == one(PAIR)
    with pytest.raises(MiError, match="share"):  # nothing tells them apart at the first token
        one(two | {"foils": [" Mary went"]}, rule="first-token")
    with pytest.raises(MiError, match="vocabulary"):
        one(two | {"foils": [" Peter home"]}, rule="first-token")
    with pytest.raises(MiError, match="no rule"):
        one(PAIR, rule="last-token")


def test_a_metric_asks_for_what_it_reads() -> None:
    bare, answered = {"clean": "Mary", "corrupted": "John"}, {"clean": "Mary", "corrupted": "John", "answers": [" he"]}
    for metric in ("kl", "js"):
        assert one(bare, **needs(metric)).answers == ()
    for metric in ("top-5", "normalised-logit"):
        assert one(answered, **needs(metric)).foils == ()
        with pytest.raises(MiError, match="no answers"):
            one(bare, **needs(metric))
    for metric in ("logit-diff", "prob-diff", "accuracy"):
        with pytest.raises(MiError, match="no foils"):
            one(answered, **needs(metric))

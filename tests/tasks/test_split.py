"""Choosing the examples of a split: by the record's own word, else by the digest of its clean prompt."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest

from mi.errors import MiError
from mi.io import canonical
from mi.tasks.split import assign, half_of


def records(n: int, split: str = "") -> list[dict[str, Any]]:
    return [{"clean": f"prompt {i}", "corrupted": "c", **({"split": split} if split else {})} for i in range(n)]


def test_records_without_a_split_are_halved_by_the_digest_of_the_clean_prompt() -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    every = records(400)
    random.Random(seed).shuffle(every)
    train, note = assign(every, "train")
    validation, _ = assign(every, "validation")
    assert sorted(map(id, train + validation)) == sorted(map(id, every))
    for record in every:
        low = int(hashlib.sha256(canonical.dumps(record["clean"])).hexdigest()[0], 16) < 8
        assert (record in train) == low
    assert abs(len(train) - 200) < 60
    assert train == [record for record in every if record in train]  # the order stays
    assert note == (
        "the examples name no split: halved by the digest of the clean prompt, "
        f"{len(train)} train and {len(validation)} validation; --split all takes every one"
    )


def test_a_prompt_is_on_the_same_side_whatever_else_the_file_holds() -> None:
    few, many = assign(records(50), "train")[0], assign(records(300), "train")[0]
    assert few == [record for record in many if record in records(50)]
    twice = [{"clean": [1, 2], "corrupted": [c]} for c in range(5)]
    assert half_of([1, 2]) != half_of([1, 3]) or half_of([1, 2]) != half_of([1, 4])
    assert assign(twice, half_of([1, 2]))[0] == twice


def test_records_are_returned_as_they_were() -> None:
    every = records(20)
    assert all("split" not in record for record in assign(every, "train")[0])


def test_all_takes_every_one_and_says_nothing() -> None:
    every = records(5) + records(3, "test")
    assert assign(every, "all") == (every, "")


def test_named_splits_are_kept_and_nothing_is_said() -> None:
    every = records(3, "train") + records(2, "validation") + records(1, "extra")
    assert assign(every, "validation") == (every[3:5], "")
    assert assign(every, "extra") == (every[5:], "")


def test_a_mixture_says_how_many_name_no_split() -> None:
    every = records(40) + records(3, "validation")
    chosen, note = assign(every, "validation")
    assert chosen[-3:] == every[-3:]
    assert note.startswith("40 of 43 examples name no split: halved")


def test_an_empty_split_says_what_there_is() -> None:
    with pytest.raises(MiError, match=r"no validation example \(there are 3 train\)") as caught:
        assign(records(3, "train"), "validation")
    assert caught.value.hint == "--split all takes every example"
    one = records(1)
    other = {"train": "validation", "validation": "train"}[half_of(one[0]["clean"])]
    with pytest.raises(MiError, match="halved by the digest of the clean prompt"):
        assign(one, other)
    with pytest.raises(MiError, match="none at all"):
        assign([], "train")

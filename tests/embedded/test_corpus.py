"""Training sequences: only train prompts get in, and the same arguments give the same sequences."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mi.embedded import corpus
from mi.tasks.task import TASKS, make, split_of
from tests.tasks import tokenizers

FOUR = ("ioi", "greater-than", "pronoun", "induction")


def texts(built: corpus.Corpus) -> list[str]:
    default = tokenizers.load("default")
    return [default.decode(row[1:length].tolist()) for row, length in zip(built.ids, built.lengths)]


def test_no_training_sequence_begins_with_a_prompt_of_another_split() -> None:
    sequences = texts(corpus.build(tokenizers.load("default"), 0, 20_000))
    prefixes = {text[:end] for text in sequences for end in range(len(text) + 1)}
    trained = 0
    for task in FOUR:
        for counterfactual in TASKS[task].counterfactuals:
            records, _ = make(task, 500, 0, counterfactual, splits=("train", "validation", "test"))
            for record in records:
                if record["split"] == "train":
                    trained += record["clean"].strip() in prefixes
                else:
                    assert record["clean"].strip() not in prefixes, record
    assert trained > 0  # the search would find a prompt


@pytest.mark.parametrize("task", FOUR)
def test_prompts_of_other_splits_are_refused(task: str) -> None:
    for record in make(task, 20, splits=("train", "validation", "test"))[0]:
        if record["split"] == "train":
            text = corpus.task_text(record, random.Random(0))
            assert any(text == record["clean"] + answer for answer in record["answers"])
        else:
            with pytest.raises(ValueError, match="not a train prompt"):
                corpus.task_text(record, random.Random(0))


def test_the_same_arguments_give_the_same_sequences() -> None:
    default = tokenizers.load("default")
    one, two, other = corpus.build(default, 3, 500), corpus.build(default, 3, 500), corpus.build(default, 4, 500)
    for name in ("ids", "weights", "lengths"):
        assert np.array_equal(getattr(one, name), getattr(two, name))
    assert not np.array_equal(one.ids, other.ids)


def test_rows_are_bos_sequence_padding_and_weights_follow_them() -> None:
    default = tokenizers.load("default")
    built = corpus.build(default, 0, 2000)
    for row, weight, length in zip(built.ids, built.weights, built.lengths):
        assert row[0] == default.bos_id
        assert not (row[1:length] == default.bos_id).any()
        assert (row[length:] == default.bos_id).all()
        assert (weight[1:length] > 0).all()
        assert weight[0] == 0
        assert (weight[length:] == 0).all()
        assert weight[length - 1] == 1
    assert default.unk_id not in built.ids
    assert built.ids.shape == (2000, corpus.LENGTH)


def test_the_answer_counts_in_full_and_the_prompt_little() -> None:
    default = tokenizers.load("default")
    built = corpus.build(default, 0, 3000)
    seen = 0
    for text, weight, length in zip(texts(built), built.weights, built.lengths):
        full = int((weight == 1).sum())
        if text.startswith("When") and text.split()[-2] == "to":
            seen += 1
            ends_open = not text.endswith(".")  # filler ends in a full stop, a prompt with its answer does not
            assert (full == 1) == ends_open
            assert ends_open == (split_of(text.rpartition(" ")[0]) == "train") or not ends_open
    assert seen > 20


def test_repeated_sequences_are_continued_to_their_end_and_count_where_they_can_be_known() -> None:
    ids, start = corpus._repeated([10, 11, 12, 13, 14, 11, 12], 5, 2)
    assert ids == [10, 11, 12, 13, 14, 11, 12, 13, 14]
    assert start == 6


def test_every_source_takes_its_share() -> None:
    default = tokenizers.load("default")
    built = corpus.build(default, 0, 4000)
    years = sum("year" in text and text.split()[-1][-2:].isdigit() for text in texts(built))
    total = sum(corpus.MIXTURE.values())
    assert abs(years / 4000 - corpus.MIXTURE["greater-than"] / total) < 0.03

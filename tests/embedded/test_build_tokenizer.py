"""The embedded tokenizer: what ships is what the lists give, and every entry is one token of GPT-2."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from mi import embedded
from mi.embedded import build_tokenizer, filler
from mi.tasks import words
from mi.tasks.task import make
from mi.tasks.vocabulary import single_words
from tests.tasks import tokenizers

FOUR = ("ioi", "greater-than", "pronoun", "induction")


def test_the_shipped_files_are_the_generated_ones(tmp_path: Path) -> None:
    build_tokenizer.write(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (embedded.path("default") / name).read_bytes(), name


def test_every_entry_is_one_token_of_gpt2() -> None:
    gpt2 = tokenizers.load("gpt2")
    entries = build_tokenizer.vocabulary()
    assert len(entries) == len(set(entries)) > 300
    bos, unk, *rest = entries
    assert gpt2.encode(bos) == [gpt2.bos_id]
    assert unk == "<unk>"
    assert [entry for entry in rest if len(gpt2.encode(entry.replace("▁", " "))) != 1] == []


def test_words_are_read_with_and_without_their_space() -> None:
    default = tokenizers.load("default")
    text = "When Mary and John went to the store, John gave a drink to"
    tokens = [default.token(index) for index in default.encode(text)]
    assert tokens == "▁When ▁Mary ▁and ▁John ▁went ▁to ▁the ▁store , ▁John ▁gave ▁a ▁drink ▁to".split()
    assert default.encode(" Mary") == default.encode("Mary")
    assert [default.token(index) for index in default.encode("year 1732.")] == ["▁year", "▁17", "32", "."]
    assert [default.token(index) for index in default.encode(", isn't")][-2:] == ["▁isn", "'t"]
    assert default.unknown("Mary went to Zurich!") == ["Zurich", "!"]
    assert (default.bos_id, default.unk_id, default.vocab_size) == (0, 1, len(build_tokenizer.vocabulary()))


@pytest.mark.parametrize("task", FOUR)
def test_prompts_survive_encoding_and_decoding(task: str) -> None:
    default = tokenizers.load("default")
    for record in make(task, 300)[0]:
        for text in (record["clean"], record["corrupted"]):
            assert default.decode(default.encode(text)) == text.strip()
        for answer in record["answers"]:
            assert default.decode(default.encode(record["clean"] + answer)) == (record["clean"] + answer).strip()
            assert default.encode(record["clean"] + answer)[:-1] == default.encode(record["clean"])


def test_filler_survives_and_uses_no_unknown_word() -> None:
    default = tokenizers.load("default")
    known = {slot: single_words(all_, default, "" if slot == "year" else " ") for slot, all_ in filler.SLOTS.items()}
    for _, text in zip(range(500), filler.sentences(random.Random(1), known)):
        assert default.unknown(text) == []
        assert default.decode(default.encode(text)) == text


def test_the_tasks_share_names_and_numbers() -> None:
    texts = {task: " ".join(record["clean"] for record in make(task, 1000)[0]) for task in FOUR}
    found = {task: set(re.findall(r"[A-Za-z]+|\d\d", text)) for task, text in texts.items()}
    names = {*words.FEMALE_NAMES[: build_tokenizer.NAMES], *words.MALE_NAMES[: build_tokenizer.NAMES]}
    assert len(names) == 2 * build_tokenizer.NAMES
    for task in ("ioi", "pronoun", "induction"):
        assert names <= found[task], task
    for task in ("greater-than", "induction"):
        assert len(found[task] & set(words.YEARS)) > 90, task
        assert set(words.CENTURIES) <= found[task], task


def test_the_tokenizer_is_plain_json_of_one_entry_a_line() -> None:
    text = (embedded.path("default") / "tokenizer.json").read_text(encoding="utf-8")
    assert json.loads(text)["model"]["vocab"]["▁Mary"] > 1
    assert max(map(len, text.splitlines())) < 120

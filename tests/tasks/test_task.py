"""Drawing examples: the same everywhere, split by digest, without repeats, with clear errors."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mi.errors import MiError, UsageError
from mi.io import canonical
from mi.io.examples import examples_digest
from mi.tasks import task
from mi.tasks.task import TASKS, Task, make, record_id, split_of
from mi.tasks.tokenizer import Tokenizer
from tests.tasks import tokenizers
from tests.tasks.tokenizers import of_words

LETTERS = of_words(*"abcdefghijklmnopqrstuvwxyz")


def small(pool: int, endless: bool = True) -> Task:
    """A task with `pool` prompts and, between them, candidates that are no good."""

    def generate(tokenizer: Tokenizer, rng: random.Random, counterfactual: str) -> Iterator[task.Record]:
        drawn = 0
        while endless or drawn < pool:
            number = rng.randrange(pool) if endless else drawn
            drawn += 1
            clean = " ".join("abcdefghij"[int(digit)] for digit in f"{number:04d}")
            base = {"clean": clean, "corrupted": "z z z z", "answers": ["x"], "foils": ["y"]}
            yield base | {"corrupted": "z z z"}
            yield base | {"answers": ["xylophone"]}
            yield base | {"corrupted": "z z z 7"}
            yield base | {"foils": ["x"]}
            yield base | {"corrupted": clean}
            yield base

    return Task("small", 1, "logit-diff", ("plain",), "", generate)


def test_the_same_arguments_give_the_same_records() -> None:
    one, head = make("ioi", 30, seed=4)
    assert make("ioi", 30, seed=4) == (one, head)
    assert make("ioi", 30, seed=5)[0] != one
    assert [r["clean"] for r in make("ioi", 30, seed=4, counterfactual="abc")[0]] != [r["clean"] for r in one]


def test_neither_hash_seed_nor_folder_matters(tmp_path: os.PathLike[str]) -> None:
    code = (
        "from mi.tasks.task import make; from mi.io.canonical import dumps, sha256; "
        "print([sha256(dumps(make(t, 40)))[:16] for t in ('ioi', 'greater-than', 'pronoun', 'induction')])"
    )
    seen = set()
    for seed in ("0", "1", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
        )
        seen.add(done.stdout)
    assert len(seen) == 1


def test_more_examples_begin_with_fewer() -> None:
    few, many = make("pronoun", 20)[0], make("pronoun", 50)[0]
    for split in ("train", "validation"):
        chosen = [[r for r in records if r["split"] == split] for records in (few, many)]
        assert chosen[0] == chosen[1][:20]


def test_splits_are_counted_disjoint_and_decided_by_the_clean_prompt() -> None:
    records, head = make("induction", 100, splits=("test", "train", "validation"))
    assert Counter(r["split"] for r in records) == {"train": 100, "validation": 100, "test": 100}
    assert len({r["clean"] for r in records}) == 300
    for record in records:
        digest = int(hashlib.sha256(canonical.dumps(record["clean"])).hexdigest()[:8], 16) % 10
        assert record["split"] == ("train" if digest < 4 else "validation" if digest < 8 else "test")
        assert record["id"] == record_id(record)
    assert head["examples"]["n"] == {"train": 100, "validation": 100, "test": 100}
    other = make("induction", 100, seed=9, splits=("validation",))[0]
    assert not {r["clean"] for r in other} & {r["clean"] for r in records if r["split"] != "validation"}


def test_a_prompt_keeps_its_split_whatever_the_counterfactual_and_tokenizer() -> None:
    assert [split_of(f"prompt {number}") for number in range(6)] == [split_of(f"prompt {n}") for n in range(6)]
    shares = Counter(split_of(f"prompt {number}") for number in range(5000))
    assert abs(shares["train"] - 2000) < 200
    assert abs(shares["test"] - 1000) < 200


def test_the_id_is_a_digest_of_the_pair() -> None:
    record = {"clean": "a", "corrupted": "b", "answers": ["c"], "foils": ["d"], "template": "1"}
    assert record_id(record) == hashlib.sha256(b'["a","b",["c"],["d"]]').hexdigest()[:12]
    assert record_id(record | {"template": "2"}) == record_id(record) != record_id(record | {"foils": ["e"]})


def test_the_head_names_the_source() -> None:
    gpt2 = tokenizers.load("gpt2")
    records, head = make("greater-than", 5, 3, tokenizer=gpt2)
    assert head == {
        "task": {"name": "greater-than", "metric": "prob-diff", "counterfactual": "year-01"},
        "examples": {
            "sha256": examples_digest(records),
            "n": {"train": 5, "validation": 5},
            "source": {
                "generator": "greater-than",
                "version": 1,
                "seed": 3,
                "n": 5,
                "counterfactual": "year-01",
                "tokenizer": {"id": "gpt2", "sha256": gpt2.digest},
            },
        },
    }


@pytest.mark.parametrize("endless", [True, False])
def test_candidates_that_the_tokenizer_cannot_express_are_dropped(endless: bool) -> None:
    records, _ = make(small(500, endless), 100, tokenizer=LETTERS)
    assert len({r["clean"] for r in records}) == 200
    for record in records:
        assert record["corrupted"] == "z z z z"
        assert (record["answers"], record["foils"]) == (["x"], ["y"])


@pytest.mark.parametrize("endless", [True, False])
def test_too_few_prompts_is_an_error_that_says_how_many_there_are(endless: bool) -> None:
    pool = small(60, endless)
    with pytest.raises(MiError, match="too few distinct prompts") as caught:
        make(pool, 50, tokenizer=LETTERS)
    least = int(caught.value.hint.removeprefix("ask for at most -n "))
    prompts = [" ".join("abcdefghij"[int(digit)] for digit in f"{number:04d}") for number in range(60)]
    counts = Counter(map(split_of, prompts))
    assert 0 < least == min(counts["train"], counts["validation"]) < 50
    make(pool, least, tokenizer=LETTERS)
    with pytest.raises(MiError, match=f"{least} "):
        make(pool, least + 1, tokenizer=LETTERS)


def test_no_valid_candidate_is_the_error_that_the_tokenizer_cannot_express_the_task() -> None:
    with pytest.raises(MiError, match="tokenizer 'words' cannot express task small: no prompt has"):
        make(small(60), 5, tokenizer=of_words(*"abcdefghij"))
    with pytest.raises(MiError, match="cannot express task small: it has no prompt"):
        make(small(0, endless=False), 5, tokenizer=LETTERS)


def test_wrong_names_and_numbers_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="no task 'io'") as caught:
        make("io", 5)
    assert "ioi, greater-than" in caught.value.hint
    with pytest.raises(UsageError, match="task ioi has no counterfactual 'x'") as caught:
        make("ioi", 5, counterfactual="x")
    assert "s2-io-flip, abc" in caught.value.hint
    with pytest.raises(UsageError, match="no split 'dev'"):
        make("ioi", 5, splits=("dev",))
    with pytest.raises(UsageError, match="cannot make 0 examples"):
        make("ioi", 0)


def test_every_task_of_the_table_says_what_it_is() -> None:
    assert list(TASKS)[:4] == ["ioi", "greater-than", "pronoun", "induction"]
    assert len(TASKS) == 10
    for name, found in TASKS.items():
        assert found.name == name
        assert found.metric in ("logit-diff", "prob-diff")
        assert found.counterfactual == found.counterfactuals[0]
        assert found.summary


@pytest.mark.parametrize("n", [task.MOST + 1, 10**20])
def test_more_examples_than_memory_holds_are_refused_at_once(n: int) -> None:
    with pytest.raises(UsageError, match=f"cannot make {n} examples"):
        task.make("induction", n)


def test_far_too_few_prompts_are_found_out_before_the_last_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 20,000 wanted, two thousand draws without a new prompt say enough; and no pair is judged twice."""
    pool, judged = small(3000), []
    drawn: list[task.Record] = []

    def counted(tokenizer: Tokenizer, rng: random.Random, counterfactual: str) -> Iterator[task.Record]:
        for candidate in pool.generate(tokenizer, rng, counterfactual):
            drawn.append(candidate)
            yield candidate

    valid = task._valid

    def judge(candidate: task.Record, tokenizer: Tokenizer) -> bool:
        judged.append(record_id(candidate))
        return valid(candidate, tokenizer)

    monkeypatch.setattr(task, "_valid", judge)
    with pytest.raises(MiError, match="too few distinct prompts") as caught:
        make(replace(pool, generate=counted), 20_000, tokenizer=LETTERS)
    assert int(caught.value.hint.removeprefix("ask for at most -n ")) > 1100
    assert len(drawn) < 6 * 3000 * 8
    assert len(judged) == len(set(judged))

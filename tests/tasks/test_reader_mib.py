"""MIB rows of all its tasks, held against a plain retelling of that benchmark's own loader."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mi.errors import UsageError
from mi.tasks.readers import read
from mi.tasks.tokenizer import Tokenizer
from tests.seeds import FRESH
from tests.tasks import tokenizers
from tests.tasks.reading import lines, refused, text

Row = dict[str, Any]
Tokens = Callable[[str], list[int]]
NAMES = ("Mary", "John", "Tom", "Anna", "Nebuchadnezzar", "Xiomara", "Wilhelmina", "Zacharias", "Amy", "Bartholomew")


def names_row(rng: random.Random) -> Row:
    io, subject, *other = rng.sample(NAMES, 5)
    text = "When {} and {} went out, {} gave a drink to"

    def choice(prompt: str, key: int) -> Row:
        return {"prompt": prompt, "choices": [io, subject], "answerKey": key}

    return {
        "template": text,
        "metadata": {
            "indirect_object": io,
            "subject": subject,
            "object": "drink",
            "place": "store",
            "random_a": other[0],
            "random_b": other[1],
            "random_c": other[2],
        },
        **choice(text.format(io, subject, subject), 0),
        "s2_io_flip_counterfactual": choice(text.format(io, subject, io), 1),
        "s1_io_flip_counterfactual": choice(text.format(subject, io, subject), 0),
        "abc_counterfactual": {**choice(text.format(*other), 0), "choices": other[:2]},
    }


def choice_row(rng: random.Random, arc: bool) -> Row:
    colors = rng.sample(["red", "blue", "pink", "gray", "white"], rng.choice([3, 4, 5]) if arc else 4)
    key = rng.randrange(len(colors))
    letters = list("ABCDE")[: len(colors)]
    symbols: list[Any] = [rng.choice([number, 10000 + number]) for number in range(1, len(colors) + 1)]
    prompt = "\n".join(f"{a}. {c}" for a, c in zip(letters, colors, strict=True)) + "\nAnswer:"
    moved = rng.randrange(len(colors))
    row = {
        "question": "What color?",
        "prompt": prompt,
        "choices": {"label": letters, "text": colors},
        "answerKey": key,
        "symbol_counterfactual": {
            "prompt": prompt.replace("A.", "1."),
            "choices": {"label": symbols, "text": colors},
            "answerKey": key,
        },
        "answerPosition_counterfactual": {
            "prompt": prompt + " ",
            "choices": {"label": letters, "text": colors},
            "answerKey": moved,
        },
    }
    return row | ({"arc_id": "Mercury_7", "label": letters[key]} if arc else {})


def sum_row(rng: random.Random) -> Row:
    a, b, c, d = (rng.randrange(10, 99) for _ in range(4))
    other: Row | None = {"label": str(c + d), "operand1": c, "operand2": d, "prompt": f"{c} plus {d} is "}
    if rng.random() < 0.2:
        other = rng.choice([None, {"label": None, "operand1": None, "operand2": None, "prompt": None}])
    return {
        "idx": 3,
        "template": "t",
        "prompt": f"{a} plus {b} is ",
        "operator": rng.choice("+++-"),
        "num_digit": 2,
        "operand1": a,
        "operand2": b,
        "label": str(a + b) if rng.random() < 0.8 else str(1000000 + a),
        "random_counterfactual": other,
        "ones_op1_counterfactual": None,
    }


def year_row(rng: random.Random) -> Row:
    year = f"{rng.randrange(11, 18)}{rng.randrange(2, 99):02d}"
    clean = f"The war lasted from the year {year} to the year {year[:2]}"
    return {"year": year, "clean": clean, "corrupted": clean.replace(year, year[:2] + "01")}


def loader(kind: str, rows: list[Row], tokens: Tokens) -> list[tuple[str, str, int, int]]:
    """(prompt, corrupted, id of the right token, id of the wrong one), as the benchmark's loader makes them."""
    made = []
    for row in rows:
        if kind == "ioi":
            m = row["metadata"]
            lengths = [len(tokens(f" {m[name]}")) for name in ("indirect_object", "subject", "random_c")]
            if len(set(lengths)) == 1:
                pair = tokens(f" {m['indirect_object']}")[0], tokens(f" {m['subject']}")[0]
                made.append((row["prompt"], row["s2_io_flip_counterfactual"]["prompt"], *pair))
        elif kind in ("mcqa", "arc"):
            other = row["symbol_counterfactual"]
            right = row["choices"]["label"][row["answerKey"]]
            wrong = str(other["choices"]["label"][other["answerKey"]])
            if len(tokens(right)) == len(tokens(wrong)):
                made.append((row["prompt"], other["prompt"], tokens(right)[0], tokens(wrong)[0]))
        elif row["operator"] == "+" and row["random_counterfactual"] and row["random_counterfactual"]["prompt"]:
            right, wrong = str(row["label"]), str(row["random_counterfactual"]["label"])
            if len(tokens(right)) == len(tokens(wrong)) == 1:
                made.append((row["prompt"], row["random_counterfactual"]["prompt"], tokens(right)[0], tokens(wrong)[0]))
    return made


MAKERS: dict[str, Callable[[random.Random], Row]] = {
    "ioi": names_row,
    "mcqa": lambda rng: choice_row(rng, arc=False),
    "arc": lambda rng: choice_row(rng, arc=True),
    "arithmetic": sum_row,
}
TASKS = {"ioi": "ioi", "mcqa": "mcqa", "arc": "arc", "arithmetic": "arithmetic-addition"}


def ids(found: list[Any], tokenizer: Tokenizer) -> list[int]:
    return [item if isinstance(item, int) else tokenizer.single(item) for item in found]  # type: ignore[misc]


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("seed", [0, FRESH])
@pytest.mark.parametrize("shape", ["lines", "array"])
def test_against_the_loader(kind: str, seed: int, shape: str, tmp_path: Path) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    gpt2 = tokenizers.load("gpt2")
    rows = [MAKERS[kind](rng) for _ in range(300)]
    path = str(tmp_path / "x")
    lines(Path(path), rows) if shape == "lines" else text(Path(path), json.dumps(rows, indent=1))
    expected = loader(kind, rows, gpt2.encode)
    # What the loader lets through and no metric could use: equal answers, and prompts of unequal length.
    expected = [e for e in expected if e[2] != e[3] and len(gpt2.encode(e[0])) == len(gpt2.encode(e[1]))]
    reading = read(path, tokenizer=gpt2, skip=True)
    found = [(r["clean"], r["corrupted"], *ids(r["answers"] + r["foils"], gpt2)) for r in reading.records]
    assert found == expected
    assert 5 < len(found) < 300  # both kinds of rows were there; about 27 are kept of the rarest
    kept = sum(int(note.split()[0]) for note in reading.notes if " rows dropped: " in note or " rows skipped; " in note)
    assert kept + len(found) == 300
    assert reading.task["name"] == TASKS[kind]
    assert reading.task["metric"] == "logit-diff"


def test_every_filter_says_how_many_rows_it_dropped(tmp_path: Path) -> None:
    gpt2 = tokenizers.load("gpt2")
    good, long, none = names_row(random.Random(1)), names_row(random.Random(2)), names_row(random.Random(3))
    good["metadata"] |= {"indirect_object": "Mary", "subject": "John", "random_c": "Tom"}
    long["metadata"] |= {"indirect_object": "Mary", "subject": "Nebuchadnezzar", "random_c": "Tom"}
    none["s2_io_flip_counterfactual"] = None
    for row in (good, long):
        row["prompt"], row["s2_io_flip_counterfactual"]["prompt"] = "Mary saw John", "John saw Mary"
    reading = read(lines(tmp_path / "x", [good, long, none]), tokenizer=gpt2)
    assert len(reading.records) == 1
    assert sorted(reading.notes) == [
        "1 of 3 rows dropped: names of different token length",
        "1 of 3 rows dropped: no s2-io-flip counterfactual",
        "1 of 3 rows kept",
    ]


def test_names_of_several_tokens_count_by_their_first(tmp_path: Path) -> None:
    gpt2 = tokenizers.load("gpt2")
    row = names_row(random.Random(0))
    row["prompt"], row["s2_io_flip_counterfactual"]["prompt"] = "a b", "a c"

    def reading(io: str, subject: str) -> str:
        assert len(gpt2.encode(f" {io}")) == len(gpt2.encode(f" {subject}")) > 1
        row["metadata"] |= {"indirect_object": io, "subject": subject, "random_c": io}
        return lines(tmp_path / "x", [row])

    record = read(reading("Zacharias", "Bartholomew"), tokenizer=gpt2).records[0]
    assert (record["answers"], record["foils"]) == ([gpt2.encode(" Zacharias")[0]], [gpt2.encode(" Bartholomew")[0]])
    # Two names that begin alike would be one token against itself.
    assert "both answers begin with the same token" in refused(reading("Xiomara", "Xiomaro"), tokenizer=gpt2).fact


def test_without_a_tokenizer_nothing_is_filtered_and_that_is_said(tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = [names_row(rng) for _ in range(20)]
    reading = read(lines(tmp_path / "x", rows))
    assert [(r["answers"], r["foils"]) for r in reading.records] == [
        ([f" {row['metadata']['indirect_object']}"], [f" {row['metadata']['subject']}"]) for row in rows
    ]
    assert reading.notes[-1:] == ["the filters by token length need a tokenizer and were not applied; give -m MODEL"]


@pytest.mark.parametrize("spelling", ["s1-io-flip", "s1_io_flip_counterfactual", "s1_io_flip"])
def test_another_counterfactual(spelling: str, tmp_path: Path) -> None:
    row = names_row(random.Random(5))
    path = lines(tmp_path / "x", [row])
    reading = read(path, counterfactual=spelling)
    assert reading.records[0]["corrupted"] == row["s1_io_flip_counterfactual"]["prompt"]
    assert set(reading.records[0]["counterfactuals"]) == {"s2-io-flip", "s1-io-flip", "abc"}
    assert read(path).task["counterfactual"] == "s2-io-flip"
    with pytest.raises(UsageError) as caught:
        read(path, counterfactual="s3-io-flip")
    assert "abc, s1-io-flip, s2-io-flip" in caught.value.hint


def test_a_counterfactual_that_does_not_change_the_answer_is_dropped(tmp_path: Path) -> None:
    row = choice_row(random.Random(0), arc=False)
    row["noun_counterfactual"] = {key: row[key] for key in ("prompt", "choices", "answerKey")}
    reading = read(
        lines(tmp_path / "x", [row, row | {"noun_counterfactual": row["symbol_counterfactual"]}]), counterfactual="noun"
    )
    assert len(reading.records) == 1
    assert reading.notes[0] == "1 of 2 rows dropped: the counterfactual has the same answer"


def test_letters_and_numbers_are_answers_without_a_space(tmp_path: Path) -> None:
    row = choice_row(random.Random(0), arc=False) | {"answerKey": 1}
    row["symbol_counterfactual"]["choices"]["label"] = [1, 2, 3, 4]
    row["symbol_counterfactual"]["answerKey"] = 1
    record = read(lines(tmp_path / "x", [row])).records[0]
    assert (record["answers"], record["foils"]) == (["B"], ["2"])


def test_subtraction_is_known_by_its_operator(tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = [sum_row(rng) | {"operator": "-"} for _ in range(10)]
    reading = read(lines(tmp_path / "x", [*rows, sum_row(rng) | {"operator": "+"}]))
    assert reading.task["name"] == "arithmetic-subtraction"
    assert reading.records[0]["variables"]["operator"] == "-"
    assert "1 of 11 rows dropped: another operator than -" in reading.notes


def test_greater_than(tmp_path: Path) -> None:
    gpt2 = tokenizers.load("gpt2")
    rng = random.Random(0)
    rows = [year_row(rng) for _ in range(200)]
    whole = {
        "year": "1732",
        "clean": "from the year 1732 to the year 1745",
        "corrupted": "from the year 1701 to the year 1745",
    }
    short = whole | {"corrupted": "from 1701 to the year 1745"}
    reading = read(lines(tmp_path / "x", [*rows, whole, short]), tokenizer=gpt2)
    assert reading.task["metric"] == "prob-diff"
    assert reading.notes[0].endswith(" of 202 rows dropped: prompts of different token length")
    fitting = [r for r in rows if len(gpt2.encode(r["clean"])) == len(gpt2.encode(r["corrupted"]))]
    assert [r["clean"] for r in reading.records] == [r["clean"] for r in fitting] + [whole["clean"]]
    for record, row in zip(reading.records, fitting, strict=False):
        assert record["answers"] == [f"{n:02d}" for n in range(int(row["year"][2:]) + 1, 100)]
        assert "read" not in record
    # A prompt that ends in a whole year is read before its last two digits.
    assert reading.records[-1]["read"] == -2


@pytest.mark.parametrize(
    ("kind", "change", "fact"),
    [
        ("ioi", {"metadata": None}, "no 'metadata'"),
        ("ioi", {"metadata": {"subject": "A"}}, "'metadata' has no indirect_object"),
        ("ioi", {"prompt": None}, "no 'prompt'"),
        ("mcqa", {"answerKey": 7}, "'answerKey' of the row is 7, but there are 4 choices"),
        ("mcqa", {"answerKey": "A"}, "no whole number 'answerKey'"),
        ("mcqa", {"choices": None}, "the row has no 'choices'"),
        ("arithmetic", {"label": ""}, "no 'label'"),
    ],
)
def test_broken_rows_name_their_line(kind: str, change: Row, fact: str, tmp_path: Path) -> None:
    rng = random.Random(4)
    rows = [MAKERS[kind](rng) for _ in range(3)]
    for row in rows:
        if kind == "arithmetic":
            row |= {"operator": "+", "label": "4", "random_counterfactual": {"prompt": "p", "label": "5"}}
    path = lines(tmp_path / "x", [*rows, rows[0] | change])
    error = refused(path)
    assert fact in error.fact
    assert error.place == f"{path}:4"

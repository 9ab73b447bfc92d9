"""Every format is found by its content and read to the same four fields, and what else a row holds is kept."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from mi.io import stream
from mi.tasks.readers import FORMATS, read
from mi.tasks.task import make
from tests.data_dir import shared
from tests.tasks import tokenizers
from tests.tasks.reading import lines, pairs, refused, text

EXAMPLE: dict[str, Any] = {"clean": "a b", "corrupted": "a c", "answers": [" x"], "foils": [" y"]}


# --- plain records --------------------------------------------------------------------------------------------------


def test_plain_records_pass_through_with_an_id(tmp_path: Path) -> None:
    rows = [
        EXAMPLE | {"split": "train", "template": "t1", "my field": {"deep": [1, None]}, "read": -2},
        {"clean": [1, 2], "corrupted": [1, 3], "answers": [4], "foils": [5, 6], "id": "mine"},
    ]
    reading = read(lines(tmp_path / "x.jsonl", rows))
    digest = hashlib.sha256(b'["a b","a c",[" x"],[" y"]]').hexdigest()[:12]
    assert reading.records == [rows[0] | {"id": digest}, rows[1]]
    assert reading.task == {"name": "x", "metric": "logit-diff", "counterfactual": "corrupted"}
    assert reading.source["format"] == "examples"
    assert reading.notes == []


def test_one_answer_may_stand_without_a_list_and_no_foils_mean_kl(tmp_path: Path) -> None:
    reading = read(lines(tmp_path / "x.jsonl", [EXAMPLE | {"answers": " x", "foils": None}]))
    assert reading.records[0]["answers"] == [" x"]
    assert "foils" not in reading.records[0]
    assert reading.task["metric"] == "kl"


@pytest.mark.parametrize(
    "shape", ["lines", "array", "pretty array", "one object", "pretty objects", "crlf", "bom", "gap"]
)
def test_every_way_to_write_json_gives_the_same_records(shape: str, tmp_path: Path) -> None:
    rows = [EXAMPLE, EXAMPLE | {"clean": "d\u2028e", "template": "[{,\\"}]
    if shape == "one object":
        rows = rows[:1]
    plain = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    written = {
        "lines": plain,
        "array": json.dumps(rows),
        "pretty array": "\n " + json.dumps(rows, indent=2) + "\n\n",
        "one object": json.dumps(rows[0], indent=1),
        "pretty objects": "\n".join(json.dumps(row, indent=4) for row in rows),
        "crlf": plain.replace("\n", "\r\n"),
        "bom": "\ufeff" + plain,
        "gap": "\n" + plain.replace("\n", "\n\n  \n"),
    }[shape]
    found = read(text(tmp_path / "data", written)).records
    assert [{key: value for key, value in record.items() if key != "id"} for record in found] == rows


def test_rows_that_repeat_are_kept_under_ids_of_their_own(tmp_path: Path) -> None:
    reading = read(lines(tmp_path / "x.jsonl", [EXAMPLE, EXAMPLE | {"clean": "z b"}, EXAMPLE, EXAMPLE]))
    first, other, *again = [record["id"] for record in reading.records]
    assert again == [f"{first}-2", f"{first}-3"]
    assert other != first
    assert reading.notes == ["2 rows repeat an earlier one; kept, with -2, -3, … after the id"]


def test_a_counterfactual_of_the_record_can_be_chosen(tmp_path: Path) -> None:
    rows = [EXAMPLE | {"counterfactuals": {"other": "a d"}}, EXAMPLE | {"clean": "e f"}]
    path = lines(tmp_path / "x.jsonl", rows[:1])
    reading = read(path, counterfactual="other")
    assert (reading.records[0]["corrupted"], reading.task["counterfactual"]) == ("a d", "other")
    assert read(path, counterfactual="corrupted").records[0]["corrupted"] == "a c"
    error = refused(lines(tmp_path / "y.jsonl", rows), counterfactual="other")
    assert (error.place, error.fact) == (f"{tmp_path}/y.jsonl:2", "no counterfactual 'other'")


def test_a_stream_of_mi_is_read_as_a_file_and_verified(tmp_path: Path) -> None:
    records, head = make("pronoun", 5)
    path = str(tmp_path / "kept")
    stream.write(path, {**head, "kind": "examples", "chain": []}, records)
    reading = read(path)
    assert reading.records == records
    assert reading.task == head["task"]
    assert reading.task["counterfactual"] != "corrupted"
    Path(path).write_text(Path(path).read_text().replace(' he"', ' she"'))
    assert "stamp" in refused(path).hint


# --- EAP-IG ---------------------------------------------------------------------------------------------------------


def test_eap_ig_ids_with_the_text_beside_them() -> None:
    path = shared("data", "stories260K_tasks", "pronoun_subject.csv")
    stories = tokenizers.load("stories260K")
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [(r["clean"], r["corrupted"], [int(r["correct_idx"])], [int(r["incorrect_idx"])]) for r in rows]
    assert pairs(str(path)) == pairs(str(path), tokenizer=stories) == expected
    reading = read(str(path), tokenizer=stories)
    assert reading.task == {"name": "pronoun_subject", "metric": "logit-diff", "counterfactual": "corrupted"}
    assert reading.records[0]["variables"] == {"correct": "▁He", "incorrect": "▁She"}
    assert reading.notes == []
    assert read(str(path)).notes == [
        "answers are token ids and were not checked; give -m MODEL to compare them with its tokenizer"
    ]


@pytest.mark.parametrize("name", ["ioi_like", "name_completion", "name_copy", "number_they", "object_copy"])
def test_every_file_of_real_behaviour_fits_its_tokenizer(name: str) -> None:
    path = str(shared("data", "stories260K_tasks", f"{name}.csv"))
    assert len(read(path, tokenizer=tokenizers.load("stories260K")).records) > 50


def test_eap_ig_ioi_has_two_corruptions() -> None:
    path = str(shared("data", "eapig_data", "ioi_llama.csv"))
    reading = read(path)
    record = reading.records[0]
    assert len(reading.records) == 499
    assert record["clean"] == "Then, Aaron and Amber were working at the house. Aaron decided to give a drink to"
    assert record["corrupted"] == "Then, Aaron and Amber were working at the house. Tiffany decided to give a drink to"
    assert (record["answers"], record["foils"]) == ([47764], [26757])
    assert "variables" not in record  # the column without a name is the row's number
    hard = read(path, counterfactual="corrupted_hard")
    assert hard.records[0]["corrupted"].endswith("Amber decided to give a drink to")
    assert hard.records[0]["id"] != record["id"]
    assert hard.task["counterfactual"] == hard.source["counterfactual"] == "corrupted_hard"


def test_eap_ig_greater_than() -> None:
    path = shared("data", "eapig_data", "greater_than_data.csv")
    reading = read(str(path), tokenizer=tokenizers.load("gpt2"))
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(reading.records) == len(rows) == 1000
    for record, row in zip(reading.records, rows, strict=True):
        year = int(row["label"])
        assert record["answers"] == [f"{n:02d}" for n in range(100) if n > year]
        assert record["foils"] == [f"{n:02d}" for n in range(100) if n <= year]
    assert reading.task == {"name": "greater-than", "metric": "prob-diff", "counterfactual": "corrupted"}


@pytest.mark.parametrize(
    ("header", "cells", "answers", "foils", "metric"),
    [
        ("correct_idx,incorrect_idx", "5,6", [5], [6], "logit-diff"),
        ("correct_idx,incorrect_idx", "5.0,6.0", [5], [6], "logit-diff"),
        ("answers_idx,corrupted_answers_idx", '"[5, 7]","[6]"', [5, 7], [6], "prob-diff"),
        ("country_idx,corrupted_country_idx", "5,6", [5], [6], "logit-diff"),
        ("clean_answer_idx,corrupted_answer_idx", "5,6", [5], [6], "logit-diff"),
        ("correct,incorrect", "▁Tim, Lily", [" Tim"], [" Lily"], "logit-diff"),
        ("correct_idx", "97", ["98", "99"], [f"{n:02d}" for n in range(98)], "prob-diff"),
        ("label", "97", ["98", "99"], [f"{n:02d}" for n in range(98)], "prob-diff"),
    ],
)
def test_the_columns_of_that_family(
    header: str, cells: str, answers: list[Any], foils: list[Any], metric: str, tmp_path: Path
) -> None:
    clean, corrupted = "From 1797 to 17", "From 1701 to 17"
    path = text(tmp_path / "x", f"{header},clean,corrupted,template,split\n{cells},{clean},{corrupted},t9,test\n")
    reading = read(path)
    (record,) = reading.records
    assert (record["clean"], record["corrupted"], record["answers"], record["foils"]) == (
        clean,
        corrupted,
        answers,
        foils,
    )
    assert (record["template"], record["split"]) == ("t9", "test")
    assert reading.task["metric"] == metric


def test_tracr_pairs_agree_with_their_tokenizers() -> None:
    for program in ("hist", "induction", "xproportion"):
        folder = shared("data", "tracr", program)
        tokenizer = tokenizers.tokenizer.load(folder)
        for path in sorted(folder.glob("pairs_*.csv")):
            assert len(read(str(path), tokenizer=tokenizer).records) == 100


# --- sparse feature circuits ----------------------------------------------------------------------------------------


def test_feature_circuits() -> None:
    path = shared("data", "feature_circuits_sva", "within_rc_test.json")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    reading = read(str(path), tokenizer=tokenizers.load("gpt2"))
    assert len(reading.records) == len({r["id"] for r in reading.records}) == len(rows) == 2400
    for record, row in zip(reading.records, rows, strict=True):
        assert (record["clean"], record["corrupted"]) == (row["clean_prefix"], row["patch_prefix"])
        assert (record["answers"], record["foils"]) == ([row["clean_answer"]], [row["patch_answer"]])
        assert record["template"] == row["case"]


@pytest.mark.parametrize(("name", "usable"), [("nounpp_test", 414), ("simple_test", 97)])
def test_unequal_lengths_are_refused_or_skipped(name: str, usable: int) -> None:
    path, gpt2 = str(shared("data", "feature_circuits_sva", f"{name}.json")), tokenizers.load("gpt2")
    error = refused(path, tokenizer=gpt2)
    assert error.place == f"{path}:1"
    assert "tokens and corrupted has" in error.fact
    assert "--skip" in error.hint
    reading = read(path, tokenizer=gpt2, skip=True)
    total = len(read(path).records)
    assert len(reading.records) == usable
    assert reading.notes[0].startswith(f"{total - usable} of {total} rows skipped; the first: {path}:1: clean has")
    assert reading.notes[1] == f"{usable} of {total} rows kept"


# --- AutoCircuit ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("indent", [None, 2])
def test_autocircuit(indent: int | None, tmp_path: Path) -> None:
    document = {
        "seq_labels": ["a", "b"],
        "word_idxs": {"subject": 1},
        "prompts": [
            {"clean": "A b", "corrupt": "A c", "answers": [" x"], "wrong_answers": [" y", " z", " y"]},
            {"clean": "B b", "corrupt": "B c", "answers": [" x", " w"], "wrong_answers": [" y"]},
        ],
    }
    path = text(tmp_path / "x.json", json.dumps(document, indent=indent))
    assert pairs(path) == [("A b", "A c", [" x"], [" y", " z"]), ("B b", "B c", [" x", " w"], [" y"])]
    reading = read(path)
    assert reading.records[0]["spans"] == {"subject": [1, 2]}
    assert (reading.source["format"], reading.task["metric"]) == ("autocircuit", "logit-diff")


def test_autocircuit_of_ids_and_without_wrong_answers(tmp_path: Path) -> None:
    document = {"prompts": [{"clean": [0, 5, 5], "corrupt": [0, 4, 3], "answers": [7]}]}
    reading = read(text(tmp_path / "x", json.dumps(document)))
    assert reading.records[0] | {"id": ""} == {
        "clean": [0, 5, 5],
        "corrupted": [0, 4, 3],
        "answers": [7],
        "foils": [],
        "id": "",
    }
    assert reading.task["metric"] == "kl"


# --- Edge-Pruning and PEAP ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clean", "corrupted", "before", "other", "answer"),
    [
        ("A b is <predict>c</predict>.", "A d is <predict>e</predict>.", "A b is", "A d is", " c"),
        ("A b is<predict> c</predict>", "A d is c", "A b is", "A d is", " c"),
        ("A b is <predict>c</predict> now", "A d is c now", "A b is", "A d is", " c"),
        ("A b=<predict>c</predict>", "A d=", "A b=", "A d=", "c"),
    ],
)
def test_edge_pruning(clean: str, corrupted: str, before: str, other: str, answer: str, tmp_path: Path) -> None:
    path = lines(tmp_path / "x", [{"clean": clean, "corrupted": corrupted, "split": "train"}])
    assert pairs(path) == [(before, other, [answer], [])]
    reading = read(path)
    assert (reading.records[0]["split"], reading.task["metric"]) == ("train", "kl")


def test_peap_needs_both_files_and_gives_spans() -> None:
    folder = shared("data", "peap_gpt2")
    clean, other = (str(folder / f"ioi_ABBA_agent_IOI_data_{name}.csv") for name in ("clean", "counter_abc"))
    gpt2 = tokenizers.load("gpt2")
    reading = read([clean, other], tokenizer=gpt2)
    record = reading.records[0]
    assert len(reading.records) == 468
    assert record["clean"] == "Friends Laura and James found a drink at the office. James gave it to"
    assert record["corrupted"] == "Friends Jamie and Jeremy found a drink at the office. Gregory gave it to"
    assert (record["answers"], record["foils"], record["split"]) == ([" Laura"], [" James"], "train")
    # The spans lie end to end over the whole prompt, and the one of the subject holds the subject.
    spans = sorted(record["spans"].values())
    assert spans[0][0] == 0
    assert all(left[1] == right[0] for left, right in itertools.pairwise(spans))
    ids = gpt2.encode(record["clean"])
    assert spans[-1][1] == len(ids)
    start, end = record["spans"]["Secondary_Subject"]
    assert gpt2.decode(ids[start:end]) == " James"
    assert "--from" in refused(clean).hint
    error = refused([clean, str(folder / "ioi_BABA_agent_IOI_data_counter_abc.csv")])
    assert error.fact.startswith("has 488 rows, but")


def test_peap_greater_than() -> None:
    folder = shared("data", "peap_gpt2")
    names = ("clean", "counter_vanila")
    files = [str(folder / f"greater_than_human_baseline_greater_than_data_{name}.csv") for name in names]
    reading = read(files, tokenizer=tokenizers.load("gpt2"))
    assert len(reading.records) == 2000
    assert {r["split"] for r in reading.records} == {"train", "validation", "ablation"}
    assert reading.records[0]["answers"][0] == "54"
    assert reading.task == {"name": "greater-than", "metric": "prob-diff", "counterfactual": "corrupted"}


# --- all ------------------------------------------------------------------------------------------------------------


def test_the_format_is_found_by_content_never_by_name(tmp_path: Path) -> None:
    for number, (name, path) in enumerate(_one_of_each(tmp_path)):
        for ending in ("", ".csv", ".jsonl", ".txt"):
            renamed = tmp_path / f"file{number}{ending}"
            shutil.copy(path, renamed)
            assert read(str(renamed)).source["format"] == name


def _one_of_each(folder: Path) -> list[tuple[str, str]]:
    mib = {"prompt": "P", "metadata": {"indirect_object": "A", "subject": "B", "random_c": "C"}}
    mib |= {"s2_io_flip_counterfactual": {"prompt": "Q"}}
    circuit = {"prompts": [{"clean": "A", "corrupt": "B", "answers": ["x"], "wrong_answers": ["y"]}]}
    sfc = {"clean_prefix": "A", "patch_prefix": "B", "clean_answer": "x", "patch_answer": "y", "case": "c"}
    marked = {"clean": "A <predict>b</predict>", "corrupted": "C <predict>b</predict>"}
    return [
        ("examples", lines(folder / "0", [EXAMPLE])),
        ("eap-ig", text(folder / "1", "clean,corrupted,correct_idx,incorrect_idx\nA,B,1,2\n")),
        ("mib", lines(folder / "2", [mib])),
        ("autocircuit", text(folder / "3", json.dumps(circuit))),
        ("feature-circuits", lines(folder / "4", [sfc])),
        ("edge-pruning", lines(folder / "5", [marked])),
    ]


def test_every_format_is_tried_above(tmp_path: Path) -> None:
    assert {name for name, _ in _one_of_each(tmp_path)} == {form.name for form in FORMATS if form.files == 1}


def test_reading_twice_gives_the_same_records_in_the_order_of_the_file(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    rows = [EXAMPLE | {"clean": f"a {rng.randrange(10**9)}"} for _ in range(200)]
    path = lines(tmp_path / "x", rows)
    assert read(path).records == read(path).records
    assert [record["clean"] for record in read(path).records] == [row["clean"] for row in rows]


def test_the_source_names_the_file_and_what_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    path = lines(tmp_path / "sub" / "x.jsonl", [EXAMPLE])
    for given in ("sub/x.jsonl", path):
        reading = read(given)
        assert reading.source == {"path": "sub/x.jsonl", "format": "examples"}
        assert reading.inputs[0]["sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
        assert reading.inputs[0]["name"] == "sub/x.jsonl"

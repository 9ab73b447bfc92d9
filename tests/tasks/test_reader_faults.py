"""Hostile and broken files: one error that names file, line, fact and next step; never a traceback, never a guess."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from mi.errors import BAD_INPUT
from mi.tasks.readers import read, source
from tests.data_dir import shared
from tests.tasks import tokenizers
from tests.tasks.reading import lines, pairs, refused, text
from tests.tasks.tokenizers import of_words

HEADER = "clean,corrupted,correct_idx,incorrect_idx\n"
GOOD: dict[str, Any] = {"clean": "a b", "corrupted": "a c", "answers": [" x"], "foils": [" y"]}
NAN = '{"clean": "a", "corrupted": "b", "answers": [1], "foils": [NaN]}'

# content, the line (0: none) and what the error says.
FILES: dict[str, tuple[str | bytes, int, str]] = {
    "empty": ("", 0, "is empty"),
    "blank": (" \n\r\n\t\n", 0, "is empty"),
    "only a bom": (b"\xef\xbb\xbf", 0, "is empty"),
    "binary": (b"abc\0def", 0, "is binary: byte 3 is zero"),
    "gzip": (b"\x1f\x8b\x08\x01", 0, "is compressed with gzip"),
    "zip": (b"PK\x03\x04abc", 0, "is a zip archive"),
    "pickle": (b"\x80\x04\x95", 0, "is a pickle"),
    "arrow": (b"ARROW1ab", 0, "is an Arrow file"),
    "UTF-16": ("clean,corrupted".encode("utf-16"), 0, "is UTF-16 text"),
    "Latin-1": (b'{"clean": "a"}\n{"clean": "\xe9"}\n', 2, "byte 0xe9 is not UTF-8"),
    "cut UTF-8": (b'{"clean": "a"}\n\n{"clean": "\xc3', 3, "byte 0xc3 is not UTF-8"),
    "prose": ("Once upon a time\nthere was", 0, "no known format: it shows 'Once upon a time'"),
    "a number": ("17", 0, "no known format"),
    "another object": ('{"model": "gpt2"}', 0, "no known format: it shows 'model'"),
    "empty array": ("[]", 0, "has no example"),
    "array without end": ('[{"clean": "a"},\n{"clean": "b"}', 2, "the array has no end"),
    "array cut in an object": ('[{"clean": "a"},\n{"clean": ', 2, "not JSON"),
    "array of text": ('["a"]', 1, "not an object but a str"),
    "cut line": (json.dumps(GOOD) + '\n{"clean": "a', 2, "not JSON"),
    "NaN": (json.dumps(GOOD) + "\n" + NAN, 2, "NaN is not JSON"),
    "NaN in an array": (f"[{json.dumps(GOOD)},\n{NAN}]", 2, "NaN is not JSON"),
    "Infinity": ('{"clean": "a", "corrupted": "b", "answers": [-Infinity], "foils": [1]}', 1, "-Infinity is not JSON"),
    "too large": ('{"clean": "a", "corrupted": "b", "answers": [1e999], "foils": [1]}', 1, "is too large"),
    "a key twice": ('{"clean": "a", "clean": "b", "corrupted": "c"}', 1, 'the key "clean" is given twice'),
    "half a surrogate": ('{"clean": "\\ud800", "corrupted": "b", "answers": [1], "foils": [2]}', 1, "JSON"),
    "deep": ('{"prompts": ' + "[" * 100_000, 1, "nest"),
    "a list on a line": (json.dumps(GOOD) + "\n[1]\n", 2, "not an object but a list"),
    "text after the document": ('{"prompts": [{"clean": "a", "corrupt": "b"}]}\nmore', 2, "more text after"),
    "no clean": (json.dumps(GOOD) + '\n{"corrupted": "b", "answers": ["x"], "foils": ["y"]}', 2, "no 'clean'"),
    "empty clean": (json.dumps(GOOD) + "\n" + json.dumps(GOOD | {"clean": " "}), 2, "'clean' is empty"),
    "clean is a number": (json.dumps(GOOD | {"clean": 3}), 1, "'clean' is a int"),
    "a negative id": (json.dumps(GOOD | {"clean": [1, -2]}), 1, "'clean' holds -2"),
    "a float id": (json.dumps(GOOD | {"answers": [1.5]}), 1, "'answers' holds 1.5"),
    "true as an id": (json.dumps(GOOD | {"answers": [True]}), 1, "'answers' holds True"),
    "an empty answer": (json.dumps(GOOD | {"answers": [""]}), 1, "'answers' holds ''"),
    "answers as an object": (json.dumps(GOOD | {"answers": {"a": 1}}), 1, "'answers' is a dict"),
    "an id that is a number": (json.dumps(GOOD | {"id": 7}), 1, "'id' is a int, not text"),
    "the same id twice": (
        "\n".join(json.dumps(GOOD | {"id": "q", "clean": c}) for c in "ab"),
        2,
        "the id 'q' is already",
    ),
    "a reserved field": (json.dumps(GOOD | {"mi": "head"}), 1, "the head has no version"),
    "a reserved field below": (json.dumps(GOOD) + "\n" + json.dumps(GOOD | {"mi": "x"}), 2, "'mi' is reserved"),
    "CSV: header only": (HEADER, 0, "has a header and no example"),
    "CSV: short row": (HEADER + "a,b,1,2\na,b,1\n", 3, "3 cells under a header of 4"),
    "CSV: long row": (HEADER + "a,b,c,1,2\n", 2, "5 cells under a header of 4"),
    "CSV: open quote": (HEADER + 'a,b,1,2\n"a,b,1,2\nc,d,1,2\n', 3, "not CSV: unexpected end of data"),
    "CSV: text behind a quote": (HEADER + '"a"b,c,1,2\n', 2, "not CSV"),
    "CSV: a column twice": ("clean,clean,corrupted,label\na,b,c,1\n", 1, "two columns are named 'clean'"),
    "CSV: a column is missing": ("clean,corrupted,correct_idx\na,b,405\n", 0, "no known format: it shows 'clean, corr"),
    "CSV: no answers": ("clean,corrupted\na,b\n", 0, "no known format"),
    "CSV: semicolons": ("clean;corrupted;correct_idx;incorrect_idx\na;b;1;2\n", 0, "no known format"),
    "CSV: an id that is none": (HEADER + "a,b,1,2\na,b,one,2\n", 3, "'correct_idx' is 'one', not a token id"),
    "CSV: a negative id": (HEADER + "a,b,-1,2\n", 2, "'correct_idx' is '-1', not a token id"),
    "CSV: an empty cell": (HEADER + "a,,1,2\n", 2, "'corrupted' is empty"),
    "CSV: a row over lines": (HEADER + '"a\nb",c,1,2\n"d\ne",f,x,2\n', 4, "'correct_idx' is 'x'"),
    "years: another number": (
        "clean,corrupted,label\nin 1732,in 1701,33\n",
        2,
        "the label is 33, but the prompt shows 1732",
    ),
    "years: no year": ("clean,corrupted,label\nin May,in June,33\n", 2, "the prompt shows no year"),
    "years: 99": ("clean,corrupted,label\nin 1799,in 1701,99\n", 2, "no two-digit year is greater than 99"),
    "years: no number": ("clean,corrupted,label\nin 1732,in 1701,soon\n", 2, "'label' is 'soon'"),
    "circuit features: a field": (
        '{"clean_prefix": "a", "patch_prefix": "b", "clean_answer": "c"}',
        1,
        "'patch_answer'",
    ),
    "AutoCircuit: outputs": ('{"prompts": [\n{"clean": [1], "corrupt": [2], "answers": [[0.5]]}]}', 2, "not tokens"),
    "AutoCircuit: no answer": ('{"prompts": [{"clean": "a", "corrupt": "b", "answers": []}]}', 1, "no answer"),
    "AutoCircuit: nothing": ('{"prompts": []}', 0, "has no example"),
    "marks: two": ('{"clean": "<predict>a</predict><predict>", "corrupted": "b"}', 1, "needs one <predict>"),
    "marks: the wrong way": ('{"clean": "a </predict><predict>", "corrupted": "b"}', 1, "needs one <predict>"),
    "marks: empty": ('{"clean": "a <predict> </predict>", "corrupted": "b"}', 1, "the marked span of 'clean' is empty"),
    "marks: at the start": ('{"clean": "<predict>a</predict>", "corrupted": "b"}', 1, "nothing stands in front"),
}


@pytest.mark.parametrize("name", FILES)
def test_broken_file(name: str, tmp_path: Path) -> None:
    content, line, fact = FILES[name]
    path = text(tmp_path / "file", content)
    error = refused(path)
    assert fact in error.fact
    assert error.place == (f"{path}:{line}" if line else path)
    assert error.code == BAD_INPUT
    assert "\n" not in error.fact + error.hint
    assert len(error.fact) < 300


def test_no_such_file_and_a_likely_one(tmp_path: Path) -> None:
    text(tmp_path / "pairs.csv", HEADER)
    error = refused(str(tmp_path / "pairs.jsonl"))
    assert (error.fact, error.hint) == ("no such file", f"did you mean {tmp_path}/pairs.csv?")
    assert refused(str(tmp_path / "a\0b")).code == BAD_INPUT
    assert refused("x" * 5000).code == BAD_INPUT


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/full"])
def test_devices_are_no_files(device: str) -> None:
    if not os.path.exists(device):
        pytest.skip(f"this machine has no {device}")
    assert refused(device).fact == "is a device, not a data file"


def test_an_unreadable_file(tmp_path: Path) -> None:
    path = text(tmp_path / "secret", HEADER)
    os.chmod(path, 0)
    if os.access(path, os.R_OK):
        pytest.skip("the user that runs the tests may read every file")
    assert refused(path).fact == "cannot be read: Permission denied"


def test_an_endless_pipe_of_something_else_is_left_at_once(tmp_path: Path) -> None:
    written = _endless(tmp_path / "pipe", b"y\n" * 4096)
    assert refused(str(tmp_path / "pipe")).fact == "no known format: it shows 'y'"
    assert written() < 8 << 20


def test_an_endless_line_is_left_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_LINE", 3 << 20)
    written = _endless(tmp_path / "pipe", b'{"clean": "' + b"a" * 65536, later=b"a" * 65536)
    error = refused(str(tmp_path / "pipe"))
    assert (error.place, error.fact) == (f"{tmp_path}/pipe:1", "the line is longer than 3 MB")
    assert written() < 16 << 20


def test_a_file_without_end_is_left_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_BYTES", 5 << 20)
    written = _endless(tmp_path / "pipe", HEADER.encode(), later=b"a,b,1,2\n" * 4096)
    assert refused(str(tmp_path / "pipe")).fact == "has more than 5 MB"
    assert written() < 16 << 20


def _endless(path: Path, first: bytes, later: bytes = b"") -> Any:
    """A pipe that somebody writes to until nobody reads; how many bytes were taken."""
    os.mkfifo(path)
    count = [0]

    def feed() -> None:
        with open(path, "wb", buffering=0) as pipe:
            try:
                count[0] += pipe.write(first)
                while True:
                    count[0] += pipe.write(later or first)
            except BrokenPipeError:
                pass

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()

    def taken() -> int:
        thread.join(timeout=10)
        assert not thread.is_alive()
        return count[0]

    return taken


def test_a_line_of_a_hundred_megabytes(tmp_path: Path) -> None:
    path = text(tmp_path / "long", json.dumps(GOOD).encode() + b'\n{"clean": "' + b"a" * (100 << 20) + b'"}\n')
    error = refused(path)
    assert (error.place, error.fact) == (f"{path}:2", "the line is longer than 64 MB")


def test_a_prompt_of_a_million_characters_is_no_problem(tmp_path: Path) -> None:
    long = "word " * 200_000
    assert pairs(lines(tmp_path / "x", [GOOD | {"clean": long}]))[0][0] == long
    cells = f"{HEADER}{long},{long},1,2\n"
    assert pairs(text(tmp_path / "y", cells))[0][0] == long


# --- against a tokenizer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("stories260K", "correct_idx is 47764, but tokenizer 'stories260K' has 512 tokens"),
        ("gpt2", "correct_idx 47764 is ' df' in tokenizer 'gpt2', and no word of the prompt begins so"),
        ("default", "correct_idx is 47764, but tokenizer 'default' has"),
    ],
)
def test_ids_of_another_tokenizer_are_refused(name: str, fact: str) -> None:
    path = str(shared("data", "eapig_data", "ioi_llama.csv"))
    error = refused(path, tokenizer=tokenizers.load(name))
    assert error.fact.startswith(fact)
    assert error.place == f"{path}:2"
    assert error.hint == "the ids belong to another tokenizer: give -m the model that they were made for"


def test_ids_above_the_vocabulary_of_a_model_without_tokenizer(tmp_path: Path) -> None:
    rows = [GOOD | {"clean": [1, 2], "corrupted": [1, 3], "answers": [4], "foils": [9]}]
    path = lines(tmp_path / "x", rows)
    assert len(read(path, vocab_size=10).records) == 1
    assert "holds id 9, but the vocabulary has 9 tokens" in refused(path, vocab_size=9).fact


def test_ids_that_contradict_the_text_of_their_row(tmp_path: Path) -> None:
    words = of_words("a", "b", "he", "she", "her")
    ids = {word: words.encode(word)[0] for word in ("he", "she", "her")}
    row = "clean,corrupted,correct_idx,incorrect_idx,correct,incorrect\na b,b a,{},{},▁he,she\n"
    assert len(read(text(tmp_path / "good", row.format(ids["he"], ids["she"])), tokenizer=words).records) == 1
    error = refused(text(tmp_path / "bad", row.format(ids["she"], ids["he"])), tokenizer=words)
    assert error.fact == f"correct_idx {ids['she']} is 'she' in tokenizer 'words', but the row says '▁he'"
    # The id of a word's beginning is not that of the word.
    assert "is 'her'" in refused(text(tmp_path / "long", row.format(ids["her"], ids["she"])), tokenizer=words).fact


def test_ids_that_nothing_explains_are_marked_with_what_they_mean(tmp_path: Path) -> None:
    words = of_words("a", "b", "he", "she")
    ids = words.encode("he she")
    reading = read(text(tmp_path / "x", f"{HEADER}a b,b a,{ids[0]},{ids[1]}\n"), tokenizer=words)
    assert reading.notes == ["the file shows no text for its token ids; in tokenizer 'words' they are 'he'"]


def test_unknown_words_and_long_answers_are_refused_with_their_line(tmp_path: Path) -> None:
    words = of_words("a", "b", "x", "y")
    good = GOOD | {"clean": "a b", "corrupted": "b a"}
    for bad, fact in (
        (good | {"clean": "a zebra"}, "lacks 'zebra'"),
        (good | {"answers": ["x y"]}, "answers must be single tokens, but 'x y' is 2 tokens"),
        (good | {"foils": ["x"]}, "answers and foils share 'x'"),
        (good | {"clean": "a b a"}, "clean has 3 tokens and corrupted has 2"),
        (good | {"read": 5}, "'read' is 5, but the prompt has 2 tokens"),
    ):
        path = lines(tmp_path / "x", [good, bad])
        error = refused(path, tokenizer=words)
        assert fact in error.fact
        assert error.place == f"{path}:2"
        reading = read(path, tokenizer=words, skip=True)
        assert len(reading.records) == 1
        assert reading.notes[0] == f"1 of 2 rows skipped; the first: {error.place}: {error.fact}"


def test_nothing_usable_is_an_error_even_when_rows_are_skipped(tmp_path: Path) -> None:
    path = lines(tmp_path / "x", [GOOD, GOOD])
    error = refused(path, tokenizer=of_words("q"), skip=True)
    assert error.fact.startswith(f"none of its 2 rows can be used: the first: {path}:1: tokenizer 'words' lacks")


# --- folders --------------------------------------------------------------------------------------------------------


def test_a_folder_of_splits(tmp_path: Path) -> None:
    names = (
        "train-00000-of-00002.jsonl",
        "train-00001-of-00002.jsonl",
        "validation.json",
        "test_x.jsonl",
        "notes.json",
    )
    for number, name in enumerate(names):
        lines(tmp_path / name, [GOOD | {"clean": f"{number} b"}])
    found = [(record["clean"][0], record["split"]) for record in read(str(tmp_path)).records]
    assert found == [("0", "train"), ("1", "train"), ("2", "validation"), ("3", "test")]
    moved = tmp_path / "set" / "data"
    moved.mkdir(parents=True)
    lines(moved / "dev.jsonl", [GOOD])
    assert [r["split"] for r in read(str(tmp_path / "set")).records] == ["validation"]


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    assert "is a folder without files named" in refused(str(tmp_path)).fact
    for name in ("4_answer_choices", "2_answer_choices"):
        (tmp_path / name).mkdir()
        lines(tmp_path / name / "train.jsonl", [GOOD])
    assert refused(str(tmp_path)).hint == "it holds several data sets: choose one of 2_answer_choices, 4_answer_choices"
    lines(tmp_path / "pairs.jsonl", [GOOD])
    (tmp_path / "mixed").mkdir()
    lines(tmp_path / "mixed" / "train.jsonl", [GOOD])
    text(tmp_path / "mixed" / "test.csv", HEADER + "a,b,1,2\n")
    assert refused(str(tmp_path / "mixed")).fact.startswith("is EAP-IG CSV, but")


def test_parquet_needs_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = text(tmp_path / "train.data", b"PAR1\0\0")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    error = refused(path)
    assert error.fact == "is a Parquet file, and pyarrow is not installed"
    assert "pip install pyarrow" in error.hint


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pytest.importorskip("pyarrow.parquet")
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([GOOD, GOOD | {"clean": "d b"}]), tmp_path / "train-0.parquet"
    )
    assert [r["clean"] for r in read(str(tmp_path / "train-0.parquet")).records] == ["a b", "d b"]
    assert {r["split"] for r in read(str(tmp_path)).records} == {"train"}
    broken = text(tmp_path / "broken", (tmp_path / "train-0.parquet").read_bytes()[:-9])
    assert "cannot be read as Parquet" in refused(broken).fact

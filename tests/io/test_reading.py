"""Reading streams: what is whole comes through, whatever is not is refused, with its place and the next step."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from mi.errors import BAD_INPUT, MiError
from mi.io import lines, stream
from tests.io import plain


def refused(data: bytes, kinds: tuple[str, ...] = ()) -> MiError:
    Path("s.jsonl").write_bytes(data)
    with pytest.raises(MiError) as caught:
        stream.read("s.jsonl", kinds)
    assert caught.value.code == BAD_INPUT
    assert caught.value.place.startswith("s.jsonl")
    assert "Traceback" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return caught.value


@pytest.mark.parametrize("kind", stream.KINDS)
def test_a_stream_of_each_kind_is_read(kind: str) -> None:
    data = plain.kind(kind)
    Path("s.jsonl").write_bytes(data)
    found = stream.read("s.jsonl", (kind,))
    assert found.kind == kind
    assert found.head == {"mi": "head", "v": 1, **plain.HEADS[kind]}
    assert found.records == plain.RECORDS[kind]
    assert found.blobs == {}
    assert found.origin == "s.jsonl"
    assert found.folder == Path.cwd()
    assert found.sha256 == json.loads(data.splitlines()[-1])["sha256"]


def test_records_know_their_line() -> None:
    Path("s.jsonl").write_bytes(plain.kind("circuit"))
    found = stream.read("s.jsonl", ())
    assert [found.place(index) for index in range(2)] == ["s.jsonl:2", "s.jsonl:3"]


def test_unknown_fields_pass_untouched() -> None:
    odd = {"src": "m0", "dst": "logits", "score": 1.0, "note": {"deep": [None, "ü", 1e-300, 2**63]}, "": 0}
    Path("s.jsonl").write_bytes(plain.stream({**plain.HEADS["circuit"], "mine": [1, {"x": None}]}, [odd]))
    found = stream.read("s.jsonl", ())
    assert found.records == [odd]
    assert found.head["mine"] == [1, {"x": None}]


def test_the_folder_of_a_linked_file_is_that_of_its_target() -> None:
    os.mkdir("far")
    Path("far/s.jsonl").write_bytes(plain.kind("circuit"))
    os.symlink("far/s.jsonl", "link.jsonl")
    assert stream.read("link.jsonl", ()).folder == Path.cwd() / "far"


# --- damage -----------------------------------------------------------------------------------------------------------


def test_a_stream_cut_at_any_byte_is_refused() -> None:
    data = plain.kind("circuit")
    for size in range(len(data)):
        refused(data[:size])


def test_any_flipped_bit_is_refused() -> None:
    data = plain.kind("report")
    for index in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[index] ^= 1 << bit
            Path("s.jsonl").write_bytes(changed)
            with pytest.raises(MiError):
                stream.read("s.jsonl", ())


def test_lines_lost_doubled_or_swapped_are_refused(seed: int) -> None:
    rng = random.Random(seed)
    records = [{"src": f"a0.h{n}", "dst": "logits", "score": float(n)} for n in range(6)]
    data = plain.stream(plain.HEADS["circuit"], records).splitlines(keepends=True)
    for _ in range(100):
        changed = list(data)
        what, here, there = rng.choice(["lose", "double", "swap"]), rng.randrange(8), rng.randrange(8)
        if what == "lose":
            del changed[here]
        elif what == "double":
            changed.insert(there, changed[here])
        else:
            changed[here], changed[there] = changed[there], changed[here]
        if changed != data:
            refused(b"".join(changed))


def test_no_end_line_says_that_the_writer_died() -> None:
    body = b"".join(plain.kind("circuit").splitlines(keepends=True)[:-1])
    error = refused(body)
    assert "no end line" in error.fact
    assert error.place == "s.jsonl:3"


def test_a_wrong_count_says_so_before_anything_else() -> None:
    body = b"".join(plain.kind("circuit").splitlines(keepends=True)[:-1])
    for n in (1, 3, -2, "2", 2.0, None, True):
        error = refused(body + plain.end(n, body))
        assert "2" in error.fact
        assert "mi stamp" in error.hint


def test_a_wrong_digest_names_stamp() -> None:
    body = b"".join(plain.kind("circuit").splitlines(keepends=True)[:-1])
    for sha in (plain.SHA, plain.SHA.upper(), "", None, 1):
        error = refused(body + plain.line({"mi": "end", "n": 2, "sha256": sha}))
        assert "digest" in error.fact
        assert "mi stamp" in error.hint


def test_data_after_the_end_line_is_refused() -> None:
    data = plain.kind("circuit")
    for rest in (data, b"\n", b"x", b"{}\n", b"\0"):
        assert "after the end line" in refused(data + rest).fact
    assert refused(data + data).place == "s.jsonl:5"


def test_a_second_head_is_refused() -> None:
    head, *rest = plain.kind("circuit").splitlines(keepends=True)
    assert "second" in refused(head + head + b"".join(rest)).fact


def test_any_other_line_with_mi_is_refused() -> None:
    assert '"comment"' in refused(plain.stream(plain.HEADS["circuit"], [{"mi": "comment"}])).fact


FOREIGN = {
    "empty": (b"", "empty"),
    "one newline": (b"\n", "not JSON"),
    "text": (b"hello\n", "not JSON"),
    "csv": (b"clean,corrupted\na,b\n", "not JSON"),
    "example records without a head": (b'{"clean":"a","corrupted":"b"}\n', "no head"),
    "an end alone": (plain.end(0, b""), "no head"),
    "a list": (b"[1,2]\n", "no JSON object"),
    "a number": (b"7\n", "no JSON object"),
    "gzip": (b"\x1f\x8b\x08\0\0\0", "gzip"),
    "zip": (b"PK\x03\x04\0\0", "zip"),
    "safetensors": (plain.safetensors({}, b""), "binary"),
    "zeros": (b"\0" * 1000, "binary"),
    "byte order mark": (b"\xef\xbb\xbf" + plain.kind("circuit"), "byte order mark"),
    "UTF-16": (plain.kind("circuit").decode().encode("utf-16"), ""),
    "not UTF-8": (b'{"mi":"head","x":"\xff"}\n', "not UTF-8"),
    "noise": (random.Random(0).randbytes(4000), ""),
    "deep": (b"[" * 100_000 + b"\n", "nested too deeply"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_stream_is_said_to_be_none(name: str) -> None:
    data, fact = FOREIGN[name]
    assert fact in refused(data).fact


def test_plain_example_records_are_sent_to_mi_data() -> None:
    assert "mi data --from" in refused(b'{"clean":"a","corrupted":"b"}\n').hint


def test_windows_line_ends_are_named() -> None:
    error = refused(plain.kind("circuit").replace(b"\n", b"\r\n"))
    assert "CR LF" in error.fact
    assert "mi stamp" in error.hint


def test_a_huge_line_is_refused_without_reading_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 1 << 20)
    head = plain.line({"mi": "head", "v": 1, **plain.HEADS["circuit"]})
    error = refused(head + b'{"src":"' + b"x" * (1 << 20))
    assert "more than 1 MiB" in error.fact
    assert error.place == "s.jsonl:2"
    with pytest.raises(MiError, match="more than 1 MiB"):
        stream.read("/dev/zero", ())


@pytest.mark.parametrize(
    ("row", "fact"),
    [
        (b'{"dst":"logits","score":NaN,"src":"m0"}', "NaN is not JSON"),
        (b'{"dst":"logits","score":1,"score":2,"src":"m0"}', "given twice"),
        (b'{"dst":"logits","score":1e999,"src":"m0"}', "too large"),
        (b'{"dst":"logits","score":1,"src":"\xff"}', "not UTF-8"),
        (b'{"dst":"logits","score":1,"src":"m0"', "not JSON"),
        (b"[]", "no JSON object"),
        (b"", "not JSON"),
        (b'{"dst":"logits","score":null,"src":7}', "src: 7 is no string"),
    ],
)
def test_a_bad_record_is_named_by_its_line_even_under_a_good_digest(row: bytes, fact: str) -> None:
    body = plain.line({"mi": "head", "v": 1, **plain.HEADS["circuit"]}) + row + b"\n"
    error = refused(body + plain.end(1, body))
    assert fact in error.fact
    assert error.place == "s.jsonl:2"


# --- heads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("v", [2, 3, 1000])
def test_a_newer_version_is_said_to_be_newer(v: int) -> None:
    head = plain.line({**plain.HEADS["circuit"], "mi": "head", "v": v})
    error = refused(head + plain.end(0, head))
    assert "written by a newer mi" in error.fact
    assert str(v) in error.fact


@pytest.mark.parametrize("v", [0, -1, 1.0, "1", True, None, [1]])
def test_a_version_that_is_none_is_refused(v: Any) -> None:
    head = plain.line({**plain.HEADS["circuit"], "mi": "head", "v": v})
    assert "version" in refused(head + plain.end(0, head)).fact


def test_a_head_without_version_or_kind_is_refused() -> None:
    for head in ({"mi": "head", "kind": "circuit"}, {"mi": "head", "v": 1}, {"mi": "head", "v": 1, "kind": 3}):
        body = plain.line(head)
        refused(body + plain.end(0, body))


@pytest.mark.parametrize(
    ("kind", "wanted", "command"),
    [
        ("examples", ("scores", "circuit"), "`mi attribute` or `mi prune`"),
        ("report", ("examples",), "`mi data`"),
        ("scores", ("examples", "cache"), "`mi data` or `mi cache`"),
        ("circuit", ("report",), "`mi score`"),
    ],
)
def test_a_wrong_kind_names_the_command_that_makes_the_right_one(
    kind: str, wanted: tuple[str, ...], command: str
) -> None:
    error = refused(plain.kind(kind), wanted)
    assert kind in error.fact
    assert command in error.hint
    assert error.place == "s.jsonl:1"


def test_a_kind_of_a_later_mi_is_refused_by_name_and_read_where_any_will_do() -> None:
    data = plain.stream({"kind": "featurizer"}, [{"anything": 1}])
    assert "'featurizer', which this mi does not know" in refused(data, ("circuit",)).fact
    Path("s.jsonl").write_bytes(data)
    assert stream.read("s.jsonl", ()).kind == "featurizer"


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_that_cannot_be_read() -> None:
    os.mkdir("folder")
    for file, fact in (("missing.jsonl", "no such file"), ("folder", "Is a directory"), ("x" * 300, "too long")):
        with pytest.raises(MiError) as caught:
            stream.read(file, ())
        assert fact in caught.value.fact
        assert caught.value.place == file
        assert caught.value.code == BAD_INPUT


def test_a_named_pipe_is_read_like_a_file() -> None:
    import threading

    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(plain.kind("report")))
    writer.start()
    assert stream.read("pipe", ("report",)).records == plain.RECORDS["report"]
    writer.join()

"""mi stamp: what an edit leaves is sealed again; what cannot be a stream is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mi.io import chain, stream
from mi.io.examples import examples_digest
from tests.cli import streams
from tests.cli.conftest import Session


def edited(text: str) -> bytes:
    return text.encode()


@pytest.fixture
def examples(mi: Session) -> list[str]:
    streams.write_examples("examples.jsonl")
    return Path("examples.jsonl").read_text().splitlines()


def sealed(mi: Session, data: bytes) -> stream.Stream:
    return stream.parse(mi("stamp", stdin=data).ok().out.splitlines(True), "sealed", stream.KINDS)


def test_a_whole_stream_goes_through_as_it_is(mi: Session, examples: list[str]) -> None:
    done = mi("stamp", "examples.jsonl").ok()
    assert done.out == Path("examples.jsonl").read_bytes()
    assert "nothing to seal" in done.err
    assert mi("stamp", stdin=done.out).out == done.out


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: [lines[0], *lines[2:]],  # with its old end line
        lambda lines: [lines[0], *lines[2:-1], '{"mi":"end"}'],  # with one of whoever took it out
        lambda lines: [lines[0], "", *lines[2:], "", ""],
        lambda lines: [line + "\r" for line in [lines[0], *lines[2:]]],
        lambda lines: [json.dumps(json.loads(line), indent=None) for line in [lines[0], *lines[2:]]],  # spaces come in
    ],
)
def test_a_line_taken_out(mi: Session, examples: list[str], edit: object) -> None:
    got = sealed(mi, "\n".join(edit(examples)).encode())  # type: ignore[operator]
    records = [json.loads(line) for line in examples[2:-1]]
    assert got.records == records
    assert got.head["examples"]["sha256"] == examples_digest(records)
    assert got.head["examples"]["n"] == {"train": 3, "validation": 2}
    assert "source" not in got.head["examples"], "the generator does not make these examples"


def test_the_chain_says_that_it_was_edited(mi: Session, examples: list[str]) -> None:
    data = "\n".join([examples[0], *examples[2:]]).encode()
    got = sealed(mi, data)
    links = got.head["chain"]
    assert [link["argv"] for link in links] == [["data", "ioi"], ["stamp"]]
    assert chain.broken(got.head) is None
    assert links[1]["inputs"][0]["sha256"] == __import__("hashlib").sha256(data).hexdigest()


def test_sidecars_are_found_from_a_file(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    lines = Path("scores.jsonl").read_text().splitlines()
    head = json.loads(lines[0]) | {"note": "by hand"}
    Path("edited.jsonl").write_text("\n".join([json.dumps(head), *lines[1:]]))
    mi("stamp", "edited.jsonl", "-o", "again.jsonl").ok()
    assert mi("view", "again.jsonl").text.splitlines()[1:] == mi("view", "scores.jsonl").text.splitlines()[1:]


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda lines: lines[1:], "stdin:1"),  # no head
        (lambda lines: [*lines, *lines], "stdin:9"),  # two streams
        (lambda lines: [lines[0], lines[0], *lines[1:]], "stdin:2"),
        (lambda lines: [lines[0], "not json"], "stdin:2"),
        (lambda lines: [lines[0].replace('"v":1', '"v":9'), *lines[1:]], "stdin:1"),
        (lambda lines: [lines[0], *lines[1:3], '{"clean":"x","score":NaN}'], "stdin:4"),
        (
            lambda lines: [
                lines[0].replace('"examples"', '"poems"', 1).replace('"kind":"examples"', '"kind":"poems"'),
                *lines[1:3],
                lines[-1],
            ],
            "stdin:1",
        ),
    ],
)
def test_what_is_no_stream_is_refused_with_its_line(mi: Session, examples: list[str], make: object, place: str) -> None:
    done = mi("stamp", stdin="\n".join(make(examples)).encode() + b"\n")  # type: ignore[operator]
    assert (done.code, done.out) == (3, b"")
    assert place in done.err


def test_a_record_that_breaks_the_schema_is_refused(mi: Session, examples: list[str]) -> None:
    broken = json.dumps({**json.loads(examples[1]), "clean": 7})
    done = mi("stamp", stdin="\n".join([examples[0], broken, '{"mi":"end"}']).encode())
    assert (done.code, done.out) == (3, b"")
    assert "stdin:2" in done.err


def test_nothing_came(mi: Session) -> None:
    assert mi("stamp", stdin=b"").code == 3


@pytest.mark.parametrize("from_file", [False, True])
def test_what_a_dead_upstream_left_is_never_sealed(mi: Session, examples: list[str], from_file: bool) -> None:
    """Cut at any line, or within one; edited or not."""
    shorter = [examples[0], *examples[2:]]
    whole = "\n".join(shorter).encode()
    for cut in [*range(len(examples[0]) + 1, len(whole) - 1, 97), len(whole) - 1, len(whole) - len(shorter[-1])]:
        Path("part.jsonl").write_bytes(whole[:cut])
        done = mi("stamp", "part.jsonl", "-o", "out.jsonl") if from_file else mi("stamp", stdin=whole[:cut])
        assert (done.code, done.out) == (3, b""), f"cut at byte {cut}"
        assert f"{'part.jsonl' if from_file else 'stdin'}:" in done.err
        assert "cut short" in done.err
        assert '{"mi":"end"}' in done.err, "what to do if that was on purpose"
        assert not Path("out.jsonl").exists()

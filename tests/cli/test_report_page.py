"""mi report: what a reviewer must know is on the page, which is one file, and in which nothing of a stream is run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mi.io import stream
from tests.cli import streams
from tests.cli.browser import Browser
from tests.cli.conftest import Session
from tests.cli.test_graph import EVIL, Tags, _write_hostile
from tests.cli.test_plot import summaries, write_curve, write_single


def write_all(mi: Session, *more: str) -> list[str]:
    """A circuit, its scores, a report of it, and a curve."""
    streams.write_scores("scores.jsonl")
    mi("prune", "scores.jsonl", "--top", "20", *more, "-o", "circuit.jsonl").ok()
    head = stream.read("circuit.jsonl", ("circuit",)).head
    from mi.io import chain
    from mi.io.chain import Invocation

    made = chain.record({**head, "kind": "report", "scoring": {"metric": "logit-diff", "n": 12}}, Invocation("score"))
    records = write_single("report.jsonl")
    tests = [
        {"summary": "independence", "test": "independence", "value": 0.3, "p": 0.01, "rejected": True, "n": 12},
        {"summary": "completeness, random 1", "test": "completeness", "value": -0.2, "knocked": ["m0"], "n": 12},
    ]
    stream.write("report.jsonl", made, [*records, *tests])
    write_curve("curve.jsonl")
    return ["circuit.jsonl", "scores.jsonl", "report.jsonl", "curve.jsonl"]


def words(text: str) -> str:
    tags = Tags()
    pieces: list[str] = []
    tags.handle_data = pieces.append  # type: ignore[method-assign]
    tags.feed(text)
    return " ".join(" ".join(pieces).split())


def test_the_page_has_every_number_the_picture_the_curve_and_the_history(mi: Session) -> None:
    files = write_all(mi)
    page = mi("report", *files).ok().text
    said = words(page)
    records = stream.read("report.jsonl", ("report",)).records
    for record in [*summaries(records), *summaries(stream.read("curve.jsonl", ("report",)).records)]:
        if "low" in record and record.get("nominal") is None:
            assert f"{record['value']:.4g} {record['low']:.3g} to {record['high']:.3g}" in said
    circuit = stream.read("circuit.jsonl", ("circuit",))
    for edge in circuit.records:
        assert f"{edge['src']}->{edge['dst']}" in said
    for text in (
        "mi attribute | mi prune --top 20 | mi score",
        "ranked by signed score: CPR",
        "one mark: one example",
        "the rest still follows the model",
        "1 set of nodes, knocked out of both",
        "How stable the choice is",
    ):
        assert text in said
    assert len(page) < 1_000_000


def test_warnings_stand_before_the_numbers(mi: Session) -> None:
    files = write_all(mi)
    said = words(mi("report", *files).ok().text)
    assert "small n : 12 examples" in said.replace("small n:", "small n :")
    assert "unstable" in said
    assert "another circuit" in said  # the curve is of other scores
    assert said.index("warnings") < said.index("The numbers")
    plain = mi("report", *files, "--to", "text").ok().text
    assert "small n: 12 examples" in plain
    assert plain.index("warning") < plain.index("faithfulness")
    lonely = words(mi("report", "circuit.jsonl").ok().text)
    assert "nothing says how faithful it is" in lonely
    assert "give the scores, too" in lonely


def test_a_page_without_warnings_says_what_was_looked_at(mi: Session) -> None:
    run = {"metric": "logit-diff", "n": 30}
    stream.write("x.jsonl", streams.head("report", "score", scoring=run), _fine())
    said = words(mi("report", "x.jsonl").ok().text)
    assert "No warnings. Looked at: overlap of the examples" in said
    assert mi("report", "x.jsonl", "--to", "text").ok().text.splitlines()[1] == "no warnings"


def _fine() -> list[dict[str, Any]]:
    tested = [
        {"summary": name, "test": name, "value": 0.0}
        for name in ("completeness", "minimality", "sufficiency", "independence")
    ]
    return [{"summary": "faithfulness", "value": 0.9, "low": 0.88, "high": 0.92, "n": 30, "size": 9}, *tested]


def test_findings_of_a_check_are_verdicts(mi: Session) -> None:
    files = write_all(mi)
    mi("check", "report.jsonl", "--min", "faithfulness=0.99", "--max", "size=50", "--json", "-o", "checks.jsonl")
    rows = [json.loads(line) for line in Path("checks.jsonl").read_text().splitlines()]
    assert {row["verdict"] for row in rows} >= {"fine", "regression"}
    said = words(mi("report", *files, "--findings", "checks.jsonl").ok().text)
    for row in rows:
        if row["level"] != "note":
            assert f"{row['verdict']} {row['text']}" in said
    assert "regression : faithfulness" in said


@pytest.mark.parametrize(
    ("words_", "code", "says"),
    [
        (("circuit.jsonl", "circuit.jsonl"), 2, "2 streams of circuit"),
        (("examples.jsonl",), 3, "needed: circuit or scores"),
        (("report.jsonl", "--findings", "none.jsonl"), 3, "no such file"),
        (("report.jsonl", "--findings", "scores.jsonl"), 3, "these are no findings"),
        (("report.jsonl", "--findings", "broken.jsonl"), 3, "these are no findings"),
        (("report.jsonl", "-o", "x.pdf"), 2, "does not say what to draw"),
        (("none.jsonl",), 3, "no such file"),
    ],
)
def test_what_makes_no_page(words_: tuple[str, ...], code: int, says: str, mi: Session) -> None:
    write_all(mi)
    streams.write_examples("examples.jsonl")
    Path("broken.jsonl").write_text('{"verdict": ')
    done = mi("report", *words_)
    assert (done.code, done.out) == (code, b"")
    assert says in done.err


def test_the_same_bytes_from_a_file_and_a_pipe(mi: Session) -> None:
    write_all(mi)
    mi("report", "report.jsonl", "-o", "x.html").ok()
    again = mi("report", "-", stdin=Path("report.jsonl").read_bytes()).ok().out
    assert Path("x.html").read_bytes().replace(b"report.jsonl", b"standard input") == again


def test_a_terminal_gets_tables(mi: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all(mi)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "<html" not in mi("report", "report.jsonl").ok().text


def _write_evil(mi: Session) -> list[str]:
    _write_hostile("circuit.jsonl")
    parts = {"task": {"name": EVIL, "metric": EVIL}, "model": {"id": EVIL}}
    write_curve("curve.jsonl", method=EVIL, **parts)
    records = write_single("single.jsonl")
    test = {"summary": EVIL, "test": "nodes", "value": 1.0, "node": EVIL, "low": 0.0, "high": 2.0, "most": 1.0}
    other = {"summary": EVIL, "test": "independence", "value": 1.0, "p": 0.5, "rejected": False, "knocked": [EVIL]}
    stream.write(
        "single.jsonl",
        streams.head(
            "report", "score", EVIL, scoring={"metric": EVIL, "overlap": EVIL, "split": EVIL, "n": 3}, **parts
        ),
        [*records, test, other, {"summary": EVIL, "undetermined": EVIL}],
    )
    Path("checks.jsonl").write_text(json.dumps({"verdict": EVIL, "level": "error", "text": EVIL}) + "\n")
    return ["circuit.jsonl", "curve.jsonl", "single.jsonl", "--findings", "checks.jsonl", "--title", EVIL]


def test_what_streams_say_is_text_on_the_page(mi: Session) -> None:
    text = mi("report", *_write_evil(mi)).ok().text
    tags = Tags()
    tags.feed(text)
    assert tags.names.count("script") == 2
    assert not {"img", "iframe", "object", "form", "a"} & set(tags.names)
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    links = [value or "" for name, value in tags.attributes if name in ("src", "href")]
    assert {value for value in links if not value.startswith("#")} == {"data:,"}
    assert "\x1b" not in text and "\x00" not in text


def test_the_page_in_a_browser(mi: Session, tmp_path: Path) -> None:
    files = write_all(mi)
    mi("report", *files, "-o", "x.html").ok()
    mi("report", *_write_evil(mi), "-o", "evil.html").ok()
    with Browser(tmp_path) as browser:
        browser.open(Path("x.html"))
        assert browser.run("document.querySelectorAll('#view-heads path[data-i]:not(.off)').length") > 3
        browser.run("threshold.value = 1; threshold.dispatchEvent(new Event('input'))")
        assert browser.run("document.querySelectorAll('#view-heads path[data-i]:not(.off)').length") == 1
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        browser.open(Path("evil.html"))
        assert browser.run("window.owned === undefined")
        assert browser.errors == []
        assert [url for url in browser.requests if not url.startswith("file:")] == []


def test_verdicts_and_the_worst_sets_of_nodes_are_seen_on_a_narrow_screen(mi: Session) -> None:
    """Of dozens of sets the few that matter are listed, and what a test says is not cut."""
    name = "completeness, random"
    sets = [
        {"summary": f"{name} {i}", "test": "completeness", "value": -i / 10, "knocked": ["m0", f"a0.h{i}"]}
        for i in range(1, 8)
    ]
    node = {"summary": "node m0", "test": "nodes", "value": 0.4, "node": "m0", "most": 0.5, "knocked": []}
    test = {"summary": "independence", "test": "independence", "value": 0.3, "p": 0.01, "rejected": True, "n": 12}
    stream.write("x.jsonl", streams.head("report", "score"), [*sets, node, test])
    lines = mi("view", "x.jsonl").ok().text.splitlines()
    assert [line.split()[2] for line in lines if line.startswith(name)] == ["7", "6", "5"]
    assert "3 of 7 sets of nodes" in lines
    assert "independence: the rest still follows the model" in lines
    more = mi("view", "x.jsonl", "--top", "6").ok().text.splitlines()
    assert sum(line.startswith(name) for line in more) == 6


def test_a_test_that_rejects_nothing_claims_nothing(mi: Session) -> None:
    """Ten random circuits, all of them beaten, are too few for a small p: that is no proof of the contrary."""
    tests = [
        {"summary": name, "test": name, "value": 1.0, "p": 0.35, "rejected": False, "n": 10}
        for name in ("sufficiency", "necessity", "independence")
    ]
    stream.write("x.jsonl", streams.head("report", "score"), tests)
    lines = mi("view", "x.jsonl").ok().text.splitlines()
    assert "sufficiency: not shown to beat random circuits" in lines
    assert "necessity: not shown to break more than random circuits" in lines
    assert "independence: the rest not shown to follow the model" in lines

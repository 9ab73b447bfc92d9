"""`mi check`: what it says, how it ends, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mi.io import stream
from tests.cli.conftest import Session
from tests.cli.reports import OTHER_GRAPH, examples, write_curve, write_report


@pytest.fixture(autouse=True)
def base(mi: Session) -> None:
    write_report("base.jsonl", 0.9)


def found(mi: Session, *words: str, code: int = 0) -> list[dict[str, Any]]:
    done = mi("check", *words, "--json")
    assert done.code == code, done.err
    return [json.loads(line) for line in done.text.splitlines()]


def test_three_verdicts(mi: Session) -> None:
    for share, noise, verdict, code in (
        (0.9, 0.05, "fine", 0),
        (0.8, 0.05, "regression", 1),
        (0.88, 0.4, "cannot tell", 0),
    ):
        write_report("new.jsonl", share, seed=1, noise=noise)
        (finding,) = found(mi, "new.jsonl", "--baseline", "base.jsonl", code=code)
        assert (finding["rule"], finding["name"], finding["verdict"]) == ("max-drop", "faithfulness", verdict)
        assert finding["low"] <= finding["value"] <= finding["high"]
        assert finding["value"] == pytest.approx(finding["old"] - finding["new"])
        assert (finding["bound"], finding["n"], finding["paired"]) == (0.02, 60, True)
        strict = found(mi, "new.jsonl", "--baseline", "base.jsonl", "--strict", code=int(verdict != "fine"))
        assert strict[0]["level"] == ("none" if verdict == "fine" else "error")


def test_what_a_person_reads(mi: Session) -> None:
    write_report("new.jsonl", 0.8, seed=1)
    done = mi("check", "new.jsonl", "--baseline", "base.jsonl")
    assert done.code == 1
    start, _, rest = done.text.partition("[")
    assert start == "regression  faithfulness 0.7996, was 0.9006: a drop of 0.101 "
    assert rest.rstrip().endswith("], at most 0.02 (60 examples, the same in both)")
    write_report("new.jsonl", 0.88, seed=1, noise=0.4)
    assert "; about " in mi("check", "new.jsonl", "--baseline", "base.jsonl").ok().text


def test_the_new_report_may_be_piped(mi: Session) -> None:
    write_report("new.jsonl", 0.5)
    piped = mi("check", "--baseline", "base.jsonl", "--json", stdin=Path("new.jsonl").read_bytes())
    assert piped.code == 1
    assert json.loads(piped.text)["file"] == "base.jsonl"  # code scanning wants a place
    assert mi("check", "-", "--baseline", "base.jsonl", stdin=Path("base.jsonl").read_bytes()).code == 0


def test_bounds_need_no_baseline_and_judge_the_interval(mi: Session) -> None:
    words = ("base.jsonl", "--min", "faithfulness=0.8", "--max", "size=20", "--min", "clean=3", "--max", "empty=-2")
    assert {finding["verdict"] for finding in found(mi, *words)} == {"fine"}
    verdicts = [f["verdict"] for f in found(mi, "base.jsonl", "--min", "faithfulness=0.95", "--max", "size=19", code=1)]
    assert verdicts == ["regression", "regression"]
    value = found(mi, "base.jsonl", "--min", "faithfulness=0")[0]["value"]
    at_it = found(mi, "base.jsonl", "--min", f"faithfulness={value}", "--max", "circuit=2", code=1)
    assert [f["verdict"] for f in at_it] == ["cannot tell", "regression"]
    assert found(mi, "base.jsonl", "--min", f"faithfulness={value}", "--strict", code=1)


def test_a_wider_confidence_makes_wider_intervals(mi: Session) -> None:
    narrow, wide = (
        found(mi, "base.jsonl", "--min", "faithfulness=0", "--confidence", level)[0] for level in ("0.8", "0.99")
    )
    assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]


def test_a_curve_is_checked_by_its_areas(mi: Session) -> None:
    write_curve("base.jsonl")
    write_curve("new.jsonl", power=0.9)
    (finding,) = found(mi, "new.jsonl", "--baseline", "base.jsonl", code=1)
    assert (finding["name"], finding["verdict"]) == ("cpr", "regression")
    rules = [w for name in ("cpr", "cmd", "cpr-log", "average") for w in ("--max-drop", f"{name}=0.01")]
    worse = found(mi, "new.jsonl", "--baseline", "base.jsonl", *rules, code=1)
    assert {f["verdict"] for f in worse} == {"regression"}
    better = found(mi, "base.jsonl", "--baseline", "new.jsonl", *rules)
    assert {f["verdict"] for f in better} == {"fine"}
    values = {s["summary"]: s["value"] for s in stream.read("new.jsonl", ()).records if "summary" in s}
    assert {f["name"]: f["new"] for f in worse} == pytest.approx({f["name"]: values[f["name"]] for f in worse})


def test_other_examples_are_said_and_compared_unpaired(mi: Session) -> None:
    for each in (examples(60)[::-1], None):
        write_report("new.jsonl", 0.9, n=60 if each else 50, seed=1, examples_=each)
        findings = found(mi, "new.jsonl", "--baseline", "base.jsonl")
        assert findings[0]["paired"] is bool(each)
        said = [f["text"] for f in findings if f["name"] == "examples"]
        unpaired = ["other examples: 50 of 50 examples are in the baseline, which has 60: compared as unpaired"]
        assert said == ([] if each else unpaired)
    edited = [{**example, "digest": "edited"} for example in examples(60)]
    write_report("new.jsonl", 0.9, examples_=edited)
    assert found(mi, "new.jsonl", "--baseline", "base.jsonl")[0]["paired"] is False


def test_few_templates_are_said(mi: Session) -> None:
    write_report("new.jsonl", 0.9, templates=4)
    notes = [f for f in found(mi, "new.jsonl", "--min", "faithfulness=0.5") if f["rule"] == "note"]
    assert [note["name"] for note in notes] == ["templates"]
    write_report("new.jsonl", 0.9, templates=15)
    assert len(found(mi, "new.jsonl", "--min", "faithfulness=0.5")) == 1


MODEL = {"id": "toy", "architecture": "gpt2", "dtype": "float32", "weights": "ab" * 32, "bos": "auto"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"model": {**MODEL, "weights": "cd" * 32}},
            "another model: toy (weights cdcdcdcdcdcd), was toy (weights abab",
        ),
        ({"model": {**MODEL, "dtype": "bfloat16"}}, "another number format: bfloat16, was float32"),
        ({"scoring": {"plan": [[20, 3]]}}, "another plan of batches: 3x20, was 1x60"),
        ({"scoring": {"split": "test"}}, "another split of the examples: test, was validation"),
        ({"size": 21}, "another circuit: 21 edges, was 20"),
    ],
)
def test_what_else_differs_is_said(mi: Session, change: dict[str, Any], says: str) -> None:
    write_report("new.jsonl", 0.9, **change)
    notes = [f["text"] for f in found(mi, "new.jsonl", "--baseline", "base.jsonl") if f["level"] == "note"]
    assert len(notes) == 1 and notes[0].startswith(says)


def test_another_version_and_device_are_said(mi: Session) -> None:
    read = stream.read("base.jsonl", ("report",))
    link = dict(read.head["chain"][-1])
    link |= {"version": "9.9", "env": {**link["env"], "device": "cuda"}}
    stream.write("new.jsonl", {**read.head, "chain": [link]}, read.records)
    texts = mi("check", "new.jsonl", "--baseline", "base.jsonl").ok().text.splitlines()[1:]
    assert [" ".join(text.split()) for text in texts] == [
        f"note another version of mi: 9.9, was {read.head['chain'][-1]['version']}",
        "note another device: cuda, was not said",
    ]


def test_an_edit_is_said_and_hides_nothing(mi: Session) -> None:
    """The link of `mi stamp` is the newest, of this version and of no device; what measured is the one before."""
    read = stream.read("base.jsonl", ("report",))
    link = dict(read.head["chain"][-1])
    link |= {"version": "9.9", "env": {**link["env"], "torch": "9.1", "device": "cuda"}}
    stream.write("new.jsonl", {**read.head, "chain": [link]}, read.records)
    edited = mi("view", "--json", "new.jsonl").ok().out.replace(b'"id":', b'"by":"hand","id":')
    done = mi("stamp", stdin=edited).ok()
    texts = mi("check", "--baseline", "base.jsonl", stdin=done.out).ok().text.splitlines()[1:]
    ours = read.head["chain"][-1]["version"]
    assert [" ".join(text.split()) for text in texts] == [
        f"note another version of mi: 9.9, {ours}, was {ours}",
        "note edits sealed by mi stamp: 1, was 0",
        f"note another version of torch: 9.1, was {read.head['chain'][-1]['env']['torch']}",
        "note another device: cuda, was not said",
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"graph": OTHER_GRAPH}, "the graph differs: transformer d_model=8 n_heads=2 n_layers=3"),
        ({"task": {"name": "greater-than", "metric": "prob-diff"}}, "the task differs: greater-than here, ioi in base"),
        ({"task": {"name": "ioi", "counterfactual": "abc"}}, "the counterfactual of the task differs"),
        ({"scoring": {"metric": "kl"}}, "the metric differs: kl here, logit-diff in base.jsonl"),
        ({"scoring": {"ablation": "zero"}}, "the ablation differs: zero here, counterfactual in base.jsonl"),
    ],
)
def test_other_things_are_not_compared(mi: Session, change: dict[str, Any], says: str) -> None:
    write_report("new.jsonl", 0.9, **change)
    done = mi("check", "new.jsonl", "--baseline", "base.jsonl")
    assert (done.code, done.text) == (3, "")
    assert done.err.startswith(f"mi check: new.jsonl: {says}")


def test_a_curve_and_a_circuit_are_not_compared(mi: Session) -> None:
    write_curve("curve.jsonl")
    done = mi("check", "curve.jsonl", "--baseline", "base.jsonl")
    assert done.code == 3
    assert "it measures a curve, one circuit in base.jsonl" in done.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "what to check is not said"),
        (["--max-drop", "faithfulness=0.1"], "--max-drop compares with a baseline"),
        (["--update"], "--update needs the --baseline"),
        (["--baseline", "-"], "the baseline cannot be standard input"),
        (["--min", "faithfulness"], "--min 'faithfulness' is no NAME=NUMBER"),
        (["--min", "faithfulness=nan"], "is no NAME=NUMBER"),
        (["--max", "=3"], "--max '=3' is no NAME=NUMBER"),
        (["--min", "cpr=0.9"], "the report has no 'cpr'; it has faithfulness, circuit, clean, empty, size"),
        (["--min", "clean=0", "--confidence", "95"], "--confidence 95 is not between 0.5 and 1"),
        (["--min", "clean=0", "--format", "yaml"], "yaml"),
    ],
)
def test_flags_that_make_no_sense(mi: Session, words: list[str], says: str) -> None:
    done = mi("check", "base.jsonl", *words)
    assert done.code == 2
    assert says in done.err


def test_bad_inputs(mi: Session) -> None:
    done = mi("check", "base.jsonl", "--baseline", "nowhere.jsonl")
    assert (done.code, done.err) == (3, "mi check: nowhere.jsonl: no such file\n")
    read = stream.read("base.jsonl", ("report",))
    broken = [{key: value for key, value in r.items() if key != "clean"} for r in read.records]
    stream.write("new.jsonl", read.head, broken)
    assert "has no 'clean'" in mi("check", "new.jsonl", "--min", "clean=1").err
    stream.write("new.jsonl", {**read.head, "kind": "circuit"}, [])
    done = mi("check", "new.jsonl", "--min", "clean=1")
    assert done.code == 3 and "needed: report" in done.err


def test_summaries_without_examples_are_judged_by_the_interval_that_they_have(mi: Session) -> None:
    def auroc(path: str, **numbers: Any) -> None:
        head = {key: part for key, part in stream.read("base.jsonl", ()).head.items() if key != "scoring"}
        stream.write(path, head, [{"summary": "auroc", **numbers}])

    auroc("old.jsonl", value=0.9, low=0.88, high=0.92)
    auroc("new.jsonl", value=0.7, low=0.68, high=0.72)
    findings = found(
        mi, "new.jsonl", "--min", "auroc=0.6", "--baseline", "old.jsonl", "--max-drop", "auroc=0.1", code=1
    )
    assert [f["verdict"] for f in findings] == ["regression", "fine"]
    drop = findings[0]
    assert (drop["value"], drop["high"]) == pytest.approx((0.2, 0.2 + 0.02 * 2**0.5))
    assert "give --max-drop NAME=N of auroc" in mi("check", "new.jsonl", "--baseline", "old.jsonl").err
    auroc("new.jsonl", value=0.7)
    assert found(mi, "new.jsonl", "--min", "auroc=0.6")[0]["verdict"] == "cannot tell"
    auroc("new.jsonl", undetermined="there is none")
    assert "; there is none" in mi("check", "new.jsonl", "--min", "auroc=0.6").ok().text


def test_update_makes_the_report_the_baseline_and_says_what_changed(mi: Session) -> None:
    write_report("new.jsonl", 0.5)
    text = mi("check", "new.jsonl", "--baseline", "base.jsonl", "--update").ok().text
    assert text.startswith("updated  faithfulness 0.5") and ", was 0.9" in text
    assert Path("base.jsonl").read_bytes() == Path("new.jsonl").read_bytes()
    assert mi("check", "new.jsonl", "--baseline", "base.jsonl", "--update").ok().text == (
        "updated  base.jsonl: no number changed\n"
    )
    text = mi("check", "--baseline", "first.jsonl", "--update", stdin=Path("new.jsonl").read_bytes()).ok().text
    assert text == "updated  first.jsonl: a new baseline\n"
    assert Path("first.jsonl").read_bytes() == Path("new.jsonl").read_bytes()
    assert mi("verify", "-q", "first.jsonl").code == 0


def test_an_update_that_fails_leaves_the_baseline(mi: Session) -> None:
    before = Path("base.jsonl").read_bytes()
    write_report("new.jsonl", 0.5, graph=OTHER_GRAPH)
    assert mi("check", "new.jsonl", "--baseline", "base.jsonl", "--update").code == 3
    assert mi("check", "new.jsonl", "--baseline", "no/base.jsonl", "--update").code == 4
    assert Path("base.jsonl").read_bytes() == before


def test_findings_go_to_a_file_and_are_said_too(mi: Session) -> None:
    write_report("new.jsonl", 0.5)
    done = mi("check", "new.jsonl", "--baseline", "base.jsonl", "--format", "sarif", "-o", "check.sarif")
    assert (done.code, done.text) == (1, "")
    assert done.err.startswith("mi check: regression: faithfulness 0.5")
    assert json.loads(Path("check.sarif").read_text())["version"] == "2.1.0"
    done = mi("check", "new.jsonl", "--baseline", "base.jsonl", "-q", "-o", "check.txt")
    assert (done.code, done.err) == (1, "")


def test_the_summary_of_a_step_on_github(mi: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("page.md").write_text("from another step\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "page.md")
    mi("check", "base.jsonl", "--baseline", "base.jsonl").ok()
    assert Path("page.md").read_text() == "from another step\n"
    done = mi("check", "base.jsonl", "--baseline", "base.jsonl", "--format", "github").ok()
    assert done.text.startswith("::notice file=base.jsonl,title=mi check%3A fine (max-drop faithfulness)::")
    assert Path("page.md").read_text().startswith("from another step\n### mi check\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "no/page.md")
    done = mi("check", "base.jsonl", "--baseline", "base.jsonl", "--format", "github")
    assert (done.code, "cannot write no/page.md" in done.err) == (4, True)


def test_rules_may_stand_in_the_settings_of_the_project(mi: Session) -> None:
    rules = 'baseline = "base.jsonl"\nmax-drop = ["clean=0.1"]\nmin = ["faithfulness=0.5"]\nmax = ["size=19"]\n'
    Path("pyproject.toml").write_text(f"[tool.mi.check]\n{rules}")
    findings = found(mi, "base.jsonl", code=1)
    assert [(f["rule"], f["name"]) for f in findings] == [
        ("max-drop", "clean"),
        ("min", "faithfulness"),
        ("max", "size"),
    ]
    Path("pyproject.toml").write_text("[tool.mi.check]\nleats = 3\n")
    assert "mi check has no setting 'leats'" in mi("check", "base.jsonl").err


def test_at_the_end_of_a_pipe_in_one_process(mi: Session) -> None:
    write_report("new.jsonl", 0.5)
    done = mi("pipe", "check new.jsonl --baseline base.jsonl", "--json")
    assert (done.code, json.loads(done.text)["verdict"]) == (1, "regression")


def test_a_report_that_is_undetermined_cannot_tell(mi: Session) -> None:
    read = stream.read("base.jsonl", ("report",))
    rows = [{**r, "clean": r["corrupted"]} if "id" in r else r for r in read.records]
    stream.write("new.jsonl", read.head, rows)
    (finding,) = found(mi, "new.jsonl", "--baseline", "base.jsonl")
    assert finding["verdict"] == "cannot tell"
    assert finding["text"].startswith(
        "faithfulness undetermined, was 0.9006, at most 0.02 (60 examples, the same in both)"
    )
    assert "less than 3 standard errors" in finding["text"]
    assert found(mi, "new.jsonl", "--min", "faithfulness=0.5", "--strict", code=1)[0]["level"] == "error"

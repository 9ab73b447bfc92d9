"""Findings in every format: snapshots, the schemas of JUnit and SARIF, and text that would break a format."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
import xmlschema

from mi.show.findings import Finding, Findings, rendered
from mi.show.github import summary

HERE = Path(__file__).parent
SCHEMAS = HERE.parent / "schemas"
NUMBERS = {"bound": 0.02, "new": 0.8, "old": 0.9, "n": 60, "paired": True, "value": 0.1, "low": 0.09, "high": 0.11}
FINDINGS = Findings(
    "mi check",
    [
        Finding(
            "max-drop", "faithfulness", "regression", "error", "faithfulness 0.8, was 0.9", "a b/new.jsonl", NUMBERS
        ),
        Finding(
            "min", "cpr", "cannot tell", "warning", "cpr 0.8 [0.7, 0.9]; about 90 examples would tell", "new.jsonl"
        ),
        Finding("max", "cmd", "fine", "none", "cmd 0.1, at most 0.2", "new.jsonl", {"bound": 0.2, "old": None}),
        Finding("note", "model", "note", "note", "another model: toy, was <default>", "new.jsonl"),
    ],
)
NASTY = Findings(
    "mi check",
    [
        Finding(
            "min", 'a"<b>,c:d', "regression", "error", "x\n::error::100 % of `a|b` & <c> \x1b[31m ]]> *é*", "é,:%.jsonl"
        )
    ],
)
FORMS = {"text": "txt", "json": "jsonl", "junit": "xml", "github": "github", "sarif": "sarif"}


def snapshot(name: str, text: str) -> None:
    """The file as it was looked at once. SNAPSHOTS=write takes the new text as right."""
    path = HERE / "snapshots" / name
    if os.environ.get("SNAPSHOTS") == "write":
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("form", FORMS)
def test_a_format_is_as_it_was(form: str) -> None:
    snapshot(f"check.{FORMS[form]}", rendered(FINDINGS, form).replace('"0.1.0"', '"VERSION"'))


def test_the_summary_is_as_it_was() -> None:
    snapshot("check.md", summary(FINDINGS))


@pytest.mark.parametrize("findings", [FINDINGS, NASTY, Findings("mi check", [])], ids=["plain", "nasty", "none"])
def test_sarif_is_valid(findings: Findings) -> None:
    schema = json.loads((SCHEMAS / "sarif-schema-2.1.0.json").read_text())
    log = json.loads(rendered(findings, "sarif"))
    jsonschema.Draft4Validator(schema).validate(log)
    (run,) = log["runs"]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    assert [result["level"] for result in run["results"]] == [f.level for f in findings.found if f.level != "none"]
    assert run["invocations"][0]["exitCode"] == int(findings.failed)


@pytest.mark.parametrize("findings", [FINDINGS, NASTY, Findings("mi check", [])], ids=["plain", "nasty", "none"])
def test_junit_is_valid(findings: Findings) -> None:
    text = rendered(findings, "junit")
    xmlschema.XMLSchema(SCHEMAS / "junit-10.xsd").validate(text)
    suite = ElementTree.fromstring(text)[0]
    assert int(suite.get("tests", "")) == len(suite.findall("testcase")) == len(findings.checks)
    assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure"))
    assert int(suite.get("skipped", "")) == len(suite.findall("testcase/skipped"))


def test_the_schemas_refuse_what_is_wrong() -> None:
    schema = json.loads((SCHEMAS / "sarif-schema-2.1.0.json").read_text())
    log = json.loads(rendered(FINDINGS, "sarif"))
    log["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(schema).validate(log)
    with pytest.raises(xmlschema.XMLSchemaException):
        xmlschema.XMLSchema(SCHEMAS / "junit-10.xsd").validate("<testsuites><testcase/></testsuites>")


def test_text_cannot_break_out_of_a_format() -> None:
    (line,) = rendered(NASTY, "github").splitlines()
    assert line.startswith(
        '::error file=é%2C%3A%25.jsonl,title=mi check%3A regression (min a"<b>%2Cc%3Ad)::x%0A::error::100 %25'
    )
    assert "\x1b" not in line
    rows = [row for row in summary(NASTY).splitlines() if row.startswith("| ❌")]
    assert len(rows) == 1 and rows[0].replace("\\|", "").count("|") == 5 and "<c>" not in rows[0]
    case = ElementTree.fromstring(rendered(NASTY, "junit")).find("testsuite/testcase/failure")
    assert case is not None and "& <c>" in case.get("message", "")
    assert "\x1b" not in rendered(NASTY, "text")
    assert json.loads(rendered(NASTY, "json"))["name"] == 'a"<b>,c:d'

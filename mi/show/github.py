"""Findings for GitHub Actions: annotations on standard output, and a table in Markdown for the summary of the step."""

from __future__ import annotations

from mi.errors import printable
from mi.show.findings import Finding, Findings

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice", "none": "notice"}
_MARKS = {"error": "❌", "warning": "⚠️", "none": "✅", "note": "ℹ️"}


def commands(findings: Findings) -> str:
    """A workflow command each: `::error file=new.jsonl,title=...::text`."""
    return "".join(f"{_annotation(findings.command, finding)}\n" for finding in findings.found)


def _annotation(command: str, finding: Finding) -> str:
    about = {"file": finding.file, "title": f"{command}: {finding.verdict} ({finding.title})"}
    properties = ",".join(f"{key}={_property(value)}" for key, value in about.items() if value)
    return f"::{_COMMANDS[finding.level]} {properties}::{_data(printable(finding.text))}"


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(printable(value)).replace(":", "%3A").replace(",", "%2C")


def summary(findings: Findings) -> str:
    """What a person sees on the page of the run."""
    lines = [f"### {findings.command}", "", "| | check | verdict | |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {_MARKS[finding.level]} | {_cell(finding.title)} | {_cell(finding.verdict)} | {_cell(finding.text)} |"
        for finding in findings.checks
    ]
    if findings.notes:
        lines += ["", *(f"- {_MARKS['note']} {_cell(note.text)}" for note in findings.notes)]
    return "\n".join([*lines, ""])


def _cell(value: str) -> str:
    text = printable(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
    return text.replace("<", "&lt;").replace("`", "\\`").replace("*", "\\*").replace("_", "\\_")

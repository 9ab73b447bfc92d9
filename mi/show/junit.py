"""Findings as JUnit XML, which every CI system draws: a test case for each check, notes as properties.

A check that cannot tell is a skipped test, unless it was to count as a failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape  # the library's own for XML imports a web client

from mi.errors import printable
from mi.show.findings import Finding, Findings


def document(findings: Findings) -> str:
    """The file, as the schema of Jenkins has it."""
    checks = findings.checks
    failures = sum(finding.level == "error" for finding in checks)
    skipped = sum(finding.level == "warning" for finding in checks)
    name = _attribute(findings.command)
    counts = f'name={name} tests="{len(checks)}" failures="{failures}" errors="0"'
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites {counts}>"]
    lines.append(f'  <testsuite {counts} skipped="{skipped}">')
    if findings.notes:
        lines.append("    <properties>")
        lines += [
            f"      <property name={_attribute(note.name)} value={_attribute(note.text)}/>" for note in findings.notes
        ]
        lines.append("    </properties>")
    for finding in checks:
        lines += _case(findings.command, finding)
    return "\n".join([*lines, "  </testsuite>", "</testsuites>", ""])


def _case(command: str, finding: Finding) -> Iterator[str]:
    yield f"    <testcase classname={_attribute(command)} name={_attribute(finding.title)}>"
    said = _attribute(finding.text)
    if finding.level == "error":
        yield f"      <failure type={_attribute(finding.verdict)} message={said}/>"
    elif finding.level == "warning":
        yield f"      <skipped type={_attribute(finding.verdict)} message={said}/>"
    yield f"      <system-out>{escape(printable(finding.text), quote=False)}</system-out>"
    yield "    </testcase>"


def _attribute(value: str) -> str:
    return f'"{escape(printable(value))}"'

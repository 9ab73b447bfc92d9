"""Findings as SARIF 2.1.0, for code scanning: what failed, what cannot be told, and the notes.

What is fine is no result: code scanning would raise an alert for it.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from mi import __version__
from mi.errors import printable
from mi.show.findings import Finding, Findings

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
RULES = {
    "max-drop": "A number may be worse than in the baseline by so much at most.",
    "min": "A number must be at least so large.",
    "max": "A number may be at most so large.",
    "note": "What else differs between the report and its baseline.",
}


def document(findings: Findings) -> str:
    """The log file: one run of one tool."""
    results = [finding for finding in findings.found if finding.level != "none"]
    used = sorted({finding.rule for finding in findings.found})
    run = {
        "tool": {
            "driver": {
                "name": findings.command,
                "version": __version__,
                "rules": [_rule(name) for name in used],
            }
        },
        "invocations": [{"executionSuccessful": True, "exitCode": int(findings.failed)}],
        "results": [_result(finding, used.index(finding.rule)) for finding in results],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _rule(name: str) -> dict[str, Any]:
    return {"id": name, "shortDescription": {"text": RULES.get(name, name)}}


def _result(finding: Finding, index: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.level,
        "message": {"text": printable(finding.text)},
        "partialFingerprints": {"check/v1": f"{finding.rule}/{finding.name}"},
        "properties": {"name": finding.name, "verdict": finding.verdict, **_known(finding)},
    }
    if finding.file:
        place = {"artifactLocation": {"uri": quote(finding.file)}, "region": {"startLine": 1}}
        made["locations"] = [{"physicalLocation": place}]
    return made


def _known(finding: Finding) -> dict[str, Any]:
    return {key: value for key, value in finding.numbers.items() if value is not None}

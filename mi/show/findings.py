"""What a check found, as one list, and how it is written: for eyes, for programs, for the tools that CI knows.

In: findings. Out: text in one of the formats. Each format is one small function; those with rules of their own have a
file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mi.errors import printable
from mi.io import canonical

Level = Literal["none", "note", "warning", "error"]  # the words of SARIF


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `rule` is what was asked, `name` of what; `verdict` the answer in a word or two."""

    rule: str
    name: str
    verdict: str
    level: Level
    text: str
    file: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.rule} {self.name}"


@dataclass(frozen=True)
class Findings:
    """All that one command found."""

    command: str  # `mi check`
    found: Sequence[Finding]

    @property
    def checks(self) -> list[Finding]:
        """What has a verdict: all but notes."""
        return [finding for finding in self.found if finding.level != "note"]

    @property
    def notes(self) -> list[Finding]:
        return [finding for finding in self.found if finding.level == "note"]

    @property
    def failed(self) -> bool:
        return any(finding.level == "error" for finding in self.found)


def text(findings: Findings) -> str:
    """A line each, the verdict first."""
    width = max((len(finding.verdict) for finding in findings.found), default=0)
    return "".join(f"{printable(f.verdict):<{width}}  {printable(f.text)}\n" for f in findings.found)


def json(findings: Findings) -> str:
    """A line of JSON each."""
    return "".join(
        canonical.dumps(
            {
                "rule": finding.rule,
                "name": finding.name,
                "verdict": finding.verdict,
                "level": finding.level,
                "text": finding.text,
                "file": finding.file,
                **{key: value for key, value in finding.numbers.items() if value is not None},
            }
        ).decode()
        + "\n"
        for finding in findings.found
    )


def rendered(findings: Findings, form: str) -> str:
    """The findings in one of the formats."""
    if form in ("text", "json"):
        return text(findings) if form == "text" else json(findings)
    from mi.show import github, junit, sarif  # which most runs do without

    forms: dict[str, Callable[[Findings], str]] = {
        "junit": junit.document,
        "github": github.commands,
        "sarif": sarif.document,
    }
    return forms[form](findings)


def deliver(findings: Findings, form: str, output: str | None) -> None:
    """To a file or to standard output. What goes to a file is also said in short, so that a log shows it."""
    from mi.io import atomic
    from mi.show.notes import note

    atomic.text(output, rendered(findings, form))
    if output not in (None, "-"):
        for finding in findings.found:
            note(f"{finding.verdict}: {finding.text}")
    page = os.environ.get("GITHUB_STEP_SUMMARY")
    if form == "github" and page:
        from mi.show.github import summary

        _append(page, summary(findings))


def _append(path: str, content: str) -> None:
    """Other steps write to the same page."""
    try:
        with open(path, "a", encoding="utf-8") as f:
            f.write(content)
    except OSError as error:
        from mi.io.atomic import failure

        raise failure(path, error) from error

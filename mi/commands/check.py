"""`mi check`: a report and a baseline in, verdicts out; the exit code is what CI looks at."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mi import options
from mi.errors import FOUND, OK, MiError, UsageError
from mi.options import UNRECORDED, Option

if TYPE_CHECKING:
    from mi.circuit.measured import Measured
    from mi.circuit.verdict import Judged, Rule, Settings
    from mi.io.stream import Stream
    from mi.show.findings import Finding

TOLERANCE = 0.02
SHOWN = 12  # names in a message


def check(
    file: options.Input = None,
    baseline: Annotated[
        str | None,
        Option("--baseline", metavar="FILE", show_default=False, help="The report to compare with."),
    ] = None,
    max_drop: Annotated[
        list[str] | None,
        Option(
            "--max-drop",
            metavar="NAME=N",
            show_default=False,
            help="How much worse than the baseline NAME may be; if not given, faithfulness=0.02 (of a curve: cpr).",
        ),
    ] = None,
    least: Annotated[
        list[str] | None, Option("--min", metavar="NAME=N", show_default=False, help="NAME must be at least N.")
    ] = None,
    most: Annotated[
        list[str] | None, Option("--max", metavar="NAME=N", show_default=False, help="NAME may be at most N.")
    ] = None,
    confidence: Annotated[float, Option("--confidence", metavar="P", help="Of the intervals that decide.")] = 0.95,
    strict: Annotated[bool, Option("--strict", help="What cannot be told counts as failed.")] = False,
    update: Annotated[
        bool, Option("--update", help="Make the report the new baseline and say what changed; nothing is judged.")
    ] = False,
    form: Annotated[
        Literal["text", "json", "junit", "github", "sarif"],
        Option("--format", help="How findings are written."),
    ] = "text",
    json: Annotated[bool, UNRECORDED, Option("--json", help="The same as --format json: a line of JSON each.")] = False,
    output: options.Output = None,
    quiet: options.Quiet = False,
) -> int:
    """Hold a report against its baseline: say whether the circuit is still as faithful.

    Reads a report of `mi score` and compares it with the baseline. An interval decides, from a bootstrap over the same
    examples in both reports, whole templates at a time. Each rule gets one of three verdicts: fine (all of the interval
    is within the bound), regression (all of it is beyond), or cannot tell, with the number of examples that would tell.
    The exit code is 1 if there is a regression; what cannot be told is a warning, and 1 under --strict.

    NAME is faithfulness, circuit, clean or empty (the mean metric of the circuit, of the whole model and of the empty
    circuit) or size of one circuit; cpr, cmd and so on of a curve; or a summary that the report holds. A drop of cmd is
    its rise, as less is better. --min and --max need no baseline.

    With --format github, a table goes to the file that GITHUB_STEP_SUMMARY names.

    Examples:

        mi check new.jsonl --baseline base.jsonl --max-drop faithfulness=0.02

        mi score circuit.jsonl -m new-checkpoint/ | mi check --baseline base.jsonl --format github

        mi check curve.jsonl --min cpr=0.8 --max cmd=0.2 --strict

        mi check new.jsonl --baseline base.jsonl --format junit -o check.xml

        mi check new.jsonl --baseline base.jsonl --update
    """
    from mi.circuit.measured import measured
    from mi.circuit.verdict import Settings, aligned
    from mi.io import stream
    from mi.show.findings import Findings

    rules = [*_rules("max-drop", max_drop), *_rules("min", least), *_rules("max", most)]
    _refuse_flags(file, baseline, rules, confidence, update)
    read = stream.read(file, ("report",))
    new = measured(read.records, read.origin)
    if update and baseline is not None and not os.path.exists(baseline):
        _replace(read, baseline)
        found = [_update("baseline", f"{baseline}: a new baseline", baseline)]
        return _write(Findings("mi check", found), "json" if json else form, output)
    old_stream = None if baseline is None else stream.read(baseline, ("report",))
    old = None if old_stream is None else measured(old_stream.records, old_stream.origin)
    place = _place(read, baseline)
    notes: list[Finding] = []
    if old_stream is not None and old is not None:
        notes = list(_compare(read, new, old_stream, old, place))
        old = aligned(new, old) or old
    if update:
        assert old is not None and baseline is not None
        found = [*_changes(new, old, baseline), *notes]
        _replace(read, baseline)
        return _write(Findings("mi check", found), "json" if json else form, output)
    if old is not None and not any(rule.kind == "max-drop" for rule in rules):
        rules = [_default(new), *rules]
    judged = [_judge(rule, new, old, Settings(level=confidence)) for rule in rules]
    found = _findings(judged, place, new, strict, confidence) + notes
    return _write(Findings("mi check", found), "json" if json else form, output)


def _rules(kind: str, words: Sequence[str] | None) -> list[Rule]:
    import math

    from mi.circuit.verdict import Rule

    made: list[Rule] = []
    for word in words or []:
        name, _, bound = word.partition("=")
        try:
            made.append(Rule(kind, name.strip(), float(bound)))
        except ValueError:
            made.append(Rule(kind, "", math.nan))
        if not made[-1].name or not math.isfinite(made[-1].bound):
            raise UsageError(f"--{kind} {word!r} is no NAME=NUMBER", f"such as --{kind} faithfulness={TOLERANCE}")
    return made


def _refuse_flags(
    file: str | None, baseline: str | None, rules: Sequence[Rule], confidence: float, update: bool
) -> None:
    if not 0.5 < confidence < 1:
        raise UsageError(f"--confidence {confidence:g} is not between 0.5 and 1", "0.95 is customary")
    if baseline == "-":
        raise UsageError("the baseline cannot be standard input", "pipe the new report, and name the baseline's file")
    if baseline is None and update:
        raise UsageError("--update needs the --baseline to write", "such as --baseline base.jsonl")
    if baseline is None and any(rule.kind == "max-drop" for rule in rules):
        raise UsageError("--max-drop compares with a baseline, and none is given", "add --baseline FILE")
    if baseline is None and not rules:
        raise UsageError("what to check is not said", "give --baseline FILE, or --min or --max NAME=N")


def _default(new: Measured) -> Rule:
    from mi.circuit.verdict import Rule

    if not new.n:
        raise UsageError("this report has no faithfulness", f"give --max-drop NAME=N of {', '.join(new.summaries)}")
    return Rule("max-drop", "cpr" if new.is_curve else "faithfulness", TOLERANCE)


def _compare(read: Stream, new: Measured, old_stream: Stream, old: Measured, place: str) -> Iterator[Finding]:
    """Refuse what cannot be compared, and say what else is different."""
    from mi.circuit import differences
    from mi.circuit.verdict import aligned
    from mi.show.numbers import count

    differences.refuse(read.head, old_stream.head, read.origin, old_stream.origin)
    if new.places != old.places:
        here, there = ("a curve" if each.is_curve else "one circuit" if each.n else "none" for each in (new, old))
        fact = f"it measures {here}, {there} in {old_stream.origin}" if here != there else "the curve has other sizes"
        raise MiError(fact, "make both reports in the same way", place=read.origin)
    if new.n and aligned(new, old) is None:
        same = len(set(new.keys) & set(old.keys))
        text = f"{same:,} of {count(new.n, 'example')} are in the baseline, which has {old.n:,}: compared as unpaired"
        yield _note(place, "examples", f"other examples: {text}")
    if new.size != old.size:
        yield _note(place, "size", f"another circuit: {new.size} edges, was {old.size}")
    for name, text in differences.notes(read.head, old_stream.head):
        yield _note(place, name, text)


def _judge(rule: Rule, new: Measured, old: Measured | None, settings: Settings) -> Judged:
    from mi.circuit.verdict import CANNOT_TELL, Judged, judge_bound, judge_drop, judge_stored

    if rule.name in new.names():
        if rule.kind != "max-drop" or old is None:
            return judge_bound(rule, new, settings)
        return judge_drop(rule, new, old, settings)
    both = [_stored(rule.name, each) for each in (new, old if rule.kind == "max-drop" else None) if each is not None]
    for summary in both:
        if "undetermined" in summary or "low" not in summary:
            why = str(summary.get("undetermined", "the report holds no interval of it"))
            values = [each.get("value") for each in both]
            return Judged(rule, CANNOT_TELL, values[0], values[1] if len(both) > 1 else None, why=why)
    return judge_stored(rule, both[0], both[1] if len(both) > 1 else None)


def _stored(name: str, report: Measured) -> Any:
    """A number that the report holds."""
    if name == "size" and report.size is not None:
        return {"value": report.size, "low": report.size, "high": report.size}
    if name not in report.summaries:
        there = [*report.names(), *(["size"] if report.size is not None else [])]
        there += [name for name in report.summaries if name not in there]
        more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
        raise UsageError(
            f"the report has no {name!r}", f"it has {', '.join(there[:SHOWN]) or 'no number of its own'}{more}"
        )
    return report.summaries[name]


def _findings(judged: Sequence[Judged], place: str, new: Measured, strict: bool, confidence: float) -> list[Finding]:
    from mi.circuit.statistics import LEAST_CLUSTERS, LEVEL, clusters
    from mi.show.verdicts import finding

    found = [finding(each, place, strict) for each in judged]
    there = set(new.templates) - {""}
    if new.n and there and clusters(new.templates) is None and len(there) < LEAST_CLUSTERS:
        text = f"{len(there)} templates are too few to draw from: examples are drawn, so intervals are of these alone"
        found.append(_note(place, "templates", text if len(there) > 1 else "one template: intervals are of it alone"))
    if confidence != LEVEL and any(each.estimate and each.rule.name not in new.names() for each in judged):
        found.append(_note(place, "confidence", f"intervals that the report holds are of {LEVEL:.0%}"))
    return found


def _changes(new: Measured, old: Measured, baseline: str) -> Iterator[Finding]:
    """Every number that both reports have and that is another one."""
    import math

    from mi.circuit.measured import quantity
    from mi.show.numbers import number

    values = []
    for each in (new, old):
        computed = {name: float(quantity(each, name)(each.columns.mean(axis=1))) for name in each.names()}
        stored = {name: float(row["value"]) for name, row in each.summaries.items() if "value" in row}
        values.append({**stored, **computed})
    changed = [name for name in values[0] if name in values[1] and not math.isclose(values[0][name], values[1][name])]
    for name in changed:
        yield _update(name, f"{name} {number(values[0][name])}, was {number(values[1][name])}", baseline)
    if not changed:
        yield _update("baseline", f"{baseline}: no number changed", baseline)


def _replace(read: Stream, baseline: str) -> None:
    from mi.io import stream

    stream.write(baseline, read.head, read.records, read.blobs)


def _place(read: Stream, baseline: str | None) -> str:
    """The file that findings are about; of a report that was piped in, its baseline: code scanning wants a place."""
    from mi.io.chain import portable

    return portable(baseline or "") if read.origin == "stdin" else portable(read.origin)


def _note(place: str, name: str, text: str) -> Finding:
    from mi.show.findings import Finding

    return Finding("note", name, "note", "note", text, place)


def _update(name: str, text: str, baseline: str) -> Finding:
    from mi.io.chain import portable
    from mi.show.findings import Finding

    return Finding("note", name, "updated", "note", text, portable(baseline))


def _write(findings: Any, form: str, output: str | None) -> int:
    from mi.show.findings import deliver

    deliver(findings, form, output)
    return FOUND if findings.failed else OK

"""A circuit and its reports as one page for a reviewer: verified streams in, HTML (or text) out.

What must be known before believing the numbers stands first; then the numbers with what they mean, the picture, the
curve, the tests, how stable the choice is, and how all of it was made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mi.circuit import cautions, reading
from mi.circuit.cautions import Caution
from mi.errors import MiError, UsageError, printable
from mi.io import chain
from mi.io.stream import Stream
from mi.show.examined import examined_tables, said_of
from mi.show.head import head_table, one_line
from mi.show.numbers import count, interval, number, percent
from mi.show.picture import page, plots
from mi.show.picture.canvas import element, safe
from mi.show.picture.diagram import diagram
from mi.show.report import report_tables
from mi.show.table import Table

DRAWN, SCORED = 1000, 200  # edges in the picture: of a circuit, of scores where there is no circuit
LISTED = 25  # unstable edges
MEANINGS = {
    "faithfulness": "(circuit − empty) / (model − empty), of the mean metric: 1 is all that the model does",
    "clean": "mean metric of the whole model",
    "empty": "mean metric of the circuit without edges",
    "cpr": "area under the curve, ranked by signed score; 0.999 is perfect, more is overshoot",
    "cmd": "area between the curve and 1, ranked by magnitude; 0 is perfect",
    "cpr-log": "CPR over the logarithm of the size",
    "cmd-log": "CMD over the logarithm of the size",
    "cpr-capped": "CPR of the curve clipped to 0 … 1",
    "average": "mean faithfulness of the ten sizes",
}
LEVELS = {"error": "regression", "warning": "cannot tell"}


@dataclass(frozen=True)
class Review:
    """What is on the page. `checks` are findings of `mi check --json`."""

    title: str
    circuit: Stream | None
    scores: Stream | None
    reports: Sequence[Stream]
    effects: Sequence[Stream] = ()
    checks: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @property
    def streams(self) -> list[Stream]:
        alone = [stream for stream in (self.circuit, self.scores) if stream is not None]
        return [*alone, *self.reports, *self.effects]


def review(streams: Sequence[Stream], title: str | None, checks: Sequence[Mapping[str, Any]] = ()) -> Review:
    """Sort streams by what they are.

    Raises:
        UsageError: there are two circuits or two sets of scores, of which one page would mix the numbers up.
    """
    by_kind: dict[str, list[Stream]] = {}
    for stream in streams:
        by_kind.setdefault(stream.kind, []).append(stream)
    for kind in ("circuit", "scores"):
        if len(by_kind.get(kind, [])) > 1:
            raise UsageError(f"there are {len(by_kind[kind])} streams of {kind}", "a page is of one; make one for each")
    first = {kind: found[0] for kind, found in by_kind.items()}
    named = first.get("circuit") or first.get("scores") or streams[0]
    return Review(
        title or one_line(named.head),
        first.get("circuit"),
        first.get("scores"),
        by_kind.get("report", []),
        by_kind.get("effects", []),
        checks,
    )


def findings(file: str) -> list[dict[str, Any]]:
    """Lines of `mi check --json`."""
    try:
        rows = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise MiError("no such file", place=file) from None
    except (OSError, ValueError) as error:
        raise MiError(f"these are no findings: {error}", "made by `mi check --json -o FILE`", place=file) from error
    if not all(isinstance(row, dict) and {"verdict", "level", "text"} <= set(row) for row in rows):
        raise MiError("these are no findings", "made by `mi check --json -o FILE`", place=file)
    return rows


# What must be known first


def warnings(of: Review) -> list[Caution]:
    """Each once, warnings before notes."""
    found = [caution for stream in of.streams for caution in cautions.of_chain(stream.head)]
    if of.circuit is not None:
        found += cautions.of_circuit(of.circuit.head, of.circuit.records)
    for report in of.reports:
        found += cautions.of_report(report.head, report.records)
        if of.circuit is not None:
            found += cautions.of_pair(of.circuit.head, report.head, _is_curve(report))
    share = _inclusion(of)
    if share is not None:
        found += cautions.of_inclusion(*share, "edge" if of.circuit is None else reading.level_of(of.circuit))
    elif of.circuit is not None:
        text = "how stable the choice is was not looked at: give the scores, too"
        found.append(Caution("stability", text, is_warning=False))
    if not of.reports:
        found.append(Caution("no report", "nothing says how faithful it is: give a report of mi score"))
    for check in of.checks:
        if check["level"] in LEVELS:
            found.append(Caution(LEVELS[check["level"]], str(check["text"])))
    once = {(caution.name, caution.text): caution for caution in found}
    return sorted(once.values(), key=lambda caution: not caution.is_warning)


def _is_curve(report: Stream) -> bool:
    return any(record.get("nominal") is not None for record in report.records)


def _inclusion(of: Review) -> tuple[np.ndarray, np.ndarray] | None:
    """How often resamples choose each unit of the circuit, and which units it holds."""
    if of.circuit is None or of.scores is None:
        return None
    graph = reading.graph_of(of.circuit)
    scored = reading.scored(of.scores, reading.graph_of(of.scores))
    if scored.units.graph.digest != graph.digest or scored.units.level != reading.level_of(of.circuit):
        return None
    kept = np.zeros(scored.units.n, dtype=bool)
    if scored.units.level == "edge":
        kept |= reading.circuit(of.circuit, graph).edges
    else:
        names = {str(r["node"]) + (f"/{r['unit']}" if "unit" in r else "") for r in of.circuit.records if "node" in r}
        kept |= np.array([scored.units.name(unit) in names for unit in range(scored.units.n)])
    chosen = of.circuit.head.get("selection") or {}
    n = int(chosen.get("selected", np.count_nonzero(kept)))
    share = cautions.inclusion(scored, n, absolute=not chosen.get("signed", False))
    return None if share is None else (share, kept)


# The page


def html(of: Review) -> str:
    body = [
        f"<h1>{safe(of.title)}</h1>",
        *(f"<p>{safe(line)}</p>" for line in summary(of)),
        *_cautions(warnings(of)),
        *_verdicts(of),
        *_numbers(of),
        *_picture(of),
        *_plots(of),
        *_tests(of),
        *_stability(of),
        *_history(of),
    ]
    drawn = of.circuit is not None or of.scores is not None
    return page.html(of.title, body, (page.script(),) if drawn else ())


def summary(of: Review) -> Iterator[str]:
    """One sentence for each report, in the words that a reader would use."""
    for report in of.reports:
        task = report.head.get("task", {}).get("name", "the task")
        run = report.head.get("scoring") or {}
        on = f"on {count(run['n'], 'example')} of the {run.get('split', '?')} split" if "n" in run else ""
        for r in report.records:
            if r.get("summary") == "faithfulness" and r.get("nominal") is None and r.get("value") is not None:
                edges = report.head.get("selection", {}).get("edges")
                size = count(r["size"], "edge") if r.get("size") is not None else "the circuit"
                share = f" ({percent(r['size'] / edges)} of all)" if edges and r.get("size") is not None else ""
                span = interval(r.get("low"), r.get("high"))
                text = f"{size}{share} have a faithfulness of {number(r['value'])}"
                yield f"{text}{f' ({span})' if span else ''} on {task}, {on}.".replace(", .", ".")


def _cautions(found: Sequence[Caution]) -> Iterator[str]:
    serious = [caution for caution in found if caution.is_warning]
    notes = [caution for caution in found if not caution.is_warning]
    if serious:
        items = "".join(f"<li><b>{safe(c.name)}</b>: {safe(c.text)}</li>" for c in serious)
        yield f'<div class="warnings"><b>{safe(count(len(serious), "warning"))}</b><ul>{items}</ul></div>'
    else:
        looked = "overlap of the examples, their number, intervals, templates, history, stability"
        yield f'<div class="fine">No warnings. Looked at: {looked}.</div>'
    for caution in notes:
        yield f'<p class="dim">{safe(caution.name)}: {safe(caution.text)}</p>'


def verdicts(of: Review) -> list[tuple[str, str]]:
    """Of rules, from `mi check`, and of hypotheses, from `mi score --test`: the answer, and what was asked."""
    rows = [(str(check["verdict"]), str(check["text"])) for check in of.checks]
    for report in of.reports:
        for record in report.records:
            if "rejected" in record:
                p = f"; p {record['p']:.2g}" if record.get("p") is not None else ""
                asked = f"{record['summary']}: {number(record.get('value'))}{p}{_of(of, report)}"
                rows.append((said_of(record), asked))
    return rows


def _verdicts(of: Review) -> Iterator[str]:
    rows = verdicts(of)
    if rows:
        yield "<h2>Verdicts</h2>"
        yield page.table(("verdict", "what was asked"), rows)


def _numbers(of: Review) -> Iterator[str]:
    for report in of.reports:
        rows = [
            (
                r["summary"],
                "undetermined" if "undetermined" in r else number(r.get("value")),
                interval(r.get("low"), r.get("high")),
                number(r.get("n")),
                MEANINGS.get(str(r["summary"]), ""),
            )
            for r in report.records
            if "summary" in r and "test" not in r and r.get("nominal") is None and "tpr" not in r
        ]
        yield f"<h2>The numbers{safe(_of(of, report))}</h2>"
        yield page.table(("measure", "value", "95 % interval", "examples", "what it is"), rows, right=(1, 2, 3))


def _of(of: Review, report: Stream) -> str:
    return f", {report.origin}" if len(of.reports) > 1 else ""


def _picture(of: Review) -> Iterator[str]:
    stream = of.circuit or of.scores
    if stream is None or (stream.kind == "circuit" and not stream.records):
        return
    if stream.kind == "scores" and reading.level_of(stream) != "edge":
        return
    drawn = diagram(stream, DRAWN if stream.kind == "circuit" else SCORED)
    yield f"<h2>The {'circuit' if stream.kind == 'circuit' else 'largest edges'}</h2>"
    yield f'<p class="dim">{safe(drawn.about)}</p>'
    yield from page.figure(drawn)


def _plots(of: Review) -> Iterator[str]:
    curves = [report for report in of.reports if _is_curve(report) and not _has(report, "tpr")]
    singles = [report for report in of.reports if not _is_curve(report) and _has(report, "clean")]
    if curves:
        yield "<h2>Faithfulness over size</h2>"
        yield _plot(plots.wanted([*curves, *singles], "curve", None))
    for report in singles:
        yield f"<h2>Example by example{safe(_of(of, report))}</h2>"
        yield _plot(plots.wanted([report], "examples", None))
    for effects in of.effects:
        yield "<h2>Effects of patching</h2>"
        yield _plot(plots.wanted([effects], "map", None))


def _has(report: Stream, name: str) -> bool:
    return any(name in record for record in report.records)


def _plot(plot: plots.Plot) -> str:
    return f'<div class="scroll">{plots.svg(plot)}</div>'


def _tests(of: Review) -> Iterator[str]:
    for report in of.reports:
        tested = [record for record in report.records if "test" in record]
        if tested:
            yield f"<h2>Tests{safe(_of(of, report))}</h2>"
            sets = [record for record in tested if record["test"] == "completeness" and "knocked" in record]
            yield from map(_table, examined_tables([record for record in tested if record not in sets], 0))
            if sets:
                yield f"<details><summary>{count(len(sets), 'set')} of nodes, knocked out of both</summary>"
                yield from map(_table, examined_tables(sets, None))
                yield "</details>"


def _table(table: Table) -> str:
    right = [place for place, column in enumerate(table.columns) if column.right]
    notes = "".join(element("p", safe(note), class_="dim") for note in table.notes)
    return page.table([column.name for column in table.columns], table.rows, right) + notes


def _stability(of: Review) -> Iterator[str]:
    found = _inclusion(of)
    if found is None:
        return
    share, kept = found
    assert of.scores is not None
    units = reading.scored(of.scores, reading.graph_of(of.scores)).units
    order = sorted(np.flatnonzero(kept).tolist(), key=lambda unit: (share[unit], unit))
    shaky = [unit for unit in order if share[unit] < cautions.STABLE]
    yield "<h2>How stable the choice is</h2>"
    yield (
        f"<p>Of {len(order):,} {units.level}s, {len(order) - len(shaky):,} are chosen in at least "
        f"{percent(cautions.STABLE)} of {cautions.RESAMPLES} resamples of the examples.</p>"
    )
    if shaky:
        rows = [(units.name(unit), percent(float(share[unit]))) for unit in shaky[:LISTED]]
        yield page.table((f"least stable {units.level}s", "chosen in"), rows, right=(1,))


def _history(of: Review) -> Iterator[str]:
    yield "<h2>How it was made</h2>"
    for stream in of.streams:
        name = "standard input" if stream.origin == "stdin" else stream.origin
        yield f"<p>{safe(one_line(stream.head))}, from {safe(name)}</p>"
        yield f"<pre>{safe(chain.pipeline(stream.head) or 'no chain')}</pre>"
        rows = head_table(stream.head).rows
        details = f"<pre>{safe(chain.text(stream.head))}</pre>{page.table(('part', 'value'), rows)}"
        yield f"<details><summary>digests, versions and parts</summary>{details}</details>"


# The same for a terminal


def text_tables(of: Review) -> list[Table]:
    found = warnings(of)
    lines = [f"{'warning' if c.is_warning else 'note'}: {c.name}: {c.text}" for c in found]
    lines += [f"verdict: {verdict}: {asked}" for verdict, asked in verdicts(of)]
    made = [Table((), (), of.title, lines or ["no warnings"])]
    for report in of.reports:
        made += report_tables(printable(one_line(report.head)), report.head, report.records, 0)
    return made

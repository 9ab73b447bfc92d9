"""`mi diff`: two circuits, scores, reports or models in; what differs out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING, Annotated

from mi import options
from mi.errors import FOUND, OK, MiError, UsageError
from mi.options import UNRECORDED, Argument, Option

if TYPE_CHECKING:
    from mi.circuit.diff import Compared, Tolerance
    from mi.circuit.weights import Layout
    from mi.io.stream import Stream
    from mi.show.findings import Finding
    from mi.show.table import Table


def diff(
    a: Annotated[
        str | None, UNRECORDED, Argument(metavar="A", show_default=False, help="A stream, or a model; - is stdin.")
    ] = None,
    b: Annotated[
        str | None, UNRECORDED, Argument(metavar="B", show_default=False, help="What to compare with it.")
    ] = None,
    atol: Annotated[
        float, Option("--atol", metavar="X", min=0, help="Numbers that differ by at most X are the same.")
    ] = 1e-8,
    rtol: Annotated[
        float, Option("--rtol", metavar="X", min=0, help="Or by at most this share of the number in A.")
    ] = 1e-5,
    top: Annotated[
        int | None,
        Option("--top", metavar="N", min=0, show_default=False, help="List the N largest changes (a table: 20)."),
    ] = None,
    json: Annotated[bool, UNRECORDED, Option("--json", help="Print one line of JSON for each finding.")] = False,
    output: options.Output = None,
    quiet: options.Quiet = False,
) -> int:
    """Compare two circuits, scores, reports or models.

    Circuits: what is only in one of them, the Jaccard index, and of the scores in both the rank correlation (Spearman)
    and the signs that flipped. Scores: the same, and the overlap of the highest tenth. Reports: every summary that is
    another number. Models (folders, or embedded names): how far each head and each MLP moved, ||B - A|| / ||A|| over
    its own weights.

    The exit code is 1 if something differs by more than --atol and --rtol together. Both streams must be of one kind
    and one graph; other differences of their heads (task, method, model) are notes.

    Examples:

        mi diff circuit.jsonl other.jsonl

        mi diff eap.jsonl eap-ig.jsonl --json | jq 'select(.name == "spearman")'

        mi diff base.jsonl new.jsonl --rtol 0.01

        mi diff checkpoint-1/ checkpoint-2/ --top 10
    """
    from mi.circuit.diff import Tolerance

    if a is None or b is None:
        raise UsageError("two things to compare are needed", "mi diff A B; one of them may be -")
    if a == b == "-":
        raise UsageError("standard input is named twice", "one of the two may be -")
    for flag, value in (("--atol", atol), ("--rtol", rtol)):
        if isnan(value):  # nothing is more than that: whatever differs would be the same
            raise UsageError(f"{flag} nan is not a number", "give a number from 0")
    tolerance = Tolerance(atol, rtol)
    if _is_model(a) or _is_model(b):
        differs, tables, findings = _models(a, b, tolerance, top)
    else:
        differs, tables, findings = _streams(a, b, tolerance, top)
    _write(tables, findings, json, output)
    return FOUND if differs else OK


Found = tuple[bool, "list[Table]", "list[Finding]"]


def _is_model(name: str) -> bool:
    from mi import embedded

    return os.path.isdir(name) or (name in embedded.NAMES and not os.path.exists(name))


def _streams(a: str, b: str, tolerance: Tolerance, top: int | None) -> Found:
    from mi.circuit import differences
    from mi.io import stream
    from mi.show import diffs

    kinds = ("circuit", "scores", "report")
    first, second = (stream.read(name, kinds) for name in (a, b))
    if first.kind != second.kind:
        raise MiError(
            f"this is a {second.kind} stream, {first.origin} a {first.kind} stream",
            "compare two of one kind",
            place=second.origin,
        )
    ours, theirs = differences.graph_text(second.head), differences.graph_text(first.head)
    if ours != theirs:
        raise MiError(
            f"the graph differs: {ours} here, {theirs} in {first.origin}",
            "only results about one graph are compared",
            place=second.origin,
        )
    compared, what = {"circuit": _circuits, "scores": _scores, "report": _reports}[first.kind](first, second, tolerance)
    notes = [text for _, text in differences.all_notes(second.head, first.head)]
    title = f"{first.kind}  A {first.origin}  B {second.origin}"
    return (
        compared.differs,
        diffs.tables(title, compared, what, notes, top),
        list(diffs.findings(compared, what, notes, top)),
    )


def _circuits(a: Stream, b: Stream, tolerance: Tolerance) -> tuple[Compared, str]:
    from mi.circuit import diff, reading

    units = []
    for each in (a, b):
        reading.circuit(each, reading.graph_of(each))  # refuses names that are none, or are there twice
        units.append({reading.spelled(record): record.get("score") for record in each.records})
    level = {reading.level_of(each) for each in (a, b)}
    return diff.circuits(units[0], units[1], tolerance), level.pop() if len(level) == 1 else "unit"


def _scores(a: Stream, b: Stream, tolerance: Tolerance) -> tuple[Compared, str]:
    import numpy as np

    from mi.circuit import diff, reading

    first, second = (reading.scored(each, reading.graph_of(each)) for each in (a, b))
    if (first.units.level, first.units.width) != (second.units.level, second.units.width):
        raise MiError(
            f"these are scores of {second.units.level}s, in {a.origin} of {first.units.level}s",
            "compare scores of one level",
            place=b.origin,
        )
    units = first.units
    names = units.graph.edge_names() if units.level == "edge" else [units.name(i) for i in range(units.n)]
    values = [
        np.where(each.listed, each.scores, np.nan) if each.listed is not None else each.scores
        for each in (first, second)
    ]
    return diff.scores(names, values[0], values[1], tolerance), units.level


def _reports(a: Stream, b: Stream, tolerance: Tolerance) -> tuple[Compared, str]:
    from mi.circuit import diff

    return diff.numbers(_summaries(a), _summaries(b), tolerance), "number"


def _summaries(report: Stream) -> dict[str, float | None]:
    """Every number of a report by a name of its own: `faithfulness signed 0.02`."""
    found: dict[str, float | None] = {}
    for record in report.records:
        if "summary" not in record:
            continue
        place = [str(record[key]) for key in ("mode", "nominal") if record.get(key) is not None]
        name = " ".join([str(record["summary"]), *place])
        while name in found:  # points of a ROC curve
            name += " +"
        found[name] = record.get("value")
        if "size" in record:
            found[f"size of {name}"] = record["size"]
    return found


def _models(a: str, b: str, tolerance: Tolerance, top: int | None) -> Found:
    from mi.circuit import weights
    from mi.io.models import locate
    from mi.show import diffs

    for name in (a, b):
        if name == "-" or os.path.isfile(name):
            raise UsageError(f"{name} is no model, and the other one is", "compare two streams, or two models")
    first, second = locate(a), locate(b)
    configs = [each.config() for each in (first, second)]
    family = str(configs[0].get("model_type"))
    found, heads = weights.moved(first, second, _layout(family), tolerance.atol, tolerance.rtol)
    notes = list(_settings(configs[0], configs[1]))
    differs = any(each.beyond for each in found) or bool(notes)
    if heads is None:
        notes.append(f"how {family} keeps its heads is not known: tensors are compared by their names")
    tables = diffs.model_tables(f"model  A {a}  B {b}", found, notes, top)
    return differs, tables, list(diffs.model_findings(found, notes, top))


def _layout(family: str) -> Layout | None:
    """Where a family keeps its heads and MLPs: the records of the adapters say so, and need no torch."""
    from mi.circuit.weights import Layout
    from mi.core.families import ROLES

    roles = next((record for record in ROLES if family in record.families), None)
    if roles is None:
        return None
    mlp = tuple(dict.fromkeys(path for path in (roles.mlp, roles.mlp_in) if path))
    return Layout(roles.queries_keys_values, roles.heads_out, mlp, roles.interleaved, transposed=family == "gpt2")


def _settings(a: Mapping[str, object], b: Mapping[str, object]) -> list[str]:
    """What config.json says otherwise, but for what only names the file or the program that wrote it."""
    ignored = ("_name_or_path", "transformers_version", "architectures")
    return [
        f"config.json: {key} is {b.get(key)}, was {a.get(key)}"
        for key in sorted(a.keys() | b.keys())
        if key not in ignored and a.get(key) != b.get(key)
    ]


def _write(tables: Sequence[Table], findings: Sequence[Finding], json: bool, output: str | None) -> None:
    from mi.io import atomic
    from mi.show import table
    from mi.show.findings import Findings, rendered

    if json:
        atomic.text(output, rendered(Findings("mi diff", findings), "json"))
    elif output in (None, "-"):
        table.write(tables)
    else:
        atomic.text(output, "\n".join(table.plain(each) for each in tables))

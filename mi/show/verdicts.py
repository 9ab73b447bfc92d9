"""Verdicts as sentences: what was judged in, a finding out."""

from __future__ import annotations

from mi.circuit.measured import LESS_IS_BETTER
from mi.circuit.statistics import Estimate
from mi.circuit.verdict import CANNOT_TELL, REGRESSION, Judged, Needed
from mi.show.findings import Finding, Level
from mi.show.numbers import count, number

FAR = 1000


def finding(judged: Judged, file: str, strict: bool) -> Finding:
    """Under ``strict``, what cannot be told counts as failed."""
    levels: dict[str, Level] = {REGRESSION: "error", CANNOT_TELL: "error" if strict else "warning"}
    return Finding(
        rule=judged.rule.kind,
        name=judged.rule.name,
        verdict=judged.verdict,
        level=levels.get(judged.verdict, "none"),
        text=sentence(judged),
        file=file,
        numbers=_numbers(judged),
    )


def sentence(judged: Judged) -> str:
    rule = judged.rule
    value = number(judged.new) if judged.new is not None else "undetermined"
    was = "" if rule.kind != "max-drop" else f", was {number(judged.old) if judged.old is not None else 'undetermined'}"
    bound = f"{'at least' if rule.kind == 'min' else 'at most'} {number(rule.bound)}"
    parts = [f"{rule.name} {value}{was}"]
    if judged.estimate is not None:
        parts.append(f": {_what(rule.name)} {spelled(judged.estimate)}" if was else _range(judged.estimate))
    text = "".join(parts) + f", {bound}" + _of(judged)
    if judged.why:
        text += f"; {judged.why}"
    return text + (f"; {_call(judged.needed, judged.n)}" if judged.verdict == CANNOT_TELL and not judged.why else "")


def _what(name: str) -> str:
    return "a rise of" if name in LESS_IS_BETTER else "a drop of"


def spelled(estimate: Estimate) -> str:
    return f"{number(estimate.value, 3)}{_range(estimate)}"


def _range(estimate: Estimate) -> str:
    if estimate.low == estimate.high:
        return ""
    return f" [{number(estimate.low, 3)}, {number(estimate.high, 3)}]"


def _of(judged: Judged) -> str:
    """Which examples the interval is over."""
    if not judged.n:
        return ""
    how = {True: ", the same in both", False: ", unpaired", None: ""}[judged.paired]
    return f" ({count(judged.n, 'example')}{how})"


def _call(needed: Needed | None, n: int) -> str:
    """How to get a verdict. Past a thousand times what there is, an estimate says no more than that it is far."""
    if needed is None or max(needed.examples or 0, needed.templates or 0) > FAR * n:
        return "it lies too near the bound for any number of examples"
    if needed.examples is None:
        return f"more examples of these templates would not tell, but about {count(needed.templates or 0, 'template')}"
    return f"about {count(needed.examples, 'example')} would tell"


def _numbers(judged: Judged) -> dict[str, float | int | bool | None]:
    estimate, needed = judged.estimate, judged.needed
    made: dict[str, float | int | bool | None] = {
        "bound": judged.rule.bound,
        "new": judged.new,
        "old": judged.old,
        "n": judged.n or None,
        "paired": judged.paired,
    }
    if estimate is not None:
        made |= {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    if needed is not None:
        made |= {"needed_examples": needed.examples, "needed_templates": needed.templates}
    return made

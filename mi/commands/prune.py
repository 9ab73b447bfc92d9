"""`mi prune`: scores in, a circuit out. Choose edges, nodes or neurons by score; drop those that lie on no path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mi.errors import UsageError
from mi.options import Input, Json, Option, Output, Quiet, Seed

if TYPE_CHECKING:
    import numpy as np

    from mi.circuit.choose import Chosen, Rule
    from mi.circuit.reading import Scored

DEFAULT_PERCENT = 10.0
TIME_LIMIT = 300.0  # seconds of --ilp
RESAMPLES = 1000  # of --stable


def prune(
    file: Input = None,
    top: Annotated[int | None, Option("--top", metavar="N", min=0, show_default=False, help="Keep the N best.")] = None,
    percent: Annotated[
        float | None,
        Option(
            "--percent",
            metavar="P",
            min=0,
            max=100,
            show_default=False,
            help="Keep the best P percent of what is scored (10 if nothing is given).",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        Option("--threshold", metavar="T", show_default=False, help="Keep all whose score is at least T."),
    ] = None,
    greedy: Annotated[
        int | None,
        Option(
            "--greedy",
            metavar="N",
            min=0,
            show_default=False,
            help="Grow from the logits: N times the best edge (or node) into a node that is already in.",
        ),
    ] = None,
    signed: Annotated[bool, Option("--signed", help="Rank by signed score, helpful first, not by magnitude.")] = False,
    exact_size: Annotated[
        bool,
        Option("--exact-size", help="Choose more until as many as were asked for are left after pruning."),
    ] = False,
    ilp: Annotated[
        bool,
        Option("--ilp", help="Find the connected circuit of that size whose scores sum to the most (integer program)."),
    ] = False,
    gap: Annotated[
        float | None,
        Option(
            "--gap",
            metavar="G",
            min=0,
            max=1,
            show_default=False,
            help="With --ilp: stop when the sum is proven to be within the share G of the best (0).",
        ),
    ] = None,
    time_limit: Annotated[
        float | None,
        Option(
            "--time-limit",
            metavar="S",
            min=0,
            show_default=False,
            help="With --ilp: give up after S seconds, and say how near the best it came (300).",
        ),
    ] = None,
    positive_ratio: Annotated[
        float | None,
        Option(
            "--positive-ratio",
            metavar="R",
            min=0,
            max=1,
            show_default=False,
            help="Give the share R of the size to the best positive scores, the rest to the largest magnitudes.",
        ),
    ] = None,
    stable: Annotated[
        float | None,
        Option(
            "--stable",
            metavar="P",
            min=0,
            max=1,
            show_default=False,
            help="Choose only what is the same in at least the share P of bootstrap resamples of the examples.",
        ),
    ] = None,
    stable_by: Annotated[
        Literal["sign", "inclusion"] | None,
        Option(
            "--stable-by",
            show_default=False,
            help="With --stable: the score's sign (the default), or being among as many best as are asked for.",
        ),
    ] = None,
    resamples: Annotated[
        int | None,
        Option("--resamples", metavar="N", min=1, show_default=False, help="With --stable: how many (1000)."),
    ] = None,
    seed: Seed = 0,
    strict: Annotated[
        bool, Option("--strict", help="Drop a head that no edge feeds through <v>, whatever feeds its <q> and <k>.")
    ] = False,
    keep: Annotated[
        list[str] | None,
        Option(
            "--keep", metavar="GLOB", show_default=False, help="Choose these first, whatever their score. Repeatable."
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        Option("--drop", metavar="GLOB", show_default=False, help="Never choose these. Repeatable."),
    ] = None,
    output: Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Choose the edges, nodes or neurons with the largest scores and write the circuit that they make.

    Reads scores (of `mi attribute`), scored records left by a filter such as jq, or a circuit to be made smaller. What
    is chosen is what was scored: edges; nodes, which come with all their outgoing edges; or neurons, the dimensions of
    what a node writes. A node that nobody scored is always kept and not counted.

    Without flags: the best 10 %, by magnitude. Where the head of the scores asks for it (information flow routes do), a
    percentage is grown from the logits as by --greedy; --top N takes the best wherever they are. Then all that lies on
    no path from the input to the logits is dropped, so a size is an upper bound; --exact-size chooses the largest
    circuit within it instead, --ilp the one with the largest sum of scores. The head holds the requested and the
    realised size, and at the level of nodes and neurons the number of edges. Records are written best first, ties in
    the order of the graph. An empty circuit is written too, with a warning: it is a circuit, and `mi score` finds it 0
    faithful.

    A GLOB with an arrow names edges ('a9.*->logits', 'm0->a9.h9' or 'm0->a9.h9<q>'), one without names nodes and means
    every edge into or out of them. Among nodes it means nodes; among neurons 'm3' means all of m3's, 'm3/17' one.
    --keep counts towards the size; --drop wins over --keep.

    --ilp takes about half a minute for the 32,491 edges of GPT-2 small. It is refused, with how near it came, where it
    is not solved within --time-limit; a --gap above 0 stops it sooner. The head holds the gap that is left.

    --stable needs the sums over shards that `mi attribute` stores. It takes away what does not keep its sign (or its
    place among the best, with --stable-by inclusion) when the shards are drawn again, and --seed says how.

    Examples:

        mi attribute | mi prune --top 200 | mi score

        mi prune scores.jsonl --percent 1 --signed -o circuit.jsonl

        mi prune scores.jsonl --greedy 200 --drop m0 --keep 'a9.h9->logits'

        mi prune scores.jsonl --top 200 --ilp --gap 0.001 --time-limit 600

        mi prune scores.jsonl --top 200 --exact-size --positive-ratio 0.6 --strict

        mi prune scores.jsonl --percent 2 --stable 0.95 --stable-by inclusion --resamples 500 --seed 1

        mi prune scores.jsonl --threshold 0.01 --stable 0.9

        mi view --json scores.jsonl | jq -c 'select(.mi or .score>0.1)' | mi stamp | mi prune
    """
    from mi.circuit import choose, reading
    from mi.io import chain, stream
    from mi.run import invocation
    from mi.show.output import emit

    sizes = {"--top": top, "--percent": percent, "--threshold": threshold, "--greedy": greedy}
    named = _one_of(sizes)
    _check_together(
        {named}
        | {flag for flag, on in {"--signed": signed, "--exact-size": exact_size, "--ilp": ilp}.items() if on}
        | {
            flag
            for flag, value in {
                "--gap": gap,
                "--time-limit": time_limit,
                "--positive-ratio": positive_ratio,
                "--stable": stable,
                "--stable-by": stable_by,
                "--stable-by inclusion": True if stable_by == "inclusion" else None,
                "--resamples": resamples,
            }.items()
            if value is not None
        }
    )
    _check_numbers({"--gap": gap, "--time-limit": time_limit, "--positive-ratio": positive_ratio, "--stable": stable})
    rule = choose.Rule(
        "ilp" if ilp else named.removeprefix("--").replace("percent", "top"),
        number=sizes[named] or 0,
        percent=None if named != "--percent" else DEFAULT_PERCENT if percent is None else percent,
        signed=signed,
        exact=exact_size,
        ratio=positive_ratio,
        strict=strict,
        gap=gap or 0.0,
        time_limit=TIME_LIMIT if time_limit is None else time_limit,
    )
    drawn = None
    if stable is not None:
        drawn = choose.Stable(stable, stable_by or "sign", resamples or RESAMPLES, seed)
    read = stream.read(file, ("scores", "circuit"))
    rule = _as_asked(rule, reading.selector_of(read))
    scored = reading.scored(read, reading.graph_of(read))
    chosen = choose.choose(scored, rule, keep or [], drop or [], drawn)
    _tell(chosen)
    head = {**read.head, "kind": "circuit", "selection": chosen.selection}
    head = chain.record(head, invocation())
    tensors = {name: read.blobs[name] for name in reading.graph_blobs(read)}
    emit(head, _records(scored, chosen.mask, signed), tensors, output=output, json=json)


def _as_asked(rule: Rule, selector: str) -> Rule:
    """The rule that the scores ask for, where the user gave a percentage and named no rule."""
    from mi.show.notes import note

    if rule.name != "top" or rule.percent is None or rule.ratio is not None or selector == rule.name:
        return rule
    note("grown from the logits, as these scores ask for; --top N takes the best wherever they are")
    return replace(rule, name=selector)


def _one_of(sizes: Mapping[str, float | None]) -> str:
    """The one flag that says how much to keep; --percent if there is none."""
    named = [flag for flag, value in sizes.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} contradict each other", "give one rule")
    for flag in named:
        value = sizes[flag] or 0.0
        if flag == "--threshold" and not math.isfinite(value):
            raise UsageError(f"--threshold {value} is not a number that scores can reach", "give a finite number")
        if math.isnan(value):
            raise UsageError(f"{flag} nan is not a share", "give a number from 0 to 100")
    return named[0] if named else "--percent"


# Flags that mean nothing without another, or against another. Found out before anything is read.
NEEDS = {"--gap": "--ilp", "--time-limit": "--ilp", "--stable-by": "--stable", "--resamples": "--stable"}
NEED_A_SIZE = ("--exact-size", "--ilp", "--positive-ratio", "--stable-by inclusion")
AGAINST = (
    ("--ilp", "--greedy", "use --ilp with --top or --percent"),
    ("--ilp", "--exact-size", "the circuit of --ilp is connected: nothing of it is pruned"),
    ("--positive-ratio", "--greedy", "use --positive-ratio with --top or --percent"),
    ("--positive-ratio", "--signed", "with --signed, positive scores come first as it is"),
)


def _check_together(given: set[str]) -> None:
    for flag, needed in NEEDS.items():
        if flag in given and needed not in given:
            raise UsageError(f"{flag} means nothing without {needed}", f"give {needed} too, or leave {flag} away")
    for flag in NEED_A_SIZE:
        if flag in given and "--threshold" in given:
            raise UsageError(f"{flag} needs a size, and --threshold has none", "use --top or --percent")
    for flag, other, hint in AGAINST:
        if flag in given and other in given:
            raise UsageError(f"{flag} and {other} contradict each other", hint)


def _check_numbers(numbers: Mapping[str, float | None]) -> None:
    """A range lets NaN through."""
    for flag, value in numbers.items():
        if value is not None and math.isnan(value):
            raise UsageError(f"{flag} nan is not a number")


def _tell(chosen: Chosen) -> None:
    """What a user should know about the circuit. That it is empty is said even with -q."""
    from mi.show.notes import note, say

    selection = chosen.selection
    if chosen.lost:
        what = f"{selection['level']}s that --keep names"
        note(f"{chosen.lost} of the {chosen.kept} {what} lie on no path from input to logits and were dropped")
    if not chosen.circuit.n_edges:
        hint = "ask for more" if "exact_size" in selection else "ask for more, or use --exact-size or --greedy"
        say(f"warning: the circuit is EMPTY: {_why_empty(selection)}; {hint}")


def _why_empty(selection: Mapping[str, Any]) -> str:
    requested, selected, what = selection["requested"], selection["selected"], f"{selection['level']}s"
    if "threshold" in selection and not selected:
        return f"no score reaches {selection['threshold']:g}"
    if not requested:
        return f"0 of the graph's {selection.get('units', selection['edges'])} {what} were asked for"
    if "exact_size" in selection:
        return f"the first circuit on the ranking has more than {requested} {what}"
    if selection["rule"] == "ilp":
        return f"no path from input to logits has {requested} {what} or fewer, or none is worth having"
    if not selected:
        return f"there is no {selection['level']} to choose from"
    return f"the {selected} chosen {what} make no path from input to logits"


def _records(scored: Scored, mask: np.ndarray, signed: bool) -> list[dict[str, Any]]:
    """One record per edge, node or neuron, best first. A record that came in goes out as it was."""
    from mi.circuit.select import ranked

    order = ranked(scored.scores, mask, absolute=not signed)
    if scored.records is not None:
        return [scored.records[unit] for unit in order.tolist()]
    return scored.units.records(order, scored.scores)

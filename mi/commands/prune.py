"""`mi prune`: scores in, a circuit out. Choose edges by score, then drop those that lie on no path."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from mi.errors import UsageError
from mi.options import Input, Json, Option, Output, Quiet

if TYPE_CHECKING:
    import numpy as np

    from mi.circuit.graph import Graph
    from mi.circuit.reading import Scored

DEFAULT_PERCENT = 10.0


def prune(
    file: Input = None,
    top: Annotated[
        int | None, Option("--top", metavar="N", min=0, show_default=False, help="Keep the N best edges.")
    ] = None,
    percent: Annotated[
        float | None,
        Option(
            "--percent",
            metavar="P",
            min=0,
            max=100,
            show_default=False,
            help="Keep the best P percent of the graph's edges (10 if no rule is given).",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        Option("--threshold", metavar="T", show_default=False, help="Keep every edge whose score is at least T."),
    ] = None,
    greedy: Annotated[
        int | None,
        Option(
            "--greedy",
            metavar="N",
            min=0,
            show_default=False,
            help="Grow from the logits: N times the best edge into a node that is already in.",
        ),
    ] = None,
    signed: Annotated[
        bool, Option("--signed", help="Rank by signed score, helpful edges first, not by magnitude.")
    ] = False,
    exact_size: Annotated[
        bool,
        Option("--exact-size", help="Choose more edges until as many as were asked for are left after pruning."),
    ] = False,
    keep: Annotated[
        list[str] | None,
        Option(
            "--keep",
            metavar="GLOB",
            show_default=False,
            help="Choose these edges first, whatever their score. Repeatable.",
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        Option("--drop", metavar="GLOB", show_default=False, help="Never choose these edges. Repeatable."),
    ] = None,
    output: Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Choose the edges with the largest scores and write the circuit that they make.

    Reads scores (of `mi attribute`), scored edges left by a filter such as jq, or a circuit to be made smaller.
    Without flags: the best 10 % of the edges, by magnitude. Then every edge that lies on no path from the input to the
    logits is dropped, so a size is an upper bound; --exact-size chooses the largest circuit within it instead. The head
    holds the requested and the realised size. Edges are written best first, ties in the order of the graph. An empty
    circuit is written too, with a warning: it is a circuit, and `mi score` finds it 0 faithful.

    A GLOB with an arrow names edges ('a9.*->logits', 'm0->a9.h9' or 'm0->a9.h9<q>'), one without names nodes and means
    every edge into or out of them. --keep counts towards the size; --drop wins over --keep.

    Examples:

        mi attribute | mi prune --top 200 | mi score

        mi prune scores.jsonl --percent 1 --signed -o circuit.jsonl

        mi prune scores.jsonl --greedy 200 --drop m0 --keep 'a9.h9->logits'

        mi view --json scores.jsonl | jq -c 'select(.mi or .score>0.1)' | mi stamp | mi prune
    """
    rule = _rule(top, percent, threshold, greedy, exact_size)

    from mi.circuit import reading
    from mi.io import chain, stream
    from mi.run import invocation
    from mi.show.output import emit

    read = stream.read(file, ("scores", "circuit"))
    graph = reading.graph_of(read)
    scored = reading.scored_edges(read, graph)
    chosen = _choose(graph, scored, rule, signed, keep or [], drop or [])
    _warn_if_empty(chosen.selection)
    head = {**read.head, "kind": "circuit", "selection": chosen.selection}
    head = chain.record(head, invocation())
    tensors = {name: read.blobs[name] for name in reading.graph_blobs(read)}
    emit(head, _records(graph, scored, chosen.mask, signed), tensors, output=output, json=json)


@dataclass(frozen=True)
class Rule:
    """What was asked for: the name of the rule and its number."""

    name: str  # "top", "threshold" or "greedy"
    number: float = 0  # edges, or the least score
    percent: float | None = None
    exact: bool = False


@dataclass(frozen=True)
class Chosen:
    """The circuit, and what the head says about how it was chosen."""

    mask: np.ndarray  # bool [E], pruned
    selection: dict[str, Any]


def _rule(top: int | None, percent: float | None, threshold: float | None, greedy: int | None, exact: bool) -> Rule:
    """The one rule that the flags name. Found out before anything is read."""
    flags = {"--top": top, "--percent": percent, "--threshold": threshold, "--greedy": greedy}
    named = [flag for flag, value in flags.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} contradict each other", "give one rule")
    if threshold is not None:
        if exact:
            raise UsageError("--exact-size needs a size, and --threshold has none", "use --top, --percent or --greedy")
        if not math.isfinite(threshold):
            raise UsageError(f"--threshold {threshold} is not a number that scores can reach", "give a finite number")
        return Rule("threshold", threshold)
    if top is not None:
        return Rule("top", top, exact=exact)
    if greedy is not None:
        return Rule("greedy", greedy, exact=exact)
    if percent is not None and math.isnan(percent):
        raise UsageError("--percent nan is not a share", "give a number from 0 to 100")
    return Rule("top", percent=DEFAULT_PERCENT if percent is None else percent, exact=exact)


def _choose(graph: Graph, scored: Scored, rule: Rule, signed: bool, keep: list[str], drop: list[str]) -> Chosen:
    """Select and prune."""
    import numpy as np

    from mi.circuit import globs, select
    from mi.circuit.prune import connected

    kept = globs.matching(graph, keep, flag="--keep")
    dropped = globs.matching(graph, drop, flag="--drop")
    if scored.listed is not None:
        dropped |= ~scored.listed
    kept &= ~dropped
    number = rule.number if rule.percent is None else select.percent_size(graph.n_edges, rule.percent)
    rules: dict[str, Callable[..., np.ndarray]] = {
        "top": select.top,
        "threshold": select.threshold,
        "greedy": select.greedy,
    }
    arguments: dict[str, Any] = {"absolute": not signed, "keep": kept, "drop": dropped}
    if rule.exact:
        found = select.exact_size(graph, scored.scores, int(number), rule=rules[rule.name], **arguments)
        mask, selected = found.mask, found.nominal
    else:
        before = rules[rule.name](graph, scored.scores, number, **arguments)
        mask, selected = connected(graph, before), int(np.count_nonzero(before))
    _tell_of_patterns(int(np.count_nonzero(kept)), int(np.count_nonzero(kept & ~mask)))
    by_size = rule.name != "threshold"
    said = {
        "rule": rule.name,
        "signed": signed,
        "requested": int(number) if by_size else selected,
        "selected": selected,  # before pruning
        "realised": int(np.count_nonzero(mask)),
        "edges": graph.n_edges,
        "percent": rule.percent,
        "threshold": None if by_size else number,
        "exact_size": rule.exact or None,
        "keep": keep or None,
        "drop": drop or None,
    }
    return Chosen(mask, {key: value for key, value in said.items() if value is not None})


def _tell_of_patterns(kept: int, lost: int) -> None:
    """--keep chooses an edge; that does not put it on a path."""
    from mi.show.notes import note

    if lost:
        note(f"{lost} of the {kept} edges that --keep names lie on no path from input to logits and were dropped")


def _warn_if_empty(selection: Mapping[str, Any]) -> None:
    """Said even with -q: whoever goes on with an empty circuit should know."""
    from mi.show.notes import say

    requested, selected = selection["requested"], selection["selected"]
    if selection["realised"]:
        return
    if "threshold" in selection and not selected:
        why = f"no score reaches {selection['threshold']:g}"
    elif not requested:
        why = f"0 of the graph's {selection['edges']} edges were asked for"
    elif "exact_size" in selection:
        why = f"the first circuit on the ranking has more than {requested} edges"
    elif not selected:
        why = "there is no edge to choose from"
    else:
        why = f"the {selected} chosen edges make no path from input to logits"
    hint = "ask for more" if "exact_size" in selection else "ask for more, or use --exact-size or --greedy"
    say(f"warning: the circuit is EMPTY: {why}; {hint}")


def _records(graph: Graph, scored: Scored, mask: np.ndarray, signed: bool) -> list[dict[str, Any]]:
    """One record per edge, best first. A record that came in goes out as it was."""
    from mi.circuit.select import ranked

    order = ranked(scored.scores, mask, absolute=not signed)
    if scored.records is not None:
        return [scored.records[edge] for edge in order.tolist()]
    sources, receivers = graph.edges[:, order].tolist()
    scores = scored.scores[order].tolist()
    return [
        {"src": graph.nodes[s], "dst": graph.receivers[r], "score": score}
        for s, r, score in zip(sources, receivers, scores, strict=True)
    ]

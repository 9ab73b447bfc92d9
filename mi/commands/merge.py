"""`mi merge`: several rankings of the same graph in, one out; or the shards of one run in, its scores out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from mi.errors import MiError, UsageError
from mi.io import parents
from mi.io.parents import STDIN, Parent
from mi.options import UNRECORDED, Argument, Json, Option, Output, Quiet

if TYPE_CHECKING:
    import numpy as np

    from mi.circuit.reading import Scored
    from mi.io.stream import Stream


def merge(
    files: Annotated[
        list[str] | None,
        UNRECORDED,  # the chain names the files by their digests
        Argument(
            metavar="[FILE]...",
            show_default=False,
            help="Scores to merge, two files or more, or all shards of a run; one may be -, standard input.",
        ),
    ] = None,
    mean: Annotated[bool, Option("--mean", help="Take the mean of the scores.")] = False,
    least: Annotated[bool, Option("--min", help="Take the smallest of the scores, signs included.")] = False,
    most: Annotated[bool, Option("--max", help="Take the largest of the scores, signs included.")] = False,
    rank_mean: Annotated[
        bool, Option("--rank-mean", help="Take the mean of the ranks by magnitude, each with the sign of its score.")
    ] = False,
    total: Annotated[bool, Option("--sum", help="Join all shards of one run of 'mi attribute --shard'.")] = False,
    normalise: Annotated[
        bool, Option("--normalise", help="First divide each file's scores by their mean magnitude.")
    ] = False,
    output: Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Merge several scores of the same edges, nodes or neurons into one ranking: an ensemble.

    All files must score the same graph of the same model on the same task, at the same level; methods, metrics and
    ablations may differ. Scores of one metric are comparable as they are; --normalise makes files of other scales
    count alike. --rank-mean depends on no scale: a rank is over the number of ranks, ties share theirs, and files
    that disagree about a sign cancel.

    The sums over shards, from which standard errors and `mi prune --stable` come, are merged by --mean where all files
    scored the same examples. Otherwise they are left out, which is said. What one file does not score stays unscored.

    --sum is another thing: it joins the shards of one run to the scores that the run in one piece would have written,
    sums over shards included. All shards must be there, each once and of the same run; their order does not matter.

    Examples:

        mi merge --mean eap.jsonl eap-ig.jsonl -o both.jsonl

        mi merge --mean --normalise eap-ig.jsonl kl.jsonl | mi prune --top 200

        mi attribute cache.jsonl --method eap | mi merge --rank-mean - eap-ig.jsonl | mi prune

        mi merge --min a.jsonl b.jsonl c.jsonl | mi view --top 20

        mi merge --max a.jsonl b.jsonl -o either.jsonl

        mi merge --sum part-*.jsonl -o scores.jsonl
    """
    rule = _rule({"mean": mean, "min": least, "max": most, "rank-mean": rank_mean, "sum": total})
    names = parents.names(files, 1 if rule == "sum" else 2, "merge", "give all shards" if rule == "sum" else "")
    if rule == "sum":
        if normalise:
            raise UsageError("--normalise means nothing with --sum", "the shards of a run have one scale")
        _sum(names, output, json)
        return
    if normalise and rule == "rank-mean":
        raise UsageError("--normalise means nothing with --rank-mean", "ranks have no scale")

    import numpy as np

    from mi.circuit import merge as rules
    from mi.circuit import reading
    from mi.show.notes import note
    from mi.show.output import emit

    inputs = [_read(name) for name in names]
    base = inputs[names.index(STDIN) if STDIN in names else 0]
    for other in inputs:
        _check_same(base, other)
    parts = [_whole(each.stream, reading.scored(each.stream, reading.graph_of(each.stream))) for each in inputs]
    scales = [_scale(each, part.scores) for each, part in zip(inputs, parts, strict=True)] if normalise else None
    units = parts[0].units
    values = rules.merged([part.scores for part in parts], rule, scales).astype(np.float32)
    arrays: dict[str, Any] = {units.level: values.reshape(units.shape)}
    why = _no_shards(rule, inputs, parts)
    if why:
        note(f"the sums over shards are left out: {why}")
    else:
        sums = rules.merged_shards([part.shards for part in parts if part.shards is not None], scales)
        arrays |= {f"{units.level}_shards": sums.reshape(-1, *units.shape), "shard_n": parts[0].shard_n}
    head = _head(inputs, base, _said(inputs, rule, units.level, scales))
    blobs = {name: base.stream.blobs[name] for name in reading.graph_blobs(base.stream)}
    emit(head, [], {"scores": arrays, **blobs}, output=output, json=json)


class Given(Parent):
    """One input: its name on the command line, and its stream."""

    @property
    def attribution(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.stream.head.get("attribution") or {}
        return found


def _rule(flags: Mapping[str, bool]) -> str:
    named = [name for name, given in flags.items() if given]
    if len(named) != 1:
        fact = (
            " and ".join(f"--{name}" for name in named) + " contradict each other"
            if named
            else "how to merge is not said"
        )
        raise UsageError(fact, "give one of --mean, --min, --max, --rank-mean and --sum")
    return named[0]


def _sum(names: Sequence[str], output: str | None, json: bool) -> None:
    """The shards of one run as its scores."""
    import numpy as np

    from mi.circuit import reading
    from mi.commands import merge_sum
    from mi.commands.attribute_said import warnings
    from mi.show.notes import note
    from mi.show.output import emit

    inputs = merge_sum.in_order([_read(name) for name in names])
    base = next((each for each in inputs if each.name == STDIN), inputs[0])
    units = reading.units_of(base.stream)
    made, shard_n = merge_sum.whole(inputs, units)
    if text := merge_sum.unlike(inputs):
        note(text)
    arrays = {
        units.level: made.scores.astype(np.float32),
        f"{units.level}_shards": made.shards,
        "shard_n": shard_n,
    }
    head = _head(inputs, base, merge_sum.attribution(inputs, made))
    del head["partial"]
    for text in warnings(head, []):
        note(text)
    blobs = {name: base.stream.blobs[name] for name in reading.graph_blobs(base.stream)}
    emit(head, [], {"scores": arrays, **blobs}, output=output, json=json)


def _read(name: str) -> Given:
    from mi.io import stream

    return Given(name, stream.read(name, ("scores",)))


def _whole(stream: Stream, scored: Scored) -> Scored:
    """Refuse records that leave something out: a merged score of it would be made up."""
    if scored.listed is not None and not scored.listed.all():
        raise MiError(
            f"lists {int(scored.listed.sum())} of the {scored.units.n} {scored.units.level}s",
            "merge first, and filter after it",
            place=stream.origin,
        )
    return scored


def _scale(given: Given, scores: np.ndarray) -> float:
    from mi.circuit.merge import scale

    try:
        return scale(scores)
    except MiError as error:
        raise MiError(error.fact, error.hint, place=given.stream.origin) from error


def _check_same(base: Given, other: Given) -> None:
    """Scores of different things are not merged; say what differs."""
    for what, ours, theirs in _compared(base.stream.head, other.stream.head):
        if ours != theirs:
            raise MiError(
                f"the {what} differs: {theirs} here, {ours} in {base.stream.origin}",
                "only scores of the same graph, model, task and level are merged",
                place=other.stream.origin,
            )


def _compared(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """What must be the same, as a user would name it, in both heads."""
    for what, of in (
        ("level", lambda head: (head.get("attribution") or {}).get("level", "edge")),
        ("graph", _graph),
        ("model", _model),
        ("task", lambda head: (head.get("task") or {}).get("name")),
        ("counterfactual of the task", lambda head: (head.get("task") or {}).get("counterfactual")),
    ):
        yield what, of(ours), of(theirs)


def _graph(head: Mapping[str, Any]) -> str:
    graph = head["graph"]
    shape = " ".join(f"{key}={value}" for key, value in (graph.get("params") or {}).items() if value is not None)
    return f"{graph['builder']} {shape}".rstrip() + f" ({graph['digest'][:12]})"


def _model(head: Mapping[str, Any]) -> str:
    """By the digest of its weights: the same folder may be called by two names."""
    model = head.get("model") or {}
    return f"weights {model['weights'][:12]}" if "weights" in model else str(model.get("id"))


def _no_shards(rule: str, inputs: Sequence[Given], parts: Sequence[Scored]) -> str | None:
    """Why the sums over shards cannot be merged, or None."""
    if rule != "mean":
        return f"--{rule} of sums is no sum"
    if any(part.shards is None for part in parts):
        return "one of the files has none"
    drawn = [(_examples(each), each.attribution.get("split"), each.attribution.get("n")) for each in inputs]
    sizes = [part.shard_n.tolist() for part in parts if part.shard_n is not None]
    if any(found != drawn[0] for found in drawn) or any(found != sizes[0] for found in sizes):
        return "the files scored different examples"
    return None


def _examples(given: Given) -> str | None:
    return (given.stream.head.get("examples") or {}).get("sha256")


def _said(inputs: Sequence[Given], rule: str, level: str, scales: list[float] | None) -> dict[str, Any]:
    """What the head says of a merged ranking: what it is of, and what is true of all of them."""
    said: dict[str, Any] = {
        "method": "merge",
        "rule": rule,
        "level": level,
        "of": [dict(each.attribution) for each in inputs],
        **{key: _common(inputs, key) for key in ("metric", "ablation", "n", "selector")},
        # a circuit is not scored on examples that one of its rankings has seen without a word
        "split": _common(inputs, "split") or "all",
        "scales": scales,
    }
    return {key: value for key, value in said.items() if value is not None}


def _head(inputs: Sequence[Given], base: Given, attribution: Mapping[str, Any]) -> dict[str, Any]:
    """The head of the stream that was piped in, or named first; and where all came from."""
    from mi.run import invocation

    return parents.record({**base.stream.head, "attribution": dict(attribution)}, inputs, invocation())


def _common(inputs: Sequence[Given], key: str) -> Any:
    """What all attributions say, or None."""
    values = [each.attribution.get(key) for each in inputs]
    return values[0] if all(value == values[0] for value in values) else None

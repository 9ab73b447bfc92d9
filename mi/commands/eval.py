"""`mi eval ground-truth`: scores or a circuit, and the edges that are known to be true, in; areas of ROC curves out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from mi.errors import MiError, UsageError
from mi.options import UNRECORDED, Argument, Input, Json, Option, Output, Quiet, Seed

if TYPE_CHECKING:
    import numpy as np

    from mi.circuit.graph import Graph
    from mi.circuit.reading import Scored
    from mi.circuit.truth import Truth

PLANTED = "planted"
RESAMPLES = 1000
Record = dict[str, Any]


def ground_truth(
    file: Input = None,
    truth: Annotated[
        str | None,
        Option(
            "--truth",
            metavar="FILE|NAME",
            show_default=False,
            help="Where the true edges stand, or 'planted' (taken by itself where the scores are of that model).",
        ),
    ] = None,
    key: Annotated[
        str | None,
        Option(
            "--key",
            metavar="NAME",
            show_default=False,
            help="Which truth of a file that holds several; if not given, that of the scores' counterfactual.",
        ),
    ] = None,
    signed: Annotated[bool, Option("--signed", help="Rank by signed score, helpful first, not by magnitude.")] = False,
    resamples: Annotated[
        int,
        Option("--resamples", metavar="N", min=0, help="Resamples of the examples for the interval; 0 leaves it out."),
    ] = RESAMPLES,
    seed: Seed = 0,
    output: Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure how well scores find a circuit that is known.

    Reads scores of edges (of `mi attribute`), scored records left by a filter such as jq, or a circuit, in which an
    edge is kept or not and no more. FILE is a circuit stream, a JSON file with `true_edges` (one list of names, or one
    under each key), or a graph of the MIB benchmark with its `in_graph` flags. The embedded model 'planted' brings its
    own truth.

    Three areas are reported, because published numbers mean different things by AUROC: `auroc` ranks every edge, and
    ties count half (its interval is over the examples, from the stored shards); `auroc-pessimistic` is ACDC's, where
    ties count against the ranking; `auroc-mib` is that of the MIB benchmark, from greedy circuits of ten sizes by
    magnitude, which underestimates. Then the points: of the ROC curve its corners, and the benchmark's ten.

    Examples:

        mi cache -m planted --task induction | mi attribute | mi eval ground-truth

        mi eval ground-truth scores.jsonl --truth truth.json --key context-swap -o report.jsonl

        mi eval ground-truth circuit.jsonl --truth interpbench_graph.json --json | jq 'select(.summary == "auroc")'
    """
    from mi.circuit import reading
    from mi.circuit import truth as truths
    from mi.io import chain, stream
    from mi.run import invocation
    from mi.show.notes import note
    from mi.show.output import emit

    read = stream.read(file, ("scores", "circuit"))
    graph = reading.graph_of(read)
    name, path = _place(truth, read.head)
    task = read.head.get("task") or {}
    known = truths.read(path, graph, key, task.get("counterfactual"))
    _refuse_one_kind(known, graph, path)
    if read.kind == "circuit":
        records = list(_of_circuit(reading.circuit_of(read, graph), known.edges))
    else:
        scored = reading.scored_edges(read, graph)
        records = list(_of_scores(graph, scored, known.edges, signed, resamples, seed))
    for text in _differences(read.head, known):
        note(text)
    said = {"name": chain.portable(name), "sha256": known.sha256, "key": known.key, "signed": signed, **known.about}
    kept = {name: part for name, part in read.head.items() if name not in ("kind", "chain")}
    head = {**kept, "kind": "report", "chain": read.head.get("chain", []), "truth": said}
    given = {"name": name, "sha256": known.sha256} if name == PLANTED else chain.given(name, known.sha256)
    tensors = {blob: read.blobs[blob] for blob in reading.graph_blobs(read)}
    emit(chain.record(head, invocation(), [given]), records, tensors, output=output, json=json)


SUBCOMMANDS = {"ground-truth": ground_truth}


def eval(  # noqa: A001  # a command's function has the command's name
    what: Annotated[
        str | None, UNRECORDED, Argument(metavar="WHAT", show_default=False, help="What to hold against the truth.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Hold results against what is known.

    `mi eval ground-truth` measures how well scores find the true edges of a model whose circuit is known.

    Examples:

        mi eval ground-truth scores.jsonl --truth truth.json
    """
    fact = "what to evaluate is not said" if what is None else f"there is no evaluation {what!r}"
    raise UsageError(fact, f"mi eval has {', '.join(SUBCOMMANDS)}")


def _place(truth: str | None, head: Mapping[str, Any]) -> tuple[str, str]:
    """The truth's name, and the file that it stands in."""
    from mi import embedded
    from mi.io.digests import weights_digest

    folder = embedded.path(PLANTED)
    if truth is not None and truth != PLANTED:
        return truth, truth
    model = head.get("model") or {}
    if truth is None and model.get("weights") != weights_digest(folder):
        raise UsageError(f"the true edges of {model.get('id', 'this model')} are not known", "give --truth FILE")
    return PLANTED, str(folder / "truth.json")


def _refuse_one_kind(known: Truth, graph: Graph, path: str) -> None:
    n = int(known.edges.sum())
    if n in (0, graph.n_edges):
        fact = f"all {n} edges are true" if n else f"none of the graph's {graph.n_edges} edges is true"
        raise MiError(fact, "there is a ROC curve only where edges of both kinds are ranked", place=path)


def _differences(head: Mapping[str, Any], known: Truth) -> Iterator[str]:
    """What the scores measure otherwise than the truth does: another metric has other true edges."""
    task, method = head.get("task") or {}, head.get("attribution") or {}
    ours = {"task": task.get("name"), "metric": method.get("metric", task.get("metric"))}
    ours["ablation"] = method.get("ablation")
    for name, theirs in known.about.items():
        if ours.get(name) not in (None, theirs):
            yield f"the truth is about the {name} {theirs}; the scores are of {ours[name]}"
    counterfactual = task.get("counterfactual")
    if counterfactual in known.keys and counterfactual != known.key:
        yield f"the truth is that of {known.key}; the scores are of {counterfactual}"


def _of_scores(
    graph: Graph, scored: Scored, true: np.ndarray, signed: bool, resamples: int, seed: int
) -> Iterator[Record]:
    """The three areas, then the points of two of the curves."""
    import numpy as np

    from mi.circuit import roc
    from mi.circuit.curve import PERCENTAGES

    scores = np.asarray(scored.scores, dtype=np.float64)
    ranking = scores
    if scored.listed is not None:  # what a filter took out comes after all that it left
        ranking = np.where(scored.listed, scores if signed else np.abs(scores), -np.inf)
    absolute = not signed and scored.listed is None
    n_true = int(true.sum())
    size = {"true": n_true, "edges": graph.n_edges, "mode": "signed" if signed else "absolute"}
    area: Record = {"summary": "auroc", "value": roc.auroc(ranking, true, absolute), **size}
    if resamples and scored.shards is not None and scored.shard_n is not None and len(scored.shard_n) > 1:
        found = roc.auroc_interval(
            scores, true, scored.shards, scored.shard_n, not signed, resamples=resamples, seed=seed
        )
        area |= {"low": found.low, "high": found.high, "n": int(scored.shard_n.sum())}
    yield area
    yield {"summary": "auroc-pessimistic", "value": roc.pessimistic(ranking, true, absolute), **size}
    counts = roc.mib_points(graph, scores, true)
    size["mode"] = "absolute"  # the benchmark ranks by magnitude
    if counts[-1, 0]:
        yield {"summary": "auroc-mib", "value": roc.mib_area(counts, n_true), **size}
    else:
        yield {"summary": "auroc-mib", **size, "undetermined": "none of the benchmark's ten circuits has a false edge"}
    for point in _corners(roc.points(ranking, true, absolute)):
        yield _point("roc", point, true)
    for share, point in zip(PERCENTAGES, counts, strict=True):
        yield {**_point("roc-mib", point, true), "nominal": share}


def _of_circuit(kept: np.ndarray, true: np.ndarray) -> Iterator[Record]:
    """A circuit is a ranking of two ranks: kept, and not."""
    import numpy as np

    from mi.circuit import roc

    rank = kept.astype(np.float64)
    size = {"true": int(true.sum()), "edges": len(true), "size": int(kept.sum())}
    yield {"summary": "auroc", "value": roc.auroc(rank, true), **size}
    yield {"summary": "auroc-pessimistic", "value": roc.pessimistic(rank, true), **size}
    hits = int((kept & true).sum())
    yield {"summary": "recall", "value": hits / size["true"], **size}
    if kept.any():
        yield {"summary": "precision", "value": hits / size["size"], **size}
    yield _point("roc", np.array([size["size"] - hits, hits]), true)


def _corners(points: np.ndarray) -> Iterator[np.ndarray]:
    """The points at which the curve turns; between them it is straight."""
    for index, point in enumerate(points):
        if 0 < index < len(points) - 1:
            (right, up), (next_right, next_up) = point - points[index - 1], points[index + 1] - point
            if right * next_up == up * next_right:
                continue
        yield point


def _point(name: str, point: np.ndarray, true: np.ndarray) -> Record:
    false, hits = (int(n) for n in point)
    n_true = int(true.sum())
    rate = {"tpr": hits / n_true, "fpr": false / (len(true) - n_true)}
    return {"summary": name, "value": rate["tpr"], **rate, "size": false + hits}

"""`mi eval ground-truth`: what it reports of scores and of circuits, which truths it reads, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi import embedded
from mi.circuit import roc
from mi.circuit.graph import explicit_graph
from mi.circuit.transformer import transformer_graph
from mi.commands.eval import _corners
from mi.io import stream
from mi.io.digests import weights_digest
from tests.cli import streams
from tests.cli.conftest import Session
from tests.seeds import FRESH

GRAPH = streams.GRAPH
NAMES = GRAPH.edge_names()


def truth_of(seed: int, share: float = 0.2) -> np.ndarray:
    true = np.random.default_rng(seed).random(GRAPH.n_edges) < share
    true[:2] = True, False
    return true


def named(true: np.ndarray) -> list[str]:
    return [NAMES[edge] for edge in np.flatnonzero(true)]


def write(path: str, value: Any) -> str:
    Path(path).write_text(json.dumps(value))
    return path


def report(mi: Session, *words: str) -> dict[str, list[dict[str, Any]]]:
    """The records that the command writes, by their names."""
    mi("eval", "ground-truth", *words, "-o", "report.jsonl").ok()
    found: dict[str, list[dict[str, Any]]] = {}
    for record in stream.read("report.jsonl", ("report",)).records:
        found.setdefault(record["summary"], []).append(record)
    return found


def refused(mi: Session, *words: str, code: int = 3) -> str:
    done = mi("eval", "ground-truth", *words, "-o", "refused.jsonl")
    assert done.code == code, done.err
    assert not Path("refused.jsonl").exists()
    assert done.err.startswith("mi eval ground-truth: ")
    return done.err


def write_circuit(path: str, kept: np.ndarray, graph: Any = GRAPH) -> str:
    records = [
        dict(zip(("src", "dst"), graph.edge_name(edge).split("->"), strict=True)) for edge in np.flatnonzero(kept)
    ]
    stream.write(path, streams.head("circuit", "prune", graph=graph), records)
    return path


@pytest.mark.parametrize("seed", [0, FRESH])
@pytest.mark.parametrize("flags", [(), ("--signed",)])
def test_the_areas_of_scores(mi: Session, seed: int, flags: tuple[str, ...]) -> None:
    edge, true = streams.write_scores("scores.jsonl", seed), truth_of(seed)
    write("truth.json", {"true_edges": named(true)})
    found = report(mi, "scores.jsonl", "--truth", "truth.json", *flags)
    (area,), (pessimistic,), (mib,) = (found[name] for name in ("auroc", "auroc-pessimistic", "auroc-mib"))
    scores = edge.astype(np.float64)
    assert area["value"] == roc.auroc(scores, true, not flags)
    assert pessimistic["value"] == roc.pessimistic(scores, true, not flags)
    assert mib["value"] == roc.mib(GRAPH, scores, true)
    _, tensors = streams.scores(seed)
    arrays = tensors["scores"]
    expected = roc.auroc_interval(scores, true, arrays["edge_shards"], arrays["shard_n"], not flags)
    assert (area["low"], area["high"], area["n"]) == (expected.low, expected.high, 12)
    assert area["low"] < area["high"]
    for record in (area, pessimistic, mib):
        assert (record["true"], record["edges"]) == (true.sum(), GRAPH.n_edges)
    assert (area["mode"], mib["mode"]) == ("signed" if flags else "absolute", "absolute")


@pytest.mark.parametrize("decimals", [6, 0])
def test_the_points_draw_the_curve(mi: Session, decimals: int) -> None:
    """Also where several edges share a score: the curve is then oblique, and its points lie at the ends of the ties."""
    head, tensors = streams.scores()
    edge, true = np.round(tensors["scores"]["edge"], decimals), truth_of(5)
    stream.write("scores.jsonl", head, [], {"scores": {"edge": edge}})
    write("truth.json", {"true_edges": named(true)})
    found = report(mi, "scores.jsonl", "--truth", "truth.json")
    corners = [(point["fpr"], point["tpr"]) for point in found["roc"]]
    assert corners[0] == (0, 0) and corners[-1] == (1, 1)
    x, y = np.array(corners).T
    area = ((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum()
    assert area == pytest.approx(found["auroc"][0]["value"])
    for before, here, after in zip(corners, corners[1:], corners[2:]):  # each turns
        assert (here[0] - before[0]) * (after[1] - here[1]) != (here[1] - before[1]) * (after[0] - here[0])
    thresholds = {int((np.abs(edge) >= value).sum()): value for value in [*np.abs(edge), np.inf]}
    for point in found["roc"]:
        top = true[np.abs(edge) >= thresholds[point["size"]]]
        assert (point["tpr"], point["fpr"]) == (top.sum() / true.sum(), (~top).sum() / (~true).sum())
        assert point["value"] == point["tpr"]
    assert [point["nominal"] for point in found["roc-mib"]] == [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]


def test_a_circuit_is_a_ranking_of_two_ranks(mi: Session) -> None:
    true = truth_of(3)
    kept = true.copy()
    kept[np.flatnonzero(true)[0]] = False
    kept[np.flatnonzero(~true)[:3]] = True
    write_circuit("circuit.jsonl", kept)
    write("truth.json", {"true_edges": named(true)})
    found = report(mi, "circuit.jsonl", "--truth", "truth.json")
    recall, false = (true.sum() - 1) / true.sum(), 3 / (~true).sum()
    assert found["auroc"][0]["value"] == pytest.approx((1 + recall - false) / 2)
    assert found["auroc-pessimistic"][0]["value"] == pytest.approx((1 - false) * recall)
    assert found["recall"][0]["value"] == pytest.approx(recall)
    assert found["precision"][0]["value"] == pytest.approx((true.sum() - 1) / (true.sum() + 2))
    (point,) = found["roc"]
    assert (point["tpr"], point["fpr"], point["size"]) == (pytest.approx(recall), pytest.approx(false), kept.sum())
    assert "auroc-mib" not in found


def test_every_kind_of_truth_says_the_same(mi: Session) -> None:
    true = truth_of(1)
    streams.write_scores("scores.jsonl")
    mib = {
        "cfg": {"n_layers": 2, "n_heads": 2, "parallel_attn_mlp": False, "d_model": 8},
        "nodes": {},
        "edges": {
            name: {"score": 0.0, "in_graph": bool(flag)} for name, flag in zip(NAMES, true) if flag or name[0] == "i"
        },
    }
    files = [
        write("plain.json", {"true_edges": named(true)}),
        write("only.json", {"some": {"true_edges": named(true)}}),
        write("mib.json", mib),
        write_circuit("circuit.jsonl", true),
    ]
    answers = [report(mi, "scores.jsonl", "--truth", file) for file in files]
    assert all(answer == answers[0] for answer in answers)
    two = {"s2-io-flip": {"true_edges": named(true)}, "other": {"true_edges": named(~true)}}
    write("two.json", two)
    assert report(mi, "scores.jsonl", "--truth", "two.json") == answers[0]  # the counterfactual of the scores
    assert mi("eval", "ground-truth", "scores.jsonl", "--truth", "two.json").err == ""
    other = mi("eval", "ground-truth", "scores.jsonl", "--truth", "two.json", "--key", "other").ok()
    assert "the truth is that of other; the scores are of s2-io-flip" in other.err
    head = json.loads(other.out.splitlines()[0])
    assert (head["truth"]["key"], head["truth"]["name"]) == ("other", "two.json")


def test_what_a_filter_took_out_comes_last(mi: Session) -> None:
    made = streams.head("scores", "attribute")
    kept = [3, 7, 9]
    records = [
        {**dict(zip(("src", "dst"), NAMES[edge].split("->"))), "score": score}
        for edge, score in zip(kept, (-1.0, 0.0, -3.0))
    ]
    stream.write("some.jsonl", made, records)
    true = np.zeros(GRAPH.n_edges, dtype=bool)
    true[[7, 9]] = True
    write("truth.json", {"true_edges": named(true)})
    for flags, before in (((), 1), (("--signed",), 1)):  # one false edge stands before one of the two true ones
        value = report(mi, "some.jsonl", "--truth", "truth.json", *flags)["auroc"][0]["value"]
        assert value == pytest.approx(1 - before / (2 * (GRAPH.n_edges - 2)))


def test_no_interval_without_shards_or_resamples(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    write("truth.json", {"true_edges": named(truth_of(1))})
    assert "low" not in report(mi, "scores.jsonl", "--truth", "truth.json", "--resamples", "0")["auroc"][0]
    head, tensors = streams.scores(0, n_shards=1)
    stream.write("one.jsonl", head, [], tensors)
    assert "low" not in report(mi, "one.jsonl", "--truth", "truth.json")["auroc"][0]
    values = [
        report(mi, "scores.jsonl", "--truth", "truth.json", "--resamples", "50", "--seed", seed)["auroc"][0]
        for seed in ("0", "0", "1")
    ]
    assert values[0] == values[1] != values[2]


def test_the_mib_area_may_be_undetermined(mi: Session) -> None:
    """Every edge that a circuit can hold is true: the false ones lie on no path that greedy growth takes."""
    graph = explicit_graph(["input", "m0", "logits"], ["m0", "logits"], [1, 2], np.array([[0, 0], [0, 1]]))
    head = streams.head("scores", "attribute", graph=graph)
    arrays = {"edge": np.array([1.0, 2.0], dtype=np.float32)}
    stream.write("scores.jsonl", head, [], {"scores": arrays, "graph": graph.table()})
    write("truth.json", {"true_edges": ["input->logits"]})
    found = report(mi, "scores.jsonl", "--truth", "truth.json")
    assert "value" not in found["auroc-mib"][0]
    assert "no" in found["auroc-mib"][0]["undetermined"]
    assert mi("verify", "report.jsonl").code == 0


def test_the_planted_truth_is_found_by_the_weights(mi: Session) -> None:
    graph = transformer_graph(3, 4, d_model=128)
    model = {"id": "somewhere/else", "weights": weights_digest(embedded.path("planted")), "bos": "auto"}
    task = {"name": "induction", "metric": "kl", "counterfactual": "query-swap"}
    head = streams.head("scores", "attribute", graph=graph, model=model, task=task)
    rows = json.loads((embedded.path("planted") / "truth.json").read_text())
    true = np.isin(graph.edge_names(), rows["query-swap"]["true_edges"])
    stream.write("scores.jsonl", head, [], {"scores": {"edge": true.astype(np.float32)}})
    done = mi("eval", "ground-truth", "scores.jsonl").ok()
    assert "the truth is about the metric logit-diff; the scores are of kl" in done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert lines[0]["truth"]["name"] == "planted"
    assert lines[0]["truth"]["key"] == "query-swap"
    assert [line["value"] for line in lines if line.get("summary") == "auroc"] == [1.0]
    assert lines[0]["chain"][-1]["inputs"][0]["name"] == "planted"
    named_truth = mi("eval", "ground-truth", "scores.jsonl", "--truth", "planted", "-q").ok()
    assert named_truth.err == ""
    assert named_truth.out.splitlines()[1:-1] == done.out.splitlines()[1:-1]
    wrong = mi("eval", "ground-truth", "scores.jsonl", "--key", "context-swap").ok()
    assert "the truth is that of context-swap; the scores are of query-swap" in wrong.err


def test_it_reads_a_pipe_and_what_it_writes_is_shown(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    write("truth.json", {"true_edges": named(truth_of(1))})
    mi("stamp", "scores.jsonl", "-o", "again.jsonl")
    piped = mi("eval", "ground-truth", "--truth", "truth.json", stdin=Path("scores.jsonl").read_bytes()).ok()
    Path("report.jsonl").write_bytes(piped.out)
    shown = mi("view", "report.jsonl").ok().text
    n_true = int(truth_of(1).sum())
    assert f"{n_true} of 46 edges true, 12 examples" in shown
    assert "auroc-pessimistic" in shown and "roc-mib" in shown
    log = mi("log", "report.jsonl").ok().text
    assert "mi eval ground-truth --truth truth.json" in log


def test_what_is_refused(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    every = np.ones(GRAPH.n_edges, dtype=bool)
    truths: list[tuple[Any, str]] = [
        ({"true_edges": []}, "none of the graph's 46 edges is true"),
        ({"true_edges": named(every)}, "all 46 edges are true"),
        ({"true_edges": ["input->m0", "a9.h9->logits", "x"]}, "a9.h9->logits (and 1 more) is no edge of it"),
        ({"true_edges": ["input->m0"], "n_edges": 262}, "it is about a graph of 262 edges"),
        ({"a": {"true_edges": ["input->m0"]}, "b": {"true_edges": []}}, "holds 2 truths: a, b"),
        ({"a": 1}, "says of no edge that it is true"),
        ([], "says of no edge that it is true"),
        ({"cfg": {"n_layers": 3}, "edges": {}}, "its n_layers is 3"),
        ({"edges": {"input->m0": {"score": 1.0}}}, "input->m0 has no in_graph flag"),
        ({"edges": {"input->m7": {"in_graph": False}}}, "input->m7 is no edge of it"),
    ]
    for value, fact in truths:
        write("truth.json", value)
        assert fact in refused(mi, "scores.jsonl", "--truth", "truth.json"), fact
    Path("truth.json").write_text("not json")
    assert "neither a stream nor JSON" in refused(mi, "scores.jsonl", "--truth", "truth.json")
    assert "no such file" in refused(mi, "scores.jsonl", "--truth", "nowhere.json")
    write("truth.json", {"a": {"true_edges": ["input->m0"]}})
    assert "--key is one of a" in refused(mi, "scores.jsonl", "--truth", "truth.json", "--key", "b")
    write("plain.json", {"true_edges": ["input->m0"]})
    assert "leave --key away" in refused(mi, "scores.jsonl", "--truth", "plain.json", "--key", "b")
    other = transformer_graph(3, 2, d_model=8)
    write_circuit("other.jsonl", np.arange(other.n_edges) < 3, other)
    assert "the truth is about another graph" in refused(mi, "scores.jsonl", "--truth", "other.jsonl")
    assert "a stream of kind 'scores'" in refused(mi, "scores.jsonl", "--truth", "scores.jsonl")
    streams.write_examples("examples.jsonl")
    assert "needed: scores or circuit" in refused(mi, "examples.jsonl", "--truth", "plain.json")
    assert "the true edges of toy are not known" in refused(mi, "scores.jsonl", code=2)
    assert "the truth is about another graph" in refused(
        mi, "scores.jsonl", "--truth", "planted", "--key", "query-swap"
    )


def test_scores_of_nodes_are_refused(mi: Session) -> None:
    head = streams.head("scores", "attribute", attribution={"level": "node"})
    stream.write("nodes.jsonl", head, [], {"scores": {"node": np.ones(GRAPH.n_sources, dtype=np.float32)}})
    write("truth.json", {"true_edges": ["input->m0"]})
    assert "scores of edges are needed" in refused(mi, "nodes.jsonl", "--truth", "truth.json")


def test_eval_alone_says_what_there_is(mi: Session) -> None:
    for words in ((), ("ground",)):
        done = mi("eval", *words)
        assert done.code == 2
        assert "mi eval has ground-truth" in done.err


def test_corners_by_hand() -> None:
    points = np.array([(0, 0), (1, 0), (3, 0), (3, 1), (4, 2), (5, 4), (6, 6)])
    assert [tuple(point) for point in _corners(points)] == [(0, 0), (3, 0), (3, 1), (4, 2), (6, 6)]


def test_it_is_a_stage_of_a_pipe_in_one_process(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    write("truth.json", {"true_edges": named(truth_of(1))})
    words = "prune scores.jsonl --top 20 ! eval ground-truth --truth truth.json"
    mi("pipe", words, "-o", "piped.jsonl").ok()
    mi("prune", "scores.jsonl", "--top", "20", "-o", "circuit.jsonl").ok()
    mi("eval", "ground-truth", "circuit.jsonl", "--truth", "truth.json", "-o", "alone.jsonl").ok()
    assert Path("piped.jsonl").read_bytes() == Path("alone.jsonl").read_bytes()

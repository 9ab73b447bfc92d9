"""mi view: what is shown, in which order, and that --json gives streams that other commands take."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mi.io import stream
from tests.cli import streams
from tests.cli.conftest import Session
from tests.cli.streams import GRAPH


def rows(text: str) -> list[list[str]]:
    """The cells of a table of edges, without title, heads and notes."""
    return [line.split() for line in text.splitlines() if "->" in line]


def test_edges_are_sorted_by_magnitude_and_named(mi: Session) -> None:
    scores = streams.write_scores("scores.jsonl")
    shown = rows(mi("view", "scores.jsonl").ok().text)
    order = sorted(range(GRAPH.n_edges), key=lambda i: (-abs(scores[i]), i))
    assert [row[0] for row in shown] == [GRAPH.edge_name(i) for i in order]
    assert [float(row[1]) for row in shown] == pytest.approx(scores[order], rel=1e-3)


def test_the_standard_error_is_that_of_the_mean_over_shards(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    _, tensors = streams.scores()
    shards, n = tensors["scores"]["edge_shards"], tensors["scores"]["shard_n"]
    expected = {}
    for edge in range(GRAPH.n_edges):
        mean = sum(shards[s, edge] for s in range(4)) / sum(n)
        between = sum(n[s] * (shards[s, edge] / n[s] - mean) ** 2 for s in range(4)) / 3
        expected[GRAPH.edge_name(edge)] = (between / sum(n)) ** 0.5
    for name, _, error, *_ in rows(mi("view", "scores.jsonl").ok().text):
        assert float(error) == pytest.approx(expected[name], rel=0.06)  # two digits are shown


@pytest.mark.parametrize("n", [1, 7, 46, 100])
def test_top(mi: Session, n: int) -> None:
    streams.write_scores("scores.jsonl")
    done = mi("view", "scores.jsonl", "--top", str(n)).ok()
    assert rows(done.text) == rows(mi("view", "scores.jsonl").text)[:n]
    assert ("7 of 46 edges" in done.text) == (n == 7)


@pytest.mark.parametrize(
    ("patterns", "means"),
    [
        (["a1.*->logits"], lambda s, r: s.startswith("a1.") and r == "logits"),
        (["*->*<v>"], lambda s, r: r.endswith("<v>")),
        (["input->a0.h1"], lambda s, r: s == "input" and r.startswith("a0.h1<")),
        (["m0", "m1"], lambda s, r: "m0" in (s, r) or "m1" in (s, r)),
        (["a0.h?<q>"], lambda s, r: r in ("a0.h0<q>", "a0.h1<q>")),
    ],
)
@pytest.mark.parametrize("kind", ["scores", "circuit"])
def test_names_choose_edges(mi: Session, patterns: list[str], means: object, kind: str) -> None:
    streams.write_scores("scores.jsonl")
    if kind == "circuit":
        mi("prune", "scores.jsonl", "--percent", "100", "-o", "circuit.jsonl").ok()
    every = {row[0] for row in rows(mi("view", f"{kind}.jsonl").ok().text)}
    chosen = {row[0] for row in rows(mi("view", f"{kind}.jsonl", *patterns).ok().text)}
    assert chosen == {name for name in every if means(*name.split("->"))}  # type: ignore[operator]
    assert 0 < len(chosen) < len(every)


def test_names_work_on_standard_input_without_a_dash(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    mi("prune", "scores.jsonl", "-o", "circuit.jsonl").ok()
    data = Path("circuit.jsonl").read_bytes()
    by_file = mi("view", "circuit.jsonl", "*->logits").ok()
    assert mi("view", "*->logits", stdin=data).out == mi("view", "-", "*->logits", stdin=data).out == by_file.out


def test_a_name_that_means_nothing_is_refused(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    done = mi("view", "scores.jsonl", "a7.*->logits")
    assert done.code == 2
    assert "a7.*->logits" in done.err


def test_json_of_scores_is_one_record_an_edge(mi: Session) -> None:
    scores = streams.write_scores("scores.jsonl")
    done = mi("view", "--json", "scores.jsonl").ok()
    head, *records, end = [json.loads(line) for line in done.text.splitlines()]
    assert (head["mi"], head["kind"], end["mi"], end["n"]) == ("head", "scores", "end", GRAPH.n_edges)
    assert records == [
        {"src": name.split("->")[0], "dst": name.split("->")[1], "score": float(score)}
        for name, score in zip(GRAPH.edge_names(), scores, strict=True)
    ]


def test_json_of_scores_can_be_pruned_to_the_same_circuit(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    data = mi("view", "--json", "scores.jsonl").ok().out
    straight = stream.parse(mi("prune", "scores.jsonl", "--top", "12").ok().out.splitlines(True), "a", ("circuit",))
    around = stream.parse(mi("prune", "--top", "12", stdin=data).ok().out.splitlines(True), "b", ("circuit",))
    assert straight.records == around.records


def test_json_of_other_kinds_is_the_stream_itself(mi: Session) -> None:
    streams.write_examples("examples.jsonl")
    assert mi("view", "--json", "examples.jsonl").ok().out == Path("examples.jsonl").read_bytes()


def test_json_narrows_edges_too(mi: Session) -> None:
    scores = streams.write_scores("scores.jsonl")
    lines = mi("view", "--json", "scores.jsonl", "*->logits", "--top", "3").ok().text.splitlines()
    shown = [json.loads(line) for line in lines[1:-1]]
    best = sorted(
        (i for i, n in enumerate(GRAPH.edge_names()) if n.endswith("->logits")), key=lambda i: -abs(scores[i])
    )
    assert [f"{r['src']}->{r['dst']}" for r in shown] == [GRAPH.edge_name(i) for i in best[:3]]


def test_jq_between_view_and_prune(mi: Session) -> None:
    """The idiom of the manual: choose among the edges with jq, seal, go on."""
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    scores = streams.write_scores("scores.jsonl")
    sent = mi("view", "--json", "scores.jsonl").ok().out
    chosen = subprocess.run(
        ["jq", "-c", "select(.mi or .score>0.1)"], input=sent, capture_output=True, check=True
    ).stdout
    refused = mi("prune", "--percent", "100", stdin=chosen)
    assert refused.code == 3
    assert "mi stamp" in refused.err
    sealed = mi("stamp", stdin=chosen).ok().out
    circuit = stream.parse(mi("prune", "--percent", "100", stdin=sealed).ok().out.splitlines(True), "x", ("circuit",))
    kept = {f"{r['src']}->{r['dst']}" for r in circuit.records}
    allowed = {name for name, score in zip(GRAPH.edge_names(), scores, strict=True) if score > 0.1}
    assert kept
    assert kept <= allowed
    assert [link["argv"][0] for link in circuit.head["chain"]] == ["attribute", "stamp", "prune"]


def test_the_head_alone(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    shown = mi("view", "-H", "scores.jsonl").ok().text
    assert "->" not in shown
    for word in ("ioi", "toy", "float32", "transformer", "attribute"):
        assert word in shown
    head = json.loads(mi("view", "-H", "--json", "scores.jsonl").ok().text)
    assert head == json.loads(Path("scores.jsonl").read_text().splitlines()[0])


def test_examples_and_cache_are_shown(mi: Session) -> None:
    records = streams.write_examples("examples.jsonl")
    text = mi("view", "examples.jsonl", "--top", "2").ok().text
    assert records[0]["clean"] in text
    assert records[2]["clean"] not in text
    assert "2 of 6 examples" in text
    head, _ = streams.examples()
    cached = [{**r, "baseline": {"clean": 2.0, "corrupted": -1.0 - i}} for i, r in enumerate(records)]
    stream.write("cache.jsonl", {**head, "kind": "cache"}, cached)
    assert "mean logit-diff: 2 clean, -3.5 corrupted" in mi("view", "cache.jsonl").ok().text


def test_a_report_shows_its_summaries_and_its_curve(mi: Session) -> None:
    records = [
        {"id": "x", "size": 4, "nominal": 0.1, "mode": "signed", "value": 1.5, "clean": 2.0, "corrupted": 0.0},
        {
            "summary": "faithfulness",
            "mode": "signed",
            "nominal": 0.1,
            "size": 4,
            "value": 0.75,
            "low": 0.7,
            "high": 0.8,
        },
        {"summary": "cpr", "value": 1.25, "low": 1.2, "high": 1.3, "n": 48},
        {"summary": "cmd", "undetermined": "clean and empty are too close"},
    ]
    stream.write("report.jsonl", streams.head("report", "score"), records)
    lines = mi("view", "report.jsonl").ok().text.splitlines()
    assert any(line.split()[:2] == ["cpr", "1.25"] and "1.2 to 1.3" in line and "48 examples" in line for line in lines)
    assert any(line.split() == ["cmd", "undetermined"] for line in lines)
    assert "undetermined: clean and empty are too close" in lines
    assert any(line.split()[:5] == ["signed", "10", "%", "4", "0.75"] for line in lines)
    assert not any("1.5" in line for line in lines)
    assert any(
        line.split()[:4] == ["x", "signed", "4", "1.5"]
        for line in mi("view", "report.jsonl", "--top", "1").text.splitlines()
    )


def test_an_output_file_gets_the_plain_table(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    assert mi("view", "scores.jsonl", "-o", "table.txt").ok().out == b""
    assert Path("table.txt").read_bytes() == mi("view", "scores.jsonl").out


def test_an_explicit_graph_is_shown_too(mi: Session) -> None:
    from mi.circuit.graph import explicit_graph

    graph = explicit_graph(["x", "y", "logits"], ["y", "logits"], [1, 2], np.array([[0, 0, 1], [0, 1, 1]]))
    arrays = {"edge": np.array([0.5, -2, 1], dtype=np.float32)}
    stream.write("scores.jsonl", streams.head("scores", graph=graph), [], {"scores": arrays, "graph": graph.table()})
    assert [row[0] for row in rows(mi("view", "scores.jsonl").ok().text)] == ["x->logits", "y->logits", "x->y"]

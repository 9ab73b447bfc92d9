"""The line at the levels of nodes and neurons, on the embedded model: attribute, prune, score, view, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi.circuit import curve
from mi.circuit.graph import Graph, from_head
from mi.io import blobs, stream
from mi.io.stream import Stream
from tests.cli.conftest import Session


@pytest.fixture
def examples(mi: Session) -> str:
    mi("data", "ioi", "-n", "8", "-o", "examples.jsonl").ok()
    return "examples.jsonl"


def attribute(mi: Session, examples: str, level: str, *words: str, method: str = "eap") -> str:
    mi("attribute", examples, "--method", method, "--level", level, *words, "-o", f"{level}.jsonl").ok()
    return f"{level}.jsonl"


def prune(mi: Session, scores: str, *words: str, out: str = "circuit.jsonl") -> Stream:
    mi("prune", scores, *words, "-o", out).ok()
    return stream.read(out, ("circuit",))


def score(mi: Session, file: str, *words: str) -> Stream:
    mi("score", file, *words, "-o", "report.jsonl").ok()
    return stream.read("report.jsonl", ("report",))


def graph_of(found: Stream) -> Graph:
    return from_head(found.head["graph"], None)


def summary(report: Stream, name: str = "faithfulness") -> dict[str, Any]:
    return next(record for record in report.records if record.get("summary") == name)


def values(report: Stream, **place: Any) -> dict[str, float]:
    """The metric of every example, at one point of a curve or of the one circuit."""
    return {
        record["id"]: record["value"]
        for record in report.records
        if "id" in record and all(record[key] == value for key, value in place.items())
    }


def write(path: str, like: Stream, records: list[dict[str, Any]], **head: Any) -> str:
    """A circuit with other records, sealed."""
    stream.write(path, {**like.head, **head}, records)
    return path


def as_edges(circuit: Stream) -> list[dict[str, Any]]:
    """The edges between the nodes of a circuit of nodes that was pruned, by plain loops over their names."""
    kept = {record["node"] for record in circuit.records}
    listed = []
    for name in graph_of(circuit).edge_names():
        source, receiver = name.split("->")
        if source in kept and (receiver == "logits" or receiver.split("<")[0] in kept):
            listed.append({"src": source, "dst": receiver})
    return listed


def test_a_circuit_of_nodes_is_that_of_its_edges(mi: Session, examples: str) -> None:
    scores = attribute(mi, examples, "node")
    circuit = prune(mi, scores, "--top", "14")
    report = score(mi, "circuit.jsonl")
    edges = as_edges(circuit)
    assert 0 < len(edges) < graph_of(circuit).n_edges
    assert (summary(report)["size"], summary(report)["nodes"]) == (len(edges), len(circuit.records))
    assert all(r["size"] == len(edges) and r["nodes"] == len(circuit.records) for r in report.records if "id" in r)
    shown = mi("view", "report.jsonl").ok().text
    assert f"{len(circuit.records)} nodes, {len(edges)} of 479 edges" in shown
    written = write("edges.jsonl", circuit, edges, selection={"rule": "top", "level": "edge"})
    assert values(score(mi, written)) == values(report)


def test_a_circuit_of_neurons_counts_weighted_edges(mi: Session, examples: str) -> None:
    scores = attribute(mi, examples, "neuron")
    circuit = prune(mi, scores, "--percent", "40")
    report = score(mi, "circuit.jsonl")
    per_node: dict[str, int] = {}
    for record in circuit.records:
        per_node[record["node"]] = per_node.get(record["node"], 0) + 1
    whole = [{"node": node} for node in per_node]
    nodes = write("nodes.jsonl", circuit, whole, selection={"rule": "top", "level": "node"})
    edges = as_edges(stream.read(nodes, ("circuit",)))
    weighted = sum(per_node[edge["src"]] for edge in edges) / 96
    found = summary(report)
    assert (found["size"], found["neurons"]) == (len(edges), len(circuit.records))
    assert found["weighted_edges"] == pytest.approx(weighted)
    assert found["weighted_edges"] < found["size"]
    shown = mi("view", "report.jsonl").ok().text
    assert f"{len(circuit.records)} neurons, {len(edges)} of 479 edges" in shown
    assert f"{weighted:,.1f} weighted" in shown
    of_nodes = values(score(mi, nodes))
    assert of_nodes != values(report)  # the other dimensions are replaced
    every = [{"node": node, "unit": unit} for node in per_node for unit in range(96)]
    assert values(score(mi, write("every.jsonl", circuit, every))) == of_nodes


@pytest.mark.parametrize("ablation", ["counterfactual", "zero", "mean", "resample"])
@pytest.mark.parametrize("level", ["node", "neuron"])
def test_everything_kept_is_the_model_and_nothing_is_the_replacement(
    mi: Session, examples: str, level: str, ablation: str
) -> None:
    scores = attribute(mi, examples, level)
    prune(mi, scores, "--percent", "100", out="all.jsonl")
    full = score(mi, "all.jsonl", "--ablation", ablation)
    assert full.head["scoring"]["ablation"] == ablation
    runs = [record for record in full.records if "id" in record]
    assert [r["value"] for r in runs] == pytest.approx([r["clean"] for r in runs], abs=1e-4)
    assert [r["corrupted"] for r in runs] != pytest.approx([r["clean"] for r in runs], abs=0.1)
    prune(mi, scores, "--top", "0", out="none.jsonl")
    runs = [r for r in score(mi, "none.jsonl", "--ablation", ablation).records if "id" in r]
    assert [r["value"] for r in runs] == pytest.approx([r["corrupted"] for r in runs], abs=1e-4)


@pytest.mark.parametrize(
    ("level", "method"), [("edge", "eap"), ("edge", "ifr"), ("node", "nap-ig"), ("node", "hisp"), ("neuron", "eap")]
)
def test_a_curve_is_made_of_the_circuits_that_prune_gives(mi: Session, examples: str, level: str, method: str) -> None:
    """Sizes are shares of what was scored (spec C5), chosen as `mi prune` does by default."""
    scores = attribute(mi, examples, level, method=method)
    report = score(mi, scores)
    shown = mi("view", "report.jsonl").ok().text
    assert f"of {level}s" in shown
    assert ("weighted" in shown) == (level == "neuron")
    assert report.head["scoring"]["selector"] == ("greedy" if method == "ifr" else "top")
    points = [r for r in report.records if r.get("summary") == "faithfulness"]
    array = blobs.load(stream.read(scores, ("scores",)), "scores")[level]
    n_scored = int(np.count_nonzero(~np.isnan(array)))
    assert [p["requested"] for p in points] == [*curve.sizes(n_scored), *curve.sizes(n_scored)]
    alone = Path("alone.jsonl")
    for mode, words in (("signed", ("--signed",)), ("absolute", ())):
        circuit = prune(mi, scores, "--percent", "50", *words, out=str(alone))
        assert circuit.head["selection"]["rule"] == ("greedy" if method == "ifr" else "top")
        one = score(mi, str(alone))
        assert values(one) == values(report, mode=mode, nominal=0.5)
        point = next(p for p in points if (p["mode"], p["nominal"]) == (mode, 0.5))
        finer = {"edge": (), "node": ("nodes",), "neuron": ("neurons", "weighted_edges")}[level]
        for name in ("size", *finer):
            assert point[name] == summary(one)[name]
        assert point["value"] == summary(one)["value"]
    assert {"cpr", "cmd"} <= {r["summary"] for r in report.records if "summary" in r}


def test_scores_that_ask_for_it_are_chosen_greedily_unless_a_rule_is_named(mi: Session, examples: str) -> None:
    scores = attribute(mi, examples, "edge", method="ifr")
    done = mi("prune", scores, "-o", "circuit.jsonl").ok()
    assert "grown from the logits" in done.err
    asked = stream.read("circuit.jsonl", ("circuit",))
    n = asked.head["selection"]["requested"]
    named = prune(mi, scores, "--greedy", str(n), out="named.jsonl")
    assert asked.head["selection"] == {**named.head["selection"], "percent": 10.0}
    assert asked.records == named.records
    for words, rule in ((("--top", str(n)), "top"), (("--threshold", "0.5"), "threshold")):
        done = mi("prune", scores, *words, "-o", "other.jsonl").ok()
        assert stream.read("other.jsonl", ("circuit",)).head["selection"]["rule"] == rule
        assert "grown" not in done.err
    ratio = prune(mi, scores, "--percent", "30", "--positive-ratio", "0.5", out="ratio.jsonl")
    assert ratio.head["selection"]["rule"] == "top"
    grown, best = score(mi, scores), score(mi, scores, "--selector", "top")
    assert best.head["scoring"]["selector"] == "top"
    sizes = [[r["size"] for r in report.records if r.get("nominal") == 0.1 and "id" in r] for report in (grown, best)]
    assert sizes[0] != sizes[1]


def test_what_nobody_scored_is_kept(mi: Session, examples: str) -> None:
    """Head importance leaves the input unscored: it is in every circuit, and no share counts it."""
    scores = attribute(mi, examples, "node", method="hisp")
    circuit = prune(mi, scores, "--percent", "50")
    assert {"node": "input"} in circuit.records
    assert circuit.head["selection"]["unscored"] == 1
    report = score(mi, "circuit.jsonl")
    assert summary(report)["nodes"] == len(circuit.records) == circuit.head["selection"]["realised"] + 1
    points = [r for r in score(mi, scores).records if r.get("summary") == "faithfulness"]
    assert points[-1]["requested"] == 20
    assert points[-1]["nodes"] == 21


def test_neurons_that_nobody_scored_are_kept(mi: Session, examples: str) -> None:
    found = stream.read(attribute(mi, examples, "neuron"), ("scores",))
    neuron = blobs.load(found, "scores")["neuron"].copy()
    neuron[0] = np.nan
    neuron[1, 5] = np.nan
    stream.write("holes.jsonl", found.head, [], {"scores": {"neuron": neuron}})
    circuit = prune(mi, "holes.jsonl", "--percent", "20")
    free = [r for r in circuit.records if "score" not in r]
    assert [(r["node"], r["unit"]) for r in free if r["node"] == "input"] == [("input", j) for j in range(96)]
    points = [r for r in score(mi, "holes.jsonl").records if r.get("summary") == "faithfulness"]
    assert points[-1]["requested"] == neuron.size - 97
    assert points[-1]["neurons"] == neuron.size
    one = next(p for p in points if (p["mode"], p["nominal"]) == ("absolute", 0.2))
    assert one["neurons"] == len(circuit.records)
    assert one["value"] == summary(score(mi, "circuit.jsonl"))["value"]


@pytest.mark.parametrize("level", ["node", "neuron"])
def test_constants_of_a_file(mi: Session, examples: str, level: str) -> None:
    prune(mi, attribute(mi, examples, level), "--percent", "50")
    mi("cache", examples, "--means", "-o", "means.jsonl").ok()
    report = score(mi, "circuit.jsonl", "--ablation", "mean", "--means", "means.jsonl")
    assert report.head["scoring"]["means"]["sha256"]
    own = score(mi, "circuit.jsonl", "--ablation", "mean")
    assert values(own) != values(report)  # over the validation split, which it scores


def test_learned_constants_of_nodes(mi: Session, examples: str) -> None:
    mi("search", "--method", "optimal", "--steps", "3", examples, "-o", "learned.jsonl").ok()
    circuit = prune(mi, "learned.jsonl", "--percent", "60")
    report = score(mi, "circuit.jsonl", "--ablation", "optimal", "--means", "learned.jsonl")
    assert report.head["scoring"]["ablation"] == "optimal"
    assert summary(report)["nodes"] == len(circuit.records)


def test_neurons_of_another_width_are_refused(mi: Session, examples: str) -> None:
    circuit = prune(mi, attribute(mi, examples, "neuron"), "--percent", "40")
    narrow = {**circuit.head["selection"], "width": 48}
    done = mi("score", write("wide.jsonl", circuit, circuit.records, selection=narrow))
    assert done.code == 3
    assert "is no neuron of this graph" in done.err
    few = [r for r in circuit.records if r["unit"] < 48]
    done = mi("score", write("narrow.jsonl", circuit, few, selection=narrow), "-o", "out.jsonl")
    assert done.code == 3
    assert "21 x 48 neurons" in done.err and "write 96 neurons each" in done.err
    assert not Path("out.jsonl").exists()


def test_what_has_no_meaning(mi: Session, examples: str) -> None:
    scores = attribute(mi, examples, "edge", method="ifr")
    prune(mi, scores)
    done = mi("score", "circuit.jsonl", "--selector", "greedy")
    assert done.code == 2
    assert "--selector" in done.err
    found = stream.read(scores, ("scores",))
    odd = {**found.head, "attribution": {**found.head["attribution"], "selector": "best"}}
    stream.write("odd.jsonl", odd, [], {"scores": blobs.load(found, "scores")})
    for command in ("prune", "score"):
        done = mi(command, "odd.jsonl")
        assert done.code == 3
        assert "selector 'best'" in done.err


def test_records_left_by_a_filter_make_a_curve_of_their_level(mi: Session, examples: str) -> None:
    sent = mi("view", "--json", attribute(mi, examples, "node")).ok().text.splitlines()
    kept = [line for line in sent if "mi" in json.loads(line) or json.loads(line)["node"] != "m3"]
    sealed = mi("stamp", stdin=("\n".join(kept) + "\n").encode()).ok().out
    Path("filtered.jsonl").write_bytes(sealed)
    points = [r for r in score(mi, "filtered.jsonl").records if r.get("summary") == "faithfulness"]
    assert points[0].keys() >= {"nodes", "size", "requested"}

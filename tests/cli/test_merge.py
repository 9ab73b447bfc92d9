"""mi merge: each rule against plain loops, what is kept of shards and chains, what is refused."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mi as package
from mi.circuit.transformer import transformer_graph
from mi.io import blobs, chain, digests, stream
from tests.cli import streams
from tests.cli.conftest import Session
from tests.cli.streams import GRAPH
from tests.seeds import FRESH


def write(
    name: str, seed: int, *, level: str = "edge", method: str = "eap", ties: bool = False, **head: Any
) -> dict[str, np.ndarray]:
    """A scores file of three shards; its tensors."""
    rng = np.random.default_rng(seed)
    shape = {"edge": (GRAPH.n_edges,), "node": (GRAPH.n_sources,), "neuron": (GRAPH.n_sources, 8)}[level]
    sums = rng.integers(-3, 4, size=(3, *shape)).astype(float) if ties else rng.normal(size=(3, *shape)) * 10**seed
    sizes = np.array([2, 2, 1])
    arrays = {
        level: (sums.sum(axis=0) / sizes.sum()).astype(np.float32),
        f"{level}_shards": sums,
        "shard_n": sizes,
    }
    said = {"method": method, "level": level, "split": "train", "n": 5, "metric": "logit-diff"}
    parts = {"attribution": said, "examples": {"sha256": "cd" * 32}, **head}
    stream.write(name, streams.head("scores", "attribute", "--method", method, **parts), [], {"scores": arrays})
    return arrays


def merged(file: str = "out.jsonl") -> tuple[stream.Stream, dict[str, Any]]:
    found = stream.read(file, ("scores",))
    return found, blobs.load(found, "scores")


def signed_rank(values: list[float]) -> list[float]:
    """Rank by magnitude, ties at the mean of their places, over n, with the sign."""
    order = sorted(abs(value) for value in values)
    places = {size: statistics.mean(i + 1 for i, other in enumerate(order) if other == size) for size in order}
    return [(value > 0) * places[abs(value)] - (value < 0) * places[abs(value)] for value in values]


RULES: dict[str, Callable[[list[list[float]]], list[float]]] = {
    "--mean": lambda files: [statistics.fmean(column) for column in zip(*files, strict=True)],
    "--min": lambda files: [min(column) for column in zip(*files, strict=True)],
    "--max": lambda files: [max(column) for column in zip(*files, strict=True)],
    "--rank-mean": lambda files: [
        statistics.fmean(column) / len(files[0]) for column in zip(*map(signed_rank, files), strict=True)
    ],
}


@pytest.mark.parametrize("level", ["edge", "node", "neuron"])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_equals_the_loops(mi: Session, rule: str, ties: bool, level: str) -> None:
    seeds = (0, FRESH % 1000 if ties else 1, 2)
    files = [write(f"{i}.jsonl", seed, level=level, ties=ties)[level] for i, seed in enumerate(seeds)]
    mi("merge", rule, "0.jsonl", "1.jsonl", "2.jsonl", "-o", "out.jsonl").ok()
    found, arrays = merged()
    expected = RULES[rule]([vector.astype(float).ravel().tolist() for vector in files])
    assert arrays[level].dtype == np.float32
    assert arrays[level].shape == files[0].shape
    assert arrays[level].ravel().tolist() == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert found.head["attribution"]["level"] == level


@pytest.mark.parametrize("rule", ["--mean", "--min", "--max"])
def test_normalised_files_count_alike(mi: Session, rule: str) -> None:
    files = [write(f"{i}.jsonl", i)["edge"].astype(float).tolist() for i in range(3)]
    mi("merge", rule, "--normalise", "0.jsonl", "1.jsonl", "2.jsonl", "-o", "out.jsonl").ok()
    found, arrays = merged()
    scales = [statistics.fmean(abs(value) for value in file) for file in files]
    expected = RULES[rule]([[value / scale for value in file] for file, scale in zip(files, scales, strict=True)])
    assert arrays["edge"].tolist() == pytest.approx(expected, rel=1e-6)
    assert found.head["attribution"]["scales"] == pytest.approx(scales)


@pytest.mark.parametrize("flags", [[], ["--normalise"]])
def test_the_shards_of_a_mean_are_those_of_the_mean(mi: Session, flags: list[str]) -> None:
    write("a.jsonl", 0)
    write("b.jsonl", 1, method="eap-ig")
    done = mi("merge", "--mean", *flags, "a.jsonl", "b.jsonl", "-o", "out.jsonl").ok()
    assert done.err == ""
    _, arrays = merged()
    assert arrays["shard_n"].tolist() == [2, 2, 1]
    assert arrays["edge_shards"].sum(axis=0) / 5 == pytest.approx(arrays["edge"], rel=1e-5)
    assert "± s.e." in mi("view", "out.jsonl").ok().text
    mi("prune", "out.jsonl", "--stable", "0.5", "--percent", "100", "-o", "stable.jsonl").ok()


@pytest.mark.parametrize(
    ("rule", "change", "why"),
    [
        ("--min", {}, "--min of sums is no sum"),
        ("--rank-mean", {}, "--rank-mean of sums is no sum"),
        ("--mean", {"examples": {"sha256": "ee" * 32}}, "the files scored different examples"),
    ],
)
def test_shards_that_have_no_meaning_are_left_out_and_said(
    mi: Session, rule: str, change: dict[str, Any], why: str
) -> None:
    write("a.jsonl", 0)
    write("b.jsonl", 1, **change)
    done = mi("merge", rule, "a.jsonl", "b.jsonl", "-o", "out.jsonl").ok()
    assert f"the sums over shards are left out: {why}" in done.err
    assert set(merged()[1]) == {"edge"}
    assert mi("merge", rule, "a.jsonl", "b.jsonl", "-q", "-o", "out.jsonl").ok().err == ""


def test_shards_of_other_sizes_are_left_out(mi: Session) -> None:
    arrays = write("a.jsonl", 0)
    stream.write(
        "b.jsonl", stream.read("a.jsonl", ("scores",)).head, [], {"scores": {**arrays, "shard_n": np.array([1, 2, 2])}}
    )
    done = mi("merge", "--mean", "a.jsonl", "b.jsonl", "-o", "out.jsonl").ok()
    assert "the files scored different examples" in done.err
    assert set(merged()[1]) == {"edge"}


def test_a_file_without_shards(mi: Session) -> None:
    write("a.jsonl", 0)
    Path("b.jsonl").write_bytes(mi("view", "--json", "a.jsonl").ok().out)
    done = mi("merge", "--mean", "a.jsonl", "b.jsonl", "-o", "out.jsonl").ok()
    assert "one of the files has none" in done.err
    assert merged()[1]["edge"] == pytest.approx(merged("a.jsonl")[1]["edge"])


def test_all_inputs_are_in_the_chain(mi: Session) -> None:
    write("a.jsonl", 0)
    write("b.jsonl", 1, method="eap-ig")
    mi("merge", "--mean", "a.jsonl", "b.jsonl", "-o", "out.jsonl").ok()
    head = merged()[0].head
    sha = digests.file_digest("b.jsonl")
    last = head["chain"][-1]
    assert last["argv"] == ["merge", "--mean", "-", {"name": "b.jsonl", "sha256": sha}]
    assert {"name": "b.jsonl", "sha256": sha} in last["inputs"]
    assert last["prev"] == head["chain"][0]["id"]
    assert chain.broken(head) is None
    assert [part["name"] for part in head["merged"]] == ["b.jsonl"]
    assert head["merged"][0]["chain"][0]["argv"] == ["attribute", "--method", "eap-ig"]
    assert [part["method"] for part in head["attribution"]["of"]] == ["eap", "eap-ig"]
    assert (head["attribution"]["method"], head["attribution"]["rule"]) == ("merge", "mean")
    assert (head["attribution"]["split"], head["attribution"]["metric"]) == ("train", "logit-diff")
    mi("verify", "out.jsonl").ok()
    assert "merge --mean - b.jsonl" in mi("log", "out.jsonl").ok().text


def test_a_pipe_and_a_file_give_the_same_bytes(mi: Session) -> None:
    write("a.jsonl", 0)
    write("b.jsonl", 1)
    data = Path("a.jsonl").read_bytes()
    by_file = mi("merge", "--mean", "a.jsonl", "b.jsonl").ok().out
    assert by_file == mi("merge", "--mean", "-", "b.jsonl", stdin=data).ok().out
    second = mi("merge", "--mean", "b.jsonl", "-", stdin=data).ok().out
    head = json.loads(second.splitlines()[0])
    assert [arg["name"] if isinstance(arg, dict) else arg for arg in head["chain"][-1]["argv"]][2:] == ["b.jsonl", "-"]
    assert mi("pipe", "view --json a.jsonl ! merge --mean - b.jsonl ! prune --top 9").ok().out
    done = mi("pipe", "view --json a.jsonl ! merge --mean a.jsonl b.jsonl")
    assert done.code == 2
    assert "merge reads a.jsonl and b.jsonl, not the stage before it" in done.err


def test_a_merged_ranking_goes_on(mi: Session) -> None:
    write("a.jsonl", 0)
    write("b.jsonl", 1)
    scores = mi("merge", "--rank-mean", "a.jsonl", "b.jsonl", "-q").ok().out
    circuit = stream.parse(mi("prune", "--top", "20", stdin=scores).ok().out.splitlines(keepends=True), "x", ())
    assert 0 < len(circuit.records) <= 20
    mi("merge", "--rank-mean", "a.jsonl", "b.jsonl", "-q", "-o", "ab.jsonl").ok()
    mi("merge", "--max", "ab.jsonl", "a.jsonl", "-o", "out.jsonl").ok()


def test_a_selector_is_kept_where_all_have_it(mi: Session) -> None:
    greedy = {"method": "ifr", "level": "edge", "split": "train", "n": 5, "selector": "greedy"}
    write("a.jsonl", 0, attribution=greedy)
    write("b.jsonl", 1, attribution=greedy)
    write("c.jsonl", 2)
    mi("merge", "--mean", "a.jsonl", "b.jsonl", "-o", "out.jsonl").ok()
    assert merged()[0].head["attribution"]["selector"] == "greedy"
    assert "grown from the logits" in mi("prune", "out.jsonl").ok().err
    mi("merge", "--mean", "a.jsonl", "c.jsonl", "-o", "out.jsonl").ok()
    assert "selector" not in merged()[0].head["attribution"]


def test_a_split_that_is_not_common_counts_as_all(mi: Session) -> None:
    write("a.jsonl", 0)
    other = {"method": "eap", "level": "edge", "split": "validation", "n": 5, "metric": "kl"}
    write("b.jsonl", 1, attribution=other)
    mi("merge", "--mean", "a.jsonl", "b.jsonl", "-o", "out.jsonl").ok()
    said = merged()[0].head["attribution"]
    assert said["split"] == "all"
    assert "metric" not in said


def test_nodes_that_one_file_does_not_score_stay_unscored(mi: Session) -> None:
    values = write("a.jsonl", 0, level="node")["node"]
    holes = values.copy()
    holes[2] = np.nan
    found = stream.read("a.jsonl", ("scores",))
    stream.write("b.jsonl", found.head, [], {"scores": {"node": holes}})
    for rule in RULES:
        mi("merge", rule, "a.jsonl", "b.jsonl", "-o", "out.jsonl").ok()
        assert np.isnan(merged()[1]["node"]).tolist() == [i == 2 for i in range(GRAPH.n_sources)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"graph": transformer_graph(2, 2, parallel=True, d_model=8)},
            "the graph differs: transformer d_model=8 n_heads=2",
        ),
        ({"model": {"id": "toy", "weights": "cd" * 32}}, "the model differs: weights cdcdcdcdcdcd here, weights abab"),
        ({"task": {"name": "sva", "counterfactual": "s2-io-flip"}}, "the task differs: sva here, ioi in a.jsonl"),
        ({"task": {"name": "ioi", "counterfactual": "abc"}}, "the counterfactual of the task differs: abc here"),
        ({"level": "node"}, "the level differs: node here, edge in a.jsonl"),
    ],
)
def test_scores_of_different_things_are_refused(mi: Session, change: dict[str, Any], says: str) -> None:
    write("a.jsonl", 0)
    if "graph" in change:
        made = streams.head("scores", graph=change["graph"])
        stream.write("b.jsonl", made, [], {"scores": {"edge": np.zeros(change["graph"].n_edges, dtype=np.float32)}})
    else:
        write("b.jsonl", 1, **change)
    done = mi("merge", "--mean", "a.jsonl", "b.jsonl", "-o", "out.jsonl")
    assert done.code == 3
    assert done.err.startswith(f"mi merge: b.jsonl: {says}")
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a.jsonl", "b.jsonl"], "how to merge is not said; give one of --mean, --min, --max, --rank-mean"),
        (["--mean", "--max", "a.jsonl", "b.jsonl"], "--mean and --max contradict each other"),
        (["--mean", "a.jsonl"], "1 file to merge"),
        (["--mean"], "0 files to merge"),
        (["--mean", "-", "-"], "standard input is named twice"),
        (["--rank-mean", "--normalise", "a.jsonl", "b.jsonl"], "--normalise means nothing with --rank-mean"),
    ],
)
def test_flags_that_make_no_sense(mi: Session, words: list[str], says: str) -> None:
    done = mi("merge", *words)
    assert done.code == 2
    assert says in done.err


def test_what_cannot_be_merged_is_refused(mi: Session) -> None:
    write("a.jsonl", 0)
    done = mi("view", "--json", "a.jsonl", "--top", "7").ok()
    Path("some.jsonl").write_bytes(done.out)
    done = mi("merge", "--mean", "a.jsonl", "some.jsonl")
    assert (done.code, done.err.splitlines()[0]) == (
        3,
        "mi merge: some.jsonl: lists 7 of the 46 edges; merge first, and filter after it",
    )
    found = stream.read("a.jsonl", ("scores",))
    stream.write("zero.jsonl", found.head, [], {"scores": {"edge": np.zeros(GRAPH.n_edges, dtype=np.float32)}})
    done = mi("merge", "--mean", "--normalise", "a.jsonl", "zero.jsonl")
    assert done.code == 3
    assert "zero.jsonl: every score is 0" in done.err
    done = mi("merge", "--mean", "a.jsonl", "nowhere.jsonl")
    assert done.code == 3
    assert "no such file" in done.err


def test_the_notebook_reads_it(mi: Session) -> None:
    first = write("a.jsonl", 0)["edge"]
    mi("merge", "--max", "a.jsonl", "a.jsonl", "-o", "out.jsonl").ok()
    assert package.load("out.jsonl").numpy("edge").tolist() == first.tolist()

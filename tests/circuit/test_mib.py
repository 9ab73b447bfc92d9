"""The benchmark's graphs: the reference's bytes and contents, all levels, and every fault by name."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mi.circuit import mib, mib_json, mib_pt
from mi.circuit.levels import Units
from mi.circuit.mib import ScoredGraph
from mi.circuit.transformer import transformer_graph
from mi.errors import MiError
from mi.io import torch_file
from tests.data_dir import shared
from tests.seeds import FRESH

GOLDEN = ("gpt2-tiny", "llama-tiny", "neox-tiny")
TINY = (
    '{"cfg": {"n_layers": 1, "n_heads": 1, "parallel_attn_mlp": false, "d_model": 4}, "nodes": {"input": {"in_graph": '
    'true}, "a0.h0": {"in_graph": true}, "m0": {"in_graph": false}, "logits": {"in_graph": true}}, "edges": '
    '{"input->a0.h0<q>": {"score": 0.5, "in_graph": false}, "input->a0.h0<k>": {"score": -0.25, "in_graph": false}, '
    '"input->a0.h0<v>": {"score": 1.0, "in_graph": true}, "input->m0": {"score": 0.0, "in_graph": false}, '
    '"a0.h0->m0": {"score": 0.0, "in_graph": false}, "input->logits": {"score": 0.125, "in_graph": false}, '
    '"a0.h0->logits": {"score": 2.0, "in_graph": true}, "m0->logits": {"score": 0.0, "in_graph": false}}}'
)


def random_graph(seed: int, parallel: bool, level: str) -> ScoredGraph:
    rng = np.random.default_rng(seed)
    graph = transformer_graph(3, 2, parallel, 5)
    units = {name: Units(graph, name, 5 if name == "neuron" else 0) for name in ("edge", "node", "neuron")}
    scores = {level: rng.standard_normal(units[level].shape).astype(np.float32)}
    if level != "edge":
        scores[level].ravel()[::3] = np.nan
    members = {"edge": rng.random(graph.n_edges) < 0.4, "node": rng.random(graph.n_sources) < 0.6}
    if level == "neuron":
        members["neuron"] = rng.random(units["neuron"].shape) < 0.5
    return ScoredGraph(graph, scores, members)


def same(a: ScoredGraph, b: ScoredGraph) -> None:
    assert a.graph.digest == b.graph.digest
    for left, right in ((a.scores, b.scores), (a.members, b.members)):
        assert set(left) == set(right)
        for name in left:
            assert left[name].dtype == right[name].dtype
            assert np.array_equal(left[name], right[name], equal_nan=left[name].dtype != bool), name


def test_the_shipped_file_is_written_again_byte_for_byte() -> None:
    data = shared("data", "mib", "ioi-eap-ig.json").read_bytes()
    made = mib_json.from_json(data, "x")
    assert made.scores["edge"].dtype == np.float32
    assert int(made.members["edge"].sum()) == 756
    written = mib_json.to_json(made)
    assert len(written) == 2_377_538
    assert written == data


@pytest.mark.parametrize("model", GOLDEN)
def test_golden_graphs_go_round(model: str) -> None:
    folder = shared("golden", model)
    data, packed = (folder / "graph.json").read_bytes(), (folder / "graph.pt").read_bytes()
    made = mib_pt.from_pt(packed, "x")
    same(made, mib_json.from_json(data, "x"))
    assert mib_json.to_json(made) == data
    ours, theirs = (torch.load(io.BytesIO(file), weights_only=True) for file in (mib_pt.to_pt(made), packed))
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        assert torch.equal(ours[name], value) if torch.is_tensor(value) else ours[name] == value, name
        assert not torch.is_tensor(value) or ours[name].dtype == value.dtype


def test_the_smallest_file_by_hand() -> None:
    made = mib_json.from_json(TINY.encode(), "x")
    assert made.graph.n_edges == 8
    assert mib_json.to_json(made) == TINY.encode()
    assert made.level == "edge"


@pytest.mark.parametrize("seed", [0, FRESH])
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("level", ["edge", "node", "neuron"])
def test_every_level_goes_round(level: str, parallel: bool, seed: int) -> None:
    made = random_graph(seed, parallel, level)
    data = mib_json.to_json(made)
    assert data == json.dumps(json.loads(data)).encode()  # Python's default style
    same(mib_json.from_json(data, "x"), made)
    packed = torch.load(io.BytesIO(mib_pt.to_pt(made)), weights_only=True)
    again = mib_pt.from_pt(mib_pt.to_pt(made), "x")
    assert made.level == again.level == level
    same(again, made)
    dense = np.zeros((made.graph.n_sources, len(made.graph.receivers)), dtype=bool)
    for edge, inside in enumerate(made.members["edge"]):
        dense[made.graph.edges[0, edge], made.graph.edges[1, edge]] = inside
    assert np.array_equal(packed["edges_in_graph"].numpy(), dense)


def as_the_reference_reads(value: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Its reader, in plain loops: a head's lists are put into the rows of all heads of its layer."""
    cfg = value["cfg"]
    width, d = cfg["n_heads"] + 1, cfg["d_model"]
    n = 1 + cfg["n_layers"] * width
    scores, inside, neurons = np.full(n, np.nan), np.zeros((n, d)), np.full((n, d), np.nan)
    for name, node in value["nodes"].items():
        if name == "logits":
            assert set(node) == {"in_graph"}
            continue
        if name == "input":
            rows: Any = 0
            row = 0
        else:
            layer = int(name[1:].split(".")[0])
            first = 1 + layer * width
            row = first + cfg["n_heads"] if name[0] == "m" else first + int(name.split(".h")[1])
            rows = row if name[0] == "m" else slice(first, first + cfg["n_heads"])
        scores[row] = node.get("score", np.nan)
        if "neurons" in node:
            inside[rows] = np.array(node["neurons"])
            neurons[rows] = np.array(node["neurons_scores"])
    return scores, inside, neurons


@pytest.mark.parametrize("seed", [0, FRESH])
def test_graphs_of_nodes_and_neurons_as_the_reference_reads_them(seed: int) -> None:
    made = random_graph(seed, False, "neuron")
    _, inside, neurons = as_the_reference_reads(json.loads(mib_json.to_json(made)))
    assert np.array_equal(inside != 0, made.members["neuron"])
    assert np.array_equal(neurons, made.scores["neuron"].astype(np.float64), equal_nan=True)
    made = random_graph(seed, True, "node")
    scores, _, _ = as_the_reference_reads(json.loads(mib_json.to_json(made)))
    assert np.array_equal(scores, made.scores["node"].astype(np.float64), equal_nan=True)


def test_what_is_left_out_has_the_score_zero() -> None:
    value = json.loads(TINY)
    del value["edges"]["input->m0"], value["edges"]["a0.h0->logits"]["score"], value["nodes"]["m0"]
    value["method"] = "something else"
    made = mib_json.from_json(json.dumps(value).encode(), "x")
    graph = made.graph
    assert made.scores["edge"][graph.edge_index("input->m0")] == 0
    assert made.scores["edge"][graph.edge_index("a0.h0->logits")] == 0
    assert made.members["edge"][graph.edge_index("a0.h0->logits")]
    assert made.members["node"].tolist() == [True, True, False]


def test_scores_that_are_no_float32_are_kept_whole() -> None:
    text = TINY.replace("-0.25", "-0.1")
    made = mib_json.from_json(text.encode(), "x")
    assert made.scores["edge"].dtype == np.float64
    assert mib_json.to_json(made) == text.encode()


def test_circuits_only() -> None:
    """A file of the leaderboard's with no scores at all."""
    made = random_graph(1, False, "edge")
    values = torch_file.read(mib_pt.to_pt(made), "x")
    del values["edges_scores"]
    again = mib_pt.from_pt(torch_file.write(values), "x")
    assert again.scores == {}
    assert np.array_equal(again.members["edge"], made.members["edge"])


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda v: v.pop("cfg"), "cfg does not say"),
        (lambda v: v["cfg"].update(n_layers=200, n_heads=200), "200 layers of 200 heads, and lists 8 edges"),
        (lambda v: v["cfg"].update(n_layers=0), "cfg does not say"),
        (lambda v: v["cfg"].update(n_layers=10**9), "lists 8 edges"),
        (lambda v: v.pop("edges"), "nodes or edges are missing"),
        (lambda v: v["edges"].update({"m0->a0.h0<q>": {"score": 1.0, "in_graph": True}}), "m0->a0.h0<q> is no edge"),
        (lambda v: v["nodes"].update(m7={"in_graph": True}), "m7 is no node"),
        (lambda v: v["edges"]["input->m0"].update(score="x"), 'the score of input->m0 is "x"'),
        (lambda v: v["edges"]["input->m0"].update(score=float("nan")), "the score of input->m0 is nan"),
        (lambda v: v["edges"]["input->m0"].update(score=None), "the score of input->m0 is null"),
        (lambda v: v["edges"]["input->m0"].update(score=True), "the score of input->m0 is true"),
        (lambda v: v["edges"]["input->m0"].update(score=10**400), "the score of input->m0 is 1000"),
        (lambda v: v["edges"].update({"input->m0": 3}), "input->m0 has no in_graph flag"),
        (lambda v: v["nodes"]["m0"].update(score="1"), 'the score of m0 is "1"'),
        (lambda v: v["edges"]["input->m0"].pop("in_graph"), "input->m0 has no in_graph flag"),
        (lambda v: v["nodes"].update(m0=3), "m0 has no in_graph flag"),
        (lambda v: v["nodes"]["m0"].update(score=float("inf")), "the score of m0 is inf"),
        (lambda v: v["nodes"]["m0"].update(neurons=[1, 2]), "the neurons of m0 are not 4 numbers for each node"),
        (lambda v: v["nodes"]["a0.h0"].update(neurons_scores=[[1, 2, 3, 4]] * 2), "are not 1 x 4 numbers"),
        (lambda v: v["nodes"]["m0"].update(neurons=[1, 2, 3, "x"]), "the neurons of m0 are not 4 numbers"),
        (lambda v: v["nodes"]["a0.h0"].update(neurons_scores=[1, 2, 3]), "are not 4 numbers for each node"),
    ],
)
def test_faults_of_json(change: Callable[[dict[str, Any]], Any], fact: str) -> None:
    value = json.loads(TINY)
    change(value)
    with pytest.raises(MiError) as caught:
        mib_json.from_json(json.dumps(value).encode(), "importances.json")
    assert fact in caught.value.fact
    assert caught.value.place == "importances.json"
    assert caught.value.code == 3


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"3", b'{"nodes": {}}', b"\xff{", b"[" * 100_000])
def test_what_is_no_graph_at_all(data: bytes) -> None:
    with pytest.raises(MiError):
        mib_json.from_json(data, "x")


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"cfg": None}, "cfg does not say"),
        ({"edges_scores": np.zeros((2, 2), dtype=np.float32)}, "edges_scores is [2, 2], not [10, 22]"),
        ({"edges_in_graph": 3}, "edges_in_graph is int"),
        ({"src_nodes": ["input"]}, "do not stand in the order"),
        ({"nodes_scores": np.zeros(3, dtype=np.float32)}, "nodes_scores is [3], not [10]"),
        ({"edges_scores": np.full((10, 22), np.nan, dtype=np.float32)}, "a score of input->a0.h0<q> is not finite"),
    ],
)
def test_faults_of_pt(change: dict[str, Any], fact: str) -> None:
    values = torch_file.read(mib_pt.to_pt(random_graph(0, False, "edge")), "x") | change
    packed = io.BytesIO()
    torch.save({k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in values.items()}, packed)
    with pytest.raises(MiError) as caught:
        mib_pt.from_pt(packed.getvalue(), "graph.pt")
    assert fact in caught.value.fact
    with pytest.raises(MiError, match="nodes_in_graph missing"):
        mib_pt.from_pt(
            torch_file.write({k: values[k] for k in values if k != "nodes_in_graph" and k not in change}), "x"
        )


def test_a_graph_that_the_benchmark_does_not_have(tmp_path: Path) -> None:
    only = transformer_graph(2, 2, d_model=4, attention_only=True)
    with pytest.raises(MiError, match="the benchmark has no graph such as this"):
        mib.config(only)
    with pytest.raises(MiError, match="does not say d_model"):
        mib.config(transformer_graph(2, 2))


@pytest.mark.parametrize("seed", [0, FRESH])
def test_no_damage_ends_otherwise_than_in_one_error(seed: int) -> None:
    """Bytes changed at random: the file is read as something, or refused with its name."""
    rng = np.random.default_rng(seed)
    made = random_graph(seed, False, "neuron")
    for data, read in ((mib_json.to_json(made), mib_json.from_json), (mib_pt.to_pt(made), mib_pt.from_pt)):
        for _ in range(300):
            broken = bytearray(data)
            for at in rng.integers(0, len(data), rng.integers(1, 4)):
                broken[at] = rng.integers(256)
            error = refusal(read, bytes(broken))
            assert error is None or error.place == "graph"


def refusal(read: Callable[[bytes, str], Any], data: bytes) -> MiError | None:
    try:
        read(data, "graph")
    except MiError as error:
        return error
    return None

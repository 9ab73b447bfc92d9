"""The files of other tools, written here as those tools write them: torch.save and pickle of their own structures."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mi.circuit.graph import Graph
from mi.circuit.importers import acdc, autocircuit, edge_pruning, feature_circuits
from mi.circuit.importers.edges import Shape, of_config
from mi.circuit.mib import ScoredGraph
from mi.circuit.transformer import transformer_graph
from mi.errors import MiError, UsageError
from mi.io import torch_file
from tests.io.test_torch_file import Hostile
from tests.seeds import FRESH

L, H = 3, 2
NOTHING = Shape()


def saved(value: Any) -> bytes:
    made = io.BytesIO()
    torch.save(value, made)
    return made.getvalue()


def names(made: ScoredGraph) -> set[str]:
    return {made.graph.edge_name(index) for index in np.flatnonzero(made.members["edge"])}


# --- ACDC


def hook(name: str) -> tuple[str, tuple[Any, ...]]:
    """A node or a receiver of ours as ACDC calls it: hook and index."""
    if name in ("input", "logits"):
        return ("blocks.0.hook_resid_pre" if name == "input" else f"blocks.{L - 1}.hook_resid_post"), (None,)
    if name.endswith(">"):
        layer, head, branch = name[1:].split(".")[0], name.split(".h")[1][:-3], name[-2]
        return f"blocks.{layer}.hook_{branch}_input", (None, None, int(head))
    if name[0] == "a":
        layer, head = name[1:].split(".h")
        return f"blocks.{layer}.attn.hook_result", (None, None, int(head))
    return f"blocks.{name[1:]}.hook_mlp_out", (None,)


def subgraph(graph: Graph, kept: np.ndarray, cut: tuple[str, ...] = ()) -> OrderedDict[tuple[Any, ...], bool]:
    """What ACDC saves: our edges, those from a receiver to its q, k or v, and links inside heads and MLPs."""
    made: OrderedDict[tuple[Any, ...], bool] = OrderedDict()
    for edge in range(graph.n_edges):
        source, receiver = (graph.nodes[graph.edges[0, edge]], graph.receivers[graph.edges[1, edge]])
        into = (receiver.replace("m", "blocks.") + ".hook_mlp_in", (None,)) if receiver[0] == "m" else hook(receiver)
        made[(*into, *hook(source))] = bool(kept[edge])
    for layer in range(L):
        made[(f"blocks.{layer}.hook_mlp_out", (None,), f"blocks.{layer}.hook_mlp_in", (None,))] = True
        for head in range(H):
            at = (None, None, head)
            for branch in "qkv":
                direct = (f"blocks.{layer}.attn.hook_{branch}", at, f"blocks.{layer}.hook_{branch}_input", at)
                made[direct] = f"a{layer}.h{head}<{branch}>" not in cut
                made[(f"blocks.{layer}.attn.hook_result", at, f"blocks.{layer}.attn.hook_{branch}", at)] = True
    return made


@pytest.mark.parametrize("seed", [0, FRESH])
def test_a_subgraph_of_acdc(seed: int) -> None:
    graph = transformer_graph(L, H)
    kept = np.random.default_rng(seed).random(graph.n_edges) < 0.3
    made = acdc.read(saved(subgraph(graph, kept)), NOTHING, "x.pth")
    assert made.graph.digest == graph.digest
    assert np.array_equal(made.members["edge"], kept)
    assert np.array_equal(made.scores["edge"], kept.astype(np.float32))


def test_a_query_that_was_cut_takes_its_edges_with_it() -> None:
    graph = transformer_graph(L, H)
    every = np.ones(graph.n_edges, dtype=bool)
    made = acdc.read(saved(subgraph(graph, every, cut=("a1.h0<k>",))), NOTHING, "x")
    assert {name for name in graph.edge_names() if name not in names(made)} == {
        name for name in graph.edge_names() if name.endswith("a1.h0<k>")
    }


def test_a_list_of_edges_of_acdc() -> None:
    rows = [
        (("blocks.2.hook_resid_post", (None,), "blocks.1.attn.hook_result", (None, None, 1)), 0.25),
        (("blocks.1.hook_q_input", (None, None, 1), "hook_embed", (None,)), -0.5),
        (("blocks.1.attn.hook_q", (None, None, 1), "blocks.1.hook_q_input", (None, None, 1)), 1.0),
        (("blocks.1.hook_q_input", (None, None, 1), "hook_pos_embed", (None,)), 3.0),
        (("blocks.1.hook_mlp_in", (None,), "blocks.0.hook_mlp_out", (None,)), 0.125),
    ]
    as_text = [[[r[0][0], "[:]" if len(r[0][1]) == 1 else f"[:, :, {r[0][1][2]}]", *r[0][2:]], r[1]] for r in rows]
    for data in (pickle.dumps(rows), json.dumps(rows).encode(), json.dumps(as_text).encode()):
        made = acdc.read(data, Shape(3, 2), "x")
        assert names(made) == {"a1.h1->logits", "input->a1.h1<q>", "m0->m1"}
        assert made.scores["edge"][made.graph.edge_index("input->a1.h1<q>")] == -0.5
    with pytest.raises(UsageError, match="does not say how many layers"):
        acdc.read(pickle.dumps(rows), NOTHING, "x")
    with pytest.raises(MiError, match="it has layer 1 and head 1"):
        acdc.read(pickle.dumps(rows), Shape(1, 2), "x")


class TorchIndex:
    """As ACDC's own class is stored where somebody pickled its edges as they are."""

    def __init__(self, *parts: Any) -> None:
        self.hashable_tuple = parts
        self.as_index = tuple(slice(None) if part is None else part for part in parts)


def test_indices_that_are_objects() -> None:
    TorchIndex.__init__.__defaults__ = None
    row = (("blocks.0.hook_mlp_in", TorchIndex(None), "blocks.0.attn.hook_result", TorchIndex(None, None, 1)), 0.5)
    for index in (row[0][1], row[0][3]):
        del index.as_index  # slices are no data
    assert names(acdc.read(pickle.dumps([row]), Shape(1, 2), "x")) == {"a0.h1->m0"}


@pytest.mark.parametrize(
    "value",
    [
        3, {}, [], [1], {"a": True}, [(("x", (None,), "hook_embed", (None,)), 1.0)],
        [(("blocks.0.hook_q_input", (None,), "hook_embed", (None,)), 1.0)],
        [(("blocks.0.hook_mlp_in", (None, 1), "hook_embed", (None,)), 1.0)],
        [(("blocks.0.hook_mlp_in", (None,), "hook_embed", (None,)), "much")],
        [(("blocks.0.hook_mlp_in", (None,), "blocks.1.hook_mlp_out", (None,)), 1.0)],
        [(("blocks.0.hook_mlp_in", (None,), "hook_embed", (None,)), float("nan"))],
    ],
)  # fmt: skip
def test_what_is_not_of_acdc(value: Any) -> None:
    with pytest.raises(MiError) as caught:
        acdc.read(pickle.dumps(value), Shape(2, 2), "edges.pkl")
    assert caught.value.place == "edges.pkl"


@pytest.mark.parametrize(
    ("config", "parallel"),
    [
        ({"model_type": "gpt2"}, False),
        ({"model_type": "gptj"}, True),
        ({"model_type": "gpt_neox"}, True),
        ({"model_type": "gpt_neox", "use_parallel_residual": False}, False),
        ({"model_type": "falcon"}, True),
        ({"model_type": "falcon", "parallel_attn": False}, False),
        ({"model_type": "stablelm", "use_parallel_residual": True}, True),
    ],
)
def test_the_shape_of_a_config(config: dict[str, Any], parallel: bool) -> None:
    sizes = {"n_layer": 3, "n_head": 2, "n_embd": 8}
    assert of_config({**config, **sizes}, "m") == Shape(3, 2, parallel, 8, False)
    with pytest.raises(MiError, match="m/config.json does not say num_hidden_layers"):
        of_config(config, "m")


# --- Edge-Pruning


def test_edges_of_edge_pruning() -> None:
    pairs = [
        ["embeds", "a0.h1.q"], ["tok_embeds", "m1"], ["pos_embeds", "m1"], ["a0.h1", "m0"], ["m0", "a1.h0.v"],
        ["a1.h0.q", "a1.h0"], ["m1", "resid_post"], ["m1", "resid_post"],
    ]  # fmt: skip
    made = edge_pruning.read(json.dumps(pairs).encode(), Shape(2, 2), "edges.json")
    assert names(made) == {"input->a0.h1<q>", "input->m1", "a0.h1->m0", "m0->a1.h0<v>", "m1->logits"}
    assert made.scores["edge"].sum() == 5
    assert made.members["node"].sum() == 4
    with pytest.raises(UsageError, match="name it with -m"):
        edge_pruning.read(json.dumps(pairs).encode(), NOTHING, "x")


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        (b"{", "not JSON"),
        (b"{}", "no list of edges"),
        (b'[["m0"]]', "is no pair"),
        (b'[["m0", 3]]', "is no pair"),
        (b'[["x", "m0"]]', "is no edge of Edge-Pruning"),
        (b'[["m0", "a1.h0"]]', "is no edge of Edge-Pruning"),
        (b'[["m1", "m0"]]', "m1->m0 is no edge of the graph"),
    ],
)
def test_what_is_not_of_edge_pruning(data: bytes, fact: str) -> None:
    with pytest.raises(MiError, match=fact):
        edge_pruning.read(data, Shape(2, 2), "edges.json")


# --- AutoCircuit


def modules(graph: Graph, values: np.ndarray) -> dict[str, torch.Tensor]:
    """Our scores as AutoCircuit holds them: one tensor for each module, its sources in order."""
    rows: dict[str, list[float]] = {}
    for edge in range(graph.n_edges):
        rows.setdefault(graph.receivers[graph.edges[1, edge]], []).append(float(values[edge]))
    made: dict[str, Any] = {}
    for layer in range(L):
        for branch in "qkv":
            heads = [rows[f"a{layer}.h{head}<{branch}>"] for head in range(H)]
            made[f"blocks.{layer}.hook_{branch}_input"] = torch.tensor(heads)
        if f"m{layer}" in rows:
            made[f"blocks.{layer}.hook_mlp_in"] = torch.tensor(rows[f"m{layer}"])
    made[f"blocks.{L - 1}.hook_resid_post"] = torch.tensor(rows["logits"])
    return made


@pytest.mark.parametrize("seed", [0, FRESH])
@pytest.mark.parametrize(("parallel", "only"), [(False, False), (True, False), (False, True)])
def test_scores_of_autocircuit(parallel: bool, only: bool, seed: int) -> None:
    graph = transformer_graph(L, H, parallel, attention_only=only)
    values = np.random.default_rng(seed).standard_normal(graph.n_edges).astype(np.float32)
    tensors = modules(graph, values)
    made = autocircuit.read(saved(tensors), Shape(parallel=parallel), "x.pkl")
    assert made.graph.digest == graph.digest
    assert np.array_equal(made.scores["edge"], values)
    nested = {"IOI": {"EAP": tensors, "SP": {name: t * 2 for name, t in tensors.items()}}}
    doubled = autocircuit.read(saved(nested), Shape(parallel=parallel), "x.pkl", "IOI/SP")
    assert np.array_equal(doubled.scores["edge"], 2 * values)
    with pytest.raises(UsageError, match="2 sets of scores: IOI/EAP, IOI/SP"):
        autocircuit.read(saved(nested), NOTHING, "x.pkl")
    with pytest.raises(UsageError, match="no scores 'x'"):
        autocircuit.read(saved(nested), NOTHING, "x.pkl", "x")


def test_token_positions_and_joint_inputs_of_autocircuit() -> None:
    graph = transformer_graph(L, H)
    values = np.arange(graph.n_edges, dtype=np.float32)
    tensors = modules(graph, values)
    by_position = {name: torch.stack([tensor, -tensor]) for name, tensor in tensors.items()}
    made = autocircuit.read(saved(by_position), NOTHING, "x")
    assert np.array_equal(made.scores["edge"], 2 * values)
    joint = {
        name.replace("q_input", "attn_in"): t for name, t in tensors.items() if name[-7:] not in ("k_input", "v_input")
    }
    made = autocircuit.read(saved(joint), NOTHING, "x")
    for branch in "kv":
        ours, query = (made.graph.edge_index(f"m0->a1.h1<{b}>") for b in (branch, "q"))
        assert made.scores["edge"][ours] == made.scores["edge"][query] == values[query]


def test_what_is_not_of_autocircuit() -> None:
    tensors = modules(transformer_graph(L, H), np.zeros(500))
    wrong = [
        ({}, "no dictionary of tensors"),
        ([1], "no dictionary of tensors"),
        (tensors | {"blocks.1.hook_mlp_in": torch.zeros(2)}, "m1 has 2 sources in the file, and 6"),
        (tensors | {"blocks.1.hook_mlp_in": torch.zeros(2, 2, 2)}, "is no tensor of sources"),
        (tensors | {"blocks.1.hook_q_input": torch.zeros(5, 4)}, "differ in number"),
        (tensors | {"blocks.0.hook_mlp_in": torch.full((3,), torch.nan)}, "is not finite"),
    ]
    for value, fact in wrong:
        with pytest.raises(MiError, match=fact):
            autocircuit.read(saved(value), NOTHING, "x.pkl")


# --- sparse feature circuits


class SparseAct:
    def __init__(self, act: torch.Tensor, resc: torch.Tensor) -> None:
        self.act, self.res, self.resc = act, None, resc


def coo(shape: tuple[int, ...], cells: dict[tuple[int, ...], float]) -> torch.Tensor:
    at = torch.tensor(list(cells)).T.reshape(len(shape), -1)
    return torch.sparse_coo_tensor(at, torch.tensor(list(cells.values())), shape)


def feature_file() -> dict[str, Any]:
    """Two layers with four features in each submodule, summed over positions."""
    act = {name: SparseAct(torch.arange(4.0) + n, torch.tensor([9.0 + n])) for n, name in enumerate(
        ("embed", "attn_0", "mlp_0", "resid_0", "resid_1")
    )}  # fmt: skip
    edges = {
        "embed": {"attn_0": coo((5, 5), {(1, 2): 0.5}), "resid_0": coo((5, 5), {(4, 0): -0.25})},
        "attn_0": {"resid_0": coo((5, 5), {(3, 1): 2.0})},
        "mlp_0": {},
        "resid_0": {"resid_1": coo((5, 5), {(0, 3): 1.5, (4, 4): 0.75})},
        "resid_1": {"y": coo((5,), {(0,): 3.0, (4,): 1.0})},
    }
    return {"examples": ["x"], "nodes": {"y": torch.tensor(1.0), **act}, "edges": edges}


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_a_sparse_feature_circuit() -> None:
    made = feature_circuits.read(saved(feature_file()), "x.pt")
    weights = dict(zip(made.graph.edge_names(), made.scores["edge"].tolist(), strict=True))
    assert weights == {
        "embed/f2->attn_0/f1": 0.5,
        "embed/f0->resid_0/error": -0.25,
        "attn_0/f1->resid_0/f3": 2.0,
        "resid_0/f3->resid_1/f0": 1.5,
        "resid_0/error->resid_1/error": 0.75,
        "resid_1/f0->logits": 3.0,
        "resid_1/error->logits": 1.0,
    }
    effects = dict(zip(made.graph.nodes, made.scores["node"].tolist()))
    assert effects["attn_0/f1"] == 2.0
    assert effects["resid_0/error"] == 12.0
    assert effects["embed/f2"] == 2.0
    assert made.members["edge"].all()
    assert made.graph.nodes[-1] == "logits"


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_a_sparse_feature_circuit_with_positions() -> None:
    value = feature_file()
    value["nodes"] = {
        "attn_0": SparseAct(torch.arange(12.0).reshape(3, 4), torch.tensor([[1.0], [2.0], [3.0]])),
        "resid_0": SparseAct(torch.arange(12.0).reshape(3, 4), torch.tensor([[1.0], [2.0], [3.0]])),
    }
    value["edges"] = {
        "attn_0": {"resid_0": coo((3, 5, 3, 5), {(2, 1, 0, 3): 0.5, (2, 4, 2, 4): 0.25})},
        "resid_0": {"y": coo((3, 5), {(2, 1): 1.0, (2, 4): -1.0})},
    }
    made = feature_circuits.read(saved(value), "x.pt")
    weights = dict(zip(made.graph.edge_names(), made.scores["edge"].tolist(), strict=True))
    assert weights == {
        "attn_0@0/f3->resid_0@2/f1": 0.5,
        "attn_0@2/error->resid_0@2/error": 0.25,
        "resid_0@2/f1->logits": 1.0,
        "resid_0@2/error->logits": -1.0,
    }
    effects = dict(zip(made.graph.nodes, made.scores["node"].tolist()))
    assert effects["attn_0@0/f3"] == 3.0
    assert effects["resid_0@2/error"] == 3.0


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_what_is_no_sparse_feature_circuit() -> None:
    def changed(part: str, value: Any) -> dict[str, Any]:
        return {**feature_file(), part: value}

    nodes = feature_file()["nodes"]
    wrong = [
        ({"nodes": {}}, "nodes or edges are missing"),
        (changed("edges", {}), "no edge is listed"),
        (changed("edges", {"embed": 3}), "not a dictionary of dictionaries"),
        (changed("edges", {"embed": {"mlp_9": torch.zeros(5, 5)}}), "join no submodules"),
        (changed("edges", {"embed": {"attn_0": torch.zeros(3, 3)}}), "have the shape"),
        (changed("edges", {"embed": {"attn_0": "x"}}), "are no tensor"),
        (changed("edges", {"embed": {"attn_0": torch.full((5, 5), torch.inf)}}), "a weight is not finite"),
        (changed("edges", {"resid_1": {"embed": torch.ones(5, 5)}}), "runs backward"),
        (changed("nodes", nodes | {"what": nodes["embed"]}), "holds no effects"),
        (changed("nodes", nodes | {"attn_0": torch.zeros(3)}), "holds no effects"),
    ]
    for value, fact in wrong:
        with pytest.raises(MiError, match=fact):
            feature_circuits.read(saved(value), "x.pt")


@pytest.mark.parametrize("how", [saved, pickle.dumps], ids=["torch", "pickle"])
def test_no_reader_runs_what_a_file_holds(how: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    readers = (
        lambda data: acdc.read(data, NOTHING, "x"),
        lambda data: autocircuit.read(data, NOTHING, "x"),
        lambda data: feature_circuits.read(data, "x"),
    )
    for read in readers:
        for value in (Hostile(), {"nodes": Hostile(), "edges": {}}, [Hostile()]):
            with pytest.raises(MiError, match="which is no data"):
                read(how(value))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("seed", [0, FRESH])
def test_no_damage_ends_otherwise_than_in_one_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = transformer_graph(L, H)
    files: list[tuple[bytes, Callable[[bytes], Any]]] = [
        (saved(subgraph(graph, rng.random(graph.n_edges) < 0.5)), lambda data: acdc.read(data, NOTHING, "x")),
        (pickle.dumps(dict(subgraph(graph, rng.random(graph.n_edges) < 0.5))), lambda d: acdc.read(d, NOTHING, "x")),
        (saved(modules(graph, rng.random(graph.n_edges))), lambda data: autocircuit.read(data, NOTHING, "x")),
        (saved(feature_file()), lambda data: feature_circuits.read(data, "x")),
    ]
    for data, read in files:
        for _ in range(100):
            broken = bytearray(data)
            for at in rng.integers(0, len(data), rng.integers(1, 4)):
                broken[at] = rng.integers(256)
            with contextlib.suppress(MiError):
                read(bytes(broken))
            with contextlib.suppress(MiError):
                read(with_broken_pickle(data, rng))


def with_broken_pickle(data: bytes, rng: np.random.Generator) -> bytes:
    """A file of torch whose zip is whole, so that the fault is in the pickle."""
    if not torch_file.is_archive(data):
        return data
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(packed, "w") as new:
        for entry in old.infolist():
            content = bytearray(old.read(entry))
            if entry.filename.endswith("data.pkl"):
                content[rng.integers(len(content))] = rng.integers(256)
            new.writestr(entry.filename, bytes(content))
    return packed.getvalue()

"""The planted model is what its script writes, and its true edges are those that patching finds, in float64."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from mi import embedded
from mi.circuit import roc
from mi.circuit.prune import connected
from mi.circuit.transformer import transformer_graph
from mi.embedded import plant
from mi.tasks import task, tokenizer
from mi.tasks.encode import Encoded, encode
from tests.data_dir import CHECKOUT

pytest.importorskip("torch")

from tests.oracle import attribution, circuits
from tests.oracle.exact import Patch, edges, exact, nodes
from tests.oracle.weights import Weights, read_folder

FOLDER = embedded.path("planted")
TRUTH = json.loads((FOLDER / "truth.json").read_text())
GRAPH = transformer_graph(plant.LAYERS, plant.HEADS)
NAMES = GRAPH.edge_names()
PAGE = CHECKOUT / "docs" / "planted-circuit.md"


@lru_cache
def weights() -> Weights:
    return read_folder(FOLDER)


@lru_cache
def examples(counterfactual: str, n: int = 40) -> tuple[Encoded, ...]:
    known = tokenizer.load(FOLDER, "planted")
    records, _ = task.make("induction", n, 0, counterfactual, known, ("train",))
    return tuple(encode(records, known))


def of_one_length(counterfactual: str, n: int = 3) -> list[Encoded]:
    """A few examples that can be run together."""
    every = examples(counterfactual)
    return [example for example in every if len(example.clean) == len(every[0].clean)][:n]


def patches(names: list[str]) -> list[Patch]:
    by_name = dict(zip(NAMES, edges(weights()), strict=True))
    return [by_name[name] for name in names]


def is_true(counterfactual: str) -> np.ndarray:
    return np.isin(NAMES, TRUTH[counterfactual]["true_edges"])


def test_the_script_writes_the_shipped_bytes(tmp_path: Path) -> None:
    plant.write(tmp_path / "again")
    for file in FOLDER.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name
    assert {file.name for file in FOLDER.iterdir()} == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "truth.json")
    }
    assert (FOLDER / "model.safetensors").stat().st_size < 1_000_000


def test_a_stock_gpt2_reads_it_and_so_does_the_package() -> None:
    import torch
    from transformers import AutoTokenizer, GPT2LMHeadModel

    from mi.core.model import load

    stock, loading = GPT2LMHeadModel.from_pretrained(FOLDER, output_loading_info=True)
    assert not any(loading[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    text = " house gold tree house"
    ids = [0, *AutoTokenizer.from_pretrained(FOLDER)(text)["input_ids"]]
    own = load("planted", device="cpu")
    assert own.tokenizer is not None
    assert ids[1:] == list(own.tokenizer.encode(text))
    assert own.graph.digest == GRAPH.digest
    with torch.no_grad():
        logits = stock.eval()(torch.tensor([ids])).logits[0, -1]
        same = own.module(torch.tensor([ids])).logits[0, -1]
    assert own.tokenizer.token(int(logits.argmax())) == "▁gold"
    torch.testing.assert_close(logits, same)


def test_it_does_the_task() -> None:
    for counterfactual in TRUTH:
        clean, corrupted = circuits.clean_and_corrupted(weights(), examples(counterfactual), "logit-diff")
        assert (clean > 3.5).all()
        np.testing.assert_allclose(corrupted, -clean, atol=0.6)


@pytest.mark.parametrize(
    ("counterfactual", "direction"), [*((name, "noising") for name in plant.TRUE_EDGES), ("context-swap", "denoising")]
)
def test_true_edges_are_those_that_change_the_loss_alone(counterfactual: str, direction: str) -> None:
    """All 262 edges, one run each: beside the true ones nothing changes by a millionth of the largest."""
    scores = exact(weights(), of_one_length(counterfactual), "logit-diff", edges(weights()), direction)
    true = is_true(counterfactual)
    assert true.sum() == len(plant.TRUE_EDGES[counterfactual])
    assert np.abs(scores[~true]).max() <= 1e-6 * np.abs(scores).max()
    assert np.abs(scores[true]).min() > 0.02
    means = np.abs(scores.mean(1))
    assert means[true].min() > 1e6 * means[~true].max()


@pytest.mark.parametrize("counterfactual", plant.TRUE_EDGES)
def test_true_edges_are_one_circuit_that_does_all_of_it(counterfactual: str) -> None:
    true = is_true(counterfactual)
    assert connected(GRAPH, true).tolist() == true.tolist()
    few = of_one_length(counterfactual)
    keep = circuits.as_matrix(weights(), true)
    value = circuits.circuits(weights(), few, [keep], "logit-diff", "counterfactual")[0]
    clean, _ = circuits.clean_and_corrupted(weights(), few, "logit-diff")
    np.testing.assert_allclose(value, clean, atol=1e-6)


def test_two_paths_cancel_and_little_is_left() -> None:
    names = ["m0->a2.h1<k>", "m0->a2.h2<k>", "m0->a2.h0<k>", "a0.h0->m0"]
    found = exact(weights(), examples("context-swap"), "logit-diff", patches(names)).mean(1)
    assert found[0] > 1 and found[1] < -1
    assert 0.02 < found[2] < 0.1
    assert found[3] == pytest.approx(found[2], abs=1e-6)  # of the three paths behind m0, one is left
    by_node = exact(weights(), examples("context-swap"), "logit-diff", [nodes(weights())[GRAPH.node_index("m0")]])
    assert by_node.mean() == pytest.approx(found[2], abs=1e-6)


@pytest.mark.parametrize("counterfactual", plant.TRUE_EDGES)
def test_where_gradients_mislead(counterfactual: str) -> None:
    """A saturated head's edge has an effect and no gradient, the tent's a gradient and no effect."""
    into = {"context-swap": "a0.h0->a1.h0<k>", "query-swap": "input->a1.h0<q>", "answer-swap": "a1.h0->logits"}
    names = [into[counterfactual], "a1.h0->m1"]
    few = of_one_length(counterfactual)
    saturated, tent = exact(weights(), few, "logit-diff", patches(names)).mean(1)
    estimates = attribution.eap(weights(), few, "logit-diff", "counterfactual").mean(-1)
    gradient_of_saturated, gradient_of_tent = (estimates[patch.source, patch.receiver] for patch in patches(names))
    assert saturated > 3
    assert abs(tent) < 1e-9
    assert abs(gradient_of_tent) > 1
    if counterfactual == "answer-swap":  # what a head reads as its value is no matter of the softmax
        assert gradient_of_saturated > 3
    else:
        assert abs(gradient_of_saturated) < 1e-10


@lru_cache
def areas(method: str, counterfactual: str) -> tuple[float, float, float]:
    """The three areas of one of the package's methods, in float32 and on the page's examples."""
    from mi.core.attribute import attribute
    from mi.core.model import load

    found = attribute(load("planted", device="cpu"), examples(counterfactual, 100), method=method, level="edge")
    scores, true = np.asarray(found.edge, dtype=float), is_true(counterfactual)
    return roc.auroc(scores, true), roc.pessimistic(scores, true), roc.mib(GRAPH, scores, true)


@pytest.mark.parametrize("counterfactual", plant.TRUE_EDGES)
def test_exact_patching_finds_the_circuit(counterfactual: str) -> None:
    assert areas("exact", counterfactual)[:2] == (1.0, 1.0)


@pytest.mark.parametrize("counterfactual", plant.TRUE_EDGES)
def test_acdc_finds_the_circuit(counterfactual: str) -> None:
    from mi.core.model import load
    from mi.core.search.acdc import acdc, losses_of
    from mi.core.search.problem import problem

    losses = losses_of(problem(load("planted", device="cpu"), of_one_length(counterfactual, 6), metric="kl"))
    found = acdc(GRAPH, losses, tau=1e-5)
    assert roc.auroc(found.kept, is_true(counterfactual)) >= 0.99


@pytest.mark.parametrize("method", ["eap", "eap-ig", "ifr", "exact"])
def test_the_page_gives_the_areas(method: str) -> None:
    """Of the methods that take no time. Rounding noise orders the edges that nobody reads, hence the tolerance."""
    (row,) = re.findall(rf"^\| {method} \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    found = [area for counterfactual in TRUTH for area in areas(method, counterfactual)]
    assert [float(cell) for cell in row.split(" | ")] == pytest.approx(found, abs=0.01)


def test_distractors_do_move() -> None:
    """What they write differs between the two prompts, and no patch of it is noticed."""
    from tests.oracle.batches import groups

    (group,) = groups(weights(), of_one_length("context-swap"))
    moved = [
        float((there - here).abs().max())
        for here, there in zip(group.clean_run.sources, group.corrupted_run.sources, strict=True)
    ]
    idle = {"a0.h1", "a0.h3", "m1", "a1.h1", "a1.h2", "a1.h3", "a2.h3"}
    assert all(moved[GRAPH.node_index(name)] > 0.1 for name in idle)
    assert moved[GRAPH.node_index("a0.h2")] < 1e-9  # it writes the same for every prompt, and much
    assert float(group.clean_run.sources[GRAPH.node_index("a0.h2")].abs().max()) > 3.9
    effects = exact(weights(), of_one_length("context-swap"), "logit-diff", nodes(weights()))
    for name in [*idle, "a0.h2"]:
        assert np.abs(effects[GRAPH.node_index(name)]).max() < 1e-9, name


def test_the_neighbour_with_bent_norms(tmp_path: Path) -> None:
    """With a smaller epsilon everything matters a little; the true edges still matter most."""
    plant.write(tmp_path, epsilon=4096.0)
    assert not (tmp_path / "truth.json").exists()
    bent = read_folder(tmp_path)
    scores = np.abs(exact(bent, of_one_length("context-swap", 1), "logit-diff", edges(bent)).mean(1))
    true = is_true("context-swap")
    assert 1e-4 < scores[~true].max() < scores[true].min()


def test_the_truth_names_edges_in_the_order_of_the_graph() -> None:
    assert set(TRUTH) == set(plant.TRUE_EDGES) == set(task.get("induction").counterfactuals)
    for row in TRUTH.values():
        places = [GRAPH.edge_index(name) for name in row["true_edges"]]
        assert places == sorted(set(places))
        assert row["n_edges"] == GRAPH.n_edges == 262


def test_the_page_gives_the_true_edges_and_their_effects() -> None:
    rows = re.findall(r"^\| `(\S+)` \| ([-.\d]*) \| ([-.\d]*) \| ([-.\d]*) \|$", PAGE.read_text(), re.MULTILINE)
    shown = {name: dict(zip(TRUTH, cells, strict=True)) for name, *cells in rows}
    for counterfactual, row in TRUTH.items():
        assert {name for name in shown if shown[name][counterfactual]} == set(row["true_edges"])
        found = exact(weights(), examples(counterfactual), "logit-diff", patches(row["true_edges"])).mean(1)
        for name, effect in zip(row["true_edges"], found, strict=True):
            assert float(shown[name][counterfactual]) == pytest.approx(effect, abs=0.0006), name

"""ACDC against the loop of the paper, on random models and on compiled programs whose circuit is known."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mi.circuit.graph import Graph
from mi.circuit.transformer import transformer_graph
from mi.core import model as models
from mi.core.adapters import Adapter
from mi.core.search import acdc
from mi.core.search.checkpoint import Checkpoint
from mi.core.search.problem import problem
from mi.errors import MiError
from mi.tasks.encode import encode
from tests.circuit.random_graphs import named_pairs, readers_of
from tests.core.cases import Case, random_case
from tests.data_dir import shared
from tests.oracle import acdc as oracle
from tests.oracle import key_values

SAME = 1e-9


def compare(case: Case, tau: float, metric: str, ablation: str, order: str = "reverse", absolute: bool = False) -> int:
    losses = acdc.losses_of(problem(case.model, case.encoded, metric=metric, ablation=ablation, batch_size=2))
    found = acdc.acdc(case.model.graph, losses, tau=tau, order=order, absolute=absolute)
    kept, delta = oracle.acdc(
        case.weights, case.examples, tau, metric, ablation, backwards=order == "reverse", absolute=absolute
    )
    np.testing.assert_array_equal(found.kept, case.as_edges(kept))
    np.testing.assert_allclose(found.delta, case.as_edges(delta), rtol=0, atol=SAME)
    return int(found.kept.sum())


@pytest.mark.parametrize("name", ["gpt2-scaled", "llama-wide-heads", "qwen2-windowed"])
def test_the_circuit_is_that_of_the_loop(name: str, seed: int) -> None:
    case = random_case(name, seed, n=3, lengths=(3, 4))
    for tau in (3e-3, 0.1):
        compare(case, tau, "kl", "counterfactual")
    losses = acdc.losses_of(problem(case.model, case.encoded))
    assert acdc.acdc(case.model.graph, losses, tau=-1e9).kept.all()
    assert not acdc.acdc(case.model.graph, losses, tau=1e9).kept.any()


def what_leads_on(graph: Graph, seed: np.random.Generator) -> Callable[[set[int]], float]:
    """A loss that adds up over the kept edges which lead to the logits."""
    names, readers, gain = named_pairs(graph), readers_of(graph), seed.random(graph.n_edges)

    def loss(kept: set[int]) -> float:
        leads, before = {"logits"}, 0
        while len(leads) > before:
            before = len(leads)
            leads |= {names[edge][0] for edge in kept if readers[names[edge][1]] & leads}
        return -sum(float(gain[edge]) for edge in kept if readers[names[edge][1]] & leads)

    return loss


def test_edges_that_heads_share_are_decided_as_the_loop_decides(seed: int) -> None:
    """An edge that only one of its heads makes use of is tried, and one that none does is not."""
    rng = np.random.default_rng(seed)
    for _ in range(25):
        layers, kv_heads, size = (int(rng.integers(1, most)) for most in (4, 3, 4))
        graph = transformer_graph(layers, kv_heads * size, bool(rng.integers(2)), n_kv_heads=kv_heads)
        loss = what_leads_on(graph, rng)
        order = key_values.visits(layers, kv_heads * size, kv_heads)
        if size == 1:
            order = [re.sub(r"kv(?=\d+<)", "h", name) for name in order]
        edges = [(int(source), name) for source, (_, name) in zip(graph.source, named_pairs(graph), strict=True)]
        kept, delta = key_values.acdc(edges, order, loss, tau=0.8)
        found = acdc.acdc(
            graph, lambda masks, loss=loss: np.array([loss({*np.flatnonzero(m)}) for m in masks]), tau=0.8
        )
        assert set(np.flatnonzero(found.kept).tolist()) == kept
        np.testing.assert_allclose(found.delta, delta, rtol=0, atol=1e-12)


def test_logits_that_the_record_does_not_explain_are_refused_or_the_models_own(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on from inside ends at the unembedding, and what the model does after that would be left out."""
    case = random_case("llama-wide-heads", seed)
    some = np.arange(case.model.graph.n_edges)[None] % 3 > 0
    plain = acdc.losses_of(problem(case.model, case.encoded, metric="logit-diff"))(some)
    monkeypatch.setattr(Adapter, "capped", lambda _, logits: logits / 2)
    with pytest.raises(MiError, match="does more to its logits"):
        acdc.losses_of(problem(case.model, case.encoded, metric="logit-diff"))(some)
    whole = acdc.losses_of(problem(case.model, case.encoded, metric="logit-diff", executor="generic"))(some)
    np.testing.assert_allclose(whole, plain, rtol=0, atol=SAME)


@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_whatever_removed_edges_carry(ablation: str) -> None:
    compare(random_case("gpt2-scaled", 1, n=3, lengths=(4,)), 0.1, "kl", ablation)


@pytest.mark.parametrize(
    ("metric", "order", "absolute"),
    [
        ("logit-diff", "normal", True),
        ("prob-diff", "reverse", True),
        ("logit-diff", "reverse", False),
        ("kl", "normal", False),
    ],
)
def test_whatever_is_asked(metric: str, order: str, absolute: bool, seed: int) -> None:
    compare(random_case("gpt2-scaled", seed, n=3, lengths=(4,)), 0.02, metric, "counterfactual", order, absolute)


@pytest.mark.parametrize("side_by_side", [1, 3])
def test_guesses_change_nothing(side_by_side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One edge at a time, or a few: the same decisions, from the same circuits."""
    case = random_case("llama", 0, n=3)
    losses = acdc.losses_of(problem(case.model, case.encoded))
    found = acdc.acdc(case.model.graph, losses, tau=0.05)
    monkeypatch.setattr(acdc, "SIDE_BY_SIDE", side_by_side)
    again = acdc.acdc(case.model.graph, losses, tau=0.05)
    np.testing.assert_array_equal(found.kept, again.kept)
    np.testing.assert_allclose(found.delta, again.delta, rtol=0, atol=SAME)
    assert again.runs != found.runs


def test_a_random_order_follows_its_seed() -> None:
    case = random_case("gpt2", 0)
    graph = case.model.graph
    orders = [acdc.visits(graph, "random", seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()
    for order in (*orders, acdc.visits(graph, "reverse", 0), acdc.visits(graph, "normal", 0)):
        np.testing.assert_array_equal(np.sort(order), np.arange(graph.n_edges))
        assert (np.diff(graph.target[order]) <= 0).all()  # the latest readers first


class KilledError(Exception):
    """In the place of a kill."""


def test_a_search_that_was_killed_ends_with_the_same_result(tmp_path: Path, seed: int) -> None:
    case = random_case("llama", seed, n=3)
    losses = acdc.losses_of(problem(case.model, case.encoded))
    whole = acdc.acdc(case.model.graph, losses, tau=0.05)
    calls, last = 0, int(case.rng.integers(8, 13))  # the first says the full loss, each after it decides on one or more

    def killed(masks: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls > last:
            raise KilledError
        return losses(masks)

    resumed: list[int] = []
    checkpoint = Checkpoint(str(tmp_path / "state"), every=5, of="this", on_resumed=resumed.append)
    with pytest.raises(KilledError):
        acdc.acdc(case.model.graph, killed, tau=0.05, checkpoint=checkpoint)
    done: list[int] = []
    found = acdc.acdc(case.model.graph, losses, tau=0.05, checkpoint=checkpoint, on_done=done.append)
    np.testing.assert_array_equal(found.kept, whole.kept)
    np.testing.assert_array_equal(found.delta, whole.delta)
    assert (found.loss, found.full_loss) == (whole.loss, whole.full_loss)
    assert resumed and resumed[0] > 0
    assert sum(done) == case.model.graph.n_edges
    with pytest.raises(MiError, match="another search"):
        Checkpoint(checkpoint.path, of="that").load()
    (tmp_path / "state").write_bytes((tmp_path / "state").read_bytes()[:-3])
    with pytest.raises(MiError, match="damaged"):
        checkpoint.load()


def test_a_ranking_over_several_taus() -> None:
    kept = np.array([[1, 0, 1, 0], [1, 0, 0, 1], [1, 0, 0, 0]], dtype=bool)
    score = acdc.ranking([0.1, 0.2, 0.4], kept)
    np.testing.assert_array_equal(score, [0.8, 0.1, 0.2, 0.1])
    np.testing.assert_array_equal(acdc.ranking([0.4, 0.2, 0.1], kept[::-1]), score)


PROGRAMS = [
    ("hist", "key"),
    ("hist", "query"),
    ("induction", "key"),
    ("induction", "query"),
    ("induction", "value"),
    ("xproportion", "resample"),
]


@pytest.mark.parametrize(("program", "case"), PROGRAMS)
@pytest.mark.parametrize("ablation", ["counterfactual"])
def test_compiled_programs_are_recovered_exactly(program: str, case: str, ablation: str) -> None:
    folder = shared("data", "tracr", program)
    truth = json.loads((folder / "ground_truth.json").read_text())[case]
    ready = models.load(str(folder), dtype="float64")
    with (folder / f"pairs_{case}.csv").open() as f:
        records = [
            {
                "id": str(row),
                "clean": pair["clean"],
                "corrupted": pair["corrupted"],
                "answers": [int(pair["correct_idx"])],
                "foils": [int(pair["incorrect_idx"])],
            }
            for row, pair in enumerate(csv.DictReader(f))
        ]
    examples = encode(records, ready.tokenizer)
    losses = acdc.losses_of(problem(ready, examples, metric="logit-diff", ablation=ablation))
    found = acdc.acdc(ready.graph, losses, tau=1e-3)
    names = {name for name, kept in zip(ready.graph.edge_names(), found.kept, strict=True) if kept}
    assert names == set(truth["true_edges"])


@pytest.mark.parametrize("ablation", ["counterfactual", "mean"])
@pytest.mark.parametrize("name", ["gpt2", "mistral-windowed", "qwen2"])
def test_going_on_from_a_block_is_running_the_whole_model(name: str, ablation: str, seed: int) -> None:
    """Circuits without some edges of the last blocks, and any circuits at all, through both executors."""
    case = random_case(name, seed, n=4, lengths=(5, 6))
    graph = case.model.graph
    masks = case.rng.random((5, graph.n_edges)) < 0.5
    for late in (0, graph.n_sources // 2, graph.sink):
        tried = masks | (graph.target < late)
        runs = [
            acdc.losses_of(problem(case.model, case.encoded, ablation=ablation, executor=executor))(tried)
            for executor in ("fast", "generic")
        ]
        np.testing.assert_allclose(runs[0], runs[1], rtol=0, atol=SAME)

"""Mask learners: what they draw, what they minimise, and that they find circuits, stop and resume as they say."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mi.circuit.prune import connected
from mi.core import model as models
from mi.core.circuits import run_circuits
from mi.core.key_values import grouped
from mi.core.search import hard_concrete, masks
from mi.core.search.adam import Adam
from mi.core.search.checkpoint import Checkpoint
from mi.core.search.edge_pruning import EdgePruning
from mi.core.search.problem import Problem, problem
from mi.core.search.subnetwork import SubnetworkProbing
from mi.core.search.ugs import Ugs, Window, on_a_path
from mi.errors import MiError
from mi.tasks import task as tasks
from mi.tasks.encode import encode
from tests.circuit.random_graphs import any_graph
from tests.core.cases import Case, random_case
from tests.oracle import masks as oracle

DRAWS = 40_000
FIVE_SIGMA = 5 / math.sqrt(DRAWS)


def test_hard_concrete_is_the_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log_alpha, u = rng.normal(0, 3, 200), rng.uniform(0.001, 0.999, 200)
    found = hard_concrete.sample(torch.as_tensor(log_alpha), torch.as_tensor(u))
    np.testing.assert_allclose(found, [oracle.hard_concrete(a, b) for a, b in zip(log_alpha, u)], rtol=0, atol=1e-12)


@pytest.mark.parametrize("log_alpha", [-3.0, -0.5, 0.0, 2.0])
def test_a_gate_is_open_as_often_as_the_formula_says(log_alpha: float) -> None:
    u = torch.rand(DRAWS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    open_ones = hard_concrete.sample(torch.full((DRAWS,), log_alpha), u) > 0
    expected = float(hard_concrete.probability_open(torch.tensor(log_alpha, dtype=torch.float64)))
    assert float(open_ones.double().mean()) == pytest.approx(expected, abs=FIVE_SIGMA / 2)


@pytest.mark.parametrize("gate", [0.1, 0.5, 0.9])
def test_a_gate_without_noise(gate: float) -> None:
    log_alpha = torch.tensor(hard_concrete.log_alpha_of(gate), dtype=torch.float64)
    assert float(hard_concrete.deterministic(log_alpha)) == pytest.approx(gate, abs=1e-12)
    assert hard_concrete.log_alpha_of(0.5) == pytest.approx(0)


@pytest.mark.parametrize("alpha", [0.03, 0.3, 0.5, 0.9])
def test_a_windows_mean_is_alpha_and_its_slope_one(alpha: float) -> None:
    """E[m] = alpha and dE[m]/d alpha = 1, by Monte Carlo; each m is the formula's."""
    u = torch.rand(DRAWS, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    at = torch.tensor([alpha], dtype=torch.float64, requires_grad=True)
    m = Window.apply(at, u)
    assert float(m.detach().mean()) == pytest.approx(alpha, abs=FIVE_SIGMA / 2)
    np.testing.assert_allclose(
        m.detach()[:200, 0], [oracle.window(alpha, float(x)) for x in u[:200, 0]], rtol=0, atol=1e-12
    )
    (slope,) = torch.autograd.grad(m.mean(), at)
    assert float(slope) == pytest.approx(1, abs=1e-9)
    means = [np.mean([oracle.window(alpha + step, float(x)) for x in u[:, 0]]) for step in (0.01, -0.01)]
    assert (means[0] - means[1]) / 0.02 == pytest.approx(1, abs=0.1)


def test_a_windows_gradient_is_the_mean_of_the_samples_inside(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    alpha = torch.rand(30, generator=draw, dtype=torch.float64).clamp(0.05, 0.95).requires_grad_(True)
    u = torch.rand(12, 30, generator=draw, dtype=torch.float64)
    weight = torch.randn(12, 30, generator=draw, dtype=torch.float64)
    (found,) = torch.autograd.grad((Window.apply(alpha, u) * weight).mean(0).sum(), alpha)
    for edge in range(30):
        a = float(alpha.detach()[edge])
        inside = [s for s in range(12) if abs(float(u[s, edge]) - a) < a * (1 - a) / 2]
        expected = np.mean([float(weight[s, edge]) for s in inside]) if inside else 0.0
        assert float(found[edge]) == pytest.approx(expected, abs=1e-12)


def test_only_edges_on_a_path_are_drawn(seed: int) -> None:
    graph = random_case("qwen2", 0).model.graph
    rng = np.random.default_rng(seed)
    drawn = rng.random((20, graph.n_edges)) < rng.uniform(0.02, 0.7, (20, 1))
    found = on_a_path(graph, torch.as_tensor(drawn)).numpy()
    np.testing.assert_array_equal(found, [connected(graph, mask) for mask in drawn])
    assert 0 < found.sum() < drawn.sum()
    for _ in range(30):
        graph = any_graph(rng)  # of which nodes may share receivers
        drawn = rng.random((3, graph.n_edges)) < rng.random((3, 1))
        found = on_a_path(graph, torch.as_tensor(drawn)).numpy()
        np.testing.assert_array_equal(found, [connected(graph, mask) for mask in drawn])


def test_heads_that_share_a_receiver_share_its_mask() -> None:
    """Subnetwork probing of nodes: one unit for what each head and MLP writes, one for each receiver of heads."""
    model = grouped(random_case("mistral", 0).model)
    graph, places = model.graph, {name: edge for edge, name in enumerate(model.graph.edge_names())}
    probing = SubnetworkProbing(model, "node", 0.0, 0.0)
    layers, heads, kv_heads = 2, 6, 2
    assert len(probing.parameters["log_alpha"]) == layers * (heads + 1 + heads + 2 * kv_heads)
    probing.parameters["log_alpha"].data.normal_(generator=torch.Generator().manual_seed(0))
    open_ones = probing.gates(lambda n: torch.full((n,), 0.5), 1).detach()
    assert open_ones.shape == (graph.n_edges,)
    ratio = [
        float(open_ones[places[f"{source}->a1.kv1<v>"]] / open_ones[places[f"{source}->m1"]])
        for source in ("a0.h0", "a0.h5", "m0")
    ]
    assert ratio[0] == pytest.approx(ratio[1]) == pytest.approx(ratio[2])


def test_a_price_of_nodes_counts_every_head_that_reads_an_edge() -> None:
    model = grouped(random_case("mistral", 0).model)
    graph, learner = model.graph, Ugs(grouped(random_case("mistral", 0).model), 1e-9, 0.0, 1)
    learner.parameters["theta"].data.fill_(-8.0)
    learner.parameters["theta"].data[graph.edge_index("input->a1.kv1<v>")] = 0.0  # half open
    shut, touched = math.exp(-8) / (1 + math.exp(-8)), 1 + 3  # the input, and three heads
    degree = np.zeros(len(graph.nodes))
    for edge in range(graph.n_edges):
        alpha = 0.5 if graph.edge_name(edge) == "input->a1.kv1<v>" else shut
        for node in (int(graph.source[edge]), *graph.readers(edge)):
            degree[node] += alpha
    assert (degree > 0.4).sum() == touched
    expected = 1e-9 * (0.5 + (graph.n_edges - 1) * shut) + 5e-10 * np.tanh(degree).sum()
    assert float(learner.penalty(torch.zeros(0), 0).detach()) == pytest.approx(expected, rel=1e-5)


def test_adam_is_the_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gradients = rng.normal(size=6)
    down, up = (torch.zeros(1, dtype=torch.float64) for _ in range(2))
    adam = Adam({"down": down, "up": up}, (0.8, 0.95))
    values = []
    for gradient in gradients.tolist():
        each = torch.tensor([gradient], dtype=torch.float64)
        adam.step({"down": each, "up": each}, {"down": 0.1, "up": -0.1})
        values.append(float(down))
    expected = oracle.adam(0.0, gradients.tolist(), 0.1, (0.8, 0.95))
    np.testing.assert_allclose(np.array(values), np.array(expected), rtol=0, atol=1e-12)
    assert float(up) == pytest.approx(-float(down))


def test_masks_of_nodes_are_the_product_of_an_edges_ends() -> None:
    case = random_case("gpt2", 0)
    learner = SubnetworkProbing(case.model, "node", 1.0, 0.1)
    graph = case.model.graph
    parts = [name for name in graph.nodes if name not in ("input", "logits")]
    parts += [name for name in graph.receivers if "<" in name]
    with torch.no_grad():
        order = torch.as_tensor(case.rng.permutation(len(parts)))
        learner.parameters["log_alpha"].copy_(torch.linspace(-1.5, 1.4, len(parts))[order])
    log_alpha = dict(zip(parts, learner.parameters["log_alpha"].tolist(), strict=True))
    u = torch.linspace(0.45, 0.55, len(parts))
    z = {part: oracle.hard_concrete(log_alpha[part], float(x)) for part, x in zip(parts, u, strict=True)}
    gates = learner.gates(lambda *shape: u, 3).detach()
    np.testing.assert_allclose(gates, oracle.node_masks(graph.edge_names(), z), rtol=0, atol=1e-5)
    kept = oracle.node_masks(graph.edge_names(), {part: float(value > 0) for part, value in log_alpha.items()})
    np.testing.assert_array_equal(learner.kept(), kept > 0)


def test_edge_pruning_keeps_as_many_as_its_gates_add_up_to_and_raises_its_target() -> None:
    case = random_case("gpt2", 0)
    learner = EdgePruning(case.model, target=0.9, steps=60, rate=0.2, seed=0)
    with torch.no_grad():
        learner.parameters["log_alpha"].copy_(torch.linspace(-6, 6, case.model.graph.n_edges))
    total = float(hard_concrete.deterministic(learner.parameters["log_alpha"].detach()).sum())
    assert learner.kept().sum() == round(total)
    assert learner.scores()[learner.kept()].min() > learner.scores()[~learner.kept()].max()
    assert [learner.share_at(step) for step in (0, 25, 50, 59)] == pytest.approx([0, 0.5, 1, 1])
    assert learner.rates(0)["log_alpha"] == pytest.approx(0.05)
    assert learner.rates(30)["log_alpha"] == 0.2 and learner.rates(30)["lambda"] < 0
    with torch.no_grad():
        learner.parameters["lambda"].copy_(torch.tensor([2.0, 3.0]))
    over = 1 - float(hard_concrete.probability_open(learner.parameters["log_alpha"].detach()).mean()) - 0.9
    assert float(learner.penalty(torch.zeros(1), 59).detach()) == pytest.approx(2 * over + 3 * over**2, rel=1e-4)


def test_masks_of_nodes_multiply_those_of_edges_and_are_driven_to_a_share_of_their_own(seed: int) -> None:
    case = random_case("gpt2", seed)
    graph = case.model.graph
    learner = EdgePruning(case.model, target=0.6, steps=60, rate=0.2, seed=0, node_target=0.4)
    writers = [name for name in graph.nodes if name not in ("input", "logits")]
    log_alpha, of_nodes = case.rng.permutation(np.linspace(-4, 4, graph.n_edges)), np.linspace(-3, 3, len(writers))
    of_nodes = case.rng.permutation(of_nodes)
    with torch.no_grad():
        learner.parameters["log_alpha"].copy_(torch.as_tensor(log_alpha))
        learner.parameters["log_alpha_node"].copy_(torch.as_tensor(of_nodes))
        learner.parameters["lambda"].copy_(torch.tensor([2.0, 3.0]))
        learner.parameters["lambda_node"].copy_(torch.tensor([5.0, 7.0]))
    sources = [name.split("->")[0] for name in graph.edge_names()]
    node = dict(zip(writers, of_nodes.tolist(), strict=True))
    u = {"edge": case.rng.uniform(0.3, 0.7, graph.n_edges), "node": case.rng.uniform(0.3, 0.7, len(writers))}
    z_node = {name: oracle.hard_concrete(node[name], float(x)) for name, x in zip(writers, u["node"], strict=True)}
    expected = [
        oracle.hard_concrete(a, float(x)) * z_node.get(source, 1.0)
        for a, x, source in zip(log_alpha, u["edge"], sources, strict=True)
    ]
    drawn = iter((u["edge"], u["node"]))
    gates = learner.gates(lambda *shape: torch.as_tensor(next(drawn)), 3).detach()
    np.testing.assert_allclose(gates, expected, rtol=0, atol=1e-5)

    def probability(a: float) -> float:
        return 1 / (1 + math.exp(-(a - 2 / 3 * math.log(0.1 / 1.1))))

    edges = np.mean([probability(a) * probability(node.get(s, math.inf)) for a, s in zip(log_alpha, sources)])
    over, over_nodes = 1 - edges - 0.6 / 2, 1 - np.mean([probability(a) for a in of_nodes]) - 0.4 / 2
    price = 2 * over + 3 * over**2 + 5 * over_nodes + 7 * over_nodes**2
    assert float(learner.penalty(gates, 25).detach()) == pytest.approx(price, rel=1e-4)

    def gate(a: float) -> float:
        return min(1.0, max(0.0, 1.2 / (1 + math.exp(-a)) - 0.1))

    n_nodes = round(sum(gate(a) for a in of_nodes))
    writing = {"input", *sorted(writers, key=lambda name: -node[name])[:n_nodes]}
    n = round(sum(gate(a) * gate(node.get(s, math.inf)) for a, s in zip(log_alpha, sources)))
    ranked = [edge for edge in np.argsort(-log_alpha) if sources[edge] in writing]
    assert set(np.flatnonzero(learner.kept())) == set(ranked[:n])
    assert {sources[edge] for edge in np.flatnonzero(learner.kept())} < {*writers, "input"}
    np.testing.assert_allclose(
        learner.scores(), np.minimum(log_alpha, [node.get(s, math.inf) for s in sources]), rtol=1e-6
    )


def learner_of(method: str, case_model: models.Model, steps: int = 30) -> masks.Learner:
    made: dict[str, Callable[[], masks.Learner]] = {
        "node probing": lambda: SubnetworkProbing(case_model, "node", 1.0, 0.1),
        "edge probing": lambda: SubnetworkProbing(case_model, "edge", 1.0, 0.1),
        "edge pruning": lambda: EdgePruning(case_model, 0.8, steps, 0.3, 0),
        "edge and node pruning": lambda: EdgePruning(case_model, 0.8, steps, 0.3, 0, 0.4),
        "ugs": lambda: Ugs(case_model, 1e-2, 0.2, 3),
    }
    return made[method]()


METHODS = ["node probing", "edge probing", "edge pruning", "edge and node pruning", "ugs"]


class KilledError(Exception):
    """In the place of a kill."""


def small(case: Case) -> Problem:
    return problem(case.model, case.encoded, batch_size=2)


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_search_that_was_killed_ends_with_the_same_result(
    method: str, constants: bool, tmp_path: Path, seed: int
) -> None:
    case = random_case("llama", seed, n=5, double=False)
    last = int(case.rng.integers(8, 28))

    def search(path: Path | None, killed_after: int = 10**6) -> tuple[masks.Learner, masks.Learned]:
        learner, done, work = learner_of(method, case.model), 0, small(case)

        def on_done(n: int) -> None:
            nonlocal done
            done += n
            if done >= killed_after:
                raise KilledError

        start = masks.Constants(work.prepared(0).replaced, 0.01) if constants else None
        state = Checkpoint(str(path), every=7, of="this") if path else Checkpoint()
        got = masks.learn(work, learner, steps=30, seed=seed, constants=start, checkpoint=state, on_done=on_done)
        return learner, got

    expected, whole = search(None)
    with pytest.raises(KilledError):
        search(tmp_path / "state", killed_after=last)
    found, resumed = search(tmp_path / "state")
    np.testing.assert_array_equal(found.scores(), expected.scores())
    assert resumed.loss == whole.loss
    assert (resumed.steps, resumed.stopped) == (whole.steps, whole.stopped)
    if constants:
        assert resumed.constants is not None and whole.constants is not None
        np.testing.assert_array_equal(resumed.constants.mlp[0].detach(), whole.constants.mlp[0].detach())
        start = small(case).prepared(0).replaced.mlp[0].mean((0, 1))
        assert float((resumed.constants.mlp[0].detach() - start).abs().max()) > 0
    again, finished = search(tmp_path / "state")
    np.testing.assert_array_equal(again.scores(), expected.scores())
    assert finished.loss == whole.loss


def test_a_seed_is_a_search_of_its_own() -> None:
    case = random_case("gpt2", 0, double=False)
    scores = []
    for seed in (0, 0, 1):
        learner = learner_of("edge probing", case.model)
        masks.learn(small(case), learner, steps=5, seed=seed)
        scores.append(learner.scores())
    np.testing.assert_array_equal(scores[0], scores[1])
    assert (scores[0] != scores[2]).any()


def test_a_circuit_that_does_not_change_ends_the_search_and_it_says_so() -> None:
    case = random_case("gpt2", 0, double=False)
    learner = SubnetworkProbing(case.model, "edge", 1.0, rate=0.0)
    got = masks.learn(small(case), learner, steps=50, patience=6)
    assert got.stopped is not None and "6 steps" in got.stopped
    assert got.steps == 7
    assert masks.learn(small(case), learner, steps=9).stopped is None


def test_a_search_that_resumes_remembers_for_how_long_nothing_changed(tmp_path: Path) -> None:
    case = random_case("gpt2", 0, double=False)
    learner = SubnetworkProbing(case.model, "edge", 1.0, rate=0.0)
    state = Checkpoint(str(tmp_path / "state"), every=4)
    masks.learn(small(case), learner, steps=4, patience=6, checkpoint=state)
    assert masks.learn(small(case), learner, steps=50, patience=6, checkpoint=state).steps == 7


def test_a_number_that_is_not_finite_is_named() -> None:
    case = random_case("gpt2", 0, double=False)
    learner = learner_of("edge probing", case.model)
    with torch.no_grad():
        learner.parameters["log_alpha"][0] = float("nan")
    with pytest.raises(MiError, match="not finite"):
        masks.learn(small(case), learner, steps=3)


@pytest.mark.parametrize(
    ("make", "steps"),
    [
        (lambda model: SubnetworkProbing(model, "node", 1.0, 0.2), 40),
        (lambda model: SubnetworkProbing(model, "edge", 1.0, 0.2), 40),
        (lambda model: EdgePruning(model, 0.7, 80, 0.3, 0), 80),
        (lambda model: EdgePruning(model, 0.7, 80, 0.3, 0, 0.3), 80),
        (lambda model: Ugs(model, 1e-3, 0.1, 6), 40),
    ],
    ids=METHODS,
)
def test_what_is_found_beats_random_circuits_of_its_size(
    make: Callable[[models.Model], masks.Learner], steps: int
) -> None:
    """On the embedded model and its default task, learned on other examples than it is judged on."""
    model = models.load()
    assert model.tokenizer is not None
    records, _ = tasks.make("ioi", 12, 0, None, model.tokenizer)
    examples = encode(records, model.tokenizer)
    train, validation = ([e for e, r in zip(examples, records) if r["split"] == s] for s in ("train", "validation"))
    learner = make(model)
    masks.learn(problem(model, train, batch_size=6), learner, steps=steps)
    kept = connected(model.graph, learner.kept())
    rng = np.random.default_rng(0)
    random = np.array([rng.permutation(kept) for _ in range(5)])
    found = run_circuits(model, validation, np.concatenate([kept[None], random]))
    faithfulness = (found.value.mean(1) - found.corrupted.mean()) / (found.clean.mean() - found.corrupted.mean())
    assert kept.mean() < 0.6
    assert faithfulness[0] > 0.8
    assert faithfulness[1:].max() < 0.5

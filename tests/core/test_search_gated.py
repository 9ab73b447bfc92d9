"""Runs under gates: circuits where gates are 0 and 1, the oracle where they are anything, gradients everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mi.core import gated, replacement
from mi.core.attribute import attribute
from mi.core.batches import make_batch
from mi.core.circuits import run_circuits
from mi.core.gated import Gates, Prepared
from mi.core.metrics import METRICS
from mi.core.outputs import Outputs
from tests.core.cases import ADAPTED, Case, random_case
from tests.oracle.batches import edited, groups, replacements
from tests.oracle.transformer import Edit

SAME = 1e-10
METRIC = METRICS["logit-diff"]


def ready(case: Case, ablation: str = "counterfactual", executor: str = "auto") -> tuple[Gates, Prepared]:
    rows = list(range(len(case.examples)))
    runner = case.model.executor(executor)
    instead = replacement.make(ablation, case.model, runner, case.encoded, [rows])
    batch = make_batch(case.encoded, rows, case.model.device)
    return Gates(case.model, runner), gated.prepare(case.model, runner, instead, batch)


def metrics(runs: Gates, prepared: Prepared, gates: torch.Tensor, constants: Outputs | None = None) -> torch.Tensor:
    return runs.metric(METRIC, prepared, runs.logits(prepared, gates, constants))


@pytest.mark.parametrize("executor", ["fast", "generic"])
@pytest.mark.parametrize("name", ADAPTED)
def test_gates_of_zero_and_one_are_a_circuit(name: str, executor: str) -> None:
    case = random_case(name, 0)
    for ablation in ("counterfactual", "zero", "mean-positional"):
        masks = case.rng.random((4, case.model.graph.n_edges)) < np.array([[0.0], [1.0], [0.1], [0.6]])
        expected = run_circuits(case.model, case.encoded, masks, ablation=ablation).value
        runs, prepared = ready(case, ablation, executor)
        gates = torch.as_tensor(masks, dtype=torch.float64)
        with torch.no_grad():
            alone = [metrics(runs, prepared, row).numpy() for row in gates]
            each = gates.repeat_interleave(len(case.examples), 0)  # copy by copy, a gate a row
            together = metrics(runs, prepared, each).view(4, -1).numpy()
        np.testing.assert_allclose(alone, expected, rtol=0, atol=SAME)
        np.testing.assert_allclose(together, expected, rtol=0, atol=SAME)


@pytest.mark.parametrize("ablation", ["counterfactual", "zero", "mean"])
@pytest.mark.parametrize("name", ADAPTED)
def test_fractions_are_the_oracles(name: str, ablation: str, seed: int) -> None:
    """Every example under its own random gates, some beyond 0 and 1."""
    case = random_case(name, seed)
    values = case.rng.uniform(-0.2, 1.2, (case.model.graph.n_edges, len(case.examples)))
    (group,) = every = groups(case.weights, case.examples)
    dense = np.zeros((case.model.graph.n_sources, len(case.model.graph.receivers), len(case.examples)))
    dense[tuple(case.as_matrix(np.ones(len(values), dtype=bool)).nonzero())] = np.nan
    for row, (source, receiver) in enumerate(cells(case)):
        dense[source, receiver] = values[row]
    replaced = replacements(ablation, every, group)
    expected = group.metric("logit-diff", edited(case.weights, group, Edit(torch.as_tensor(dense), replaced)).logits)
    runs, prepared = ready(case, ablation)
    with torch.no_grad():
        found = metrics(runs, prepared, torch.as_tensor(values.T.copy()))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=1e-8)


def cells(case: Case) -> list[tuple[int, int]]:
    """Each of the package's edges as a cell of the oracle."""
    every = np.arange(case.model.graph.n_edges)
    return [tuple(np.argwhere(case.as_matrix(every == edge))[0]) for edge in every]


@pytest.mark.parametrize("ablation", ["counterfactual", "zero", "mean"])
@pytest.mark.parametrize("name", ADAPTED)
def test_the_gradient_at_one_is_eap(name: str, ablation: str, seed: int) -> None:
    case = random_case(name, seed)
    expected = attribute(case.model, case.encoded, method="eap", ablation=ablation).edge
    runs, prepared = ready(case, ablation)
    shared = torch.ones(case.model.graph.n_edges, dtype=torch.float64, requires_grad=True)
    (of_all,) = torch.autograd.grad(metrics(runs, prepared, shared).mean(), shared)
    own = torch.ones(len(case.examples), case.model.graph.n_edges, dtype=torch.float64, requires_grad=True)
    (of_each,) = torch.autograd.grad(metrics(runs, prepared, own).mean(), own)
    np.testing.assert_allclose(of_all.numpy(), expected, rtol=0, atol=SAME)
    np.testing.assert_allclose(of_each.sum(0).numpy(), expected, rtol=0, atol=SAME)


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral-windowed"])
@pytest.mark.parametrize("each", [False, True])
def test_gradients_are_finite_differences(name: str, each: bool, seed: int) -> None:
    """Of gates anywhere, for all rows or for each, and of learnt constants."""
    case = random_case(name, seed, n=3)
    runs, prepared = ready(case)
    draw = torch.Generator().manual_seed(seed)
    rows = (2 * len(case.examples),) if each else ()  # two copies of every example
    gates = torch.rand(*rows, case.model.graph.n_edges, generator=draw, dtype=torch.float64)

    def noise(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(1, 1, like.shape[-1], generator=draw, dtype=torch.float64)

    constants = prepared.replaced.map(noise)
    leaves = [gates, constants.embed, *constants.z, *constants.mlp]
    for leaf in leaves:
        leaf.requires_grad_(True)
    gradients = torch.autograd.grad(metrics(runs, prepared, gates, constants).sum(), leaves)
    step = 1e-5
    for leaf, gradient in zip(leaves, gradients, strict=True):
        direction = torch.randn(leaf.shape, generator=draw, dtype=torch.float64)
        values = []
        with torch.no_grad():
            for sign in (1, -1):
                leaf += sign * step * direction
                values.append(metrics(runs, prepared, gates, constants).sum())
                leaf -= sign * step * direction
        slope = float(values[0] - values[1]) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_constants_are_what_dropped_edges_carry() -> None:
    """Constants that are the mean of every node give what the mean ablation gives."""
    case = random_case("qwen2", 0)
    gates = torch.as_tensor(case.rng.random(case.model.graph.n_edges))
    runs, prepared = ready(case, "mean")
    other, plain = ready(case)
    with torch.no_grad():
        expected = metrics(runs, prepared, gates)
        found = metrics(other, plain, gates, prepared.replaced)
    torch.testing.assert_close(found, expected, rtol=0, atol=SAME)
    assert float((expected - metrics(other, plain, gates).detach()).abs().max()) > 1e-3

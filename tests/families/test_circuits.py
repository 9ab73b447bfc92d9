"""Circuits of every family against the brute force: the library's own modules run edge by edge, in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mi.core.circuits import run_circuits
from mi.core.model import wrap
from mi.tasks.plan import Budget
from tests.examples import encoded, random_examples
from tests.families.cases import FamilyCase, family_case, largest
from tests.families.models import FAMILIES, POST_NORM, VOCABULARY, random_model

ABLATIONS = ("counterfactual", "zero", "mean")
CIRCUITS = 3


def replacement(case: FamilyCase, ablation: str) -> list[torch.Tensor]:
    """What each source writes instead, [example or 1, position or 1, d]."""
    if ablation == "counterfactual":
        return case.record("corrupted").sources
    clean = case.record("clean").sources
    return [0 * own[:1, :1] if ablation == "zero" else own.mean((0, 1), keepdim=True) for own in clean]


def random_gates(case: FamilyCase) -> tuple[np.ndarray, list[torch.Tensor]]:
    """Random choices of edges: as the package's masks, and as the oracle's gates."""
    cells = case.cells()
    shares = np.linspace(0.2, 0.8, CIRCUITS)
    masks = np.stack([case.rng.random(len(cells)) < share for share in shares])
    gates = []
    for mask in masks:
        gate = 0 * case.brute.full()
        for cell, kept in zip(cells, mask, strict=True):
            gate[cell] = float(kept)
        gates.append(gate)
    return masks, gates


@pytest.mark.parametrize("name", FAMILIES)
def test_random_circuits(name: str, seed: int) -> None:
    case = family_case(name, seed)
    masks, gates = random_gates(case)
    for ablation in ABLATIONS:
        instead = replacement(case, ablation)
        expected = -case.losses([*gates, case.brute.full(), 0 * case.brute.full()], instead)
        found = run_circuits(case.model, case.encoded, masks, ablation=ablation)
        wanted = np.stack([*found.value, found.clean, found.corrupted])
        np.testing.assert_allclose(wanted, expected, rtol=0, atol=1e-9 * largest(expected), err_msg=ablation)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_other_executor_runs_the_same_circuits(name: str) -> None:
    case = family_case(name, 3)
    masks, _ = random_gates(case)
    fast, generic = (run_circuits(case.model, case.encoded, masks, executor=own) for own in ("fast", "generic"))
    np.testing.assert_allclose(generic.value, fast.value, rtol=0, atol=1e-12 * largest(fast.value))
    np.testing.assert_allclose(generic.clean, fast.clean, rtol=0, atol=1e-12 * largest(fast.clean))


@pytest.mark.parametrize("name", [*POST_NORM, "gptj", "falcon-new"])
def test_circuits_of_some_neurons(name: str, seed: int) -> None:
    """Of a head, the dimensions that it writes before a post-norm."""
    case = family_case(name, seed)
    masks, gates = random_gates(case)
    shape = (len(case.brute.source_names), case.brute.d_model)
    neurons = case.rng.random((len(masks), *shape)) < 0.6
    instead = case.record("corrupted").sources
    found = run_circuits(case.model, case.encoded, masks, neurons=neurons).value
    for value, gate, kept in zip(found, gates, neurons, strict=True):
        with torch.no_grad():
            logits = case.brute.run(case.ids("clean"), gate, instead, neurons=torch.tensor(kept)).logits
        expected = -case.loss(logits).numpy()
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-9 * largest(expected))


@pytest.mark.parametrize("name", POST_NORM)
def test_a_table_too_small_for_all_positions_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = family_case(name, 4)
    masks, _ = random_gates(case)
    whole = run_circuits(case.model, case.encoded, masks).value
    small = replace(case.model, budget=Budget(bytes=20_000))
    found = run_circuits(small, case.encoded, masks).value
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-12 * largest(whole))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_full_and_the_empty_circuit_are_the_untouched_model_in_float32(name: str, seed: int) -> None:
    """Every logit against that of token 0."""
    (example,) = random_examples(np.random.default_rng(seed), 1, VOCABULARY, (9,), read_last=False)
    tokens = torch.tensor([example.clean, example.corrupted])
    with torch.no_grad():
        logits = random_model(name, seed)(tokens, use_cache=False).logits[:, example.read].numpy()
    model = wrap(random_model(name, seed))
    several = [replace(example, answers=(token,), foils=(0,)) for token in range(1, VOCABULARY)]
    masks = np.stack([np.ones(model.graph.n_edges, dtype=bool), np.zeros(model.graph.n_edges, dtype=bool)])
    found = run_circuits(model, encoded(several), masks)
    expected = logits[:, 1:] - logits[:, :1]
    np.testing.assert_allclose(found.value, expected, rtol=0, atol=2e-5 * largest(logits))
    np.testing.assert_allclose([found.clean, found.corrupted], expected, rtol=0, atol=2e-5 * largest(logits))

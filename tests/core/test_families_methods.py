"""Attribution on every family: sums over edges, derivatives of gates, and what the QK fix really patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mi.core.attribute import attribute
from mi.errors import MiError
from tests.core.test_families_search import brute_losses, losses
from tests.families.cases import FamilyCase, family_case, largest
from tests.families.models import FAMILIES
from tests.seeds import FRESH

SAME = 1e-9


def of_nodes(case: FamilyCase, edges: np.ndarray) -> np.ndarray:
    return np.bincount(case.model.graph.source[: len(edges)], edges, minlength=case.model.graph.n_sources)


def slopes(case: FamilyCase, gates: np.ndarray) -> np.ndarray:
    """Minus the derivative of the mean loss by every gate: EAP's edge scores at these gates."""
    own = torch.as_tensor(gates, dtype=torch.float64).requires_grad_(True)
    (found,) = torch.autograd.grad(losses(case, own).mean(), own)
    return -found.numpy()


@pytest.mark.parametrize("name", FAMILIES)
def test_eap_is_the_derivative_of_the_gates_and_nodes_the_sum_of_their_edges(name: str) -> None:
    case = family_case(name, FRESH)
    edges = attribute(case.model, case.encoded, method="eap").scores
    expected = slopes(case, np.ones(case.model.graph.n_edges))
    np.testing.assert_allclose(edges, expected, rtol=0, atol=SAME * largest(expected))
    nodes = attribute(case.model, case.encoded, method="eap", level="node").scores
    np.testing.assert_allclose(nodes, of_nodes(case, edges), rtol=0, atol=SAME * largest(edges))
    neurons = attribute(case.model, case.encoded, method="eap", level="neuron").scores
    np.testing.assert_allclose(neurons.sum(1), nodes, rtol=0, atol=SAME * largest(edges))


@pytest.mark.parametrize("name", FAMILIES)
def test_integration_over_activations_is_that_of_a_groups_gates(name: str) -> None:
    """Each group's own edges, at gates that let through a part of what it writes."""
    case = family_case(name, FRESH)
    graph, places = case.model.graph, case.model.layout
    groups = [[places.input], *([*rows.heads] for rows in places.layers), *([rows.mlp] for rows in places.layers)]
    expected = np.zeros(graph.n_edges)
    for group in groups:
        own = np.isin(graph.source[: graph.n_edges], group)
        for alpha in (0.25, 0.75):
            expected[own] += 0.5 * slopes(case, np.where(own, alpha, 1.0))[own]
    options = {"method": "eap-ig-activations", "steps": 2, "rule": "midpoint"}
    found = attribute(case.model, case.encoded, **options).scores
    np.testing.assert_allclose(found, expected, rtol=0, atol=SAME * largest(expected))
    nodes = attribute(case.model, case.encoded, level="node", **options).scores
    np.testing.assert_allclose(nodes, of_nodes(case, expected), rtol=0, atol=SAME * largest(expected))


UNRULED = ("mixtral", "qwen3-moe")  # what experts compute is out of a rule's reach
QUERY_NORMS = ("qwen3", "gemma3", "olmo2", "stablelm")


@pytest.mark.parametrize("name", FAMILIES)
def test_under_relps_rules_nodes_are_the_sum_of_their_edges(name: str) -> None:
    case = family_case(name, FRESH)
    for rules in (("ln", "identity", "half"), ("ln", "identity", "half", "pattern")):
        refused = name in UNRULED or (name in QUERY_NORMS and "pattern" not in rules)
        if refused or (name.startswith("falcon") and "pattern" in rules):
            with pytest.raises(MiError, match="rule"):
                attribute(case.model, case.encoded, method="relp", backward=rules)
            continue
        edges = attribute(case.model, case.encoded, method="relp", backward=rules).scores
        nodes = attribute(case.model, case.encoded, method="relp", backward=rules, level="node").scores
        np.testing.assert_allclose(nodes, of_nodes(case, edges), rtol=0, atol=SAME * largest(edges))
        plain = attribute(case.model, case.encoded, method="eap").scores
        assert np.abs(plain - edges).max() > 0.01 * largest(edges)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_qk_fix_is_what_heads_really_mix(name: str) -> None:
    """Of two layers only the first is dropped for edges into the second, and that changes no gradient there."""
    case = family_case(name, FRESH, n=1, n_layers=2)
    if name == "olmo2":
        with pytest.raises(MiError, match="norm"):
            attribute(case.model, case.encoded, method="atp-star", level="edge")
        return
    found = attribute(case.model, case.encoded, method="atp-star", level="edge").scores
    clean, corrupted = case.record("clean").sources, case.record("corrupted").sources
    rows = [row for row, edge in enumerate(case.model.graph.edge_names()) if "->a1." in edge and "<v>" not in edge]
    for row in case.rng.choice(rows, 4, replace=False).tolist():
        cell = case.cells()[row]
        gates = case.brute.full()
        gates[cell] = 0
        name_of_head = case.brute.receiver_names[cell[1]].partition("<")[0]
        head = case.brute.source_names.index(name_of_head)
        with torch.no_grad():
            moved = case.brute.run(case.ids("clean"), gates, corrupted).sources[head]
        own = case.brute.full().requires_grad_(True)
        replacement = [moved if source == head else value for source, value in enumerate(clean)]
        run = case.brute.run(case.ids("clean"), own, replacement)
        (slope,) = torch.autograd.grad(case.loss(run.logits).sum(), own)
        assert found[row] == pytest.approx(abs(float(slope[head].sum())), abs=SAME * largest(found))


def test_the_brute_force_agrees_on_the_derivative() -> None:
    case = family_case("gemma2", FRESH)
    own = torch.ones(case.model.graph.n_edges, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(brute_losses(case, own).mean(), own)
    found = slopes(case, np.ones(len(own)))
    np.testing.assert_allclose(found, -expected.numpy(), rtol=0, atol=SAME * largest(found))

"""Keys and values that heads share, as receivers that they share: against the brute force, whose heads have their own.

An edge into such a receiver is a gate on all of its heads at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
import torch
from torch import Tensor

from mi.core.attribute import attribute
from mi.core.circuits import run_circuits
from mi.core.key_values import as_asked, grouped
from mi.core.model import Model, wrap
from mi.core.replacement import make
from mi.core.search import acdc
from mi.core.search.problem import problem
from mi.errors import MiError
from mi.tasks.shape import graph_of, n_kv_heads
from tests.families.cases import FamilyCase, family_case, largest
from tests.families.models import FAMILIES, random_model
from tests.oracle import key_values as oracle

# Projections of their own; one for all, side by side; one, group by group; one key for all heads; norms after heads.
NAMES = ("llama", "phi3", "falcon-new", "falcon", "gemma2", "olmo2")
NUDGE = 1e-5


@dataclass(frozen=True)
class SharedCase:
    case: FamilyCase
    model: Model

    @cached_property
    def names(self) -> list[tuple[str, str]]:
        """The package's edges."""
        return [tuple(name.split("->")) for name in self.model.graph.edge_names()]  # type: ignore[misc]

    @cached_property
    def cells(self) -> list[list[oracle.Cell]]:
        """For each of them, the oracle's (source, receiver)."""
        brute = self.case.brute
        return [
            [
                (brute.source_names.index(source), brute.receiver_names.index(own))
                for own in oracle.own_receivers(receiver, brute.heads, brute.grouped)
            ]
            for source, receiver in self.names
        ]

    def gates(self, of_edges: Tensor) -> Tensor:
        """Gates of the oracle from those of the package's edges."""
        flat = [(cell, edge) for edge, cells in enumerate(self.cells) for cell in cells]
        sources, receivers = (torch.tensor([cell[end] for cell, _ in flat]) for end in (0, 1))
        full = torch.zeros_like(self.case.brute.full())
        return full.index_put((sources, receivers), of_edges[torch.tensor([edge for _, edge in flat])])

    def losses(self, masks: np.ndarray, prompt: str = "clean", instead: str = "corrupted") -> np.ndarray:
        """Of circuits of the package's edges, [circuit, example]."""
        gates = [self.gates(torch.as_tensor(mask, dtype=torch.float64)) for mask in masks]
        return self.case.losses(gates, self.case.record(instead).sources, prompt)


def shared_case(name: str, seed: int, **shape: int) -> SharedCase:
    case = family_case(name, seed, **shape)
    return SharedCase(case, grouped(case.model))


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_has_these_edges(name: str) -> None:
    made = shared_case(name, 0)
    brute, graph = made.case.brute, made.model.graph
    expected = oracle.edge_names(brute.n_layers, brute.heads, brute.grouped, brute.family.parallel)
    assert brute.grouped < brute.heads
    assert sorted(made.names) == sorted(expected)
    assert sorted(cell for cells in made.cells for cell in cells) == sorted(made.case.cells())
    assert graph.n_edges < made.case.model.graph.n_edges


@pytest.mark.parametrize("name", NAMES)
def test_eap_is_the_slope_of_a_gate_that_heads_share(name: str, seed: int) -> None:
    made = shared_case(name, seed)
    case = made.case
    found = attribute(made.model, case.encoded, method="eap").edge
    of_edges = torch.ones(len(found), dtype=torch.float64, requires_grad=True)
    run = case.brute.run(case.ids("clean"), made.gates(of_edges), case.record("corrupted").sources)
    (slope,) = torch.autograd.grad(case.loss(run.logits).mean(), of_edges)
    np.testing.assert_allclose(found, -slope.numpy(), rtol=0, atol=1e-9 * largest(found))
    several = [edge for edge, cells in enumerate(made.cells) if len(cells) > 1]
    chosen = case.rng.choice(several, 6, replace=False)
    moved = np.ones((2 * len(chosen), len(found)))
    for row, edge in enumerate(chosen):
        moved[2 * row, edge], moved[2 * row + 1, edge] = 1 + NUDGE, 1 - NUDGE
    losses = made.losses(moved).mean(1)
    np.testing.assert_allclose(
        found[chosen], (losses[1::2] - losses[::2]) / (2 * NUDGE), rtol=0, atol=1e-5 * largest(found)
    )


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *(("llama", method) for method in ("eap", "eap-ig", "eap-ig-activations", "clean-corrupted", "relp")),
        ("falcon-new", "eap-ig"),
        ("gemma2", "eap-ig-activations"),
    ],
)
def test_scores_are_sums_over_the_heads_that_share(name: str, method: str, seed: int) -> None:
    """Spec I10, of every method whose scores are linear in the gradient."""
    made = shared_case(name, seed)
    options = {"steps": 3} if "ig" in method else {}
    alone, together = (
        attribute(model, made.case.encoded, method=method, **options)  # type: ignore[arg-type]
        for model in (made.case.model, made.model)
    )
    by_cell = dict(zip(made.case.cells(), alone.edge, strict=True))
    expected = [sum(by_cell[cell] for cell in cells) for cells in made.cells]
    np.testing.assert_allclose(together.edge, expected, rtol=0, atol=1e-12 * largest(alone.edge))
    assert largest(together.edge) > 0
    assert together.attributed == pytest.approx(alone.attributed, nan_ok=True)
    np.testing.assert_allclose(together.shards.sum(0) / together.shard_n.sum(), expected, rtol=0, atol=1e-9)


def test_what_heads_share_has_one_share_of_the_flow(seed: int) -> None:
    """Information flow routes: shares of what a receiver reads, so one that is read twice counts once."""
    made = shared_case("llama", seed)
    alone, together = (attribute(m, made.case.encoded, method="ifr").edge for m in (made.case.model, made.model))
    by_cell = dict(zip(made.case.cells(), alone, strict=True))
    expected = [by_cell[cells[0]] for cells in made.cells]
    np.testing.assert_allclose(together, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("direction", ["noising", "denoising"])
def test_exact_patching_patches_all_heads_that_share_at_once(name: str, direction: str, seed: int) -> None:
    made = shared_case(name, seed)
    ends = ("clean", "corrupted") if direction == "noising" else ("corrupted", "clean")
    n = len(made.names)
    losses = made.losses(np.vstack([np.ones((1, n)), 1 - np.eye(n)]), *ends).mean(1)
    expected = (losses[1:] - losses[0]) * (1 if direction == "noising" else -1)
    found = attribute(made.model, made.case.encoded, method="exact", direction=direction).edge
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * largest(expected))
    alone = attribute(made.case.model, made.case.encoded, method="exact", direction=direction).edge
    by_cell = dict(zip(made.case.cells(), alone, strict=True))
    summed = np.array([sum(by_cell[cell] for cell in cells) for cells in made.cells])
    assert np.abs(summed - found).max() > 1e-4 * largest(found)  # which is another number


@pytest.mark.parametrize("name", NAMES)
def test_circuits_are_runs_of_their_gates(name: str, seed: int) -> None:
    made = shared_case(name, seed)
    n = len(made.names)
    masks = np.stack([made.case.rng.random(n) < share for share in (0.2, 0.5, 0.8, 2.0, -1.0)])
    expected = -made.losses(masks.astype(float))
    for executor in ("fast", "generic") if name == "llama" else ("fast",):
        found = run_circuits(made.model, made.case.encoded, masks, executor=executor)
        np.testing.assert_allclose(found.value, expected, rtol=0, atol=1e-9 * largest(expected))
        np.testing.assert_allclose(found.value[3], found.clean, rtol=0, atol=1e-9 * largest(expected))
        np.testing.assert_allclose(found.value[4], found.corrupted, rtol=0, atol=1e-9 * largest(expected))


@pytest.mark.parametrize("name", ["llama", "falcon-new", "gemma2"])
def test_gates_and_their_gradients(name: str, seed: int) -> None:
    """What learns a mask: one gate for all heads that share, or one for each example."""
    made = shared_case(name, seed)
    case, model = made.case, made.model
    of_edges = torch.as_tensor(case.rng.random(len(made.names))).requires_grad_(True)
    run = case.brute.run(case.ids("clean"), made.gates(of_edges), case.record("corrupted").sources)
    loss = case.loss(run.logits)
    (slope,) = torch.autograd.grad(loss.mean(), of_edges)
    work = problem(model, case.encoded, metric="logit-diff")
    assert work.instead == make("counterfactual", model, work.executor, case.encoded, work.plan, lambda n: None)
    ready, gates = work.prepared(0), of_edges.detach().requires_grad_(True)
    with torch.enable_grad():
        found = work.loss(ready, work.gates.logits(ready, gates), "gated").flatten()
        (own,) = torch.autograd.grad(found.mean(), gates)
    order = list(ready.batch.rows)
    np.testing.assert_allclose(found.detach(), loss.detach()[order], rtol=0, atol=1e-9)
    np.testing.assert_allclose(own, slope, rtol=0, atol=1e-9 * largest(slope.numpy()))


@pytest.mark.parametrize("name", ["falcon-new"])
def test_acdc_tries_them_together(name: str, seed: int) -> None:
    made = shared_case(name, seed)
    brute = made.case.brute
    sources = {source: row for row, source in enumerate(brute.source_names)}

    def loss(kept: set[int]) -> float:
        mask = np.zeros((1, len(made.names)))
        mask[0, sorted(kept)] = 1
        return float(made.losses(mask).mean())

    edges = [(sources[source], receiver) for source, receiver in made.names]
    kept, delta = oracle.acdc(edges, oracle.visits(brute.n_layers, brute.heads, brute.grouped), loss, 0.05)
    losses = acdc.losses_of(problem(made.model, made.case.encoded, metric="logit-diff"))
    found = acdc.acdc(made.model.graph, losses, tau=0.05)
    assert set(np.flatnonzero(found.kept).tolist()) == kept
    assert 0 < len(kept) < len(edges)
    np.testing.assert_allclose(found.delta, delta, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_configuration_says_what_heads_share(name: str) -> None:
    """Before anything is loaded, for estimates."""
    module = random_model(name, 0)
    model = grouped(wrap(module))
    assert graph_of(module.config.to_dict(), grouped=True).head() == model.graph.head()
    assert n_kv_heads(module.config.to_dict()) == model.adapter.n_kv_heads


def test_a_model_whose_heads_share_nothing_has_the_usual_graph() -> None:
    model = family_case("gpt2", 0).model
    assert grouped(model).graph.head() == model.graph.head()


def test_the_model_takes_the_graph_that_is_asked_for_or_the_streams() -> None:
    model = family_case("llama", 0).model
    own, shared = model.graph, grouped(model).graph
    assert as_asked(model, None, None, "m").graph.digest == own.digest
    assert as_asked(model, "query", None, "m").graph.digest == own.digest
    assert as_asked(model, "grouped", None, "m").graph.digest == shared.digest
    assert as_asked(model, None, shared.head(), "m").graph.digest == shared.digest
    assert as_asked(model, None, own.head(), "m").graph.digest == own.digest
    assert as_asked(model, "grouped", own.head(), "m").graph.digest == shared.digest  # of a cache
    for other in (family_case("neox", 0).model.graph, grouped(family_case("gemma2", 0).model).graph):
        for kv in (None, "query", "grouped"):
            with pytest.raises(MiError, match="another graph"):
                as_asked(model, kv, other.head(), "m")

"""Runs under gates on every family against the brute force, with their gradients; and ACDC against a loop over it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mi.core import gated, replacement
from mi.core.batches import make_batch
from mi.core.gated import Gates
from mi.core.metrics import METRICS
from mi.core.outputs import Outputs
from mi.core.search import acdc
from mi.core.search.problem import problem
from tests.families.cases import FamilyCase, family_case
from tests.families.models import FAMILIES
from tests.seeds import FRESH

SAME = 1e-9


def losses(case: FamilyCase, gates: torch.Tensor) -> torch.Tensor:
    """The package's loss of every example, one vector of gates for all or one for each."""
    rows = list(range(len(case.examples)))
    runner = case.model.executor()
    instead = replacement.make("counterfactual", case.model, runner, case.encoded, [rows])
    prepared = gated.prepare(case.model, runner, instead, make_batch(case.encoded, rows, case.model.device))
    runs = Gates(case.model, runner)
    return -runs.metric(METRICS["logit-diff"], prepared, runs.logits(prepared, gates))


def brute_losses(case: FamilyCase, gates: torch.Tensor) -> torch.Tensor:
    """The same of gates [edge] or [edge, example] by the brute force, with their graph."""
    cells = torch.tensor(case.cells())
    dense = torch.ones(len(case.brute.source_names), len(case.brute.receiver_names), *gates.shape[1:]).double()
    dense = dense.index_put((cells[:, 0], cells[:, 1]), gates)
    run = case.brute.run(case.ids("clean"), dense, case.record("corrupted").sources)
    return case.loss(run.logits)


@pytest.mark.parametrize("name", FAMILIES)
def test_fractions_and_their_gradients_are_the_brute_force(name: str) -> None:
    case = family_case(name, FRESH)
    n_edges = case.model.graph.n_edges
    values = torch.as_tensor(case.rng.uniform(-0.2, 1.2, (n_edges, len(case.examples))))
    with torch.no_grad():
        np.testing.assert_allclose(losses(case, values.T.contiguous()), brute_losses(case, values), rtol=0, atol=SAME)
    ours, theirs = (torch.rand(n_edges, generator=torch.Generator().manual_seed(FRESH)).double() for _ in range(2))
    found, expected = (
        torch.autograd.grad(run(case, own.requires_grad_(True)).sum(), own)[0]
        for run, own in ((losses, ours), (brute_losses, theirs))
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=SAME * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["neox", "falcon-new", "gemma2", "olmo2", "mixtral", "opt"])
def test_acdc_removes_what_the_loop_removes(name: str) -> None:
    case = family_case(name, FRESH, n=2, length=4, n_layers=1) if name != "gemma2" else family_case(name, FRESH, n=1)
    graph, cells, corrupted = case.model.graph, case.cells(), case.record("corrupted").sources
    ours = acdc.losses_of(problem(case.model, case.encoded, metric="logit-diff"))
    found = acdc.acdc(graph, ours, tau=0.05, apart=case.model.adapter.roles.heads_apart)
    kept, loss = np.ones(graph.n_edges, dtype=bool), None
    for edge in [None, *acdc.visits(graph, "reverse", 0).tolist()]:
        tried = kept.copy()
        if edge is not None:
            tried[edge] = False
        gates = case.brute.full()
        for row in np.flatnonzero(~tried):
            gates[cells[row]] = 0
        now = float(case.losses([gates], corrupted).mean())
        if loss is None or now - loss < 0.05:
            kept, loss = tried, now
    np.testing.assert_array_equal(found.kept, kept)
    assert found.loss == pytest.approx(loss, abs=SAME)
    assert 0 < kept.sum() < graph.n_edges


@pytest.mark.parametrize("name", ["gpt2", "neox", "gemma2", "olmo2", "falcon-new"])
def test_learned_constants_and_their_gradients_are_the_brute_force(name: str) -> None:
    """One vector a node in the place of what it writes, whatever the example and the position."""
    case = family_case(name, FRESH)
    adapter, generator = case.model.adapter, torch.Generator().manual_seed(FRESH)

    def drawn(width: int) -> torch.Tensor:
        return torch.randn(1, 1, width, generator=generator, dtype=torch.float64).requires_grad_(True)

    z, mlp = ([drawn(width) for _ in adapter.layers] for width in (adapter.n_heads * adapter.d_head, adapter.d_model))
    constants = Outputs(drawn(adapter.d_model), z, mlp)
    leaves = [constants.embed, *z, *mlp]
    gates = torch.rand(case.model.graph.n_edges, generator=generator).double()
    rows = list(range(len(case.examples)))
    runner = case.model.executor()
    instead = replacement.make("counterfactual", case.model, runner, case.encoded, [rows])
    prepared = gated.prepare(case.model, runner, instead, make_batch(case.encoded, rows, case.model.device))
    runs = Gates(case.model, runner)
    ours = -runs.metric(METRICS["logit-diff"], prepared, runs.logits(prepared, gates, constants))
    sources = [constants.embed]
    for layer, (own, wrote) in enumerate(zip(z, mlp, strict=True)):
        sources += [case.brute.written(layer, head, own) for head in range(case.brute.heads)]
        sources.append(wrote)
    cells = torch.tensor(case.cells())
    dense = case.brute.full().index_put((cells[:, 0], cells[:, 1]), gates)
    theirs = case.loss(case.brute.run(case.ids("clean"), dense, sources).logits)
    np.testing.assert_allclose(ours.detach(), theirs.detach(), rtol=0, atol=SAME)
    found, expected = (torch.autograd.grad(loss.sum(), leaves) for loss in (ours, theirs))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=SAME * max(1.0, float(b.abs().max())))

"""Edge scores of every family against gates and gradients of the brute force, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mi.core.attribute import attribute
from mi.core.model import wrap
from tests.examples import encoded, random_examples
from tests.families.cases import FamilyCase, family_case, largest
from tests.families.models import FAMILIES, POST_NORM, VOCABULARY, random_model

NUDGE = 1e-5
SOME = 8  # edges


@pytest.mark.parametrize("name", FAMILIES)
def test_eap_is_the_slope_of_a_gate(name: str, seed: int) -> None:
    """Minus the derivative of the loss by the gate of an edge: of all edges, and of some by finite differences."""
    case = family_case(name, seed)
    cells = case.cells()
    found = attribute(case.model, case.encoded, method="eap").edge
    instead = case.record("corrupted").sources
    gates = case.brute.full().requires_grad_(True)
    loss = case.loss(case.brute.run(case.ids("clean"), gates, instead).logits).mean()
    (slope,) = torch.autograd.grad(loss, gates)
    expected = -np.array([float(slope[cell]) for cell in cells])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * largest(expected))
    chosen = case.rng.choice(len(cells), SOME, replace=False)
    moved = []
    for row in chosen:
        for step in (NUDGE, -NUDGE):
            moved.append(case.brute.full())
            moved[-1][cells[row]] += step
    losses = case.losses(moved, instead).mean(1)
    np.testing.assert_allclose(
        found[chosen], (losses[1::2] - losses[::2]) / (2 * NUDGE), rtol=0, atol=1e-5 * largest(expected)
    )


@pytest.mark.parametrize("name", POST_NORM)
@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_eap_towards_constants_passes_the_post_norm(name: str, ablation: str, seed: int) -> None:
    case = family_case(name, seed)
    found = attribute(case.model, case.encoded, method="eap", ablation=ablation).edge
    clean = case.record("clean").sources
    instead = [0 * own if ablation == "zero" else own.mean((0, 1), keepdim=True) for own in clean]
    gates = case.brute.full().requires_grad_(True)
    loss = case.loss(case.brute.run(case.ids("clean"), gates, instead).logits).mean()
    (slope,) = torch.autograd.grad(loss, gates)
    expected = -np.array([float(slope[cell]) for cell in case.cells()])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * largest(expected))


def gradients(case: FamilyCase, embedding: Tensor | None) -> list[Tensor]:
    """Of the loss of every example, at what each receiver reads."""
    shape = (*case.ids("clean").shape, case.brute.d_model)
    nudges = {
        r: torch.zeros(shape, dtype=torch.float64, requires_grad=True) for r in range(len(case.brute.receiver_names))
    }
    run = case.brute.run(case.ids("clean"), embedding=embedding, nudges=nudges)
    return list(torch.autograd.grad(case.loss(run.logits).sum(), list(nudges.values())))


def arriving(case: FamilyCase, jacobian: bool) -> list[Tensor]:
    """Corrupted minus clean of every source, as it arrives in the stream at the clean run."""
    clean, corrupted = case.record("clean").sources, case.record("corrupted").sources
    changes = [b - a for a, b in zip(clean, corrupted, strict=True)]
    for layer in range(case.brute.n_layers if jacobian else 0):
        heads = [case.brute.source(layer, head) for head in range(case.brute.heads)]
        own = [clean[head] for head in heads]
        for place, head in enumerate(heads):

            def written(value: Tensor, place: int = place, layer: int = layer, own: list[Tensor] = own) -> Tensor:
                return case.brute._heads_add(layer, [*own[:place], value, *own[place + 1 :]])

            _, changes[head] = torch.autograd.functional.jvp(written, clean[head], changes[head])
    return changes


@pytest.mark.parametrize("name", FAMILIES)
def test_eap_ig_averages_gradients_on_the_way(name: str, seed: int) -> None:
    case = family_case(name, seed)
    steps = 2
    ends = [case.record(prompt).sources[0] for prompt in ("clean", "corrupted")]
    taken = [gradients(case, ends[1] + k / steps * (ends[0] - ends[1])) for k in range(steps)]
    at = [sum(own[1:], own[0]) / steps for own in zip(*taken, strict=True)]
    n = len(case.examples)
    for compat, executor in ((None, "fast"), (None, "generic"), ("mib", "fast"))[: 3 if name in POST_NORM else 2]:
        changes = arriving(case, jacobian=compat is None)
        expected = np.array([float((changes[u] * at[v]).sum()) / n for u, v in case.cells()])
        found = attribute(case.model, case.encoded, steps=steps, compat=compat, executor=executor).edge
        found = found * (1 if compat is None else n)  # the reference divides twice
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * largest(expected))


@pytest.mark.parametrize("name", FAMILIES)
def test_batches_do_not_matter(name: str) -> None:
    model = wrap(random_model(name, 5, torch.float64))
    examples = encoded(random_examples(np.random.default_rng(5), 6, VOCABULARY, (6, 8), read_last=False))
    together, alone = (attribute(model, examples, steps=2, batch_size=size).edge for size in (None, 1))
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-10 * largest(together))


@pytest.mark.parametrize("name", FAMILIES)
def test_edges_out_of_a_node_sum_to_its_node_score(name: str, seed: int) -> None:
    case = family_case(name, seed)
    graph = case.model.graph
    by_edge = attribute(case.model, case.encoded, method="eap").edge
    by_node = attribute(case.model, case.encoded, method="eap", level="node").scores
    sums = np.bincount(graph.source, weights=by_edge, minlength=graph.n_sources)
    np.testing.assert_allclose(by_node[: graph.n_sources], sums, rtol=0, atol=1e-9 * largest(by_edge))


@pytest.mark.parametrize("name", FAMILIES)
def test_information_flow_counts_heads_as_they_arrive(name: str, seed: int) -> None:
    """Through a post-norm at the scale of the run, so that a layer's heads and b_O add up to what it writes."""
    case = family_case(name, seed, n=1)
    run = case.record("clean")
    arrived = list(run.sources)
    for layer in range(case.brute.n_layers):
        heads = [case.brute.source(layer, head) for head in range(case.brute.heads)]
        before = sum((run.sources[head] for head in heads[1:]), run.sources[heads[0]])
        bias = getattr(case.brute.blocks[layer].get_submodule(case.brute.family.out), "bias", None)
        together = before if bias is None else before + bias
        ratio = case.brute._heads_add(layer, [run.sources[head] for head in heads]) / together  # these norms rescale
        for head in heads:
            arrived[head] = run.sources[head] * ratio
    expected = {}
    for receiver in range(len(case.brute.receiver_names)):
        y = run.inputs[receiver]
        sources = [u for u, v in case.cells() if v == receiver]
        near = [(y.abs().sum(-1) - (y - arrived[u]).abs().sum(-1)).clamp(min=0) for u in sources]
        total = sum(near[1:], near[0])
        for u, own in zip(sources, near, strict=True):
            share = torch.where(total > 0, own / total.clamp(min=1e-300), torch.zeros_like(own))
            expected[u, receiver] = float(share.mean())
    found = attribute(case.model, case.encoded, method="ifr").edge
    np.testing.assert_allclose(found, [expected[cell] for cell in case.cells()], rtol=0, atol=1e-9)

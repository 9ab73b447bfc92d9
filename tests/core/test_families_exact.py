"""Exact patching on every family against the brute force: one whole run of the library's own modules a patch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mi.core.attribute import attribute
from tests.families.cases import family_case, largest
from tests.families.models import FAMILIES
from tests.seeds import FRESH

EDGES = 40  # of about 110


@pytest.mark.parametrize("name", FAMILIES)
def test_edges_and_nodes_are_those_of_the_brute_force(name: str) -> None:
    case = family_case(name, FRESH)
    rows = np.sort(case.rng.choice(case.model.graph.n_edges, EDGES, replace=False))
    edges = case.edge_scores(rows).mean(1)
    found = attribute(case.model, case.encoded, method="exact", only=rows)
    np.testing.assert_allclose(found.scores[rows], edges, rtol=0, atol=1e-9 * largest(edges))
    nodes = case.node_scores().mean(1)
    found = attribute(case.model, case.encoded, method="exact", level="node")
    np.testing.assert_allclose(found.scores, nodes, rtol=0, atol=1e-9 * largest(nodes))


@pytest.mark.parametrize("name", ["neox", "gemma2", "olmo2", "falcon-new", "opt", "mixtral"])
def test_neurons_are_those_of_the_brute_force(name: str) -> None:
    """One dimension of what a node writes, on all its edges."""
    case = family_case(name, FRESH)
    shape = (case.model.graph.n_sources, case.brute.d_model)
    rows = np.sort(case.rng.choice(shape[0] * shape[1], 8, replace=False))
    found = attribute(case.model, case.encoded, method="exact", level="neuron", only=rows).scores.reshape(-1)[rows]
    names = dict(enumerate(case.model.graph.nodes))
    corrupted = case.record("corrupted").sources
    before = case.losses([case.brute.full()], corrupted)[0]
    expected = []
    for row in rows.tolist():
        source, dimension = divmod(row, shape[1])
        carried = torch.ones(shape, dtype=torch.float64)
        carried[case.brute.source_names.index(names[source]), dimension] = 0
        with torch.no_grad():
            run = case.brute.run(case.ids("clean"), case.brute.full(), corrupted, neurons=carried)
        expected.append((case.loss(run.logits).numpy() - before).mean())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * max(largest(np.array(expected)), 1e-3))


@pytest.mark.parametrize("name", FAMILIES)
def test_batches_change_nothing(name: str) -> None:
    """Examples of two lengths, one at a time or together."""
    case = family_case(name, FRESH, n=4, lengths=(5, 7))
    rows = np.sort(case.rng.choice(case.model.graph.n_edges, 5, replace=False))
    for method, only in (("eap-ig-activations", None), ("exact", rows)):
        alone, together = (
            attribute(case.model, case.encoded, method=method, only=only, batch_size=size).scores for size in (1, 4)
        )
        np.testing.assert_allclose(alone, together, rtol=0, atol=1e-10 * largest(together))

"""Exact patching on every family against the brute force: one whole run of the library's own modules a patch."""

from __future__ import annotations

import numpy as np
import pytest

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

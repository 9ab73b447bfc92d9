"""Exact patching of every edge against the stored reference numbers, example by example."""

import numpy as np
import pytest

from mi.core import batches, exact, patches, replacement
from mi.core.attribute import attribute
from mi.core.metrics import metric_named
from tests.examples import encoded
from tests.golden.golden import Golden, golden
from tests.golden.package import ADAPTED, model_of


@pytest.fixture(params=ADAPTED)
def case(request: pytest.FixtureRequest) -> Golden:
    return golden(request.param)


def test_every_edge(case: Golden) -> None:
    found = attribute(model_of(case.folder), encoded(case.examples), method="exact").edge
    np.testing.assert_allclose(found, case.as_edges(case.reference["scores.exact"]), rtol=0, atol=2e-5)
    np.testing.assert_allclose(found, case.as_edges(case.independent["scores.exact"]), rtol=0, atol=2e-5)


def test_every_edge_and_example_in_float64(case: Golden) -> None:
    model, examples = model_of(case.folder, True), encoded(case.examples)
    batch = batches.make_batch(examples, range(len(examples)), model.device)
    runner, instead = model.executor(), replacement.Replacement("counterfactual")
    found, _ = exact.exact(model, runner, metric_named("logit-diff"), instead, batch, patches.edges(model))
    expected = case.as_edges(np.moveaxis(case.independent["exact.per_example"], -1, 0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)

"""The oracles of the methods beside EAP against the stored numbers, the parallel model included."""

import numpy as np
import pytest

from tests.golden.golden import MODELS, Golden, golden
from tests.oracle import activations, attribution, flow

SAME = 1e-9


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest) -> Golden:
    return golden(request.param)


def test_information_flow(case: Golden) -> None:
    found = flow.flow(case.weights, case.examples).mean(-1)
    np.testing.assert_allclose(found, case.independent["scores.information_flow_routes"], rtol=0, atol=SAME)


def test_integration_over_activations(case: Golden) -> None:
    found = activations.edges(case.weights, case.examples, "logit-diff", 5).mean(-1)
    name = "scores.eap_ig_activations_m5_own_source"
    np.testing.assert_allclose(found, case.independent[name], rtol=0, atol=SAME)


def test_integration_over_activations_as_the_reference_does_it(case: Golden) -> None:
    found = activations.as_the_reference(case.weights, case.examples, "logit-diff", 5).mean(-1)
    name = "scores.eap_ig_activations_m5_reference_behaviour"
    np.testing.assert_allclose(found, case.independent[name], rtol=0, atol=SAME)


def test_clean_and_corrupted_averaged(case: Golden) -> None:
    """The trapezoid of one step."""
    found = attribution.eap_ig(case.weights, case.examples, "logit-diff", 1, "trapezoid").mean(-1)
    np.testing.assert_allclose(found, case.independent["scores.clean_corrupted"], rtol=0, atol=SAME)

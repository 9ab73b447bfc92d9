"""Attribution scores of the package against the stored reference numbers, through both executors."""

import numpy as np
import pytest

from mi.core.attribute import attribute
from tests.examples import encoded
from tests.golden.golden import Golden, golden
from tests.golden.package import ADAPTED, EXECUTORS, model_of
from tests.oracle import attribution

SCORE = 2e-5  # float32, on scores of about 1
SAME = 1e-9  # float64
# name of the stored array: keyword arguments that ask for it
METHODS = {
    "eap_patching": {"method": "eap"},
    "eap_zero": {"method": "eap", "ablation": "zero"},
    "eap_ig_inputs_m5": {"method": "eap-ig", "steps": 5, "rule": "left"},
    "clean_corrupted": {"method": "clean-corrupted"},
    "information_flow_routes": {"method": "ifr"},
}
ACTIVATIONS = {"method": "eap-ig-activations", "steps": 5}
WITH_COMPAT = [name for name in METHODS if name != "information_flow_routes"]


@pytest.fixture(params=ADAPTED)
def case(request: pytest.FixtureRequest) -> Golden:
    return golden(request.param)


def scores(case: Golden, name: str, *, double: bool = False, **options: object) -> np.ndarray:
    return attribute(model_of(case.folder, double), encoded(case.examples), **METHODS[name], **options).edge


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", METHODS)
def test_scores_in_float32(case: Golden, name: str, executor: str) -> None:
    found = scores(case, name, executor=executor)
    np.testing.assert_allclose(found, case.as_edges(case.reference[f"scores.{name}"]), rtol=0, atol=SCORE)
    np.testing.assert_allclose(found, case.as_edges(case.independent[f"scores.{name}"]), rtol=0, atol=SCORE)


@pytest.mark.parametrize("name", METHODS)
def test_scores_in_float64(case: Golden, name: str) -> None:
    found = scores(case, name, double=True)
    np.testing.assert_allclose(found, case.as_edges(case.independent[f"scores.{name}"]), rtol=0, atol=SAME)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_integration_over_activations(case: Golden, executor: str) -> None:
    """A run scores what leaves the group that it moves: the usual definition."""
    wanted = case.as_edges(case.independent["scores.eap_ig_activations_m5_own_source"])
    for double, tolerance in ((False, SCORE), (True, SAME)):
        model = model_of(case.folder, double)
        found = attribute(model, encoded(case.examples), executor=executor, **ACTIVATIONS).edge
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_integration_over_activations_as_the_reference_does_it(case: Golden, executor: str) -> None:
    """Every run scores all edges; then the scores are divided by the number of examples once more."""
    for double, tolerance in ((False, SCORE), (True, SAME)):
        model = model_of(case.folder, double)
        found = attribute(model, encoded(case.examples), executor=executor, compat="mib", **ACTIVATIONS).edge
        wanted = case.independent["scores.eap_ig_activations_m5_reference_behaviour"]
        np.testing.assert_allclose(16 * found, case.as_edges(wanted), rtol=0, atol=tolerance)
        raw = case.as_edges(case.reference["raw.eap_ig_activations_m5"])
        np.testing.assert_allclose(found, raw, rtol=0, atol=SCORE / 16)


@pytest.mark.parametrize("name", WITH_COMPAT)
def test_the_reference_divides_by_the_batch_twice(case: Golden, name: str) -> None:
    """`--compat mib` gives what the reference returned: here one batch of sixteen, so a sixteenth of the score."""
    found = scores(case, name, compat="mib")
    np.testing.assert_allclose(found, case.as_edges(case.reference[f"raw.{name}"]), rtol=0, atol=SCORE / 16)
    assert np.abs(found).max() < np.abs(case.reference[f"scores.{name}"]).max() / 10


@pytest.mark.parametrize("batch_size", [1, 5, 16])
def test_uneven_batches_weigh_unevenly_in_the_reference(case: Golden, batch_size: int) -> None:
    """Batches of 5, 5, 5 and 1: the last example counts five times as much as the others."""
    found = scores(case, "eap_patching", compat="mib", batch_size=batch_size)
    exact = attribution.eap(case.weights, case.examples, "logit-diff", "counterfactual")
    expected = attribution.as_edges(case.weights, attribution.reference_batching(exact, batch_size))
    np.testing.assert_allclose(found, expected, rtol=0, atol=SCORE / batch_size)


def test_the_graph_lists_edges_as_the_reference_does(case: Golden) -> None:
    assert list(model_of(case.folder).graph.edge_names()) == case.notes["edge_names"]

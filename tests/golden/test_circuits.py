"""Circuit runs of the package against the stored reference numbers, through both executors, up to CPR and CMD."""

import numpy as np
import pytest

from mi.circuit import curve
from mi.core.circuits import CircuitRuns, run_circuits
from tests.examples import encoded
from tests.golden.golden import ABLATIONS, MODES, Golden, golden
from tests.golden.package import ADAPTED, EXECUTORS, model_of

LOGIT = 5e-5  # float32, on logit differences of about 10
SAME = 1e-9  # float64


@pytest.fixture(params=ADAPTED)
def case(request: pytest.FixtureRequest) -> Golden:
    return golden(request.param)


def runs(case: Golden, mode: str, *, double: bool = False, **options: object) -> CircuitRuns:
    masks = case.as_edges(case.reference[f"circuits.{mode}.mask"])
    return run_circuits(model_of(case.folder, double), encoded(case.examples), masks, **options)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("mode", MODES)
def test_circuits_in_float32(case: Golden, mode: str, ablation: str, executor: str) -> None:
    """Against float64 everywhere: where the reference's own float32 is marked as not to be trusted, we still are."""
    found = runs(case, mode, ablation=ablation, executor=executor)
    name = f"circuits.{mode}.logit_diff{ABLATIONS[ablation]}"
    np.testing.assert_allclose(found.value, case.independent[name], rtol=0, atol=LOGIT)
    trusted = np.abs(case.reference[name] - case.independent[name]) < LOGIT
    assert trusted.mean() > (0.5 if ablation == "zero" else 0.99)  # zero in float32 went wrong in the reference
    np.testing.assert_allclose(found.value[trusted], case.reference[name][trusted], rtol=0, atol=2 * LOGIT)
    np.testing.assert_allclose(found.clean, case.reference["logit_diff.clean"], rtol=0, atol=LOGIT)
    empty = case.notes["sizes"].index(0)
    np.testing.assert_allclose(found.corrupted, case.independent[name][empty], rtol=0, atol=LOGIT)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("mode", MODES)
def test_circuits_in_float64(case: Golden, mode: str, ablation: str) -> None:
    found = runs(case, mode, ablation=ablation, double=True)
    expected = case.independent[f"circuits.{mode}.logit_diff{ABLATIONS[ablation]}"]
    np.testing.assert_allclose(found.value, expected, rtol=0, atol=SAME)
    np.testing.assert_allclose(found.clean, case.independent["logit_diff.clean"], rtol=0, atol=SAME)


@pytest.mark.parametrize("mode", MODES)
def test_faithfulness_and_areas(case: Golden, mode: str) -> None:
    """The ten sizes of the benchmark's curve, on nominal sizes and on their logarithms."""
    found = runs(case, mode)
    rows = [case.notes["sizes"].index(size) for size in case.notes["mib_sizes"]]
    change = found.clean.mean() - found.corrupted.mean()
    faithfulness = (found.value[rows].mean(1) - found.corrupted.mean()) / change
    noted = case.notes["circuits"][mode]
    np.testing.assert_allclose(faithfulness, noted["area_under_curve"]["faithfulnesses"], rtol=0, atol=2e-6)
    for key, cpr, cmd in (
        ("area_under_curve", curve.cpr, curve.cmd),
        ("area_under_curve_log_scale", curve.cpr_log, curve.cmd_log),
    ):
        expected = noted[key]["area_under"], noted[key]["area_from_1"]
        np.testing.assert_allclose((cpr(faithfulness), cmd(faithfulness)), expected, rtol=0, atol=1e-5)

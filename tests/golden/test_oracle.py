"""The oracle itself against the stored numbers: float64 to 1e-9, the float32 reference at its stated tolerance."""

import numpy as np
import pytest
import torch

from tests.golden.golden import ABLATIONS, MODELS, MODES, Golden, golden
from tests.oracle import attribution, circuits, transformer

SCORE, LOGIT = 2e-5, 5e-5  # the reference's float32 rounding
SAME = 1e-9


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest) -> Golden:
    return golden(request.param)


def test_names_and_order(case: Golden) -> None:
    assert transformer.source_names(case.weights) == case.notes["src_nodes"]
    assert transformer.receiver_names(case.weights) == case.notes["dst_nodes"]
    assert transformer.edge_cells(case.weights) == case.edge_cells


def test_logits(case: Golden) -> None:
    for prompt in ("clean", "corrupted"):
        tokens = torch.tensor([getattr(example, prompt) for example in case.examples])
        logits = transformer.run(case.weights, tokens).logits.numpy()
        np.testing.assert_allclose(logits, case.reference[f"logits.{prompt}"], rtol=0, atol=LOGIT)
    clean, corrupted = circuits.clean_and_corrupted(case.weights, case.examples, "logit-diff")
    np.testing.assert_allclose(clean, case.independent["logit_diff.clean"], rtol=0, atol=SAME)
    np.testing.assert_allclose(corrupted, case.independent["logit_diff.corrupted"], rtol=0, atol=SAME)


@pytest.mark.parametrize(
    ("name", "ablation", "steps"),
    [("eap_patching", "counterfactual", 0), ("eap_zero", "zero", 0), ("eap_ig_inputs_m5", "counterfactual", 5)],
)
def test_scores(case: Golden, name: str, ablation: str, steps: int) -> None:
    if steps:
        scores = attribution.eap_ig(case.weights, case.examples, "logit-diff", steps, "left", ablation)
    else:
        scores = attribution.eap(case.weights, case.examples, "logit-diff", ablation)
    np.testing.assert_allclose(scores.mean(-1), case.independent[f"scores.{name}"], rtol=0, atol=SAME)
    np.testing.assert_allclose(scores.mean(-1), case.reference[f"scores.{name}"], rtol=0, atol=SCORE)
    raw = attribution.reference_batching(scores, len(case.examples))
    np.testing.assert_allclose(raw, case.reference[f"raw.{name}"], rtol=0, atol=SCORE / len(case.examples))


def test_exact_patching(case: Golden) -> None:
    """Every third edge: each is a run of its own."""
    cells = case.edge_cells[::3]
    scores = circuits.exact(case.weights, case.examples, "logit-diff", "counterfactual", cells)
    expected, reference = case.independent["exact.per_example"], case.reference["scores.exact"]
    for cell in cells:
        np.testing.assert_allclose(scores[cell], expected[cell], rtol=0, atol=SAME)
        np.testing.assert_allclose(scores[cell].mean(), reference[cell], rtol=0, atol=SCORE)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("mode", MODES)
def test_circuits(case: Golden, mode: str, ablation: str) -> None:
    masks = case.reference[f"circuits.{mode}.mask"]
    values = circuits.circuits(case.weights, case.examples, masks, "logit-diff", ablation)
    name = f"circuits.{mode}.logit_diff{ABLATIONS[ablation]}"
    np.testing.assert_allclose(values, case.independent[name], rtol=0, atol=SAME)
    if ablation == "counterfactual":  # zero in float32 is not to be trusted everywhere
        np.testing.assert_allclose(values, case.reference[name], rtol=0, atol=LOGIT)


@pytest.mark.parametrize("mode", MODES)
def test_areas(case: Golden, mode: str) -> None:
    """Faithfulness, CPR and CMD from circuits that the oracle runs itself."""
    masks = case.reference[f"circuits.{mode}.mask"]
    rows = [case.notes["sizes"].index(size) for size in case.notes["mib_sizes"]]
    values = circuits.circuits(case.weights, case.examples, masks[rows], "logit-diff", "counterfactual")
    clean, corrupted = circuits.clean_and_corrupted(case.weights, case.examples, "logit-diff")
    found = [circuits.faithfulness(value, clean, corrupted) for value in values]
    noted = case.notes["circuits"][mode]
    np.testing.assert_allclose(found, noted["area_under_curve"]["faithfulnesses"], rtol=0, atol=1e-6)
    for log_scale, key in ((False, "area_under_curve"), (True, "area_under_curve_log_scale")):
        under, from_one = circuits.areas(found, log_scale)
        np.testing.assert_allclose(
            [under, from_one], [noted[key]["area_under"], noted[key]["area_from_1"]], rtol=0, atol=5e-6
        )

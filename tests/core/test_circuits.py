"""Circuit runs against the oracle on random models: every family, metric and ablation, masks of every kind."""

import numpy as np
import pytest

from mi.core.circuits import run_circuits
from mi.core.metrics import METRICS
from tests.core.cases import ADAPTED, Case, random_case
from tests.oracle import circuits
from tests.oracle.batches import ABLATIONS

LENGTHS = (5, 8, 6)
SAME = 1e-8  # float64, on metrics of about 10
NOISE = 5e-5  # float32


# All but one: where nothing is written, a norm without bias leaves every logit zero, and zero over zero is refused.
MEASURES = [name for name in METRICS if name != "normalised-logit"]


def random_masks(case: Case) -> np.ndarray:
    """No edge, all, one, all but one, and random ones from sparse to dense; most are not connected."""
    n = case.model.graph.n_edges
    rows = [np.zeros(n, dtype=bool), np.ones(n, dtype=bool)]
    rows += [np.arange(n) == case.rng.integers(n), np.arange(n) != case.rng.integers(n)]
    rows += [case.rng.random(n) < density for density in (0.02, 0.1, 0.5, 0.9)]
    return np.stack(rows)


def compare(case: Case, metric: str, ablation: str, atol: float, **options: object) -> None:
    masks = random_masks(case)
    found = run_circuits(case.model, case.encoded, masks, metric=metric, ablation=ablation, **options)
    keeps = [case.as_matrix(mask) for mask in masks]
    expected = circuits.circuits(case.weights, case.examples, keeps, metric, ablation)
    if metric == "accuracy":  # a step: two right answers may differ where the top two logits are tied
        assert found.value.shape == expected.shape
        assert (found.value == expected).mean() == 1
        return
    np.testing.assert_allclose(found.value, expected, rtol=0, atol=atol)
    clean, _ = circuits.clean_and_corrupted(case.weights, case.examples, metric)
    np.testing.assert_allclose(found.clean, clean, rtol=0, atol=atol)
    np.testing.assert_allclose(found.corrupted, expected[0], rtol=0, atol=atol)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("metric", MEASURES)
@pytest.mark.parametrize("name", ["gpt2", "mistral-windowed"])
def test_circuits_are_the_oracles(name: str, metric: str, ablation: str) -> None:
    """In float64 throughout, examples of several lengths with several answers, read anywhere."""
    lengths = LENGTHS[:1] if ablation == "mean-positional" else LENGTHS
    compare(random_case(name, 0, lengths=lengths, n_answers=2), metric, ablation, SAME)


@pytest.mark.parametrize("name", ADAPTED)
def test_circuits_are_the_oracles_whatever_is_asked(name: str, seed: int) -> None:
    draw = np.random.default_rng([seed, 2])
    for _ in range(2):
        ablation, metric = str(draw.choice(ABLATIONS)), str(draw.choice(MEASURES))
        lengths = LENGTHS[:1] if ablation == "mean-positional" else LENGTHS
        case = random_case(name, seed, n=int(draw.integers(1, 9)), lengths=lengths)
        compare(case, metric, ablation, SAME, batch_size=int(draw.integers(1, 5)))


@pytest.mark.parametrize("executor", ["fast", "generic"])
@pytest.mark.parametrize("name", ADAPTED)
def test_circuits_in_float32_through_both_executors(name: str, executor: str) -> None:
    case = random_case(name, 1, lengths=LENGTHS, double=False)
    compare(case, "logit-diff", "counterfactual", NOISE, executor=executor)
    compare(case, "logit-diff", "zero", NOISE, executor=executor)


def test_one_call_runs_circuits_as_many_calls_do(seed: int) -> None:
    """Nothing of one circuit is left behind for the next."""
    case = random_case("llama", seed, lengths=LENGTHS)
    masks = random_masks(case)
    together = run_circuits(case.model, case.encoded, masks).value
    backwards = run_circuits(case.model, case.encoded, masks[::-1]).value[::-1]
    alone = np.concatenate([run_circuits(case.model, case.encoded, mask[None]).value for mask in masks])
    np.testing.assert_array_equal(together, backwards)
    np.testing.assert_array_equal(together, alone)


def test_no_circuit_still_gives_the_ends() -> None:
    case = random_case("gpt2", 0)
    found = run_circuits(case.model, case.encoded, np.zeros((0, case.model.graph.n_edges), dtype=bool))
    assert found.value.shape == (0, len(case.examples))
    clean, corrupted = circuits.clean_and_corrupted(case.weights, case.examples, "logit-diff")
    np.testing.assert_allclose([found.clean, found.corrupted], [clean, corrupted], rtol=0, atol=SAME)

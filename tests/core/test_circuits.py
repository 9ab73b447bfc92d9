"""Circuit runs against the oracle on random models: every family, metric and ablation, masks of every kind."""

import numpy as np
import pytest

from mi.core.attribute import attribute
from mi.core.circuits import run_circuits
from mi.core.metrics import METRICS
from mi.errors import MiError
from tests.core.cases import ADAPTED, Case, largest, random_case
from tests.oracle import circuits, transformer
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


def random_neurons(case: Case, masks: np.ndarray) -> np.ndarray:
    """For each circuit [source, d]: none of some sources, all of others, a few and most of the rest."""
    graph, width = case.model.graph, case.model.adapter.d_model
    density = case.rng.choice([0.0, 0.1, 0.5, 0.9, 1.0], size=(len(masks), graph.n_sources, 1))
    return case.rng.random((len(masks), graph.n_sources, width)) < density


def compare_neurons(case: Case, metric: str, ablation: str, atol: float, **options: object) -> None:
    assert list(case.model.graph.nodes[: case.model.graph.n_sources]) == transformer.source_names(case.weights)
    masks = random_masks(case)
    neurons = random_neurons(case, masks)
    found = run_circuits(case.model, case.encoded, masks, neurons=neurons, metric=metric, ablation=ablation, **options)
    keeps = [case.as_matrix(mask) for mask in masks]
    expected = circuits.circuits(case.weights, case.examples, keeps, metric, ablation, neurons)
    np.testing.assert_allclose(found.value, expected, rtol=0, atol=atol)
    np.testing.assert_allclose(found.corrupted, expected[0], rtol=0, atol=atol)


@pytest.mark.parametrize("ablation", ["counterfactual", "zero", "mean"])
@pytest.mark.parametrize("name", ADAPTED)
def test_circuits_of_neurons_are_the_oracles(name: str, ablation: str, seed: int) -> None:
    """Dropped dimensions carry the replacement on every kept edge, and what reads them computes with it (spec A5)."""
    case = random_case(name, seed, lengths=LENGTHS)
    metric = str(case.rng.choice(["logit-diff", "kl", "prob-diff"]))
    compare_neurons(case, metric, ablation, SAME, batch_size=int(case.rng.integers(1, 5)))


@pytest.mark.parametrize("executor", ["fast", "generic"])
@pytest.mark.parametrize("name", ADAPTED)
def test_circuits_of_neurons_in_float32_through_both_executors(name: str, executor: str) -> None:
    case = random_case(name, 1, lengths=LENGTHS, double=False)
    for ablation in ("counterfactual", "zero", "mean"):
        compare_neurons(case, "logit-diff", ablation, NOISE, executor=executor)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_all_neurons_are_the_circuit_of_edges_to_the_bit(ablation: str, seed: int) -> None:
    case = random_case("gpt2", seed, double=False)
    masks = random_masks(case)
    every = np.ones((len(masks), case.model.graph.n_sources, case.model.adapter.d_model), dtype=bool)
    edges = run_circuits(case.model, case.encoded, masks, ablation=ablation)
    found = run_circuits(case.model, case.encoded, masks, neurons=every, ablation=ablation)
    np.testing.assert_array_equal(found.value, edges.value)


@pytest.mark.parametrize("ablation", ["counterfactual", "zero", "mean"])
@pytest.mark.parametrize("name", ["gpt2-scaled", "qwen2"])
def test_without_its_neurons_a_source_has_no_edges(name: str, ablation: str, seed: int) -> None:
    case = random_case(name, seed, double=False)
    masks = random_masks(case)
    whole = case.rng.random((len(masks), case.model.graph.n_sources)) < 0.5
    neurons = np.repeat(whole[:, :, None], case.model.adapter.d_model, axis=2)
    found = run_circuits(case.model, case.encoded, masks, neurons=neurons, ablation=ablation)
    edges = masks & whole[:, case.model.graph.source]
    expected = run_circuits(case.model, case.encoded, edges, ablation=ablation)
    np.testing.assert_array_equal(found.value, expected.value)


@pytest.mark.parametrize("ablation", ["counterfactual", "mean"])
@pytest.mark.parametrize("name", ["gpt2", "mistral-windowed"])
def test_without_one_neuron_the_model_is_patched_exactly(name: str, ablation: str, seed: int) -> None:
    """Through two paths of the code: a run of the circuit, and a patch that goes on from inside the model."""
    case = random_case(name, seed)
    exact = attribute(case.model, case.encoded, method="exact", level="neuron", ablation=ablation).scores
    chosen = case.rng.choice(exact.size, 25, replace=False)
    neurons = np.ones((len(chosen), exact.size), dtype=bool)
    neurons[np.arange(len(chosen)), chosen] = False
    masks = np.ones((len(chosen), case.model.graph.n_edges), dtype=bool)
    runs = run_circuits(case.model, case.encoded, masks, neurons=neurons.reshape(-1, *exact.shape), ablation=ablation)
    found = (runs.clean - runs.value).mean(1)
    np.testing.assert_allclose(found, exact.ravel()[chosen], rtol=0, atol=1e-9 * largest(exact))


def test_neurons_of_another_model_are_refused() -> None:
    case = random_case("gpt2", 0)
    graph, width = case.model.graph, case.model.adapter.d_model
    masks = np.ones((1, graph.n_edges), dtype=bool)
    for shape in ((1, graph.n_sources, width - 1), (1, graph.n_sources + 1, width)):
        with pytest.raises(MiError, match="does not fit this model") as caught:
            run_circuits(case.model, case.encoded, masks, neurons=np.ones(shape, dtype=bool))
        assert caught.value.code == 3

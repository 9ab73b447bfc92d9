"""The oracle against itself on random models: three ways to one score, and what must hold at the ends of a circuit."""

from collections.abc import Sequence

import numpy as np
import pytest

from tests.examples import IdExample, random_examples
from tests.models import BUILDERS, Shape, random_model
from tests.oracle import attribution, circuits
from tests.oracle.batches import ABLATIONS, groups, replacements
from tests.oracle.metrics import WITH_GRADIENT
from tests.oracle.transformer import edge_cells, n_receivers, n_sources, readable
from tests.oracle.weights import Weights, read_module

SHAPE = Shape(n_layers=2, n_heads=2, n_kv_heads=1)


def random_case(family: str, seed: int, lengths: Sequence[int] = (6,)) -> tuple[Weights, list[IdExample]]:
    weights = read_module(random_model(family, seed, SHAPE))
    examples = random_examples(np.random.default_rng(seed), 5, SHAPE.vocabulary, lengths, n_answers=2, read_last=False)
    return weights, examples


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("family", BUILDERS)
def test_three_ways_to_an_edge_score(family: str, ablation: str) -> None:
    """Gradient times change of output, derivative of a gate, and finite differences of the gate."""
    weights, examples = random_case(family, 3)
    scores = attribution.eap(weights, examples, "prob-diff", ablation)
    gates = attribution.gate_gradient(weights, examples, "prob-diff", ablation)
    np.testing.assert_allclose(scores, gates, rtol=0, atol=1e-12)
    cells = edge_cells(weights)[::3]
    differences = attribution.gate_difference(weights, examples, "prob-diff", ablation, cells)
    np.testing.assert_allclose(np.stack([scores[cell] for cell in cells]), differences, rtol=0, atol=1e-6)
    assert np.abs(differences).max() > 1e-3


@pytest.mark.parametrize("metric", WITH_GRADIENT)
def test_integrated_gradients_are_complete(metric: str) -> None:
    """Over all edges out of the input the scores sum to the whole change of the loss, as the steps grow."""
    weights, examples = random_case("llama", 5, lengths=(5, 7))
    clean, corrupted = circuits.clean_and_corrupted(weights, examples, metric)
    for rule in ("left", "midpoint", "trapezoid"):
        scores = attribution.eap_ig(weights, examples, metric, 60, rule)
        atol = 0.1 if rule == "left" else 0.02
        np.testing.assert_allclose(scores[0].sum(0), clean - corrupted, rtol=0, atol=atol)


@pytest.mark.parametrize("family", BUILDERS)
def test_the_ends_of_a_circuit(family: str) -> None:
    weights, examples = random_case(family, 7, lengths=(4, 6))
    shape = n_sources(weights), n_receivers(weights)
    ends = [np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)]
    full, empty = circuits.circuits(weights, examples, ends, "logit-diff", "counterfactual")
    clean, corrupted = circuits.clean_and_corrupted(weights, examples, "logit-diff")
    np.testing.assert_allclose(full, clean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(empty, corrupted, rtol=0, atol=1e-12)


def test_means_count_every_token_once() -> None:
    """Two lengths: the mean is over tokens, not over examples, and has no position."""
    weights, examples = random_case("gpt2", 13, lengths=(4, 8))
    token = weights.embedding
    ids = [index for example in examples for index in example.clean]
    mean = token[ids].mean(0)
    every = groups(weights, examples)
    for group in every:
        replaced = replacements("mean", every, group)[0]
        np.testing.assert_allclose(replaced.numpy(), mean.expand_as(replaced).numpy(), rtol=0, atol=1e-12)


def test_sizes_of_the_graph() -> None:
    """Sums over receivers of the sources that they can read: 32,491 for 12 layers of 12 heads, in closed form."""
    for n_layers, n_heads in ((1, 1), (2, 3), (3, 4)):
        weights = read_module(random_model("gpt2", 0, Shape(n_layers=n_layers, n_heads=n_heads)))
        expected = 1 + n_layers * (n_heads + 1)
        for layer in range(n_layers):
            expected += 3 * n_heads * (1 + layer * (n_heads + 1)) + 1 + layer * (n_heads + 1) + n_heads
        assert sum(readable(weights)) == len(edge_cells(weights)) == len(set(edge_cells(weights))) == expected

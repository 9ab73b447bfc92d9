"""Hypothesis tests against plain sums, SciPy's own tests, and simulation: their p-values are what they say."""

import math

import numpy as np
import pytest
from scipy import stats

from mi.circuit import hypotheses
from tests.circuit.random_graphs import SEEDS, generator


@pytest.mark.parametrize("seed", SEEDS)
def test_equivalence_is_the_sum_over_rates_as_far_from_a_half(seed):
    rng = generator(seed)
    n = int(rng.integers(5, 60))
    circuit, model = rng.normal(rng.normal(), 1, n), rng.normal(0, 1, n)
    wins = sum(c > m for c, m in zip(circuit, model, strict=True))
    expected = sum(
        math.comb(n, k) * 0.6**k * 0.4 ** (n - k) for k in range(n + 1) if abs(2 * k - n) >= abs(2 * wins - n)
    )
    rate, p = hypotheses.equivalence(circuit, model)
    assert rate == wins / n
    assert p == pytest.approx(min(1, expected), abs=1e-9)


def test_equal_scores_are_equivalent_and_one_that_always_wins_is_not():
    scores = np.arange(50.0)
    assert hypotheses.equivalence(scores, scores) == (0.5, pytest.approx(1))
    assert hypotheses.equivalence(scores + 1, scores)[1] < 1e-6


def test_hsic_is_the_trace_of_centred_kernels():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=12), rng.normal(size=12)

    def kernel(v):
        apart = [abs(v[i] - v[j]) for i in range(12) for j in range(i)]
        width = np.median(apart)
        return np.array([[math.exp(-((a - b) ** 2) / (2 * width**2)) for a in v] for b in v])

    centre = np.eye(12) - 1 / 12
    expected = np.trace(kernel(x) @ centre @ kernel(y) @ centre) / 144
    assert hypotheses.independence(x, y, 10)[0] == pytest.approx(expected, rel=1e-10)


def test_independence_is_found_where_it_is_and_only_there():
    rng = np.random.default_rng(1)
    x = rng.normal(size=80)
    assert hypotheses.independence(x, x**2 + 0.1 * rng.normal(size=80))[1] < 0.01
    p = [hypotheses.independence(rng.normal(size=40), rng.normal(size=40), 99)[1] for _ in range(200)]
    alarms = sum(value <= 0.05 for value in p)
    assert stats.binomtest(alarms, 200, 0.05).pvalue > 1e-4
    assert hypotheses.independence(np.ones(20), rng.normal(size=20))[1] == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_against_random_ones_it_is_scipys_binomial_test(seed):
    rng = generator(seed)
    random = rng.normal(size=int(rng.integers(5, 150)))
    values = rng.normal(1.0, 1.0, 20)
    shares, p_short = hypotheses.falls_short(values, random)
    for value, share, p in zip(values, shares, p_short, strict=True):
        below = int(sum(random < value))
        assert hypotheses.beats(value, random) == (
            below / len(random),
            pytest.approx(stats.binomtest(below, len(random), 0.9, alternative="greater").pvalue),
        )
        assert share == below / len(random)
        assert p == pytest.approx(stats.binomtest(below, len(random), 0.9, alternative="less").pvalue)


def test_ties_favour_neither_claim():
    """An effect of nothing among random effects of nothing is not shown to be less, and beats none of them."""
    assert hypotheses.beats(0.0, np.zeros(30)) == (0.0, 1.0)
    share, p = hypotheses.falls_short(np.zeros(2), np.zeros(30))
    assert share.tolist() == [1, 1] and p.tolist() == [1, 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_holm_is_the_step_down_procedure(seed):
    rng = generator(seed)
    p = rng.random(int(rng.integers(1, 12))) ** 3
    adjusted = hypotheses.holm(p)
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for step, index in enumerate(np.argsort(p, kind="stable")):
            if p[index] * (len(p) - step) >= level:
                break
            rejected.add(int(index))
        assert set(np.flatnonzero(adjusted < level)) == rejected
    assert (adjusted >= p).all() and adjusted.max() <= 1


def test_holm_by_hand():
    np.testing.assert_allclose(hypotheses.holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])

"""The bound on what was missed: how often it holds, where effects add up, and what a subset's run is."""

import numpy as np
import pytest

from mi.core.circuits import run_circuits
from mi.core.missed import _kept_edges, missed, root_sum_square, subsets, upper_bounds
from mi.errors import UsageError
from tests.core.cases import random_case
from tests.oracle import exact

N, SAMPLES, TRIALS = 60, 60, 400


def coverage(effects: np.ndarray, noise: float, confidence: float, seed: int) -> tuple[float, float]:
    """How often the bound on the largest effect holds, and that on their squares, over draws of the subsets."""
    rng = np.random.default_rng(seed)
    held = np.zeros((TRIALS, 2), dtype=bool)
    for trial in range(TRIALS):
        chosen = subsets(len(effects), SAMPLES, 0.1, seed * TRIALS + trial)
        seen = chosen @ effects + noise * rng.standard_normal(SAMPLES)
        held[trial, 0] = upper_bounds(chosen, seen, confidence).max() >= np.abs(effects).max()
        held[trial, 1] = root_sum_square(chosen, seen, confidence) >= np.sqrt(np.square(effects).sum())
    return float(held[:, 0].mean()), float(held[:, 1].mean())


@pytest.mark.parametrize("kind", ["many", "one", "few", "one below zero"])
def test_the_bound_holds_as_often_as_it_says(kind: str) -> None:
    """400 draws: two standard deviations are 0.02 at 95 %."""
    rng = np.random.default_rng(1)
    effects = 0.1 * rng.standard_normal(N)
    if kind == "few":
        effects[:5] = 2.0
    if kind.startswith("one"):
        effects[7] = -3.0 if "below" in kind else 3.0
    largest, squares = coverage(effects, 0.05, 0.95, 2)
    assert largest >= 0.93
    assert squares >= 0.93


def test_the_bound_on_one_unit_holds_no_more_often_than_it_should() -> None:
    """Of a single unit, not of the largest of many, it must fail in some 5 % of the draws on its own side."""
    rng = np.random.default_rng(3)
    effects = 0.3 * rng.standard_normal(N)
    effects[0] = 2.0
    held = []
    for trial in range(TRIALS):
        chosen = subsets(N, SAMPLES, 0.5, trial)
        held.append(upper_bounds(chosen, chosen @ effects, 0.95)[0] >= 2.0)
    assert 0.92 <= np.mean(held) <= 0.98


def test_the_bound_of_a_large_effect_is_near_it() -> None:
    effects = np.zeros(N)
    effects[3] = 5.0
    chosen = subsets(N, SAMPLES, 0.1, 0)
    bounds = upper_bounds(chosen, chosen @ effects, 0.95)
    assert bounds.argmax() == 3
    assert bounds[3] == pytest.approx(5.0)


def test_the_bound_is_welchs() -> None:
    from scipy import stats

    rng = np.random.default_rng(4)
    chosen, effects = subsets(5, 30, 0.3, 0), 100 + rng.standard_normal(30)
    for unit, found in enumerate(upper_bounds(chosen, effects, 0.9)):
        inside, outside = effects[chosen[:, unit]], effects[~chosen[:, unit]]
        interval = stats.ttest_ind(inside, outside, equal_var=False).confidence_interval(0.8)
        distance = max(interval.high, -interval.low)
        assert found == pytest.approx(distance, rel=1e-9)


def test_every_unit_is_in_as_many_subsets_and_draws_are_by_seed() -> None:
    chosen = subsets(1000, 50, 0.1, 0)
    assert (chosen.sum(0) == 5).all()
    np.testing.assert_array_equal(chosen, subsets(1000, 50, 0.1, 0))
    assert (chosen != subsets(1000, 50, 0.1, 1)).any()
    together = chosen.T.astype(float) @ chosen  # how often two units meet: 5 x 5 / 50
    assert together[np.triu_indices(1000, 1)].mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("level", ["edge", "node"])
def test_a_subset_of_one_is_the_exact_patch(level: str, seed: int) -> None:
    case = random_case("llama", seed, n=3)
    graph = case.model.graph
    every = np.arange(graph.n_edges if level == "edge" else graph.n_sources)
    units = case.rng.choice(every, size=6, replace=False)
    masks = _kept_edges(case.model, level, units, np.eye(6, dtype=bool))
    runs = run_circuits(case.model, case.encoded, masks)
    patches = exact.edges(case.weights) if level == "edge" else exact.nodes(case.weights)
    truth = exact.exact(case.weights, case.examples, "logit-diff", [patches[unit] for unit in units])
    np.testing.assert_allclose(runs.clean - runs.value, truth, rtol=0, atol=1e-9)


@pytest.mark.parametrize("level", ["edge", "node"])
def test_it_bounds_the_effects_of_a_model(level: str) -> None:
    """In company these effects are not what they are alone, so the bound is held against those in company."""
    case = random_case("gpt2", 0, n=3)
    units = np.arange(1, 30 if level == "edge" else case.model.graph.n_sources)
    found = missed(case.model, case.encoded, level, units, 100, seed=3)
    many = subsets(len(units), 600, 0.1, 99)
    runs = run_circuits(case.model, case.encoded, _kept_edges(case.model, level, units, many))
    rise = (runs.clean - runs.value).mean(1)
    effects = np.array([rise[many[:, unit]].mean() - rise[~many[:, unit]].mean() for unit in range(len(units))])
    assert found.largest >= np.abs(effects).max()
    assert found.largest <= 4 * np.abs(effects).max()
    assert found.unit in units
    assert (found.n, found.samples, found.seed, found.confidence) == (len(units), 100, 3, 0.95)
    everything = _kept_edges(case.model, level, units, np.ones((1, len(units)), dtype=bool))
    run = run_circuits(case.model, case.encoded, everything)
    assert found.all_together == pytest.approx((run.clean - run.value).mean())


def test_what_means_nothing_is_refused() -> None:
    case = random_case("gpt2", 0, n=2)
    with pytest.raises(UsageError, match="not of neurons"):
        missed(case.model, case.encoded, "neuron", np.arange(3), 50)
    with pytest.raises(UsageError, match="19 subsets say too little"):
        missed(case.model, case.encoded, "edge", np.arange(3), 19)
    with pytest.raises(UsageError, match="everything was looked at"):
        missed(case.model, case.encoded, "edge", np.arange(0), 50)

"""Differences: correlations as SciPy has them, sets as Python has them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mi.circuit import diff
from mi.circuit.diff import Tolerance
from tests.circuit.random_graphs import SEEDS, generator


@pytest.mark.parametrize("seed", SEEDS)
def test_the_rank_correlation_is_scipys(seed):
    rng = generator(seed)
    for _ in range(5):
        x, y = rng.integers(-4, 5, size=(2, 30)).astype(float)  # with ties
        assert diff.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert diff.spearman(x[:1], y[:1]) is None
    assert diff.spearman(np.ones(5), x[:5]) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_circuits_are_compared_as_sets(seed):
    rng = generator(seed)
    names = [f"e{i}" for i in range(40)]
    a, b = ({names[i]: float(rng.normal()) for i in rng.permutation(40)[:25]} for _ in range(2))
    found = diff.circuits(a, b, Tolerance())
    assert found.numbers["jaccard"] == len(a.keys() & b.keys()) / len(a.keys() | b.keys())
    assert found.numbers["sign-flips"] == sum(a[name] * b[name] < 0 for name in a.keys() & b.keys())
    by = {v: {c.name for c in found.changes if c.verdict == v} for v in ("added", "removed", "flipped", "changed")}
    assert (by["added"], by["removed"]) == (b.keys() - a.keys(), a.keys() - b.keys())
    assert len(by["flipped"]) == found.numbers["sign-flips"]
    assert by["flipped"] | by["changed"] == a.keys() & b.keys()
    weights = [change.weight for change in found.changes]
    assert weights == sorted(weights, reverse=True)


def test_the_same_has_no_changes_and_edges_without_scores_are_compared_by_name():
    a = {"x": None, "y": 1.0}
    same = diff.circuits(a, dict(a), Tolerance())
    assert not same.differs and same.numbers["jaccard"] == 1.0
    assert not diff.circuits({}, {}, Tolerance()).differs
    assert [c.name for c in diff.circuits(a, {"y": 1.0}, Tolerance()).changes] == ["x"]


def test_tolerances_add_up_as_numpy_has_them():
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    y = x + 0.02 * rng.normal(size=200)
    found = diff.scores([str(i) for i in range(200)], x, y, Tolerance(0.01, 0.01))
    assert len(found.changes) == np.count_nonzero(~np.isclose(y, x, atol=0.01, rtol=0.01))
    assert found.numbers["largest-change"] == np.abs(x - y).max()


def test_what_is_not_scored_in_one_is_a_difference():
    x, y = np.array([1.0, np.nan, 2.0, np.nan]), np.array([1.0, 3.0, np.nan, np.nan])
    found = diff.scores(list("abcd"), x, y, Tolerance())
    assert [(c.name, c.verdict) for c in found.changes] == [("b", "added"), ("c", "removed")]
    assert found.numbers["both"] == 1


def test_the_overlap_of_the_highest_tenth():
    x = np.arange(20.0)
    y = x.copy()
    y[0], y[19] = -99, 0.5
    assert diff.scores([str(i) for i in range(20)], x, y, Tolerance()).numbers["top-jaccard"] == pytest.approx(1 / 3)


def test_numbers_that_cannot_be_told():
    found = diff.numbers({"f": None, "g": 1.0, "h": None}, {"f": 0.5, "g": 1.0, "h": None}, Tolerance())
    assert [(c.name, c.a, c.b) for c in found.changes] == [("f", None, 0.5)]

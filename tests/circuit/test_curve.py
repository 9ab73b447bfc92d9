"""The areas equal the plain sums, and their known values."""

import math

import numpy as np
import pytest

from mi.circuit import curve
from tests.circuit.random_graphs import SEEDS, generator
from tests.oracle import selection as oracle


@pytest.mark.parametrize("seed", SEEDS)
def test_areas_equal_the_plain_sums(seed):
    rng = generator(seed)
    for _ in range(30):
        curves = rng.normal(0.7, 0.8, size=(4, 10))
        for name, (area, _) in curve.AREAS.items():
            expected = [oracle.areas(row)[name] for row in curves.tolist()]
            np.testing.assert_allclose(area(curves), expected, rtol=1e-13, atol=1e-13, err_msg=name)
            np.testing.assert_allclose(area(curves[0].tolist()), expected[0], rtol=1e-13, atol=1e-13)


def test_known_curves():
    ones, late = np.ones(10), np.array([0.0] * 9 + [1.0])
    assert curve.cpr(ones) == pytest.approx(0.999, abs=1e-12)
    assert curve.cmd(ones) == 0
    assert curve.cpr(late) == pytest.approx(0.25)
    assert curve.cmd(late) == pytest.approx(0.749)
    assert curve.cpr_log(ones) == pytest.approx(math.log(1000))
    assert curve.cmd_log(ones) == 0
    assert curve.cpr_capped(3 * ones) == curve.cpr(ones) < curve.cpr(3 * ones)
    assert curve.average(late) == pytest.approx(0.1)


def test_effective_weights():
    weights = [curve.cpr(row) for row in np.eye(10)]
    expected = [0.0005, 0.002, 0.004, 0.0075, 0.02, 0.04, 0.075, 0.2, 0.4, 0.25]
    np.testing.assert_allclose(weights, expected, rtol=1e-12)


@pytest.mark.parametrize("n_edges", [1_108, 3_580, 32_347, 32_491, 74_218, 179_749, 231_877, 810_703, 1_592_881])
def test_sizes_are_those_of_the_benchmark(n_edges):
    assert curve.sizes(n_edges) == tuple(int(fraction * n_edges) for fraction in oracle.PERCENTAGES)
    assert curve.PERCENTAGES == oracle.PERCENTAGES

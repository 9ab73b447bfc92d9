"""The seed of the tests on random families: one that no run has seen before, or that of `MI_TEST_SEED`."""

import pytest

from tests.seeds import FRESH


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", [pytest.param(FRESH, id=f"seed-{FRESH}")])

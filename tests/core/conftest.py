"""Seeds of the tests on random models: a fixed one, and one that no run has seen before (the test's id shows it).

`MI_TEST_SEED` brings a failure back.
"""

import os
import random
import zlib

import pytest


def fresh_seed() -> int:
    chosen = os.environ.get("MI_TEST_SEED")
    if chosen:
        return int(chosen)
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")  # parallel workers must collect the same tests
    return zlib.crc32(run.encode()) % 1_000_000 if run else random.SystemRandom().randrange(1_000_000)


FRESH = fresh_seed()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", [pytest.param(0, id="seed-0"), pytest.param(FRESH, id=f"seed-{FRESH}")])

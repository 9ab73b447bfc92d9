"""Effects of patched places against plain loops: means, standard errors, signs, shares."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mi.circuit.effects import records, undetermined

PLACES = [{"layer": 0, "position": 2}, {"layer": 1, "position": 0}]


def runs(seed: int, n: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Metrics [place, example] in between those of a clean and of a corrupted run that are far apart."""
    rng = np.random.default_rng(seed)
    return rng.normal(2, 1, (2, n)), rng.normal(5, 0.5, n), rng.normal(-1, 0.5, n)


@pytest.mark.parametrize("direction", ["noising", "denoising"])
def test_a_record_is_what_loops_give(direction: str) -> None:
    value, clean, corrupted = runs(1)
    for row, record in enumerate(records(PLACES, value, clean, corrupted, direction)):
        effects = [
            float(clean[i] - value[row, i] if direction == "noising" else value[row, i] - corrupted[i])
            for i in range(len(clean))
        ]
        mean = sum(effects) / len(effects)
        variance = sum((effect - mean) ** 2 for effect in effects) / (len(effects) - 1)
        assert {name: record[name] for name in ("layer", "position")} == PLACES[row]
        assert record["n"] == len(effects)
        assert record["effect"] == pytest.approx(mean)
        assert record["se"] == pytest.approx(math.sqrt(variance / len(effects)))
        assert record["normalised"] == pytest.approx(mean / (sum(clean - corrupted) / len(clean)))
        assert mean - 4 * record["se"] < record["low"] < mean < record["high"] < mean + 4 * record["se"]


def test_runs_too_close_give_no_share_and_say_why() -> None:
    value, clean, _ = runs(2)
    made = records(PLACES, value, clean, clean[::-1], "noising")
    assert all("normalised" not in record for record in made)
    why = undetermined(clean, clean[::-1])
    assert why is not None
    assert "the clean and corrupted runs differ by" in why
    assert undetermined(*runs(2)[1:]) is None


def test_one_example_has_neither_error_nor_interval() -> None:
    value, clean, corrupted = runs(3, n=1)
    (first, _) = records(PLACES, value, clean, corrupted, "noising")
    assert set(first) == {"layer", "position", "effect", "n"}

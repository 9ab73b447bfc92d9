"""The effects of patched places with their uncertainty: metrics of every cell and example in, one record a cell out.

    effect      noising: clean - patched        denoising: patched - corrupted
    normalised  effect / (clean - corrupted), both means over the examples

Either way a positive effect says that the place carries what the clean prompt has and the corrupted one lacks, and 1
that it carries all of it. Intervals are those of `statistics`: a bootstrap over the examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mi.circuit import statistics


def records(
    places: Sequence[Mapping[str, Any]],
    value: np.ndarray,
    clean: np.ndarray,
    corrupted: np.ndarray,
    direction: str,
) -> list[dict[str, Any]]:
    """One record a place. ``value`` is [place, example]. No error of a single example, no ratio to nothing."""
    effect = clean - value if direction == "noising" else value - corrupted  # [place, example]
    n = effect.shape[1]
    gap = None if undetermined(clean, corrupted) else float(clean.mean() - corrupted.mean())
    estimates = statistics.means({str(row): column for row, column in enumerate(effect)})
    errors = effect.std(axis=1, ddof=1) / np.sqrt(n) if n > 1 else None
    made: list[dict[str, Any]] = []
    for row, (place, estimate) in enumerate(zip(places, estimates.values(), strict=True)):
        record: dict[str, Any] = {**place, "effect": estimate.value, "n": n}
        if errors is not None:
            record |= {"se": float(errors[row]), "low": estimate.low, "high": estimate.high}
        if gap is not None:
            record["normalised"] = estimate.value / gap
        made.append(record)
    return made


def undetermined(clean: np.ndarray, corrupted: np.ndarray) -> str | None:
    """Why no share of the difference between the runs can be given, or None."""
    why = statistics.undetermined(clean, corrupted)
    return (
        None if why is None else why.replace("the whole model and of the empty circuit", "the clean and corrupted runs")
    )

"""Tests of scores beyond their curve: curves of random rankings, and how much the choice owes to the examples.

Flows in: a vector of scores with its shards, and a way to run circuits. Flows out: records of a report.
"""

from __future__ import annotations

import numpy as np

from mi.circuit import curve, stability, statistics
from mi.circuit.examine import Record, Run
from mi.circuit.levels import Units
from mi.circuit.reading import Scored
from mi.circuit.report import of_scores
from mi.errors import MiError


def random_rankings(
    units: Units, rule: str, clean: np.ndarray, empty: np.ndarray, run: Run, n: int, seed: int
) -> list[Record]:
    """CPR and CMD of rankings by chance. The scores are positive, so signed and absolute rankings are one."""
    if (why := statistics.undetermined(clean, empty)) is not None:
        return [{"summary": "random ranking", "test": "random", "undetermined": why}]
    curves = []
    for number in range(n):
        scores = np.random.default_rng([seed, number]).random(units.n).astype(np.float32)
        made = of_scores(units, scores.reshape(units.shape), rule)
        rows = [point.row for point in made.points if point.mode == "signed"]
        f = (run(made.masks).mean(1) - empty.mean()) / (clean.mean() - empty.mean())
        curves.append(f[rows])
    records: list[Record] = []
    for name in ("cpr", "cmd"):
        areas = curve.AREAS[name][0](np.stack(curves))
        low, high = np.percentile(areas, [2.5, 97.5])
        numbers = {"value": float(areas.mean()), "low": float(low), "high": float(high)}
        records.append({"summary": f"{name} of random rankings", "test": "random", **numbers, "random": n})
    return records


def stable(found: Scored, resamples: int, seed: int) -> list[Record]:
    """For each size of the curve: how alike are the choices of two resamples of the examples (mean Jaccard index), how
    many units nearly every resample chooses, and how many of the chosen keep their sign.

    Raises:
        MiError: the scores came without shards.
    """
    if found.shards is None or found.shard_n is None:
        raise MiError("the scores hold no shards to resample", "a filter took them; use the scores as attributed")
    unscored = np.isnan(found.scores)
    shards = np.nan_to_num(found.shards)
    sign = stability.sign_stability(np.nan_to_num(found.scores), shards, found.shard_n, resamples, seed)
    records: list[Record] = []
    for share, size in zip(curve.PERCENTAGES, curve.sizes(found.n_scored), strict=True):
        inclusion, jaccard = stability.inclusion(
            found.units, size, shards, found.shard_n, True, resamples, seed, drop=unscored
        )
        chosen = inclusion >= 0.5
        records.append(
            {
                "summary": f"stability at {100 * share:g} %",
                "test": "stability",
                "value": jaccard,
                "size": size,
                "nearly_always": int((inclusion >= 0.95).sum()),
                "same_sign": float(sign[chosen].mean()) if chosen.any() else None,
                "resamples": resamples,
            }
        )
    return records

"""Two pieces of work in, the ratio of their times out, measured in turn: unit, work, unit, work, ..., unit."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

Clock = Callable[[], float]


@dataclass(frozen=True)
class Ratio:
    """Times of the work in units of the mean of the two units around it; seconds are medians."""

    median: float
    low: float  # quartiles
    high: float
    least: float
    most: float
    pairs: int
    unit_seconds: float
    work_seconds: float

    def as_json(self) -> dict[str, float]:
        return asdict(self)


def seconds(work: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    gc.collect()
    start = clock()
    work()
    return clock() - start


def ratio(
    unit: Callable[[], object],
    work: Callable[[], object],
    pairs: int = 7,
    warm_up: int = 1,
    clock: Clock = time.perf_counter,
) -> Ratio:
    for _ in range(warm_up):
        unit()
        work()
    units, works = [seconds(unit, clock)], []
    for _ in range(pairs):
        works.append(seconds(work, clock))
        units.append(seconds(unit, clock))
    return of_times(units, works)


def of_times(units: list[float], works: list[float]) -> Ratio:
    ratios = [2 * work / (units[i] + units[i + 1]) for i, work in enumerate(works)]
    spread = ratios if len(ratios) > 1 else ratios * 2  # quartiles need two points
    low, median, high = statistics.quantiles(spread, n=4, method="inclusive")
    return Ratio(
        median, low, high, min(ratios), max(ratios), len(works), statistics.median(units), statistics.median(works)
    )

"""What may have been missed: an upper bound on the effect of units that were not looked at one by one (the diagnostic
of AtP*, Kramár et al. 2024).

Random subsets of these units are corrupted together, each in one run. A unit's effect is the mean rise of the loss over
subsets that hold it less that over subsets that do not: what it does in the company of others, which is what it does
alone where effects add up. For each unit a one-sided Welch bound on the magnitude of that difference; the largest of
these bounds every unit at once, at the same confidence: it is no less than the bound of the unit whose effect is the
largest, whichever that is, so that nothing is lost to there being many.

Flows in: a model, examples, the units, how many subsets. Flows out: :class:`Missed`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mi.core.circuits import run_circuits
from mi.core.model import Model
from mi.core.replacement import NOTHING, Given
from mi.errors import UsageError
from mi.tasks.encode import Encoded

FEWEST = 20  # subsets
SHARE = 0.1  # of the units that a subset holds: few, so that the model stays near what it is
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Missed:
    """``largest``: with this confidence no unit's effect is greater; ``unit`` is the one that could be so great.
    ``root_sum_square``: the same for the root of the sum of all squared effects. ``all_together``: the rise of the loss
    when all of them are corrupted at once, as it is.
    """

    n: int
    samples: int
    share: float
    seed: int
    confidence: float
    largest: float
    unit: int
    root_sum_square: float
    all_together: float


def missed(
    model: Model,
    examples: Sequence[Encoded],
    level: str,
    units: Int[np.ndarray, " unit"],
    samples: int,
    *,
    seed: int = 0,
    share: float = SHARE,
    confidence: float = CONFIDENCE,
    ablation: str = "counterfactual",
    given: Given = NOTHING,
    metric: str = "logit-diff",
    batch_size: int | None = None,
    executor: str = "auto",
    on_done: Callable[[int], None] = lambda n: None,
    on_halved: Callable[[int], None] = lambda n: None,
) -> Missed:
    """The bound over ``units``: edges, or nodes, by number.

    Raises:
        UsageError: a level that circuits do not run at, too few subsets, or no units.
    """
    check(level, samples)
    if not len(units):
        raise UsageError("everything was looked at, so nothing can have been missed", "leave --missed-bound away")
    chosen = subsets(len(units), samples, share, seed)
    corrupted = np.concatenate([chosen, np.ones((1, len(units)), dtype=bool)])
    runs = run_circuits(
        model,
        examples,
        _kept_edges(model, level, units, corrupted),
        ablation=ablation,
        given=given,
        metric=metric,
        batch_size=batch_size,
        executor=executor,
        on_done=on_done,
        on_halved=on_halved,
    )
    effects = (runs.clean - runs.value).mean(1)
    bounds = upper_bounds(chosen, effects[:-1], confidence)
    worst = int(bounds.argmax())
    return Missed(
        n=len(units),
        samples=samples,
        share=share,
        seed=seed,
        confidence=confidence,
        largest=float(bounds[worst]),
        unit=int(units[worst]),
        root_sum_square=root_sum_square(chosen, effects[:-1], confidence),
        all_together=float(effects[-1]),
    )


def check(level: str, samples: int) -> None:
    if level not in ("edge", "node"):
        raise UsageError(f"--missed-bound is of edges and nodes, not of {level}s", "use --level edge")
    if samples < FEWEST:
        raise UsageError(f"{samples} subsets say too little", f"use --missed-bound {FEWEST} or more")


def subsets(n: int, samples: int, share: float, seed: int) -> Bool[np.ndarray, "sample unit"]:
    """Random subsets. Each unit is in as many as any other, at least 2, drawn without regard to the others."""
    times = min(max(2, round(share * samples)), samples - 2)
    lots = np.random.default_rng(seed).random((samples, n))
    return lots.argsort(0).argsort(0) < times


def _kept_edges(
    model: Model, level: str, units: np.ndarray, corrupted: Bool[np.ndarray, "sample unit"]
) -> Bool[np.ndarray, "sample edge"]:
    graph = model.graph
    dropped = np.zeros((len(corrupted), graph.n_edges if level == "edge" else graph.n_sources), dtype=bool)
    dropped[:, units] = corrupted
    return ~(dropped if level == "edge" else dropped[:, graph.source])


def upper_bounds(
    chosen: Bool[np.ndarray, "sample unit"], effects: Float[np.ndarray, " sample"], confidence: float
) -> Float[np.ndarray, " unit"]:
    """|mean with - mean without| + t * its standard error (Welch), of each unit."""
    from scipy.special import stdtrit

    inside = chosen.astype(np.float64)
    with_it, spread_with, n_with = _moments(inside, effects)
    without, spread_without, n_without = _moments(1 - inside, effects)
    a, b = spread_with / n_with, spread_without / n_without
    error = a + b
    safe = np.where(error > 0, error, 1.0)
    freedom = np.where(error > 0, safe**2 / (a**2 / (n_with - 1) + b**2 / (n_without - 1) + 1e-300), 1.0)
    bounds: np.ndarray = np.abs(with_it - without) + stdtrit(freedom, confidence) * np.sqrt(error)
    return bounds


def _moments(
    weight: Float[np.ndarray, "sample unit"], effects: Float[np.ndarray, " sample"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, variance and number of the samples that each unit's column picks out."""
    centred = effects - effects.mean()  # so that squares lose no digits
    n = weight.sum(0)
    mean = centred @ weight / n
    variance = np.maximum(centred**2 @ weight - n * mean**2, 0.0) / (n - 1)
    return mean, variance, n


def root_sum_square(
    chosen: Bool[np.ndarray, "sample unit"], effects: Float[np.ndarray, " sample"], confidence: float
) -> float:
    """The root of the most that sum c^2 can be, where effects c add up: the variance over subsets is p (1 - p) sum c^2,
    and (m - 1) s^2 over it is chi-square distributed.
    """
    from scipy.special import chdtri

    share = float(chosen.mean())
    freedom = len(effects) - 1
    quantile = chdtri(freedom, confidence)  # below which the statistic lies with probability 1 - confidence
    return float(np.sqrt(freedom * effects.var(ddof=1) / quantile / (share * (1 - share))))

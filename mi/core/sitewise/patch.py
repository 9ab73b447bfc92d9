"""Activation patching by site: one activation of the other run put into this one, for each site in turn.

Flows in: a module, examples as arguments, names of sites. Flows out: :class:`SiteEffects`, the metric with each site
(or each position of it) patched, on every example. Places are patched side by side, as copies of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mi.core.executor import Port
from mi.core.job import finite
from mi.core.memory import SideBySide, halving
from mi.core.sitewise.batches import TensorBatch
from mi.core.sitewise.frame import Frame, Run, copied, frame, numpy
from mi.core.sitewise.load import Module
from mi.core.sitewise.names import EVERY
from mi.core.sitewise.reach import Site
from mi.core.sitewise.trace import Part, Step
from mi.errors import MiError, UsageError
from mi.tasks.arguments import Arguments

AXES = ("site", "site,position")
DIRECTIONS = ("noising", "denoising")


@dataclass(frozen=True)
class Place:
    """A site, at one position or at all."""

    site: Site
    position: int | None = None


@dataclass(frozen=True)
class SiteEffects:
    """The metric with each place patched, and of the two runs; float64."""

    places: list[Place]
    value: Float[np.ndarray, "place example"]
    clean: Float[np.ndarray, " example"]
    corrupted: Float[np.ndarray, " example"]
    plan: list[list[int]] = field(repr=False)
    halved: int = 0

    def effect(self, direction: str) -> Float[np.ndarray, "place example"]:
        """How much of what the clean input has each place carries: positive helps."""
        return self.clean - self.value if direction == "noising" else self.value - self.corrupted


def patch_sites(
    model: Module,
    examples: Sequence[Arguments],
    *,
    sites: Sequence[str] = (EVERY,),
    by: str = "site",
    direction: str = "noising",
    metric: str,
    batch_size: int | None = None,
    on_done: Callable[[int], None] = lambda n: None,
    on_halved: Callable[[int], None] = lambda n: None,
) -> SiteEffects:
    """Patch every place and measure.

    Raises:
        UsageError: names, axes or a direction that there are not.
        RunError: a metric is not finite; names the example.
    """
    if by not in AXES:
        raise UsageError(f"no axes '{by}' of sites", f"axes are {'; '.join(AXES)}")
    if direction not in DIRECTIONS:
        raise UsageError(f"no direction '{direction}'", f"directions are {', '.join(DIRECTIONS)}")
    whole = frame(model, examples, metric, batch_size)
    places = _places(whole, sites, by)
    value = np.zeros((len(places), len(examples)))
    clean, corrupted = np.zeros(len(examples)), np.zeros(len(examples))
    side = SideBySide(on_halved)

    def work(rows: Sequence[int]) -> None:
        batch = whole.batch(rows)
        index = list(rows)
        used = [place.site for place in places]
        first, second = whole.both(batch, used)
        clean[index], corrupted[index] = numpy(first.metric), numpy(second.metric)
        base, other = ("clean", second) if direction == "noising" else ("corrupted", first)

        def measure(some: Sequence[int]) -> None:
            metrics = _patched(whole, batch, base, other, first, [places[number] for number in some])
            value[np.ix_(some, index)] = numpy(metrics)

        for chunk in chunks(whole, len(places), len(batch)):
            side.run(chunk, len(batch), measure)
        on_done(len(rows))

    done, halved = halving(whole.rows, work, on_halved)
    return SiteEffects(places, value, clean, corrupted, done, halved + side.halved)


def _places(whole: Frame, patterns: Sequence[str], by: str) -> list[Place]:
    sites = whole.matching(patterns)
    if by == "site":
        return [Place(site) for site in sites]
    if len({example.form for example in whole.examples}) > 1:
        raise MiError(
            "the examples have several shapes, so their positions do not line up",
            "choose some with --template, or use --by site",
        )
    found = [Place(site, position) for site in sites for position in range(site.n_positions or 0)]
    if not found:
        raise UsageError(f"{sites[0].name} is {list(sites[0].shape[1:])}, and has no positions", "use --by site")
    return found


def chunks(whole: Frame, n: int, batch: int) -> Iterator[list[int]]:
    """Few enough copies of a batch at a time to stay within the budget."""
    most = max(1, whole.model.budget.chunk // max(1, whole.bytes_per_example * batch))
    for start in range(0, n, most):
        yield list(range(start, min(n, start + most)))


def _patched(
    whole: Frame, batch: TensorBatch, base: str, other: Run, clean: Run, places: Sequence[Place]
) -> Float[Tensor, "place batch"]:
    """The metric with one place patched in each copy of the batch."""
    at: dict[Port, list[Part]] = {}
    for copy, place in enumerate(places):
        new, position = other.seen[place.site.port], place.position
        part = Part(
            copy * len(new), (copy + 1) * len(new), position, new if position is None else new[..., position, :]
        )
        at.setdefault(place.site.port, []).append(part)
    steps = [Step(port, "put", tuple(parts)) for port, parts in at.items()]
    inputs = copied(getattr(batch, base), len(places))
    ran = whole.tracer.run(inputs, steps, batch.read.repeat(len(places)))
    metrics = whole.measure(ran.logits, batch, clean.logits)
    finite(metrics.flatten(), whole.ids(batch) * len(places), "patched")
    return metrics

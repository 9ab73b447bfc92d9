"""How much each site matters: the rise of the loss when its activation is that of the corrupted run, or an estimate.

    nap, eap             <x - x', dm/dx> at the clean run (attribution patching)
    nap-ig, eap-ig       the same with the gradient averaged over inputs between corrupted and clean
    eap-ig-activations   the same with the gradient averaged over the site's own activation between the two: with many
                         steps, what patching gives
    exact                patching itself

with x the site's clean activation, x' the corrupted one and m the metric; the loss is -m, so that a positive score says
that the site helps. Flows in: a module, examples as arguments, a method. Flows out: :class:`SiteScores`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mi.core.attribute import check_metric
from mi.core.executor import Port
from mi.core.job import finite
from mi.core.memory import SideBySide, halving
from mi.core.methods import METHODS, Config, alphas
from mi.core.metrics import metric_named
from mi.core.sitewise.batches import TensorBatch
from mi.core.sitewise.frame import Frame, Run, copied, frame, numpy
from mi.core.sitewise.load import Module
from mi.core.sitewise.methods import EXACT, OVER_ACTIVATIONS, OVER_INPUTS
from mi.core.sitewise.names import EVERY
from mi.core.sitewise.patch import chunks, patch_sites
from mi.core.sitewise.reach import Site
from mi.core.sitewise.trace import Part, Step
from mi.core.wide import float64, home, zeros
from mi.errors import UsageError
from mi.tasks.arguments import TOKENS, Arguments


@dataclass(frozen=True)
class SiteScores:
    """The score of every site on every example, and the metric of the two runs; float64."""

    sites: list[Site]
    value: Float[np.ndarray, "site example"]
    clean: Float[np.ndarray, " example"]
    corrupted: Float[np.ndarray, " example"]
    plan: list[list[int]] = field(repr=False)
    halved: int = 0


def attribute_sites(
    model: Module,
    examples: Sequence[Arguments],
    config: Config,
    *,
    sites: Sequence[str] = (EVERY,),
    metric: str,
    batch_size: int | None = None,
    on_done: Callable[[int], None] = lambda n: None,
    on_halved: Callable[[int], None] = lambda n: None,
) -> SiteScores:
    """Score every site.

    Raises:
        UsageError: a metric without a gradient, a name that means no site, inputs that the method cannot interpolate.
        RunError: a metric or a score is not finite.
    """
    check_metric(METHODS[config.method], metric_named(metric))
    if config.method == EXACT:
        options = {"metric": metric, "batch_size": batch_size, "on_done": on_done, "on_halved": on_halved}
        got = patch_sites(model, examples, sites=sites, direction=config.direction, **options)  # type: ignore[arg-type]
        found = [place.site for place in got.places]
        return SiteScores(found, got.effect(config.direction), got.clean, got.corrupted, got.plan, got.halved)
    whole = frame(model, examples, metric, batch_size)
    found = whole.matching(sites)
    value = np.zeros((len(found), len(examples)))
    clean, corrupted = np.zeros(len(examples)), np.zeros(len(examples))
    side = SideBySide(on_halved)

    def work(rows: Sequence[int]) -> None:
        batch = whole.batch(rows)
        path = _path_of(whole, batch) if config.method in OVER_INPUTS else None
        kept = [*found, *(path.sites if path else ())]
        first, second = whole.both(batch, kept)
        if config.method == OVER_ACTIVATIONS:
            scores = _over_activations(whole, batch, found, first, second, config, side)
        else:
            scores = _over_inputs(whole, batch, found, first, second, config, path)
        index = list(rows)
        clean[index], corrupted[index] = numpy(first.metric), numpy(second.metric)
        finite(scores.flatten(), whole.ids(batch) * len(found), "attributed")
        value[:, index] = scores.cpu().numpy()
        on_done(len(rows))

    done, halved = halving(whole.rows, work, on_halved)
    return SiteScores(found, value, clean, corrupted, done, halved + side.halved)


@dataclass(frozen=True)
class _Path:
    """What is interpolated between the runs: arguments that are numbers, and the embedding of the tokens."""

    names: tuple[str, ...]
    sites: tuple[Site, ...]

    def inputs(self, batch: TensorBatch, alpha: float) -> dict[str, Tensor]:
        between = {n: torch.lerp(batch.corrupted[n], batch.clean[n], alpha) for n in self.names}
        return {**batch.clean, **between}

    def steps(self, clean: Run, corrupted: Run, alpha: float) -> list[Step]:
        between = [(s.port, torch.lerp(corrupted.seen[s.port], clean.seen[s.port], alpha)) for s in self.sites]
        return [Step(port, "put", (Part(0, len(value), None, value),)) for port, value in between]


def _path_of(whole: Frame, batch: TensorBatch) -> _Path:
    names = tuple(name for name, value in batch.clean.items() if value.is_floating_point())
    embedded: tuple[Site, ...] = ()
    for name, value in batch.clean.items():
        if name in names or torch.equal(value, batch.corrupted[name]):
            continue
        found = _embedding(whole) if name == TOKENS else None
        if found is None:
            raise UsageError(
                f"{name} are whole numbers, and nothing lies between those of two inputs",
                f"use --method {OVER_ACTIVATIONS}, nap or {EXACT}",
            )
        embedded = (found,)
    return _Path(names, embedded)


def _embedding(whole: Frame) -> Site | None:
    """The output of the token embedding, where the module says which of its parts that is."""
    get = getattr(whole.model.module, "get_input_embeddings", None)
    part = get() if get is not None else None
    paths = [path for path, module in whole.model.module.named_modules() if module is part]
    ports = {Port(path, "out") for path in paths}
    return next((site for site in whole.sites if site.port in ports), None)


def _over_inputs(
    whole: Frame,
    batch: TensorBatch,
    sites: Sequence[Site],
    clean: Run,
    corrupted: Run,
    config: Config,
    path: _Path | None,
) -> Float[Tensor, "site batch"]:
    """<x - x', mean gradient>, the gradients of all sites from one backward for each step."""
    total: dict[Port, Tensor] = {}
    for alpha, weight in alphas(config):
        inputs = batch.clean if path is None else path.inputs(batch, alpha)
        steps = [] if path is None else path.steps(clean, corrupted, alpha)
        ports = list(dict.fromkeys(site.port for site in sites))
        steps += [Step(port, "add") for port in ports]
        gradients = whole.tracer.gradients(inputs, steps, batch.read, whole.total(batch, clean.logits))
        for port, gradient in zip(ports, gradients, strict=True):
            total[port] = total[port] + weight * gradient if port in total else weight * gradient
    return torch.stack([_product(clean, corrupted, site.port, total[site.port], len(batch)) for site in sites])


def _over_activations(
    whole: Frame,
    batch: TensorBatch,
    sites: Sequence[Site],
    clean: Run,
    corrupted: Run,
    config: Config,
    side: SideBySide,
) -> Float[Tensor, "site batch"]:
    """A run for each site and step, as copies of the batch; in each, one site lies between the two runs."""
    steps = [(site, alpha, weight) for site in sites for alpha, weight in alphas(config)]
    scores = zeros((len(sites), len(batch)), clean.metric.device)
    numbers = {site: number for number, site in enumerate(sites)}

    def work(some: Sequence[int]) -> None:
        part = [steps[number] for number in some]
        gradients = _at_own(whole, batch, [(site, alpha) for site, alpha, _ in part], clean, corrupted)
        found = [
            weight * _product(clean, corrupted, site.port, gradient, len(batch))
            for (site, _, weight), gradient in zip(part, gradients, strict=True)
        ]
        for (site, _, _), score in zip(part, found, strict=True):  # once all of them are there, or none counts
            scores[numbers[site]] += score

    for chunk in chunks(whole, len(steps), len(batch)):
        side.run(chunk, len(batch), work)
    return scores


def _at_own(
    whole: Frame, batch: TensorBatch, steps: Sequence[tuple[Site, float]], clean: Run, corrupted: Run
) -> list[Tensor]:
    at: dict[Port, list[tuple[int, Part]]] = {}
    for copy, (site, alpha) in enumerate(steps):
        between = torch.lerp(corrupted.seen[site.port], clean.seen[site.port], alpha)
        part = Part(copy * len(between), (copy + 1) * len(between), None, between, wanted=True)
        at.setdefault(site.port, []).append((copy, part))
    taken = [Step(port, "put", tuple(part for _, part in parts)) for port, parts in at.items()]
    inputs, read = copied(batch.clean, len(steps)), batch.read.repeat(len(steps))
    found = whole.tracer.gradients(inputs, taken, read, whole.total(batch, clean.logits))
    copies = [copy for parts in at.values() for copy, _ in parts]
    return [gradient for _, gradient in sorted(zip(copies, found, strict=True), key=lambda pair: pair[0])]


def _product(clean: Run, corrupted: Run, port: Port, gradient: Tensor, batch: int) -> Float[Tensor, " batch"]:
    difference = float64(clean.seen[port]) - float64(corrupted.seen[port])
    return (difference * gradient.to(difference.device)).reshape(batch, -1).sum(1).to(home(clean.metric.device))

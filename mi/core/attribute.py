"""Scores of every edge, node or neuron of a model's graph, by any method of the table (`methods`).

Flows in: a model and encoded examples. Flows out: :class:`Attribution`: scores in the graph's order, with their sums
over disjoint shards of the examples. A score is the rise of the loss when the unit is corrupted: positive means that
it helps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from jaxtyping import Float

from mi.circuit.levels import Units
from mi.circuit.sums import Sums, whole
from mi.core import batches, methods, replacement
from mi.core.job import Job, Scored
from mi.core.memory import SideBySide, halving
from mi.core.methods import Config, Method
from mi.core.metrics import METRICS, Metric, metric_named
from mi.core.model import Model
from mi.core.replacement import NOTHING, Given
from mi.core.shards import Adding
from mi.core.team import ALONE, Found, Team
from mi.errors import MiError, UsageError
from mi.tasks.encode import Encoded


@dataclass(frozen=True)
class Attribution:
    """Scores of all units of a level.

    ``scores`` is the mean over examples, NaN where the method scores no such unit; ``shards`` are sums over the
    examples of a shard, ``shard_n`` how many those are. ``clean`` is the metric of each clean run, NaN where the
    method measures none. ``loss_change`` and ``attributed`` are the two sides of completeness (spec I3): mean
    l(x') - l(x), and the sum of the input's scores; NaN where the method does not promise it.
    """

    config: Config
    scores: Float[np.ndarray, " *units"]
    shards: Float[np.ndarray, "shard *units"]
    shard_n: np.ndarray
    clean: Float[np.ndarray, " example"]
    loss_change: float
    attributed: float
    plan: list[list[int]] = field(repr=False)
    halved: int = 0
    sums: Sums | None = field(default=None, repr=False)  # what the scores are the mean of, before any scale

    @property
    def level(self) -> str:
        return self.config.level

    @property
    def edge(self) -> Float[np.ndarray, " edge"]:
        """The scores, which must be of edges."""
        assert self.level == "edge"
        return self.scores


def check_metric(method: Method, metric: Metric) -> None:
    """Refuse a metric that the method can read nothing from, as a usage error."""
    if method.needs_gradient and not metric.differentiable:
        able = ", ".join(m.name for m in METRICS.values() if m.differentiable)
        raise UsageError(f"metric '{metric.name}' has no gradient", f"these have one: {able}")
    if method.only_at_clean and metric.flat_at_clean:
        raise UsageError(f"the gradient of '{metric.name}' is zero at the clean run", "use --method eap-ig")


def attribute(
    model: Model,
    examples: Sequence[Encoded],
    *,
    method: str = "eap-ig",
    level: str | None = None,
    steps: int | None = None,
    rule: str | None = None,
    ablation: str = "counterfactual",
    given: Given = NOTHING,
    metric: str = "logit-diff",
    batch_size: int | None = None,
    executor: str = "auto",
    compat: str | None = None,
    normalise_layers: bool = False,
    direction: str | None = None,
    backward: Sequence[str] | None = None,
    only: np.ndarray | None = None,
    part: np.ndarray | None = None,
    team: Team = ALONE,
    on_done: Callable[[float], None] = lambda n: None,
    on_halved: Callable[[int], None] = lambda n: None,
) -> Attribution:
    """Scores of every unit of the level (None: the method's own first level) of the model's graph.

    ``only`` are the units that a method which takes them one by one is to look at; the others score 0. ``part`` are the
    places of the examples to score (None: all); what depends on the whole set, such as its means, still does. The
    ``team`` shares the work; the scores are those of all in the process that leads it.

    Raises:
        UsageError: a combination that has no meaning.
        MiError: no examples, or an ablation that they do not allow.
        RunError: a metric or a score is not finite; names the example, or the edge, node or neuron.
    """
    chosen = metric_named(metric)
    config = methods.settle(
        method,
        level=level,
        steps=steps,
        rule=rule,
        ablation=ablation,
        compat=compat,
        normalise_layers=normalise_layers,
        direction=direction,
        backward=backward,
    )
    entry = methods.METHODS[config.method]
    check_metric(entry, chosen)
    if not examples:
        raise MiError("no examples to attribute", "the chosen split is empty")
    lengths = [len(example.clean) for example in examples]
    replacement.check(ablation, lengths, given)
    examples = replacement.drawn(ablation, examples, given)
    runner = model.executor(executor)
    plan = partial(_plan, model, lengths, batch_size, config)
    every = np.arange(len(examples))
    instead = replacement.make(
        ablation, model, runner, examples, plan(team.mine(every, lengths)), on_halved, given, team
    )
    bar = _Bar(on_done)
    ids, side = [example.id for example in examples], SideBySide(on_halved)
    job = Job(model, runner, config, chosen, instead, ids, only, bar.advance, side)
    divisor = _reference_batches(len(examples), batch_size) if compat == "mib" else None
    total = _Total(job, entry, examples, divisor)

    def work(part: Sequence[int]) -> None:
        batch = batches.make_batch(examples, part, model.device)
        total.add(batch, entry.run(job, batch))
        bar.finish(len(part))

    mine = team.mine(every if part is None else np.sort(part), lengths)
    done, halved = halving(plan(mine), work, on_halved)
    return total.attribution(team.found(Found(total.sums(mine), done, halved + side.halved)))


def _plan(
    model: Model, lengths: Sequence[int], batch_size: int | None, config: Config, rows: np.ndarray
) -> list[list[int]]:
    """The batch plan of the examples at ``rows``, as places in the whole set."""
    of_rows = [lengths[row] for row in rows]
    made = batches.plan_for(model, of_rows, batch_size, config.steps, methods.planned(config))
    return [[int(rows[place]) for place in batch] for batch in made]


class _Bar:
    """How many examples are done, for a method that counts parts of them and one that does not."""

    def __init__(self, on_done: Callable[[float], None]) -> None:
        self._on_done, self._counted = on_done, 0.0

    def advance(self, n: float) -> None:
        self._counted += n
        self._on_done(n)

    def finish(self, n: int) -> None:
        """A batch of ``n`` is done, whatever was counted of it."""
        self._on_done(n - self._counted)
        self._counted = 0.0


def _reference_batches(n: int, batch_size: int | None) -> np.ndarray:
    """The size of the batch that the reference would put each example in: consecutive ones, the last perhaps smaller.

    Its scores are averaged over that batch and then divided by the number of examples again (spec B0 row 1).
    """
    size = min(batch_size or n, n)
    row = np.arange(n)
    return np.minimum(size, n - row // size * size).astype(np.float64)


class _Total:
    """What all batches add up to."""

    def __init__(self, job: Job, method: Method, examples: Sequence[Encoded], divisor: np.ndarray | None) -> None:
        self._job, self._method, self._divisor = job, method, divisor
        width = job.model.adapter.d_model if job.config.level == "neuron" else 0
        self._units = Units(job.model.graph, job.config.level, width)
        self._adding = Adding(examples, self._units)
        self._clean = np.full(len(examples), np.nan)
        self._loss_change = np.full(len(examples), np.nan)

    @property
    def _known(self) -> bool:
        """Whether the two sides of completeness mean something."""
        return self._method.complete and self._divisor is None

    def add(self, batch: batches.Batch, scored: Scored) -> None:
        rows = list(batch.rows)
        scores = scored.scores.cpu().numpy()
        if self._divisor is not None:
            scores = scores / self._divisor[rows].reshape(-1, *[1] * (scores.ndim - 1))
        self._adding.add(rows, scores)
        if scored.clean is not None:
            self._clean[rows] = -scored.clean.cpu().double().numpy()
            if scored.corrupted is not None and self._known:
                self._loss_change[rows] = (scored.corrupted - scored.clean).cpu().double().numpy()

    def sums(self, rows: np.ndarray) -> Sums:
        """Of the examples at ``rows``, which are those that were added."""
        return Sums(
            self._units,
            self._adding.by_shard,
            self._adding.n(rows),
            rows,
            self._clean[rows],
            self._loss_change[rows],
        )

    def attribution(self, found: Found) -> Attribution:
        scale = None if self._method.scale is None else partial(self._method.scale, self._job.config)
        made = whole(found.sums, scale)
        return Attribution(
            config=self._job.config,
            scores=made.scores,
            shards=made.shards,
            shard_n=found.sums.shard_n,
            clean=found.sums.clean,
            loss_change=made.loss_change,
            attributed=made.attributed if self._known else float("nan"),
            plan=found.plan,
            halved=found.halved,
            sums=found.sums,
        )

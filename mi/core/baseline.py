"""Plain runs on clean and corrupted inputs: each example's metric, whether the model is right, and activations asked
for.

Flows in: a model, encoded examples, sites. Flows out: :class:`Baselines`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mi.core import batches
from mi.core.executor import Edit
from mi.core.job import finite
from mi.core.memory import halving
from mi.core.metrics import METRICS, Metric, metric_named
from mi.core.model import Model
from mi.core.sites import Site
from mi.errors import MiError
from mi.tasks.encode import Encoded

TOP_TOKENS = 3
RUNS = ("clean", "corrupted")


@dataclass(frozen=True)
class Wanted:
    """Activations to keep: which sites, of which runs, at every position or the one that the metric reads."""

    sites: tuple[Site, ...] = ()
    runs: tuple[str, ...] = ("clean",)
    at_read: bool = False


@dataclass(frozen=True)
class Baselines:
    """Per example: the metric of both runs and whether the clean run is right.

    ``top`` holds the likeliest tokens of the clean run with their probabilities. ``activations`` maps run, then site,
    to an array [example, pos, ...] (or [example, ...]); rows of shorter examples are padded with zeros, ``lengths``
    tells how far.
    """

    clean: Float[np.ndarray, " example"]
    corrupted: Float[np.ndarray, " example"]
    right: np.ndarray
    top: list[list[tuple[int, float]]]
    activations: dict[str, dict[str, np.ndarray]]
    lengths: np.ndarray
    plan: list[list[int]] = field(repr=False)
    halved: int = 0


def baselines(
    model: Model,
    examples: Sequence[Encoded],
    *,
    metric: str = "logit-diff",
    wanted: Wanted = Wanted(),
    batch_size: int | None = None,
    executor: str = "auto",
    on_done: Callable[[int], None] = lambda n: None,
    on_halved: Callable[[int], None] = lambda n: None,
) -> Baselines:
    """Run every example, clean and corrupted.

    Raises:
        RunError: a metric is not finite; names the example.
    """
    if not examples:
        raise MiError("no examples to run")
    chosen = metric_named(metric)
    lengths = [len(example.clean) for example in examples]
    rows = batches.plan_for(model, lengths, batch_size)
    job = _Job(model, chosen, wanted, examples, executor)

    def work(part: Sequence[int]) -> None:
        job.run(part)
        on_done(len(part))

    done, halved = halving(rows, work, on_halved)
    metric_of, lengths_of = job.metric, np.array(lengths)
    return Baselines(
        metric_of["clean"], metric_of["corrupted"], job.right, job.top, job.activations, lengths_of, done, halved
    )


class _Job:
    def __init__(
        self, model: Model, metric: Metric, wanted: Wanted, examples: Sequence[Encoded], executor: str
    ) -> None:
        self._model, self._chosen, self._wanted, self._examples = model, metric, wanted, examples
        self._executor = model.executor(executor)
        self._longest = max(len(example.clean) for example in examples)
        n = len(examples)
        self.metric = {run: np.zeros(n) for run in RUNS}
        self.right = np.zeros(n, dtype=bool)
        self.top: list[list[tuple[int, float]]] = [[] for _ in range(n)]
        self.activations: dict[str, dict[str, np.ndarray]] = {}

    def run(self, rows: Sequence[int]) -> None:
        batch = batches.make_batch(self._examples, rows, self._model.device)
        names = [self._examples[row].id for row in rows]
        dtype = self._model.compute_dtype
        clean: Tensor | None = None
        for run, ids in zip(RUNS, (batch.clean, batch.corrupted), strict=True):
            seen: dict[Site, Tensor] = {}
            edits = [_keep(site, seen) for site in self._wanted.sites] if run in self._wanted.runs else []
            with torch.no_grad():
                logits = self._executor.run(ids, edits, batch.read).to(dtype)
            clean = logits if clean is None else clean
            metric = self._chosen.compute(logits, batch, clean)
            finite(metric, names, run)
            self.metric[run][list(rows)] = metric.cpu().double().numpy()
            self._store(run, batch, rows, seen)
        assert clean is not None
        self.right[list(rows)] = METRICS["accuracy"].compute(clean, batch, None).bool().cpu().numpy()
        likely, token = clean.softmax(-1).topk(min(TOP_TOKENS, clean.shape[-1]), dim=-1)
        for place, row in enumerate(rows):
            self.top[row] = list(zip(token[place].tolist(), likely[place].tolist(), strict=True))

    def _store(self, run: str, batch: batches.Batch, rows: Sequence[int], seen: dict[Site, Tensor]) -> None:
        for site, raw in seen.items():
            value = site.view(raw)
            if self._wanted.at_read:
                value = value[torch.arange(len(rows), device=value.device), batch.read]
            value = value.to(torch.float32) if value.dtype == torch.bfloat16 else value
            array = value.cpu().numpy()
            kept = self.activations.setdefault(run, {})
            if site.name not in kept:
                kept[site.name] = np.zeros((len(self._examples), *self._padded(site, array)), dtype=array.dtype)
            filled: Any = (list(rows), *(slice(size) for size in array.shape[1:]))
            kept[site.name][filled] = array

    def _padded(self, site: Site, array: np.ndarray) -> list[int]:
        """The shape that holds this site of the longest example: every axis of positions grows to it."""
        inner = [size == 0 for _, size in site.shape]  # an axis of key positions has no size of its own
        grows = inner if self._wanted.at_read else [True, *inner]
        grows += [False] * (array.ndim - 1 - len(grows))
        return [self._longest if grow else size for grow, size in zip(grows, array.shape[1:], strict=True)]


def _keep(site: Site, seen: dict[Site, Tensor]) -> Edit:
    def keep(value: Tensor) -> None:
        if not isinstance(value, Tensor):
            value = value[0]
        if value.ndim < 3:
            raise MiError(f"site '{site.name}' has shape {list(value.shape)}", "a site is [batch, pos, ...]")
        seen[site] = value.detach()

    return Edit(site.port, keep)

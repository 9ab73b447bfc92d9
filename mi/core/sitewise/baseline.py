"""Plain runs of any module on clean and corrupted inputs: metrics, what the model says, activations asked for.

Flows in: a module, examples as arguments, names of sites. Flows out: :class:`SiteBaselines`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mi.core.memory import halving
from mi.core.metrics import METRICS
from mi.core.sitewise.batches import TensorBatch
from mi.core.sitewise.frame import Frame, Run, frame, numpy
from mi.core.sitewise.load import Module
from mi.core.sitewise.reach import Site
from mi.errors import UsageError
from mi.tasks.arguments import Arguments

TOP_CLASSES = 3
RUNS = ("clean", "corrupted")


@dataclass(frozen=True)
class SiteBaselines:
    """Per example: the metric of both runs, whether the clean run is right, and its likeliest classes.

    ``activations`` maps run, then site, to an array [example, ...]; where examples differ in shape, the smaller are
    padded with zeros.
    """

    clean: Float[np.ndarray, " example"]
    corrupted: Float[np.ndarray, " example"]
    right: np.ndarray
    top: list[list[tuple[int, float]]]
    activations: dict[str, dict[str, np.ndarray]]
    sites: list[str]
    plan: list[list[int]] = field(repr=False)
    halved: int = 0


def baselines(
    model: Module,
    examples: Sequence[Arguments],
    *,
    metric: str,
    sites: Sequence[str] = (),
    runs: Sequence[str] = ("clean",),
    at_read: bool = False,
    batch_size: int | None = None,
    on_done: Callable[[int], None] = lambda n: None,
    on_halved: Callable[[int], None] = lambda n: None,
) -> SiteBaselines:
    """Run every example, clean and corrupted.

    Raises:
        UsageError: a name that means no site.
        RunError: a metric is not finite; names the example.
    """
    job = _Job(frame(model, examples, metric, batch_size), sites, runs, at_read)

    def work(rows: Sequence[int]) -> None:
        job.run(rows)
        on_done(len(rows))

    done, halved = halving(job.frame.rows, work, on_halved)
    kept = {run: {site: _padded(rows) for site, rows in of.items()} for run, of in job.kept.items()}
    names = [site.name for site in job.sites]
    return SiteBaselines(job.metric["clean"], job.metric["corrupted"], job.right, job.top, kept, names, done, halved)


class _Job:
    def __init__(self, frame: Frame, patterns: Sequence[str], runs: Sequence[str], at_read: bool) -> None:
        self.frame, self._runs, self._at_read = frame, runs, at_read
        self.sites = frame.matching(patterns) if patterns else []
        if at_read and (flat := [site for site in self.sites if len(site.shape) != 3 or site.shape[0] != 1]):
            raise UsageError(
                f"{flat[0].name} is {list(flat[0].shape[1:])}, which is no [positions, features]",
                "leave --positions read away",
            )
        n = len(frame.examples)
        self.metric = {run: np.zeros(n) for run in RUNS}
        self.right = np.zeros(n, dtype=bool)
        self.top: list[list[tuple[int, float]]] = [[] for _ in range(n)]
        self.kept: dict[str, dict[str, list[np.ndarray]]] = {
            run: {site.name: [np.zeros(0)] * n for site in self.sites} for run in (runs if self.sites else ())
        }

    def run(self, rows: Sequence[int]) -> None:
        batch = self.frame.batch(rows)
        clean = self.frame.run(batch, "clean", self.sites if "clean" in self._runs else (), None)
        of_corrupted = self.sites if "corrupted" in self._runs else ()
        corrupted = self.frame.run(batch, "corrupted", of_corrupted, clean.logits)
        for which, run in (("clean", clean), ("corrupted", corrupted)):
            self.metric[which][list(rows)] = numpy(run.metric)
            if which in self.kept:
                self._store(which, run, batch)
        self.right[list(rows)] = METRICS["accuracy"].compute(clean.logits, batch, None).bool().cpu().numpy()
        likely, number = clean.logits.softmax(-1).topk(min(TOP_CLASSES, clean.logits.shape[-1]), dim=-1)
        for place, row in enumerate(rows):
            self.top[row] = list(zip(number[place].tolist(), likely[place].tolist(), strict=True))

    def _store(self, which: str, run: Run, batch: TensorBatch) -> None:
        for site in self.sites:
            value = self._of_examples(site, run.seen[site.port], batch)
            array = (value.float() if value.dtype == torch.bfloat16 else value).cpu().numpy()
            for place, row in enumerate(batch.rows):
                self.kept[which][site.name][row] = array[place]

    def _of_examples(self, site: Site, value: Tensor, batch: TensorBatch) -> Tensor:
        """[example, ...]; an axis of rows only where an example has several."""
        if site.shape[0] != 1:
            return value.unflatten(0, (len(batch), -1))
        if self._at_read:
            return value[torch.arange(len(batch), device=value.device), batch.read]
        return value


def _padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    shape = np.max([row.shape for row in rows], axis=0)
    made = np.zeros((len(rows), *shape), dtype=rows[0].dtype)
    for number, row in enumerate(rows):
        filled: Any = (number, *(slice(size) for size in row.shape))
        made[filled] = row
    return made

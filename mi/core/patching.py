"""The method `exact`: activation patching of every unit of the level, or of the chosen ones (`exact`).

Flows in: a job and a batch. Flows out: scores [batch, *units], zero for a unit that was not chosen.
"""

from __future__ import annotations

import numpy as np
import torch

from mi.core import exact, patches
from mi.core.batches import Batch
from mi.core.job import Job, Scored
from mi.errors import UsageError


def run(job: Job, batch: Batch) -> Scored:
    """
    Raises:
        UsageError: denoising towards something that is no run; the generic executor, which cannot resume.
    """
    check(job)
    model, level = job.model, job.config.level
    every = {"edge": patches.edges, "node": patches.nodes, "neuron": patches.neurons}[level](model)
    wanted = np.arange(len(every)) if job.only is None else job.only

    def advance(n: int) -> None:
        job.advance(n / len(wanted) * len(batch))

    found, clean = exact.exact(
        model,
        job.executor,
        job.metric,
        job.instead,
        batch,
        every.take(wanted),
        job.config.direction,
        advance,
        job.side,
    )
    scores = np.zeros((len(batch), len(every)))
    scores[:, wanted] = found
    shape = {"neuron": (model.graph.n_sources, model.adapter.d_model)}.get(level, (len(every),))
    return Scored(torch.from_numpy(scores).view(len(batch), *shape), -torch.from_numpy(clean))


def check(job: Job) -> None:
    if job.executor.name != "fast":
        raise UsageError("exact patching goes on from inside the model", "use --executor fast")
    if job.config.direction == "denoising" and not job.instead.from_corrupted:
        raise UsageError(
            f"denoising restores the clean run's values in the corrupted run, and '{job.instead.name}' is no run",
            "use --ablation counterfactual",
        )

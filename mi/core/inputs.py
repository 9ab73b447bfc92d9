"""Attribution patching with the gradient at the clean input, or averaged over inputs on the way from the corrupted one.

    EAP     (Syed et al. 2023):  S(u->v) = mean_x <a'_u - a_u, dl/d i_v at the clean run>
    EAP-IG  (Hanna et al. 2024): the gradient averaged over runs whose token embedding is e' + alpha (e - e')

Of nodes and neurons, with the gradient at the source's own output: attribution patching (AtP, NAP) and NAP-IG.
Flows in: a job and a batch. Flows out: its scores, and the losses of the clean and of the corrupted run where known.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from mi.core import replacement
from mi.core.batches import Batch
from mi.core.contraction import contract, edges_of
from mi.core.executor import Edit, Port
from mi.core.gradients import GradientRecorder, ReceiverGradients
from mi.core.job import Job, Scored
from mi.core.methods import alphas
from mi.core.nodes import SourceGradients, SourceRecorder, neuron_scores, node_scores
from mi.core.outputs import Outputs, Recorder
from mi.core.receivers import ungroup_edits


class Collector(Protocol):
    """Gradients of one level: ``edits`` keep tensors in a forward, ``pull`` takes their gradients and adds them to
    those of earlier steps, ``scores`` contracts the sum with the sources' differences.
    """

    def edits(self) -> list[Edit]: ...

    def pull(self, loss: Tensor, read: Tensor, weight: float) -> None: ...

    def scores(self, difference: Outputs, read: Tensor) -> Tensor: ...


class EdgeCollector:
    """Gradients at the receivers."""

    def __init__(self, job: Job) -> None:
        self._model = job.model
        rules = job.config.backward
        scale_constant, self._unreached = "ln" in rules, "pattern" in rules
        self._recorder = GradientRecorder(job.model.adapter, job.model.compute_dtype, scale_constant=scale_constant)
        self._total: ReceiverGradients | None = None

    def edits(self) -> list[Edit]:
        return self._recorder.edits()

    def pull(self, loss: Tensor, read: Tensor, weight: float) -> None:
        self._total = self._recorder.pull(loss, read, weight, self._total, self._unreached)

    def scores(self, difference: Outputs, read: Tensor) -> Tensor:
        assert self._total is not None
        return edges_of(self._model, contract(self._model, difference, self._total, read))


class SourceCollector:
    """Gradients at what the sources write: nodes, or neurons."""

    def __init__(self, job: Job) -> None:
        self._model = job.model
        self._contract = node_scores if job.config.level == "node" else neuron_scores
        at_mlp_input = job.config.compat == "mib"
        self._recorder = SourceRecorder(job.model.adapter, job.model.compute_dtype, at_mlp_input)
        self._total: SourceGradients | None = None

    def edits(self) -> list[Edit]:
        return self._recorder.edits()

    def pull(self, loss: Tensor, read: Tensor, weight: float) -> None:
        self._total = self._recorder.pull(loss, weight, self._total)

    def scores(self, difference: Outputs, read: Tensor) -> Tensor:
        assert self._total is not None
        return self._contract(self._model, difference, self._total)


def collector(job: Job) -> Collector:
    return EdgeCollector(job) if job.config.level == "edge" else SourceCollector(job)


def run(job: Job, batch: Batch) -> Scored:
    """Score one batch. Runs at alpha 1 and 0 double as the clean and the corrupted run."""
    with torch.no_grad():
        clean_embed = job.model.adapter.embed(batch.clean)
        corrupted_embed = job.model.adapter.embed(batch.corrupted)
    steps = alphas(job.config)
    taken = [alpha for alpha, _ in steps]
    recorded: dict[float, tuple[Outputs, Tensor]] = {}
    for alpha, ids_of_run in ((1.0, batch.clean), (0.0, batch.corrupted)):
        if alpha not in taken and (alpha == 1.0 or job.instead.from_corrupted):
            recorded[alpha] = replacement.record(job.model, job.executor, ids_of_run, batch.read)
    gradients = collector(job)
    for alpha, weight in steps:
        ends = {1.0: clean_embed, 0.0: corrupted_embed}
        start = ends[alpha] if alpha in ends else corrupted_embed + alpha * (clean_embed - corrupted_embed)
        reference = recorded[1.0][1] if 1.0 in recorded else None
        outputs, logits = step(job, batch, start, reference, weight, gradients, keep=alpha in ends)
        if outputs is not None:
            recorded[alpha] = (outputs, logits)
    clean, clean_logits = recorded[1.0]
    corrupted, corrupted_logits = recorded.get(0.0, (None, None))
    difference = job.difference(clean, corrupted)
    loss = job.loss(clean_logits, batch, clean_logits, "clean")
    of_corrupted = None
    if len(steps) > 1 or taken != [1.0]:
        assert corrupted_logits is not None
        of_corrupted = job.loss(corrupted_logits, batch, clean_logits, "corrupted")
    return Scored(gradients.scores(difference, batch.read), loss, of_corrupted)


def step(
    job: Job, batch: Batch, embed: Tensor, reference: Tensor | None, weight: float, gradients: Collector, keep: bool
) -> tuple[Outputs | None, Tensor]:
    """One forward and backward from ``embed``; the gradients are added up in ``gradients``."""
    adapter = job.model.adapter
    outputs = Recorder(adapter)
    start = Edit(Port(adapter.roles.embed, "out"), lambda _: embed.detach().requires_grad_(True))
    edits = [start, *ungroup_edits(adapter), *gradients.edits(), *(outputs.edits() if keep else [])]
    with torch.enable_grad():
        logits = job.executor.run(batch.clean, edits, batch.read)
        metric = job.measure(logits, batch, logits.detach() if reference is None else reference)
        gradients.pull(-metric, batch.read, weight)
    return outputs.outputs() if keep else None, logits.detach()

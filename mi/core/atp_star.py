"""AtP* (Kramár et al. 2024): attribution patching with its two causes of false negatives removed (spec B5).

QK fix: a query or a key goes through a softmax, which may be flat where the model is and steep where it would go. So an
edge into a query or a key is scored by what its head really mixes then, times the gradient there:

    e(u->v) = <z_h(v reads a'_u) - z_h, dl/d z_h>      v = a.h<q>, a.h<k>
    e(u->v) = <a'_u - a_u, dl/d i_v>                    all others (EAP); a node's e(u) is the sum over its edges

GradDrop: where a direct and an indirect effect cancel, every path but those through one layer j is looked at in turn:

    S = mean over examples x of  mean over layers j of  |e^(-j)|

where e^(-j) uses gradients that do not pass what layer j adds to the stream. The layer that holds the node (or the
edge's receiver) says nothing about it and is left out. Scores say how much, never which way: none is negative.

Dropping layer j leaves gradients after it as they are, and those before it are reached through the stream alone: the
backward pass starts there, half a model on average. Flows in: a job and a batch. Flows out: its scores, and the loss of
the clean run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mi.core import ports, replacement
from mi.core.batches import Batch
from mi.core.contraction import by_column, contract, edges_of
from mi.core.executor import Edit, Port
from mi.core.gradients import GradientRecorder, ReceiverGradients
from mi.core.job import Job, Scored
from mi.core.model import Model
from mi.core.outputs import Outputs, Recorder
from mi.core.qk_fix import Change, Place, QKFix
from mi.core.receivers import ungroup_edits
from mi.core.resume import first_position
from mi.core.wide import float64, home
from mi.errors import MiError


def run(job: Job, batch: Batch) -> Scored:
    """Score one batch."""
    if not job.model.adapter.roles.heads_apart:
        raise MiError(
            f"in '{job.model.module.config.model_type}' one norm runs over the queries of all heads",  # type: ignore
            "atp-star takes heads one by one: use --method eap-ig, or exact",
            place="-m",
        )
    model, read = job.model, batch.read
    corrupted: Outputs | None = None
    if job.instead.from_corrupted:
        corrupted, _ = replacement.record(model, job.executor, batch.corrupted, read)
    clean = _Forward(job, batch)
    difference = job.difference(clean.outputs, corrupted)
    tally = _Tally(model, job.config.level, len(batch))
    at_z: dict[int | None, list[Tensor]] = {}
    for slopes in clean.backwards():
        at_z[slopes.dropped] = slopes.z
        linear = contract(model, difference, slopes.receivers, read, before=slopes.dropped, values_only=True)
        tally.add_linear(slopes, linear)
        del slopes, linear
    with torch.no_grad():
        first = first_position(model, batch.first_difference if job.instead.from_corrupted else 0)
        fix = QKFix(model, batch, clean.stream, clean.outputs, difference, first)
        for sources, first_layer in fix.groups():

            def mix(some: Sequence[int], first_layer: int = first_layer) -> None:
                own = range(some[0], some[-1] + 1)
                changes = fix.changes(own, first_layer)
                found = [(change.place, _effects(model, change, at_z, first)) for change in changes]
                for place, effects in found:  # once all of them are there, or none counts
                    tally.add_fixed(place, effects)

            job.side.run(sources, len(batch), mix)
    return Scored(tally.scores(), clean.loss)


_Effects = dict[int | None, Float[Tensor, "batch source head"]]


def _effects(model: Model, change: Change, at_z: dict[int | None, list[Tensor]], first: int) -> _Effects:
    """<what a head mixes, less what it mixed, the gradient there>, for each dropped layer that is not before it."""
    dtype, layer = model.compute_dtype, change.place.layer
    after = [j for j in at_z if j is None or j > layer]
    gradients = torch.stack([at_z[j][layer][:, first:] for j in after])
    gradients = gradients.unflatten(-1, change.z.shape[-2:]).to(dtype)
    effect = float64(torch.einsum("sbthd,jbthd->jbsh", change.z.to(dtype), gradients))
    return dict(zip(after, effect, strict=True))


@dataclass(frozen=True)
class _Slopes:
    """One backward pass: gradients at the receivers and at z of all layers, or of those before the dropped one."""

    dropped: int | None
    receivers: ReceiverGradients
    z: list[Float[Tensor, "batch pos head_x_d_head"]]


class _Forward:
    """The clean run, with grad mode on."""

    def __init__(self, job: Job, batch: Batch) -> None:
        self._model, self._read = job.model, batch.read
        adapter, roles = job.model.adapter, job.model.adapter.roles
        self._recorder = GradientRecorder(adapter, job.model.compute_dtype)
        # Where the block begins: the first norm is one of two ways on, and what it reads may be a copy of its own.
        stream = [*(Port(layer.path(), "in") for layer in adapter.layers), Port(roles.final_norm, "in")]
        z = [ports.z(layer) for layer in adapter.layers]
        kept: dict[Port, Tensor] = {}
        outputs = Recorder(adapter)
        start = Edit(Port(roles.embed, "out"), lambda value: value.detach().requires_grad_(True))
        keep = [Edit(port, partial(kept.__setitem__, port)) for port in (*stream, *z)]
        edits = [start, *ungroup_edits(adapter), *self._recorder.edits(), *outputs.edits(), *keep]
        with torch.enable_grad():
            logits = job.executor.run(batch.clean, edits, batch.read)
            self._loss = -job.measure(logits, batch, logits.detach()).sum()
        self.loss = job.loss(logits.detach(), batch, logits.detach(), "clean")
        self.outputs = outputs.outputs()
        self._stream, self._z = [kept[port] for port in stream], [kept[port] for port in z]
        self.stream = [tensor.detach() for tensor in self._stream[:-1]]

    def backwards(self) -> Iterator[_Slopes]:
        """The whole backward pass, then one for each layer that can be dropped: 0 has nothing before it."""
        n_layers, recorder = self._model.adapter.n_layers, self._recorder
        targets = recorder.targets(n_layers)
        after = self._stream[1:]  # each layer
        taken = torch.autograd.grad(self._loss, [*targets, *self._z, *after], retain_graph=True)
        at_stream = taken[len(targets) + n_layers :]
        rows = torch.arange(len(self._read), device=self._read.device)
        logits = at_stream[-1][rows, self._read].to(self._model.compute_dtype)
        receivers = recorder.gathered(taken[: len(targets)], logits, n_layers)
        yield _Slopes(None, receivers, list(taken[len(targets) : len(targets) + n_layers]))
        for layer in range(1, n_layers):
            targets = recorder.targets(layer)
            before = self._stream[layer]
            taken = torch.autograd.grad(before, [*targets, *self._z[:layer]], at_stream[layer], retain_graph=True)
            receivers = recorder.gathered(taken[: len(targets)], torch.zeros_like(logits), layer)
            yield _Slopes(layer, receivers, list(taken[len(targets) :]))


class _Tally:
    """e^(-j) of every edge, as they come, up to the mean of their magnitudes over the layers j."""

    def __init__(self, model: Model, level: str, batch: int) -> None:
        self._model, self._level, self._n_layers = model, level, model.adapter.n_layers
        places, device = model.layout, home(model.device)
        by_edge = (batch, places.n_sources, places.n_receivers)
        by_node = (self._n_layers, batch, places.n_sources)  # a node's edges cancel before their magnitude is taken
        self._sum = torch.zeros(by_edge if level == "edge" else by_node, dtype=torch.float64, device=device)
        self._real = torch.zeros(by_edge[1:], dtype=torch.float64, device=device)
        edges = torch.as_tensor(model.graph.edges.astype(np.int64), device=device)
        self._real[edges[0], edges[1]] = 1.0

    def add_linear(self, slopes: _Slopes, cells: Float[Tensor, "batch source receiver"]) -> None:
        """The edges that need no fix: into values, MLPs and the logits."""
        places, n_heads, every = self._model.layout, self._model.adapter.n_heads, slice(None)
        for index in slopes.receivers.heads:
            rows = places.layers[index]
            for columns in (slice(rows.receivers[2 * n_heads], rows.receivers[-1] + 1), _one(rows.mlp_receiver)):
                self.add(cells[:, :, columns], every, columns, index, slopes.dropped)
        if slopes.dropped is None:
            columns = _one(places.logits_receiver)
            self.add(cells[:, :, columns], every, columns, self._n_layers, None)

    def add(
        self,
        values: Float[Tensor, "batch source receiver"],
        sources: slice,
        columns: slice,
        layer: int,
        dropped: int | None,
    ) -> None:
        """e^(-dropped) of edges into receivers of one layer; with None dropped, that of each j before the layer."""
        alike = max(layer, 1) if self._n_layers == 1 else layer  # the only layer is never dropped
        if self._level == "edge":
            self._sum[:, sources, columns] += (alike if dropped is None else 1) * values.abs()
            return
        of_node = (values * self._real[sources, columns]).sum(-1)
        self._sum[slice(0, alike) if dropped is None else _one(dropped), :, sources] += of_node

    def add_fixed(self, place: Place, effects: _Effects) -> None:
        """Edges into the queries, or the keys, of one layer."""
        rows, first = self._model.layout.layers[place.layer], place.which * self._model.adapter.n_heads
        sources = slice(place.sources.start, place.sources.stop)
        for dropped, by_head in effects.items():
            own, values = by_column(rows, first, by_head)
            self.add(values, sources, own, place.layer, dropped)

    def scores(self) -> Float[Tensor, "batch unit"]:
        n_layers, places = self._n_layers, self._model.layout
        others = max(1, n_layers - 1)
        if self._level == "edge":
            count = torch.full((places.n_receivers,), others, dtype=torch.float64, device=self._sum.device)
            count[places.logits_receiver] = n_layers
            return edges_of(self._model, self._sum / count)
        count = torch.full((places.n_sources,), others, dtype=torch.float64, device=self._sum.device)
        count[places.input] = n_layers
        for index, rows in enumerate(places.layers):
            if n_layers > 1:
                self._sum[index][:, [*rows.heads, rows.mlp]] = 0.0
        return self._sum.abs().sum(0) / count


def _one(index: int) -> slice:
    return slice(index, index + 1)

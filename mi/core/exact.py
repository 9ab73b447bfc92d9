"""Exact activation patching: the change of the loss when one edge, node or neuron carries the other run's value.

    noising:   S = l(clean run, this one corrupted)  - l(clean run)
    denoising: S = l(corrupted run) - l(corrupted run, this one clean)

(spec B4; Meng et al. 2022 for denoising.) Either way a positive score means that it helps. A node is patched in all
its outgoing edges, a neuron is one dimension of what a node writes. Many patches run side by side as rows of one
batch; each goes on from the block that it touches, at the positions from the first difference on (`resume`), and a
patched q, k or v leaves the other heads' alone; a k or v that heads share is patched in all of them at once.

Flows in: a model, one batch, what to patch. Flows out: float64 ``[batch, patch]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mi.core import ports, replacement
from mi.core.adapters import Layer
from mi.core.batches import Batch, copies_at_once, shape
from mi.core.executor import Edit, Executor, Port
from mi.core.memory import SideBySide
from mi.core.metrics import Metric
from mi.core.model import Model
from mi.core.outputs import Outputs
from mi.core.patches import KINDS, Patches, Stages
from mi.core.readout import Readout
from mi.core.replacement import Replacement
from mi.core.resume import Resume, first_position
from mi.core.seen import give, record
from mi.core.touched import Touched, holds
from mi.tasks import footprint

APART = 1e-5  # of the largest entry of a mix
DIRECTIONS = ("noising", "denoising")


def exact(
    model: Model,
    executor: Executor,
    metric: Metric,
    instead: Replacement,
    batch: Batch,
    patches: Patches,
    direction: str = "noising",
    on_done: Callable[[int], None] = lambda n: None,
    side: SideBySide | None = None,
) -> tuple[Float[np.ndarray, "batch patch"], Float[np.ndarray, " batch"]]:
    """Scores of every patch on every example, and the metric of the clean run. ``side`` says how many patches run side
    by side where memory runs out.
    """
    base = _Base(model, executor, metric, instead, batch, direction)
    scores = np.zeros((len(batch), len(patches)))
    sign = 1.0 if direction == "noising" else -1.0

    def work(rows: Sequence[int]) -> None:
        with torch.inference_mode():
            metrics = base.run(patches.take(np.asarray(rows)))
        scores[:, rows] = sign * (base.metric.cpu() - metrics.cpu().double()).numpy().T
        on_done(len(rows))

    at_once = side or SideBySide()
    for rows in base.chunks(patches):
        at_once.run(rows, len(batch), work)
    return scores, base.clean_metric.cpu().double().numpy()


class _Base:
    """The run that is patched, and where its patches' values come from."""

    def __init__(
        self,
        model: Model,
        executor: Executor,
        metric: Metric,
        instead: Replacement,
        batch: Batch,
        direction: str,
    ) -> None:
        self._model, self._batch, self._stages = model, batch, Stages(model.layout)
        clean, clean_logits = replacement.record(model, executor, batch.clean, batch.read)
        corrupted: Outputs | None = None
        logits = clean_logits
        if instead.from_corrupted:
            corrupted, logits = replacement.record(model, executor, batch.corrupted, batch.read)
        replaced = replacement.values(instead, clean, corrupted)
        self._readout = Readout(model, metric, batch, clean_logits)
        self.clean_metric = self._readout.of_logits(clean_logits)
        ids, here, there = batch.clean, clean, replaced
        self.metric = self.clean_metric
        if direction == "denoising":
            assert corrupted is not None
            ids, here, there = batch.corrupted, corrupted, clean
            self.metric = self._readout.of_logits(logits)
        first = first_position(model, batch.first_difference if instead.from_corrupted else 0)
        self._here, self._there = (_from(outputs, first, ids.shape[1]) for outputs in (here, there))
        self._resume = Resume(model, ids, batch.read, first)
        self._seen = record(model, executor, ids, batch.read, first)
        self._ready: tuple[int, Touched | None] | None = None
        self._shortcut_fits = footprint.touched(shape(model), model.dtype.itemsize) <= model.budget.chunk
        end = self._resume.at_read(self._seen.stream[-1])[:, 0]
        self._resume.verify(self._seen.stream[0], end)
        self._readout.check(end, clean_logits if direction == "noising" else logits)

    def chunks(self, patches: Patches) -> Iterator[list[int]]:
        """Rows of patches that start at one stage, neighbours reading alike, few enough to run side by side."""
        stages = self._stages.of(patches)
        order = np.lexsort((patches.source, patches.receiver, stages))
        most = copies_at_once(self._model, len(self._batch) * self._resume.length)
        for alike in np.split(order, np.flatnonzero(np.diff(stages[order])) + 1):
            for start in range(0, len(alike), most):
                yield alike[start : start + most].tolist()

    def run(self, patches: Patches) -> Float[Tensor, "patch batch"]:
        """The metric under each patch; all of them start at one stage."""
        block, number = divmod(int(self._stages.of(patches)[0]), len(KINDS))
        kind = KINDS[number]
        change = self._change(patches)  # [patch, batch, pos, d_model]
        hidden = self._seen.stream[block].repeat(len(patches), 1, 1)
        if kind == "stream":
            hidden += change.flatten(0, 1)
            edits: list[Edit] = []
        elif kind == "heads":
            edits = self._reading(patches, self._model.adapter.layers[block], change)
        else:
            edits = self._after_heads(self._model.adapter.layers[block], change, kind)
        return self._readout.of_stream(self._resume.finish(hidden, block, edits))

    def _change(self, patches: Patches) -> Float[Tensor, "patch batch pos d_model"]:
        """What patching does to what the sources write."""
        model = self._model
        batch, length = len(self._batch), self._resume.length
        distinct, place = np.unique(patches.source, return_inverse=True)
        change = torch.zeros(
            len(distinct), batch, length, model.adapter.d_model, dtype=model.dtype, device=model.device
        )
        for row, source in enumerate(distinct.tolist()):
            change[row] = self._difference(source)
        change = change[torch.as_tensor(place.reshape(-1), device=model.device)]
        if (patches.dimension >= 0).any():
            wanted = torch.as_tensor(patches.dimension, device=model.device)
            only = torch.arange(model.adapter.d_model, device=model.device) == wanted.unsqueeze(1)
            change *= (only | (wanted < 0).unsqueeze(1))[:, None, None]
        if model.adapter.has_post_norms:
            self._pass_post_norms(patches, change)
        return change

    def _pass_post_norms(self, patches: Patches, change: Float[Tensor, "patch batch pos d_model"]) -> None:
        """In place: where one receiver reads a changed head, the layer's heads pass their norm together (spec A4). What
        all receivers read so goes through the block itself."""
        for layer, rows in zip(self._model.adapter.layers, self._model.layout.layers, strict=True):
            of_heads = np.isin(patches.source, rows.heads) & (patches.receiver >= 0)
            if of_heads.any():
                at = torch.as_tensor(np.flatnonzero(of_heads), device=change.device)
                attended = self._seen.attended[layer.index]
                before = layer.attention_post_norm(attended)
                change[at] = layer.attention_post_norm(attended + change[at]) - before

    def _difference(self, source: int) -> Tensor:
        places, here, there = self._model.layout, self._here, self._there
        if source == places.input:
            return there.embed - here.embed
        for layer, rows in zip(self._model.adapter.layers, places.layers, strict=True):
            if source == rows.mlp:
                return there.mlp[layer.index] - here.mlp[layer.index]
            if source in rows.heads:
                head = rows.heads.index(source)
                columns = slice(head * layer.d_head, (head + 1) * layer.d_head)
                z = (there.z[layer.index] - here.z[layer.index])[..., columns]
                return z @ layer.output_weight[head].to(z.dtype)
        raise AssertionError(source)

    def _reading(self, patches: Patches, layer: Layer, change: Tensor) -> list[Edit]:
        """Edits that give the touched q, k or v of each row what it reads, and all the others what they have."""
        adapter, rows = self._model.adapter, self._model.layout.layers[layer.index]
        parts = [part.repeat(len(patches), 1, 1, 1) for part in self._seen.projected[layer.index]]  # [row, pos, h, d]
        batch = len(self._batch)
        touched: list[tuple[int, Tensor]] = []
        for receiver in np.unique(patches.receiver).tolist():
            mine = np.flatnonzero(patches.receiver == receiver)
            numbers = [number for number, own in enumerate(rows.receivers) if own == receiver]  # heads may share it
            which, head = divmod(numbers[0], layer.n_heads)
            stream = self._seen.stream[layer.index] + change[torch.as_tensor(mine, device=change.device)]
            normed = layer.attention_norm(stream)
            row = head if which == 0 else layer.kv_head(head)
            bias = layer.bias(which)
            fresh = torch.nn.functional.linear(normed, layer.weight(which)[row], None if bias is None else bias[row])
            at = torch.as_tensor(mine, device=change.device)[:, None] * batch + torch.arange(
                batch, device=change.device
            )
            for number in numbers:
                parts[which][at, :, number % layer.n_heads] = fresh
                touched.append((number % layer.n_heads, at.flatten()))
        edits = [*self._unread(layer, len(patches)), *give(adapter, layer, parts)]
        if layer.roles.parallel:
            edits += self._mlp_as_it_was(layer, len(patches))
        elif layer.index < adapter.n_layers - 1:  # of the last block only one position is computed, which is less still
            ready = self._touched(layer)
            edits += [] if ready is None else ready.edits(len(patches), touched)
        return edits

    def _touched(self, layer: Layer) -> Touched | None:
        """Made once for all patches of a block, which come block by block; None where the shortcut does not hold."""
        if self._ready is None or self._ready[0] != layer.index:
            seen, made = self._seen, None
            if self._shortcut_fits and holds(layer) and self._heads_are_apart(layer):
                z = self._here.z[layer.index]
                made = Touched(self._model, layer, seen.stream[layer.index], z, seen.attended[layer.index])
            self._ready = (layer.index, made)
        return self._ready[1]

    def _heads_are_apart(self, layer: Layer) -> bool:
        """Whether another query and another key of one head leave the mixes of the others alone: not where a norm runs
        over the queries of all heads."""
        parts = [part.clone() for part in self._seen.projected[layer.index]]
        for part in parts[:2]:
            part[:, :, 0] = 2 * part[:, :, 0] + 1
        mixed: list[Tensor] = []
        edits = [*give(self._model.adapter, layer, parts), Edit(ports.z(layer), mixed.append)]
        self._resume.block(self._seen.stream[layer.index], layer.index, edits)
        others = slice(layer.d_head, None)
        before = self._here.z[layer.index][..., others]
        return layer.n_heads == 1 or bool((mixed[0][..., others] - before).abs().max() <= APART * before.abs().max())

    def _after_heads(self, layer: Layer, change: Tensor, kind: str) -> list[Edit]:
        """Edits for a block whose heads do as they did; the change is in what they write, or in what the MLP reads."""
        adapter = self._model.adapter
        copies, flat = len(change), change.flatten(0, 1)
        projected = [part.repeat(copies, 1, 1, 1) for part in self._seen.projected[layer.index]]
        wrote = self._seen.attended[layer.index].repeat(copies, 1, 1)
        if kind == "written":
            wrote += flat
        edits = [*self._unread(layer, copies), *give(adapter, layer, projected)]
        edits.append(Edit(ports.attended(layer), lambda _: wrote, replaces=True))
        if kind == "written" and layer.roles.parallel:
            edits += self._mlp_as_it_was(layer, copies)
        if kind == "mlp":
            edits.append(self._mlp_reads(layer, flat))
        return edits

    def _mlp_reads(self, layer: Layer, change: Float[Tensor, "row pos d_model"]) -> Edit:
        """In a parallel block the stream is one tensor for heads and MLP: there the norm is run once more."""
        if not layer.roles.parallel:
            return Edit(ports.mlp_stream(layer), lambda value: value + change)
        copies = len(change) // len(self._batch)
        read = layer.mlp_norm(self._seen.stream[layer.index].repeat(copies, 1, 1) + change)
        return Edit(ports.mlp_in(layer), lambda _: read)

    def _mlp_as_it_was(self, layer: Layer, copies: int) -> list[Edit]:
        """In a parallel block nothing that the heads do changes what the MLP writes."""
        wrote = self._here.mlp[layer.index].repeat(copies, 1, 1)
        own = Port(layer.path(layer.roles.mlp), "out")
        silent = [] if own == ports.mlp_out(layer) else [Edit(own, lambda _: wrote, replaces=True)]
        return [*silent, Edit(ports.mlp_out(layer), lambda _: wrote, replaces=True)]

    def _unread(self, layer: Layer, copies: int) -> list[Edit]:
        """The norm before the heads, if the MLP does not read it too: nobody reads what comes out, only its shape."""
        roles = layer.roles
        if roles.attention_norm is None or roles.attention_norm == roles.mlp_norm:
            return []
        stream = self._seen.stream[layer.index]
        nothing = stream.new_zeros(()).expand(copies * len(stream), *stream.shape[1:])
        return [Edit(ports.normed(layer), lambda _: nothing, replaces=True)]


def _from(outputs: Outputs, first: int, length: int) -> Outputs:
    """The positions from ``first`` on; a value for every position stays one."""
    return outputs.map(lambda t: t[:, first:] if t.shape[1] == length else t)

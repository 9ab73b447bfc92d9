"""Exact activation patching: the change of the loss when one edge, node or neuron carries the other run's value.

    noising:   S = l(clean run, this one corrupted)  - l(clean run)
    denoising: S = l(corrupted run) - l(corrupted run, this one clean)

(spec B4; Meng et al. 2022 for denoising.) Either way a positive score means that it helps. A node is patched in all
its outgoing edges, a neuron is one dimension of what a node writes. Many patches run side by side as rows of one
batch; each goes on from the block that it touches, at the positions from the first difference on (`resume`), and a
patched q, k or v leaves the other heads' alone.

Flows in: a model, one batch, what to patch. Flows out: float64 ``[batch, patch]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mi.core import replacement
from mi.core.adapters import Adapter, Layer, require_plain
from mi.core.batches import Batch
from mi.core.executor import Edit, Executor, Port
from mi.core.layout import Layout
from mi.core.metrics import Metric
from mi.core.model import Model
from mi.core.outputs import Outputs
from mi.core.readout import Readout
from mi.core.receivers import projection_ports
from mi.core.replacement import Replacement
from mi.core.resume import Resume
from mi.core.touched import Touched

ROW_TOKENS = 4096  # rows x positions that run side by side
DIRECTIONS = ("noising", "denoising")


@dataclass(frozen=True)
class Patches:
    """What to patch, one after the other: a source; the receiver of an edge, or -1 for all that read the source; a
    dimension of what the source writes, or -1 for all."""

    source: np.ndarray
    receiver: np.ndarray
    dimension: np.ndarray

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: np.ndarray) -> Patches:
        return Patches(self.source[rows], self.receiver[rows], self.dimension[rows])


def edges(model: Model, chosen: np.ndarray | None = None) -> Patches:
    """Every edge of the graph in its order, or the chosen ones."""
    source, receiver = model.graph.edges[:, chosen] if chosen is not None else model.graph.edges
    return Patches(source.astype(np.int64), receiver.astype(np.int64), np.full(len(source), -1))


def nodes(model: Model) -> Patches:
    source = np.arange(model.graph.n_sources)
    return Patches(source, np.full(len(source), -1), np.full(len(source), -1))


def neurons(model: Model) -> Patches:
    n_sources, width = model.graph.n_sources, model.adapter.d_model
    source, dimension = np.divmod(np.arange(n_sources * width), width)
    return Patches(source, np.full(len(source), -1), dimension)


def exact(
    model: Model,
    executor: Executor,
    metric: Metric,
    instead: Replacement,
    batch: Batch,
    patches: Patches,
    direction: str = "noising",
    on_done: Callable[[int], None] = lambda n: None,
) -> tuple[Float[np.ndarray, "batch patch"], Float[np.ndarray, " batch"]]:
    """Scores of every patch on every example, and the metric of the clean run."""
    require_plain(model.adapter, "exact patching")
    base = _Base(model, executor, metric, instead, batch, direction)
    scores = np.zeros((len(batch), len(patches)))
    sign = 1.0 if direction == "noising" else -1.0
    for rows in base.chunks(patches):
        with torch.inference_mode():
            metrics = base.run(patches.take(rows))
        scores[:, rows] = sign * (base.metric - metrics.double()).cpu().numpy().T
        on_done(len(rows))
    return scores, base.clean_metric.double().cpu().numpy()


KINDS = ("heads", "mlp", "stream", "written")


class _Stages:
    """Where patches start, by number: the block that they touch, and whether what they change is read by its heads
    ("heads"), by its MLP ("mlp"), written by its heads ("written"), or already in the stream before it ("stream")."""

    def __init__(self, places: Layout) -> None:
        stream = KINDS.index("stream")
        self._of_receiver = np.full(places.n_receivers, len(places.layers) * len(KINDS) + stream)  # the logits
        self._of_source = np.full(places.n_sources, stream)  # the input
        for index, rows in enumerate(places.layers):
            here = index * len(KINDS)
            self._of_receiver[list(rows.receivers)] = here + KINDS.index("heads")
            self._of_receiver[rows.mlp_receiver] = here + KINDS.index("mlp")
            self._of_source[list(rows.heads)] = here + KINDS.index("written")
            self._of_source[rows.mlp] = here + len(KINDS) + stream

    def of(self, patches: Patches) -> np.ndarray:
        """One number a patch; in their order blocks ascend."""
        return np.where(patches.receiver < 0, self._of_source[patches.source], self._of_receiver[patches.receiver])


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
        self._model, self._batch, self._stages = model, batch, _Stages(model.layout)
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
        first = batch.first_difference if instead.from_corrupted else 0
        self._here, self._there = (_from(outputs, first, ids.shape[1]) for outputs in (here, there))
        self._resume = Resume(model, ids, batch.read, first)
        self._seen = _record(model, executor, ids, batch.read, first)
        self._ready: tuple[int, Touched] | None = None
        end = self._resume.at_read(self._seen.stream[-1])[:, 0]
        self._readout.check(end, clean_logits if direction == "noising" else logits)

    def chunks(self, patches: Patches) -> Iterator[np.ndarray]:
        """Rows of patches that start at one stage, neighbours reading alike, few enough to run side by side."""
        stages = self._stages.of(patches)
        order = np.lexsort((patches.source, patches.receiver, stages))
        most = max(1, ROW_TOKENS // (len(self._batch) * self._resume.length))
        for alike in np.split(order, np.flatnonzero(np.diff(stages[order])) + 1):
            for start in range(0, len(alike), most):
                yield alike[start : start + most]

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
        return change

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
        where = np.array([rows.receivers.index(int(r)) for r in patches.receiver])
        touched: list[tuple[int, Tensor]] = []
        for number in np.unique(where).tolist():
            which, head = divmod(number, layer.n_heads)
            mine = np.flatnonzero(where == number)
            stream = self._seen.stream[layer.index] + change[torch.as_tensor(mine, device=change.device)]
            normed = layer.attention_norm(stream)
            row = head if which == 0 else layer.kv_head(head)
            bias = layer.bias(which)
            fresh = torch.nn.functional.linear(normed, layer.weight(which)[row], None if bias is None else bias[row])
            at = torch.as_tensor(mine, device=change.device)[:, None] * batch + torch.arange(
                batch, device=change.device
            )
            parts[which][at, :, head] = fresh
            touched.append((head, at.flatten()))
        flat = [part.flatten(-2) for part in parts]
        given = flat if len(projection_ports(adapter, layer)) == 3 else [torch.cat(flat, -1)]
        edits = [self._unread(layer, len(patches)), *_give(adapter, layer, given)]
        if layer.index < adapter.n_layers - 1:  # of the last block only one position is computed, which is less still
            edits += self._touched(layer).edits(len(patches), touched)
        return edits

    def _touched(self, layer: Layer) -> Touched:
        """Made once for all patches of a block; they come block by block."""
        if self._ready is None or self._ready[0] != layer.index:
            seen = self._seen
            z = self._here.z[layer.index]
            made = Touched(self._model, layer, seen.stream[layer.index], z, seen.attended[layer.index])
            self._ready = (layer.index, made)
        return self._ready[1]

    def _after_heads(self, layer: Layer, change: Tensor, kind: str) -> list[Edit]:
        """Edits for a block whose heads do as they did; the change is in what they write, or in what the MLP reads."""
        adapter = self._model.adapter
        base = f"{adapter.roles.blocks}.{layer.index}"
        copies, flat = len(change), change.flatten(0, 1)
        projected = [part.flatten(-2).repeat(copies, 1, 1) for part in self._seen.projected[layer.index]]
        given = projected if len(projection_ports(adapter, layer)) == 3 else [torch.cat(projected, -1)]
        wrote = self._seen.attended[layer.index].repeat(copies, 1, 1)
        if kind == "written":
            wrote += flat
        edits = [self._unread(layer, copies), *_give(adapter, layer, given)]
        edits.append(Edit(Port(f"{base}.{adapter.roles.heads_out}", "out"), lambda _: wrote, replaces=True))
        if kind == "mlp":
            edits.append(Edit(Port(f"{base}.{adapter.roles.mlp_norm}", "in"), lambda value: value + flat))
        return edits

    def _unread(self, layer: Layer, copies: int) -> Edit:
        """The norm before the heads: nobody reads what comes out, only its shape."""
        roles = self._model.adapter.roles
        port = Port(f"{roles.blocks}.{layer.index}.{roles.attention_norm}", "out")
        stream = self._seen.stream[layer.index]
        nothing = stream.new_zeros(()).expand(copies * len(stream), *stream.shape[1:])
        return Edit(port, lambda _: nothing, replaces=True)


@dataclass(frozen=True)
class _Seen:
    """The base run at the positions from the first difference on, a layer an entry."""

    stream: list[Float[Tensor, "batch pos d_model"]]  # before each block, and after the last
    projected: list[list[Float[Tensor, "batch pos head d_head"]]]  # q, k and v of each query head
    attended: list[Float[Tensor, "batch pos d_model"]]  # what all heads of a layer write, with b_O


def _record(model: Model, executor: Executor, ids: Tensor, read: Tensor, first: int) -> _Seen:
    adapter, kept = model.adapter, {}

    def keep(port: Port) -> Edit:
        def function(value: Tensor) -> None:
            kept[port] = value[:, first:]

        return Edit(port, function)

    roles = adapter.roles
    base = [f"{roles.blocks}.{layer.index}" for layer in adapter.layers]
    stream = [*(Port(f"{path}.{roles.attention_norm}", "in") for path in base), Port(roles.final_norm, "in")]
    attended = [Port(f"{path}.{roles.heads_out}", "out") for path in base]
    projected = [projection_ports(adapter, layer) for layer in adapter.layers]
    with torch.inference_mode():
        executor.run(
            ids, [keep(port) for port in (*stream, *attended, *(p for ports in projected for p in ports))], read
        )
    return _Seen(
        [kept[port] for port in stream],
        [
            _by_query_head(layer, [kept[p] for p in ports])
            for layer, ports in zip(adapter.layers, projected, strict=True)
        ],
        [kept[port] for port in attended],
    )


def _by_query_head(layer: Layer, outputs: Sequence[Tensor]) -> list[Tensor]:
    """q, k and v, each head's own: grouped keys and values are repeated (spec A3)."""
    heads = torch.cat(list(outputs), -1).unflatten(-1, (-1, layer.d_head))
    parts = heads.split([layer.n_heads, layer.n_kv_heads, layer.n_kv_heads], dim=-2)
    groups = layer.n_heads // layer.n_kv_heads
    return [part if part.shape[-2] == layer.n_heads else part.repeat_interleave(groups, dim=-2) for part in parts]


def _give(adapter: Adapter, layer: Layer, given: Sequence[Tensor]) -> list[Edit]:
    """Edits that replace the projections' outputs."""
    return [
        Edit(port, lambda _, value=value: value, replaces=True)  # type: ignore[misc]
        for port, value in zip(projection_ports(adapter, layer), given, strict=True)
    ]


def _from(outputs: Outputs, first: int, length: int) -> Outputs:
    """The positions from ``first`` on; a value for every position stays one."""
    return outputs.map(lambda t: t[:, first:] if t.shape[1] == length else t)

"""Information flow routes: how near each source comes to what a receiver reads (Ferrando and Voita 2024, in the
variant of the MIB track, spec B6).

    p(u -> v) = max(0, |y|_1 - |y - x_u|_1),    S(u -> v) = mean over x and positions of p(u -> v) / sum_u' p(u' -> v)

with y the residual stream where v reads it and x_u what u writes, a head through its post-norm at the scale of the run,
so that heads add up to what the layer writes. One forward of the clean prompts: no gradient, no
corrupted run, no metric. q, k and v of a head read the same stream and score the same, and so does
what heads share. Where no source is near, the
shares are 0, not 0/0 (spec B0 row 17).

Flows in: a job and a batch. Flows out: its scores.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mi.core import ports
from mi.core.adapters import Adapter
from mi.core.batches import Batch
from mi.core.contraction import edges_of
from mi.core.executor import Edit, Port
from mi.core.job import Job, Scored
from mi.core.layout import Layout
from mi.core.model import Model
from mi.core.outputs import Outputs, Recorder, post_norms, write_sources
from mi.core.wide import total, zeros


def run(job: Job, batch: Batch) -> Scored:
    """Score one batch."""
    model, streams = job.model, _Streams(job.model.adapter)
    recorder, places = Recorder(model.adapter), model.layout
    with torch.no_grad():
        job.executor.run(batch.clean, [*streams.edits(), *recorder.edits()], batch.read)
        outputs, read = recorder.outputs(), streams.read()
        outputs.post_norms = post_norms(model.adapter, outputs.z, model.compute_dtype, scale_constant=True)
        n, length = batch.clean.shape
        cells = zeros((n, places.n_sources, places.n_receivers), model.device)
        position = n * places.n_sources * model.adapter.d_model * model.compute_dtype.itemsize
        size = max(1, model.budget.least_chunk // position)
        for start in range(0, length, size):
            _add_shares(job, outputs, read, slice(start, start + size), cells)
    return Scored(edges_of(model, cells) / length)


class _Streams:
    """The residual stream at every place where it is read: by each layer's heads, its MLP, and the logits."""

    def __init__(self, adapter: Adapter) -> None:
        self._ports = [port for layer in adapter.layers for port in (ports.stream(layer), ports.mlp_stream(layer))]
        self._ports.append(Port(adapter.roles.final_norm, "in"))
        self._kept: dict[Port, Tensor] = {}

    def edits(self) -> list[Edit]:
        def keep(port: Port) -> Edit:
            return Edit(port, lambda value: self._kept.__setitem__(port, value.detach()))

        return [keep(port) for port in self._ports]

    def read(self) -> list[Float[Tensor, "batch pos d_model"]]:
        return [self._kept[port] for port in self._ports]


def _add_shares(
    job: Job,
    outputs: Outputs,
    read: list[Float[Tensor, "batch pos d_model"]],
    positions: slice,
    cells: Float[Tensor, "batch source receiver"],
) -> None:
    """Add each source's share of each receiver's input, summed over these positions."""
    model, places = job.model, job.model.layout
    part = outputs.map(lambda t: t[:, positions])
    batch, length, d_model = part.embed.shape
    wide = torch.empty(places.n_sources, batch, length, d_model, dtype=model.compute_dtype, device=model.device)
    write_sources(model.adapter, places, part, wide)
    rows = wide.permute(1, 2, 0, 3).contiguous()  # [batch, pos, source, d_model]
    for receivers, stream in zip(_receivers(places), read, strict=True):
        before = readable(job.model, receivers[0])
        shares = total(_shares(stream[:, positions].to(rows.dtype), rows[:, :, :before]), 1)
        cells[:, :before, receivers] += shares.unsqueeze(-1)


def _receivers(places: Layout) -> list[list[int]]:
    """The receivers that read the stream at one place, in the order of `_Streams`."""
    layers = [[list(dict.fromkeys(rows.receivers)), [rows.mlp_receiver]] for rows in places.layers]
    return [*(receivers for layer in layers for receivers in layer), [places.logits_receiver]]


def readable(model: Model, receiver: int) -> int:
    """How many sources a receiver can read: they are the first ones."""
    sources, receivers = model.graph.edges
    return int(sources[receivers == receiver].max()) + 1


def _shares(
    y: Float[Tensor, "batch pos d_model"], sources: Float[Tensor, "batch pos source d_model"]
) -> Float[Tensor, "batch pos source"]:
    distance = torch.cdist(y.unsqueeze(2), sources, p=1).squeeze(2)
    near = (y.abs().sum(-1, keepdim=True) - distance).clamp(min=0)
    total = near.sum(-1, keepdim=True)
    return torch.where(total > 0, near / total, torch.zeros_like(near))

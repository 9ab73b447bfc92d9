"""One forward of the model with a gate on every edge, differentiable in the gates.

The edge u -> v carries ``g a_u + (1 - g) a'_u``, where a_u is what u computes in this very run and a'_u its
replacement. So a receiver reads ``base_v + sum_u g_uv (a_u - a'_u)``, with the base made of replacements and of what
belongs to no node (`masked`); gates of 0 and 1 are a circuit. Minus the gradient at gates of 1 is EAP (spec B1). Where
a norm stands between a layer's heads and the stream, each receiver has the norm of its own sum of them (spec A4).

All differences of a run stand in one table [source, row, pos, d_model], written once and read by every receiver, and so
do their gradients: a matrix product [receiver, source] x [source, row x pos x d_model] a layer, and no copy for each
receiver but what it reads.

Flows in: a model, a batch made ready, gates. Flows out: logits at the read position, with their graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mi.core import ports, replacement
from mi.core.adapters import Layer
from mi.core.batches import Batch
from mi.core.executor import Edit, Executor, Port
from mi.core.layout import LayerRows
from mi.core.metrics import Metric
from mi.core.model import Model
from mi.core.outputs import Outputs, write_heads
from mi.core.receivers import join, project, projection_ports, receiver_weights
from mi.core.replacement import Replacement


@dataclass(frozen=True)
class Streams:
    """The residual stream when every node's output is replaced: what each receiver reads of an empty circuit."""

    attention: list[Float[Tensor, "batch pos d_model"]]
    mlp: list[Float[Tensor, "batch pos d_model"]]
    final: Float[Tensor, "batch pos d_model"]
    attended: list[Float[Tensor, "_ _ d_model"]]  # what the heads of a layer write together; only of post-norms
    entering: list[Float[Tensor, "_ _ d_model"]]  # what of it enters the stream

    def map(self, function: Callable[[Tensor], Tensor]) -> Streams:
        every = (self.attention, self.mlp, [self.final], self.attended, self.entering)
        attention, mlp, (final,), attended, entering = ([function(t) for t in part] for part in every)
        return Streams(attention, mlp, final, attended, entering)


@dataclass(frozen=True)
class Prepared:
    """A batch with all of it that no gate changes."""

    batch: Batch
    embed: Float[Tensor, "batch pos d_model"]
    clean_logits: Float[Tensor, "batch vocab"]
    replaced: Outputs
    streams: Streams

    @property
    def nbytes(self) -> int:
        kept = [self.embed, self.clean_logits, self.replaced.embed, *self.replaced.z, *self.replaced.mlp]
        streams = self.streams
        kept += [*streams.attention, *streams.mlp, streams.final, *streams.attended, *streams.entering]
        return sum(tensor.untyped_storage().nbytes() for tensor in kept)


def prepare(model: Model, executor: Executor, instead: Replacement, batch: Batch) -> Prepared:
    clean, clean_logits = replacement.record(model, executor, batch.clean, batch.read)
    corrupted: Outputs | None = None
    if instead.from_corrupted:
        corrupted, _ = replacement.record(model, executor, batch.corrupted, batch.read)
    replaced = replacement.values(instead, clean, corrupted).map(lambda t: t.to(model.dtype))
    with torch.no_grad():
        streams = replaced_streams(model, replaced, batch.clean.shape)
    return Prepared(batch, clean.embed, clean_logits.to(model.compute_dtype), replaced, streams)


def replaced_streams(model: Model, replaced: Outputs, shape: Sequence[int]) -> Streams:
    adapter = model.adapter
    stream = replaced.embed.expand(*shape, -1)
    positions = adapter.positions(shape[1])
    if positions is not None:
        stream = stream + positions
    made = Streams([], [], stream, [], [])
    for layer, z, wrote in zip(adapter.layers, replaced.z, replaced.mlp, strict=True):
        made.attention.append(stream)
        attended = layer.attended(z)
        entering = layer.attention_post_norm(attended)
        if adapter.has_post_norms:
            made.attended.append(attended)
            made.entering.append(entering)
        before, stream = stream, stream + entering
        made.mlp.append(before if adapter.roles.parallel else stream)
        stream = stream + wrote
    return replace(made, final=stream)


def repeated(batch: Batch, copies: int) -> Batch:
    """The batch as rows of copies, the first copy of every example first."""
    if copies == 1:
        return batch
    fields = ("clean", "corrupted", "read", "answers", "answers_real", "foils", "foils_real")
    tensors: dict[str, Any] = {
        name: getattr(batch, name).repeat(copies, *[1] * (getattr(batch, name).ndim - 1)) for name in fields
    }
    return replace(batch, rows=batch.rows * copies, **tensors)


class Gates:
    """Runs of one model under gates; its tables are reused from run to run, so a graph lasts until the next run."""

    def __init__(self, model: Model, executor: Executor) -> None:
        self._model, self._executor = model, executor
        edges = torch.as_tensor(model.graph.edges.astype("int64"), device=model.device)
        self._cells = edges[1] * model.graph.n_sources + edges[0]
        self._tables: list[Tensor] = []

    def logits(
        self,
        prepared: Prepared,
        gates: Float[Tensor, "*row edge"],
        constants: Outputs | None = None,
    ) -> Float[Tensor, "row vocab"]:
        """Logits under one vector of gates for all examples, or one for each row.

        More rows than examples are copies of the batch. ``constants`` are replacements [1, 1, width] in the place of
        the batch's own, which may ask for gradients.
        """
        model, batch = self._model, prepared.batch
        copies = 1 if gates.ndim == 1 else len(gates) // len(batch)
        rows = (len(batch) * copies, batch.clean.shape[1])
        replaced, streams = prepared.replaced, prepared.streams
        if constants is not None:
            replaced = constants.map(lambda t: t.to(model.dtype))
            streams = replaced_streams(model, replaced, batch.clean.shape)
        run = Run(model, replaced, streams, self.matrix(gates), self.table(rows), rows)
        run.begin(prepared.embed)
        ids, read = (t if copies == 1 else t.repeat(copies, *[1] * (t.ndim - 1)) for t in (batch.clean, batch.read))
        return self._executor.run(ids, run.edits(), read)

    def forget(self) -> None:
        """Give the tables back."""
        self._tables = []

    def matrix(self, gates: Float[Tensor, "*row edge"]) -> Float[Tensor, "*row receiver source"]:
        graph = self._model.graph
        empty = gates.new_zeros(*gates.shape[:-1], len(graph.receivers) * graph.n_sources)
        full = empty.index_copy(-1, self._cells, gates).unflatten(-1, (-1, graph.n_sources))
        return full.to(self._model.dtype)

    def metric(self, metric: Metric, prepared: Prepared, logits: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
        copies = len(logits) // len(prepared.batch)
        clean = prepared.clean_logits.repeat(copies, 1)
        return metric.compute(logits.to(self._model.compute_dtype), repeated(prepared.batch, copies), clean)

    def table(self, rows: tuple[int, int]) -> Table:
        """Differences and their gradients. Large tensors that come and go cost page faults: they stay."""
        shape = (self._model.graph.n_sources, *rows, self._model.adapter.d_model)
        wanted = 2 if torch.is_grad_enabled() else 1
        if not self._tables or self._tables[0].shape != shape or len(self._tables) < wanted:
            self._tables = []  # the old ones go before the new ones come
            model = self._model
            self._tables = [torch.empty(shape, dtype=model.dtype, device=model.device) for _ in range(wanted)]
        return Table(self._tables[0], None if wanted == 1 else self._tables[1].zero_())


@dataclass
class Table:
    """Differences [source, row, pos, d_model] in the order in which they were written, and their gradients."""

    wide: Tensor
    gradient: Tensor | None


class _Write(torch.autograd.Function):
    """Puts differences into the table. Its gradient is read there, once all that read the row have been there:
    ``token`` links a write to the next one and to every read between them."""

    @staticmethod
    def forward(ctx: Any, table: Table, start: int, value: Tensor, token: Tensor) -> Tensor:
        ctx.table, ctx.start, ctx.count = table, start, len(value)
        table.wide[start : start + len(value)].copy_(value)
        return token.clone()

    @staticmethod
    def backward(ctx: Any, token: Tensor) -> tuple[Any, ...]:
        return None, None, ctx.table.gradient[ctx.start : ctx.start + ctx.count], token


class _WriteHeads(torch.autograd.Function):
    """`_Write` of what heads write, z_h W_O,h, of z alone."""

    @staticmethod
    def forward(ctx: Any, table: Table, start: int, z: Tensor, layer: Layer, token: Tensor) -> Tensor:
        ctx.table, ctx.start, ctx.layer, ctx.shape = table, start, layer, z.shape
        write_heads(layer, z, table.wide[start : start + layer.n_heads])
        return token.clone()

    @staticmethod
    def backward(ctx: Any, token: Tensor) -> tuple[Any, ...]:
        weight = ctx.layer.output_weight  # [head, d_head, d_model]
        wide = ctx.table.gradient[ctx.start : ctx.start + len(weight)].flatten(1, 2)
        gradient = torch.bmm(wide, weight.transpose(1, 2))  # [head, row*pos, d_head]
        return None, None, gradient.transpose(0, 1).reshape(ctx.shape), None, token


class _Mix(torch.autograd.Function):
    """What receivers read: base + gates x differences of some rows of the table, [receiver, row, pos, d_model]."""

    @staticmethod
    def forward(ctx: Any, table: Table, rows: slice, gates: Tensor, base: Tensor, token: Tensor) -> Tensor:
        ctx.table, ctx.rows, ctx.base_shape = table, rows, base.shape
        ctx.save_for_backward(gates)
        wide = table.wide[rows].flatten(2)  # [source, row, pos*d_model]
        base = base.expand(wide.shape[1], *base.shape[1:]).flatten(1)
        shape = (gates.shape[-2], *table.wide.shape[1:])
        if gates.ndim == 2:
            return torch.addmm(base.reshape(1, -1), gates, wide.flatten(1)).view(shape)
        out = wide.new_empty(gates.shape[1], len(gates), wide.shape[2])
        torch.baddbmm(base.unsqueeze(1), gates, wide.transpose(0, 1), out=out.transpose(0, 1))
        return out.view(shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        (gates,) = ctx.saved_tensors
        needs = ctx.needs_input_grad
        wide, into = (t[ctx.rows].flatten(2) for t in (ctx.table.wide, ctx.table.gradient))
        by_receiver = gradient.flatten(2)  # [receiver, row, pos*d_model]
        if gates.ndim == 2:
            into.flatten(1).addmm_(gates.T, by_receiver.flatten(1))
            of_gates = by_receiver.flatten(1) @ wide.flatten(1).T if needs[2] else None
        else:
            by_row = by_receiver.transpose(0, 1)
            into.transpose(0, 1).baddbmm_(gates.transpose(1, 2), by_row)
            of_gates = torch.bmm(by_row, wide.permute(1, 2, 0)) if needs[2] else None
        of_base = gradient.sum(0).sum_to_size(ctx.base_shape) if needs[3] else None
        return None, None, of_gates, of_base, gradient.new_zeros(())


class Run:
    """One forward under gates, as edits."""

    def __init__(
        self,
        model: Model,
        replaced: Outputs,
        streams: Streams,
        matrix: Float[Tensor, "*row receiver source"],
        table: Table,
        rows: tuple[int, int],
    ) -> None:
        self._model, self._replaced, self._streams = model, replaced, streams
        self._matrix, self._table, self._shape = matrix, table, rows
        self._written: list[int] = []  # sources, in the order of the table's rows
        self._of_heads: list[tuple[Layer, slice]] = []  # the rows of each layer's heads
        self._token = matrix.new_zeros((), requires_grad=torch.is_grad_enabled())

    def begin(self, embed: Float[Tensor, "batch pos d_model"]) -> None:
        self._write([self._model.layout.input], (self._own(embed) - self._own(self._replaced.embed)).unsqueeze(0))

    def resume(self, differences: Float[Tensor, "source batch pos d_model"]) -> None:
        """Begin with the first sources, whose differences are known and the same in every copy of the batch."""
        count = len(differences)
        table = self._table.wide[:count].unflatten(1, (-1, differences.shape[1]))
        table.copy_(differences.unsqueeze(1))
        self._written = list(range(count))
        for layer, rows in zip(self._model.adapter.layers, self._model.layout.layers, strict=True):
            if rows.heads[-1] < count:
                self._of_heads.append((layer, slice(rows.heads[0], rows.heads[-1] + 1)))

    def edits(self) -> list[Edit]:
        model, roles = self._model, self._model.adapter.roles
        edits: list[Edit] = []
        for layer, rows in zip(model.adapter.layers, model.layout.layers, strict=True):
            edits += self.layer_edits(layer, rows)
        return [*edits, Edit(Port(roles.final_norm, "in"), lambda _: self.final())]

    def final(self) -> Float[Tensor, "row pos d_model"]:
        """What the final norm reads."""
        return self._inputs(self._streams.final, [self._model.layout.logits_receiver])[0]

    def layer_edits(self, layer: Layer, rows: LayerRows) -> list[Edit]:
        own: list[Tensor] = []

        def receive(number: int) -> Callable[[Tensor], Tensor]:
            def give(_: Tensor) -> Tensor:
                if not own:
                    own[:] = join(layer, self._projections(layer, rows))
                return own[number]

            return give

        silent = dict.fromkeys((ports.attended(layer), ports.attention_out(layer)))
        return [
            *(
                Edit(port, receive(number), replaces=True)
                for number, port in enumerate(projection_ports(self._model.adapter, layer))
            ),
            Edit(ports.z(layer), lambda z: self._heads_wrote(layer, rows, z)),
            *(Edit(port, self._nothing, replaces=True) for port in silent),
            self._mlp_reads(layer, rows),
            Edit(ports.mlp_out(layer), lambda out: self._mlp_wrote(layer, rows, out)),
        ]

    def _mlp_reads(self, layer: Layer, rows: LayerRows) -> Edit:
        """In a parallel block the stream is one tensor for heads and MLP: there the norm is run once more."""

        def reads(_: Tensor) -> Tensor:
            return self._inputs(self._streams.mlp[layer.index], [rows.mlp_receiver])[0]

        if layer.roles.parallel:
            return Edit(ports.mlp_in(layer), lambda value: layer.mlp_norm(reads(value)))
        return Edit(ports.mlp_stream(layer), reads)

    def _nothing(self, value: Tensor) -> Tensor:
        """What goes into the model's own residual stream, which nobody reads."""
        return value.new_zeros(()).expand(*self._shape, self._model.adapter.d_model)

    def _own(self, tensor: Float[Tensor, "batch pos width"]) -> Tensor:
        """A tensor of the batch (or of no batch) for every row."""
        copies = self._shape[0] // len(tensor) if len(tensor) > 1 else 1
        return tensor if copies == 1 else tensor.repeat(copies, 1, 1)

    def _inputs(self, base: Tensor, receivers: Sequence[int]) -> Float[Tensor, "receiver row pos d_model"]:
        gates = self._matrix[..., list(receivers), :][..., self._written]
        if not self._model.adapter.has_post_norms:
            return self._mixed(slice(0, len(self._written)), gates, base)
        direct = gates.new_ones(len(self._written))
        for _, rows in self._of_heads:
            direct[rows] = 0
        out = self._mixed(slice(0, len(self._written)), gates * direct, base)
        for layer, rows in self._of_heads:
            base = self._own(self._streams.attended[layer.index]).expand(*self._shape, -1)
            together = self._mixed(rows, gates[..., rows], base)
            out = out + layer.attention_post_norm(together) - self._own(self._streams.entering[layer.index])
        return out

    def _mixed(self, rows: slice, gates: Tensor, base: Tensor) -> Float[Tensor, "receiver row pos d_model"]:
        out: Tensor = _Mix.apply(self._table, rows, gates, self._own(base), self._token)
        return out

    def _projections(self, layer: Layer, rows: LayerRows) -> list[Float[Tensor, "row pos heads_x_d_head"]]:
        inputs = self._inputs(self._streams.attention[layer.index], rows.distinct)
        normed = layer.attention_norm(inputs).flatten(1, 2)
        fresh = project(normed, *receiver_weights(layer, rows.shares))  # [receiver, row*pos, d_head]
        if rows.shares:
            fresh = fresh[list(rows.place)]
        by_kind = fresh.unflatten(0, (3, layer.n_heads)).permute(0, 2, 1, 3)  # [3, row*pos, head, d_head]
        return list(by_kind.reshape(3, *self._shape, -1))

    def _write(self, sources: Sequence[int], difference: Tensor) -> None:
        self._token = _Write.apply(self._table, len(self._written), difference, self._token)
        self._written += sources

    def _heads_wrote(self, layer: Layer, rows: LayerRows, z: Tensor) -> None:
        difference = (z - self._own(self._replaced.z[layer.index])).unflatten(-1, (layer.n_heads, layer.d_head))
        start = len(self._written)
        self._token = _WriteHeads.apply(self._table, start, difference, layer, self._token)
        self._written += rows.heads
        self._of_heads.append((layer, slice(start, len(self._written))))

    def _mlp_wrote(self, layer: Layer, rows: LayerRows, out: Tensor) -> Tensor:
        self._write([rows.mlp], (out - self._own(self._replaced.mlp[layer.index])).unsqueeze(0))
        return self._nothing(out)

"""One batch, ready to run any number of circuits: what no circuit changes is computed once, then a forward for each.

Every receiver's input is built from what is kept, ``base + sum over kept edges of (a_u - a'_u)`` where ``base`` is the
residual stream made of replacements and of what belongs to no node (positions, b_O): an empty circuit is then exactly
the base, and nothing large is subtracted from something nearly as large (spec B0 row 19). Where of a source only some
neurons are kept, its kept edges carry a_u in these dimensions and a'_u in the others: a_u - a'_u is zero there (A5).

Flows in: a model, a batch, what replaces, tables of kept edges and neurons. Flows out: the metric of each example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import linear

from mi.core import batches, ports, replacement
from mi.core.adapters import Layer
from mi.core.differences import Differences, PostNormed, room
from mi.core.executor import Edit, Executor, Port
from mi.core.layout import LayerRows
from mi.core.metrics import Metric
from mi.core.model import Model
from mi.core.outputs import Outputs
from mi.core.receivers import join, project_chosen, projection_ports
from mi.core.replacement import Replacement


class Table:
    """A mask as the matrix [receiver, source], and what of the model it needs computed.

    ``carried`` are the dimensions of each source that its kept edges carry; None where they all carry everything.
    """

    def __init__(
        self,
        model: Model,
        mask: Bool[np.ndarray, " edge"],
        neurons: Bool[np.ndarray, "source d_model"] | None = None,
    ) -> None:
        graph = model.graph
        matrix = np.zeros((len(graph.receivers), graph.n_sources), dtype=bool)
        matrix[graph.edges[1][mask], graph.edges[0][mask]] = True
        if neurons is not None:
            matrix &= neurons.any(1)  # an edge that carries nothing is a dropped edge
        self.matrix = matrix
        self.carried = neurons
        self.read = np.asarray(matrix.any(0))  # sources that some kept edge reads
        self.reads = np.asarray(matrix.any(1))  # receivers that some kept edge feeds


@dataclass(frozen=True)
class _Base:
    """The empty circuit's inputs and activations of one layer: where each dropped receiver stands."""

    attention: Float[Tensor, "batch pos d_model"]
    mlp: Float[Tensor, "batch pos d_model"]
    projected: Float[Tensor, "receiver batch_x_pos d_head"]  # q, k, v of every head from `attention`
    heads: PostNormed | None  # what the heads write, where a norm stands between them and the stream


class Patched:
    """One batch, ready to run any number of circuits: clean and replaced outputs are computed once."""

    def __init__(
        self, model: Model, executor: Executor, metric: Metric, instead: Replacement, batch: batches.Batch
    ) -> None:
        self.model, self.executor, self.metric, self.instead, self.batch = model, executor, metric, instead, batch
        self.clean, self.clean_logits = replacement.record(model, executor, batch.clean, batch.read)
        corrupted: Outputs | None = None
        self.corrupted_logits: Tensor | None = None
        if instead.from_corrupted:
            corrupted, self.corrupted_logits = replacement.record(model, executor, batch.corrupted, batch.read)
        self.replaced = replacement.values(instead, self.clean, corrupted)
        self.clean_metric = self._metric(self.clean_logits)
        with torch.no_grad():
            self._bases, self._final_base = self._residuals()
        self._room = room(model, *batch.clean.shape)

    def _metric(self, logits: Tensor) -> Tensor:
        dtype = self.model.compute_dtype
        return self.metric.compute(logits.to(dtype), self.batch, self.clean_logits.to(dtype))

    def empty(self) -> Tensor:
        """The metric with every edge dropped."""
        if self.corrupted_logits is not None:
            return self._metric(self.corrupted_logits)
        return self.run(Table(self.model, np.zeros(self.model.graph.n_edges, dtype=bool)))

    def run(self, table: Table) -> Tensor:
        """The metric of one circuit on the batch."""
        with torch.no_grad():
            logits = _CircuitRun(self, table).logits()
        return self._metric(logits)

    def _residuals(self) -> tuple[list[_Base], Tensor]:
        """The residual stream when every node's output is replaced, at each layer and at the end."""
        adapter = self.model.adapter
        batch, length = self.batch.clean.shape
        stream = self.replaced.embed.to(self.model.dtype).expand(batch, length, -1).clone()
        if (positions := adapter.positions(length)) is not None:
            stream += positions
        bases = []
        for layer, z, mlp in zip(adapter.layers, self.replaced.z, self.replaced.mlp, strict=True):
            before, attended = stream, layer.attended(z.to(stream.dtype))
            entering = layer.attention_post_norm(attended)
            middle = before + entering
            of_mlp = before if adapter.roles.parallel else middle
            after = PostNormed(layer, attended, entering).expanded(batch, length) if adapter.has_post_norms else None
            bases.append(_Base(before, of_mlp, self._project(layer, before), after))
            stream = middle + mlp.to(stream.dtype)
        return bases, stream

    def _project(self, layer: Layer, stream: Float[Tensor, "batch pos d_model"]) -> Tensor:
        normed = layer.attention_norm(stream).flatten(0, 1)  # [batch*pos, d_model]
        parts = []
        for which in range(3):
            bias = layer.bias(which)
            out = linear(normed, layer.weight(which).flatten(0, 1), None if bias is None else bias.flatten())
            by_head = out.unflatten(-1, (-1, layer.d_head)).transpose(0, 1)  # [kv_or_head, batch*pos, d_head]
            parts.append(by_head.repeat_interleave(layer.n_heads // len(by_head), dim=0))
        return torch.cat(parts)


class _CircuitRun:
    """One forward under a mask, as edits. State: the differences a_u - a'_u of the sources met so far."""

    def __init__(self, patched: Patched, table: Table) -> None:
        self._patched, self._model = patched, patched.model
        self._matrix = torch.as_tensor(table.matrix, device=self._model.device)
        self._read, self._reads = table.read, table.reads
        carried: Tensor | None = None
        if table.carried is not None:
            carried = torch.as_tensor(table.carried).to(self._model.device, self._model.dtype)
        self._differences = Differences(patched._room, carried, [base.heads for base in patched._bases])
        self._shape = patched.batch.clean.shape

    def logits(self) -> Float[Tensor, "batch vocab"]:
        model, patched = self._model, self._patched
        if self._read[model.layout.input]:
            self._differences.write(model.layout.input, patched.clean.embed - patched.replaced.embed)
        edits: list[Edit] = []
        for layer, rows in zip(model.adapter.layers, model.layout.layers, strict=True):
            edits += self._layer_edits(layer, rows)
        edits.append(Edit(Port(model.adapter.roles.final_norm, "in"), self._final))
        return patched.executor.run(patched.batch.clean, edits, patched.batch.read)

    def _layer_edits(self, layer: Layer, rows: LayerRows) -> list[Edit]:
        own: list[Tensor] = []
        projections = projection_ports(self._model.adapter, layer)

        def receive(port_number: int) -> Callable[[Tensor], Tensor]:
            def give(_: Tensor) -> Tensor:
                if not own:
                    own[:] = join(layer, self._projections(layer, rows))
                return own[port_number]

            return give

        edits = [Edit(port, receive(number), replaces=True) for number, port in enumerate(projections)]
        edits.append(Edit(ports.z(layer), lambda z: self._heads_wrote(layer, rows, z)))
        silent = [ports.attended(layer), ports.attention_out(layer)]
        if self._computed(rows.mlp, [rows.mlp_receiver]):
            edits.append(self._mlp_reads(layer, rows))
            edits.append(Edit(ports.mlp_out(layer), lambda out: self._mlp_wrote(layer, rows, out)))
        else:
            silent += [Port(layer.path(layer.roles.mlp), "out"), ports.mlp_out(layer)]
        return [*edits, *(Edit(port, self._nothing, replaces=True) for port in dict.fromkeys(silent))]

    def _mlp_reads(self, layer: Layer, rows: LayerRows) -> Edit:
        """In a parallel block the stream is one tensor for heads and MLP: there the norm is run once more."""
        if layer.roles.parallel:
            return Edit(ports.mlp_in(layer), lambda _: layer.mlp_norm(self._mlp_input(layer, rows)))
        return Edit(ports.mlp_stream(layer), lambda _: self._mlp_input(layer, rows))

    def _computed(self, source: int, receivers: Sequence[int]) -> bool:
        """Whether a node must be computed: something reads it, and it can differ from its replacement."""
        differs = not self._patched.instead.from_corrupted or bool(self._reads[list(receivers)].any())
        return bool(self._read[source]) and differs

    def _nothing(self, value: Tensor) -> Tensor:
        """What goes into the model's own residual stream, which nobody reads: zeros that take no memory."""
        return value.new_zeros(()).expand(*self._shape, self._model.adapter.d_model)

    def _input(self, base: Tensor, receiver: int) -> Float[Tensor, "batch pos d_model"]:
        """What one receiver reads."""
        parts = [inputs[0] for _, _, inputs in self._differences.read(base, self._matrix, [receiver])]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _projections(self, layer: Layer, rows: LayerRows) -> list[Tensor]:
        """q, k and v of every head: computed where a kept edge feeds them, those of the base elsewhere."""
        base = self._patched._bases[layer.index]
        n_heads = layer.n_heads
        wanted = [
            number
            for number, receiver in enumerate(rows.receivers)
            if self._reads[receiver] and (self._read[rows.heads[number % n_heads]] or not layer.roles.heads_apart)
        ]
        out = base.projected
        if wanted:
            once = {rows.receivers[number]: number for number in reversed(wanted)}  # heads may share a key or a value
            numbers = sorted(once.values())
            read = [rows.receivers[number] for number in numbers]
            fresh = self._projected(layer, base.attention, read, numbers)
            if len(read) < len(wanted):
                fresh = fresh[[read.index(rows.receivers[number]) for number in wanted]]
            chosen = torch.tensor(wanted, device=self._model.device)
            out = fresh if len(wanted) == len(rows.receivers) else out.index_copy(0, chosen, fresh)
        by_kind = out.unflatten(0, (3, n_heads)).permute(0, 2, 1, 3)  # [3, batch*pos, head, d_head]
        return list(by_kind.reshape(3, *self._shape, -1))

    def _projected(
        self, layer: Layer, base: Tensor, receivers: list[int], numbers: list[int]
    ) -> Float[Tensor, "receiver batch_x_pos d_head"]:
        """q, k or v of the chosen receivers, which are those of the layer with these numbers."""
        parts = []
        for which, positions, inputs in self._differences.read(base, self._matrix, receivers):
            normed = layer.attention_norm(inputs).flatten(1, 2)
            made = project_chosen(layer, numbers[which], normed)
            if len(made) == len(numbers) and made.shape[1] == base[..., 0].numel():
                return made
            del inputs, normed  # before the next ones are made
            parts.append((which, positions, made.unflatten(1, (len(base), -1))))
        out = base.new_empty(len(numbers), *self._shape, layer.d_head)
        for which, positions, made in parts:
            out[which, :, positions] = made
        return out.flatten(1, 2)

    def _heads_wrote(self, layer: Layer, rows: LayerRows, z: Tensor) -> None:
        apart, step = layer.roles.heads_apart, layer.n_heads
        heads = [
            head
            for head in range(layer.n_heads)
            if self._computed(rows.heads[head], rows.receivers[head::step] if apart else rows.receivers)
        ]
        if not heads:
            return
        difference = (z - self._patched.replaced.z[layer.index]).unflatten(-1, (layer.n_heads, layer.d_head))
        self._differences.write_heads(layer, [rows.heads[head] for head in heads], difference, heads)

    def _mlp_input(self, layer: Layer, rows: LayerRows) -> Tensor:
        return self._input(self._patched._bases[layer.index].mlp, rows.mlp_receiver)

    def _mlp_wrote(self, layer: Layer, rows: LayerRows, out: Tensor) -> None:
        self._differences.write(rows.mlp, out - self._patched.replaced.mlp[layer.index])

    def _final(self, _: Tensor) -> Tensor:
        return self._input(self._patched._final_base, self._model.layout.logits_receiver)

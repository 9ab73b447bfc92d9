"""Circuits that are the whole model up to some block, from that block on.

What comes before is as in the clean run: the differences of its nodes are known, and no position before the first
difference of the prompts matters. So a circuit costs the blocks, and the positions, that it changes (`core.resume`).

Flows in: a batch made ready, circuits, the first block that they change. Flows out: logits at the read position.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mi.core import replacement
from mi.core.gated import Prepared, Run
from mi.core.outputs import Outputs, write_sources
from mi.core.readout import same_logits
from mi.core.resume import Resume, first_position
from mi.core.search.problem import Problem


class Onward:
    """One batch, ready to go on from any block."""

    def __init__(self, problem: Problem, prepared: Prepared) -> None:
        self._problem, self._batch = problem, prepared.batch
        model, batch = problem.model, prepared.batch
        first = first_position(model, batch.first_difference if problem.instead.from_corrupted else 0)
        length = batch.clean.shape[1]

        def late(tensor: Tensor) -> Tensor:
            return tensor[:, first:] if tensor.shape[1] == length else tensor

        clean, logits = replacement.record(model, problem.executor, batch.clean, batch.read)
        clean, self._replaced = clean.map(late), prepared.replaced.map(late)
        shape = (model.layout.n_sources, len(batch), length - first, model.adapter.d_model)
        self._differences = torch.empty(shape, dtype=model.dtype, device=model.device)
        write_sources(model.adapter, model.layout, _minus(clean, self._replaced), self._differences)
        self._streams = prepared.streams.map(late)
        self._resume = Resume(model, batch.clean, batch.read, first)
        whole = torch.ones(1, model.graph.n_edges, dtype=model.dtype, device=model.device)
        hint = "use --executor generic, which runs the model to its end"
        same_logits(self.logits(whole, len(model.adapter.layers)), logits, hint)

    @property
    def nbytes(self) -> int:
        return self._differences.nbytes

    @torch.no_grad()
    def logits(self, masks: Float[Tensor, "copy edge"], block: int) -> Float[Tensor, "row vocab"]:
        """Every circuit on every example, the examples of the first circuit first."""
        problem, adapter, places = self._problem, self._problem.model.adapter, self._problem.model.layout
        size = len(self._batch)
        rows = (len(masks) * size, self._resume.length)
        matrix = problem.gates.matrix(masks).repeat_interleave(size, 0)
        run = Run(problem.model, self._replaced, self._streams, matrix, problem.gates.table(rows), rows)
        n_known = places.layers[block].heads[0] if block < len(places.layers) else places.n_sources
        run.resume(self._differences[:n_known])
        nothing = matrix.new_zeros(()).expand(*rows, adapter.d_model)  # blocks read the table
        for layer, own in zip(adapter.layers[block:], places.layers[block:], strict=True):
            self._resume.block(nothing, layer.index, run.layer_edits(layer, own))
        hidden = self._resume.at_read(run.final())[:, 0]
        return adapter.logits(hidden)


def _minus(a: Outputs, b: Outputs) -> Outputs:
    return Outputs(
        a.embed - b.embed,
        [x - y for x, y in zip(a.z, b.z, strict=True)],
        [x - y for x, y in zip(a.mlp, b.mlp, strict=True)],
    )

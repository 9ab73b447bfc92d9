"""Scores of all edges of a batch: <difference of the source, gradient at the receiver>, summed over positions and
d_model.

Flows in: differences and gradients in narrow form. Flows out: float64 ``[batch, source, receiver]``. The wide forms
exist for a few examples (or, when one example is too long, a few positions) at a time, within a fixed budget.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mi.core import norms
from mi.core.adapters import Adapter, Layer
from mi.core.gradients import HeadGradients, ReceiverGradients
from mi.core.layout import LayerRows, Layout
from mi.core.model import Model
from mi.core.outputs import Outputs, write_differences, write_sources
from mi.core.wide import float64, total, zeros

TOKENS = 32  # of a chunk, if the budget allows: a layer's weights are folded anew for each


def contract(
    model: Model,
    difference: Outputs,
    gradients: ReceiverGradients,
    read: Int[Tensor, " batch"],
    sources: range | None = None,
    into: Float[Tensor, "batch source receiver"] | None = None,
    before: int | None = None,
    values_only: bool = False,
) -> Float[Tensor, "batch source receiver"]:
    """Edge scores of each example, in the table's cells (cells that are no edge hold nothing of meaning).

    ``sources``: only the edges out of these, which are all heads of a layer or one other node; their receivers must
    all come after them. ``into``: cells to add to. ``before``: only the edges into receivers of layers before this one.
    ``values_only``: of the edges into heads only those into values.
    """
    places, adapter = model.layout, model.adapter
    batch, length = difference.embed.shape[:2]
    device = gradients.logits.device
    chosen = sources if sources is not None else range(places.n_sources if before is None else _read(places, before))
    scores = into
    if scores is None:
        scores = zeros((batch, places.n_sources, places.n_receivers), device)
    chunks, width = list(_chunks(model, len(chosen), batch, length)), adapter.d_model
    most = max((a.stop - a.start) * (b.stop - b.start) for a, b in chunks)  # tokens
    held = torch.empty(len(chosen) * most * width, dtype=model.compute_dtype, device=device)
    for examples, positions in chunks:
        part = difference.map(lambda t: _cut(t, examples, positions))  # noqa: B023 - used at once
        n, t = examples.stop - examples.start, positions.stop - positions.start
        wide = held[: len(chosen) * n * t * width].view(len(chosen), n, t, width)
        if sources is None:
            write_sources(adapter, places, part, wide)
        else:
            write_group(adapter, places, part, sources, wide)
        out = scores[examples, chosen.start : chosen.stop]
        first = 2 * adapter.n_heads if values_only else 0  # of a layer's receivers
        _narrow_columns(model, wide, gradients, examples, positions, out, first)
        if before is None:
            _logits(model, wide, gradients.logits[examples], read[examples], positions, out)
        for index, heads in gradients.heads.items():
            layer = adapter.layers[index]
            earlier = min(places.layers[index].heads[0], chosen.stop) - chosen.start  # heads read what is before them
            _heads(model, layer, wide[:earlier], heads, examples, positions, out[:, :earlier], first)
    return scores


def _read(places: Layout, before: int) -> int:
    """How many sources the layers before this one read."""
    return places.layers[before - 1].mlp


def write_group(
    adapter: Adapter, places: Layout, outputs: Outputs, sources: range, into: Float[Tensor, "source batch pos d_model"]
) -> None:
    """The wide form of one node that is no head, or of all heads of a layer."""
    if sources.start == places.input:
        into[0].copy_(outputs.embed)
    for layer, rows in zip(adapter.layers, places.layers, strict=True):
        if sources.start == rows.heads[0]:
            write_differences(layer, outputs, into)
        elif sources.start == rows.mlp:
            into[0].copy_(outputs.mlp[layer.index])


def edges_of(model: Model, cells: Float[Tensor, "batch source receiver"]) -> Float[Tensor, "batch edge"]:
    """The cells that are edges, in the graph's order."""
    edges = torch.as_tensor(model.graph.edges.astype(np.int64), device=cells.device)
    return cells[:, edges[0], edges[1]]


def by_column(
    rows: LayerRows, first: int, scores: Float[Tensor, "*cells receiver"]
) -> tuple[slice, Float[Tensor, "*cells column"]]:
    """Scores of a layer's receivers from number ``first`` on (a head's q, k or v), in the columns of the table where
    they belong: those of heads that share a receiver are one, whose gradient is the sum of theirs.
    """
    receivers, n_heads = rows.receivers[first : first + scores.shape[-1]], len(rows.heads)
    columns = slice(receivers[0], receivers[-1] + 1)
    if columns.stop - columns.start == len(receivers):
        return columns, scores
    kinds = [slice(start, start + n_heads) for start in range(0, len(receivers), n_heads)]  # q, k, v
    summed = [scores[..., kind].unflatten(-1, (len(set(receivers[kind])), -1)).sum(-1) for kind in kinds]
    return columns, torch.cat(summed, dim=-1)


def _cut(tensor: Tensor, examples: slice, positions: slice) -> Tensor:
    return tensor[examples, positions]


def _chunks(model: Model, n_sources: int, batch: int, length: int) -> Iterator[tuple[slice, slice]]:
    """Examples by positions, so that the wide differences of a chunk fit the budget."""
    # Beside the differences stand the gradients at a layer's heads, which may be more.
    token = max(n_sources, 3 * model.adapter.n_heads) * model.adapter.d_model * model.compute_dtype.itemsize
    most = max(model.budget.least_chunk, min(model.budget.chunk, TOKENS * token))
    at_once = max(1, most // (token * length))
    if at_once > 1 or token * length <= most:
        parts = -(-batch // at_once)
        size = -(-batch // parts)
        for start in range(0, batch, size):
            yield slice(start, min(start + size, batch)), slice(0, length)
        return
    size = max(1, most // token)
    for row in range(batch):
        for start in range(0, length, size):
            yield slice(row, row + 1), slice(start, min(start + size, length))


def _heads(
    model: Model,
    layer: Layer,
    wide: Float[Tensor, "source batch pos d_model"],
    gradients: HeadGradients,
    examples: slice,
    positions: slice,
    out: Float[Tensor, "batch source all_receivers"],
    first: int,
) -> None:
    """The part of a layer's q, k and v edges without the norm's correction: <D, C(gamma W)^T (g / sigma)>."""
    rows, own = model.layout.layers[layer.index], layer.placement.share(layer.n_heads)
    sources, n = len(wide), wide.shape[1]
    gradient = _widened(model, layer, gradients.narrow[:, examples, positions], first, own)
    left = wide.reshape(sources, n, -1).transpose(0, 1)  # [batch, source, pos*d_model]
    right = gradient.view(len(gradient), n, -1).permute(1, 2, 0)  # [batch, pos*d_model, receiver]
    made = layer.placement.joined(torch.bmm(left, right), len(gradient) // (own.stop - own.start))
    columns, scores = by_column(rows, first, float64(made))
    out[:, :, columns] += scores


def _widened(
    model: Model, layer: Layer, narrow: Float[Tensor, "all_receivers batch pos d_head"], first: int, heads: slice
) -> Float[Tensor, "receiver batch_x_pos d_model"]:
    """C(gamma W)^T (g / sigma) of the receivers of the layer from the first one on, which is a head's q, k or v: of
    these ``heads``.

    The heads that share a key or a value share its weight, which is folded for a few heads at a time.
    """
    tokens, n_heads = narrow.shape[1] * narrow.shape[2], heads.stop - heads.start
    kinds = range(first // layer.n_heads, 3)
    made = narrow.new_empty(len(kinds), n_heads, tokens, model.adapter.d_model)
    dtype = model.compute_dtype
    for which, of_kind in zip(kinds, made, strict=True):
        weight = layer.weight(which)  # [kv_or_head, d_head, d_model]
        groups = layer.n_heads // len(weight)
        at_once = max(1, model.budget.least_chunk // (weight[0].numel() * dtype.itemsize))
        for start in range(heads.start // groups, heads.stop // groups, at_once):
            some = slice(start, min(start + at_once, heads.stop // groups))
            folded = norms.folded(layer.attention_norm, weight[some], dtype)
            part = slice(some.start * groups, some.stop * groups)
            own = narrow[which * layer.n_heads :][part].reshape(len(folded), groups * tokens, layer.d_head)
            into = of_kind[part.start - heads.start : part.stop - heads.start].view(len(folded), groups * tokens, -1)
            torch.bmm(own, folded, out=into)
            del folded  # before the next ones are made
    return made.flatten(0, 1)


def _narrow_columns(
    model: Model,
    wide: Float[Tensor, "source batch pos d_model"],
    gradients: ReceiverGradients,
    examples: slice,
    positions: slice,
    out: Float[Tensor, "batch source receiver"],
    first: int,
) -> None:
    """The MLPs' edges, and the norms' corrections of the heads' edges: inner products with a few vectors a token."""
    vectors = [xhat for heads in gradients.heads.values() for xhat in heads.xhat] + list(gradients.mlp.values())
    if not vectors:
        return
    columns = torch.stack([vector[examples, positions].flatten(0, 1) for vector in vectors], dim=-1)
    n_sources, n, t, d_model = wide.shape
    products = torch.bmm(wide.view(n_sources, n * t, d_model).transpose(0, 1), columns)  # [batch*pos, source, column]
    products = products.view(n, t, n_sources, -1)
    column = 0
    for index, heads in gradients.heads.items():
        rows, steps = model.layout.layers[index], len(heads.xhat)
        if not steps:  # sigma is a constant
            continue
        along = products[..., column : column + steps]  # [batch, pos, source, step]
        column += steps
        left = along.permute(0, 2, 1, 3).reshape(n, n_sources, t * steps)
        corrections = [c[examples, positions, first:] for c in heads.correction]
        right = torch.stack(corrections, dim=2).reshape(n, t * steps, -1)
        reached, scores = by_column(rows, first, float64(torch.bmm(left, right)))
        out[..., reached] -= scores
    for index in gradients.mlp:
        out[..., model.layout.layers[index].mlp_receiver] += total(products[..., column], 1)
        column += 1


def _logits(
    model: Model,
    wide: Float[Tensor, "source batch pos d_model"],
    gradient: Float[Tensor, "batch d_model"],
    read: Int[Tensor, " batch"],
    positions: slice,
    out: Float[Tensor, "batch source receiver"],
) -> None:
    here = ((read >= positions.start) & (read < positions.stop)).nonzero().flatten()
    if len(here) == 0:
        return
    at_read = wide[:, here, read[here] - positions.start]  # [source, batch, d_model]
    found = float64(torch.einsum("sbd,bd->bs", at_read, gradient[here]))
    out[here.to(out.device), :, model.layout.logits_receiver] += found

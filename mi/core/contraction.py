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
from mi.core.layout import Layout
from mi.core.model import Model
from mi.core.outputs import Outputs, write_heads, write_sources

CHUNK_BYTES = 1 << 26  # of the wide differences: 64 MiB


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
        scores = torch.zeros(batch, places.n_sources, places.n_receivers, dtype=torch.float64, device=device)
    for examples, positions in _chunks(model, len(chosen), batch, length):
        part = difference.map(lambda t: _cut(t, examples, positions))  # noqa: B023 - used at once
        n, t = examples.stop - examples.start, positions.stop - positions.start
        wide = torch.empty(len(chosen), n, t, adapter.d_model, dtype=model.compute_dtype, device=device)
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
            weight = _folded(model, layer, first)
            _heads(model, layer, wide[:earlier], weight, heads, examples, positions, out[:, :earlier], first)
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
            write_heads(layer, outputs.z[layer.index].unflatten(-1, (layer.n_heads, layer.d_head)), into)
        elif sources.start == rows.mlp:
            into[0].copy_(outputs.mlp[layer.index])


def edges_of(model: Model, cells: Float[Tensor, "batch source receiver"]) -> Float[Tensor, "batch edge"]:
    """The cells that are edges, in the graph's order."""
    edges = torch.as_tensor(model.graph.edges.astype(np.int64), device=cells.device)
    return cells[:, edges[0], edges[1]]


def _cut(tensor: Tensor, examples: slice, positions: slice) -> Tensor:
    return tensor[examples, positions]


def _chunks(model: Model, n_sources: int, batch: int, length: int) -> Iterator[tuple[slice, slice]]:
    """Examples by positions, so that the wide differences of a chunk fit the budget."""
    token = n_sources * model.adapter.d_model * model.compute_dtype.itemsize
    at_once = max(1, CHUNK_BYTES // (token * length))
    if at_once > 1 or token * length <= CHUNK_BYTES:
        parts = -(-batch // at_once)
        size = -(-batch // parts)
        for start in range(0, batch, size):
            yield slice(start, min(start + size, batch)), slice(0, length)
        return
    size = max(1, CHUNK_BYTES // token)
    for row in range(batch):
        for start in range(0, length, size):
            yield slice(row, row + 1), slice(start, min(start + size, length))


def _folded(model: Model, layer: Layer, first: int) -> Float[Tensor, "receiver d_head d_model"]:
    """C(gamma W) of the receivers of the layer from the first one on, which is a head's q, k or v."""
    groups = layer.n_heads // layer.n_kv_heads
    parts = []
    for which in range(first // layer.n_heads, 3):
        own = norms.folded(layer.attention_norm, model.adapter.roles.centred, layer.weight(which), model.compute_dtype)
        parts.append(own.repeat_interleave(groups, dim=0) if which and groups > 1 else own)
    return torch.cat(parts)


def _heads(
    model: Model,
    layer: Layer,
    wide: Float[Tensor, "source batch pos d_model"],
    weight: Float[Tensor, "receiver d_head d_model"],
    gradients: HeadGradients,
    examples: slice,
    positions: slice,
    out: Float[Tensor, "batch source all_receivers"],
    first: int,
) -> None:
    """The part of a layer's q, k and v edges without the norm's correction: <D, C(gamma W)^T (g / sigma)>."""
    rows = model.layout.layers[layer.index]
    sources = len(wide)
    narrow = gradients.narrow[first:, examples, positions]
    receivers, n, t, d_head = narrow.shape
    gradient = torch.bmm(narrow.reshape(receivers, n * t, d_head), weight)  # [receiver, batch*pos, d_model]
    left = wide.reshape(sources, n, -1).transpose(0, 1)  # [batch, source, pos*d_model]
    right = gradient.view(receivers, n, -1).permute(1, 2, 0)  # [batch, pos*d_model, receiver]
    out[:, :, rows.receivers[first] : rows.receivers[-1] + 1] += torch.bmm(left, right).to(torch.float64)


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
        out[..., rows.receivers[first] : rows.receivers[-1] + 1] -= torch.bmm(left, right).to(torch.float64)
    for index in gradients.mlp:
        out[..., model.layout.layers[index].mlp_receiver] += products[..., column].sum(1, dtype=torch.float64)
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
    out[here, :, model.layout.logits_receiver] += torch.einsum("sbd,bd->bs", at_read, gradient[here]).to(torch.float64)

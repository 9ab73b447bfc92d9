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
from mi.core.adapters import Layer
from mi.core.gradients import HeadGradients, ReceiverGradients
from mi.core.model import Model
from mi.core.outputs import Outputs, write_sources

CHUNK_BYTES = 1 << 26  # of the wide differences: 64 MiB


def contract(
    model: Model, difference: Outputs, gradients: ReceiverGradients, read: Int[Tensor, " batch"]
) -> Float[Tensor, "batch source receiver"]:
    """Edge scores of each example, in the table's cells (cells that are no edge hold nothing of meaning)."""
    places, adapter = model.layout, model.adapter
    batch, length = gradients.heads[0].narrow.shape[1:3]
    device = gradients.logits.device
    scores = torch.zeros(batch, places.n_sources, places.n_receivers, dtype=torch.float64, device=device)
    for examples, positions in _chunks(model, batch, length):
        part = difference.map(lambda t: _cut(t, examples, positions))  # noqa: B023 - used at once
        n, t = examples.stop - examples.start, positions.stop - positions.start
        wide = torch.empty(places.n_sources, n, t, adapter.d_model, dtype=model.compute_dtype, device=device)
        write_sources(adapter, places, part, wide)
        out = scores[examples]
        _narrow_columns(model, wide, gradients, examples, positions, out)
        _logits(model, wide, gradients.logits[examples], read[examples], positions, out)
        for layer in adapter.layers:
            weight = _folded(model, layer)
            _heads(model, layer, wide, weight, gradients.heads[layer.index], examples, positions, out)
    return scores


def edges_of(model: Model, cells: Float[Tensor, "batch source receiver"]) -> Float[Tensor, "batch edge"]:
    """The cells that are edges, in the graph's order."""
    edges = torch.as_tensor(model.graph.edges.astype(np.int64), device=cells.device)
    return cells[:, edges[0], edges[1]]


def _cut(tensor: Tensor, examples: slice, positions: slice) -> Tensor:
    return tensor[examples, positions]


def _chunks(model: Model, batch: int, length: int) -> Iterator[tuple[slice, slice]]:
    """Examples by positions, so that the wide differences of a chunk fit the budget."""
    token = model.layout.n_sources * model.adapter.d_model * model.compute_dtype.itemsize
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


def _folded(model: Model, layer: Layer) -> Float[Tensor, "receiver d_head d_model"]:
    """C(gamma W) of every receiver of the layer."""
    groups = layer.n_heads // layer.n_kv_heads
    parts = []
    for which in range(3):
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
) -> None:
    """The part of a layer's q, k and v edges without the norm's correction: <D, C(gamma W)^T (g / sigma)>."""
    rows = model.layout.layers[layer.index]
    sources = rows.heads[0]  # heads read every source before them
    narrow = gradients.narrow[:, examples, positions]
    receivers, n, t, d_head = narrow.shape
    gradient = torch.bmm(narrow.reshape(receivers, n * t, d_head), weight)  # [receiver, batch*pos, d_model]
    left = wide[:sources].reshape(sources, n, -1).transpose(0, 1)  # [batch, source, pos*d_model]
    right = gradient.view(receivers, n, -1).permute(1, 2, 0)  # [batch, pos*d_model, receiver]
    first, last = rows.receivers[0], rows.receivers[-1] + 1
    out[:, :sources, first:last] += torch.bmm(left, right).to(torch.float64)


def _narrow_columns(
    model: Model,
    wide: Float[Tensor, "source batch pos d_model"],
    gradients: ReceiverGradients,
    examples: slice,
    positions: slice,
    out: Float[Tensor, "batch source receiver"],
) -> None:
    """The MLPs' edges, and the norms' corrections of the heads' edges: inner products with a few vectors a token."""
    vectors = [xhat for heads in gradients.heads for xhat in heads.xhat] + gradients.mlp
    columns = torch.stack([vector[examples, positions].flatten(0, 1) for vector in vectors], dim=-1)
    n_sources, n, t, d_model = wide.shape
    products = torch.bmm(wide.view(n_sources, n * t, d_model).transpose(0, 1), columns)  # [batch*pos, source, column]
    products = products.view(n, t, n_sources, -1)
    steps = len(gradients.heads[0].xhat)
    for index, (rows, heads) in enumerate(zip(model.layout.layers, gradients.heads, strict=True)):
        mlp = products[..., len(gradients.heads) * steps + index]
        out[..., rows.mlp_receiver] += mlp.sum(1, dtype=torch.float64)
        along = products[..., index * steps : (index + 1) * steps]  # [batch, pos, source, step]
        left = along.permute(0, 2, 1, 3).reshape(n, n_sources, t * steps)
        right = torch.stack([c[examples, positions] for c in heads.correction], dim=2).reshape(n, t * steps, -1)
        first, last = rows.receivers[0], rows.receivers[-1] + 1
        out[..., first:last] -= torch.bmm(left, right).to(torch.float64)


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

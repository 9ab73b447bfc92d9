"""Token ids in; every source's output and the logits out, of a transformer run edge by edge.

Each receiver's input is written out as a sum: what belongs to no node, plus, for every source before it, the gate
of that edge times the source's output in this very run plus (1 - gate) times a replacement. No residual stream is
carried along, nothing is shared between receivers, heads are computed one at a time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

from tests.oracle.weights import Head, Layer, Mlp, Norm, Tensor, Weights


@dataclass(frozen=True)
class Run:
    sources: list[Tensor]  # n_sources of [batch, position, d], in source order
    logits: Tensor  # [batch, position, vocabulary]


@dataclass(frozen=True)
class Edit:
    """How a run departs from the model: all fields are optional.

    gates: [source, receiver] or [source, receiver, batch]; replacement: one tensor [batch, position, d] a source;
    neurons: [source, d], 1 in the dimensions that edges carry and 0 in those that are replaced on every edge;
    embedding: [batch, position, d] instead of the token embedding; nudges: one tensor a receiver, added to its input.
    """

    gates: Tensor | None = None
    replacement: Sequence[Tensor] | None = None
    neurons: Tensor | None = None
    embedding: Tensor | None = None
    nudges: Sequence[Tensor] | None = None


def n_sources(weights: Weights) -> int:
    return 1 + weights.n_layers * (weights.n_heads + 1)


def n_receivers(weights: Weights) -> int:
    return weights.n_layers * (3 * weights.n_heads + 1) + 1


def source_names(weights: Weights) -> list[str]:
    names = ["input"]
    for layer in range(weights.n_layers):
        names += [f"a{layer}.h{head}" for head in range(weights.n_heads)] + [f"m{layer}"]
    return names


def receiver_names(weights: Weights) -> list[str]:
    names = []
    for layer in range(weights.n_layers):
        names += [f"a{layer}.h{head}<{part}>" for part in "qkv" for head in range(weights.n_heads)] + [f"m{layer}"]
    return [*names, "logits"]


def readable(weights: Weights) -> list[int]:
    """For each receiver the number of sources that come before it: sources 0 .. n-1 have an edge into it."""
    counts, before = [], 1
    for _ in range(weights.n_layers):
        counts += [before] * (3 * weights.n_heads)
        counts.append(before if weights.parallel else before + weights.n_heads)
        before += weights.n_heads + 1
    return [*counts, before]


def edge_cells(weights: Weights) -> list[tuple[int, int]]:
    """(source, receiver) of every edge, in the order in which the interchange format lists them."""
    heads, counts = weights.n_heads, readable(weights)
    cells = []
    for layer in range(weights.n_layers):
        first = layer * (3 * heads + 1)
        mlp = first + 3 * heads
        for source in range(counts[first]):
            cells += [(source, first + part * heads + head) for head in range(heads) for part in range(3)]
            if weights.parallel:  # here the MLP is listed as one more receiver beside the heads
                cells.append((source, mlp))
        if not weights.parallel:
            cells += [(source, mlp) for source in range(counts[mlp])]
    logits = n_receivers(weights) - 1
    return cells + [(source, logits) for source in range(counts[logits])]


def run(weights: Weights, tokens: Tensor, edit: Edit = Edit()) -> Run:
    """One forward pass over tokens [batch, position], all examples of one length."""
    embedding = weights.embedding[tokens] if edit.embedding is None else edit.embedding
    fixed = torch.zeros_like(embedding)  # what belongs to no node and no edit can touch
    if weights.positions is not None:
        fixed = fixed + weights.positions[: tokens.shape[1]]
    sources, receiver = [embedding], 0

    def next_input(count: int) -> Tensor:
        nonlocal receiver
        total = _receiver_input(fixed, sources[:count], receiver, edit)
        receiver += 1
        return total

    for layer in weights.layers:
        before = len(sources)
        heads = range(len(layer.heads))
        inputs = {part: [_norm(layer.attention_norm, next_input(before)) for _ in heads] for part in "qkv"}
        outputs = [_head(weights, layer, layer.heads[h], inputs["q"][h], inputs["k"][h], inputs["v"][h]) for h in heads]
        if not weights.parallel:
            sources, fixed = sources + outputs, fixed + layer.attention_bias
        mlp = _mlp(layer.mlp, _norm(layer.mlp_norm, next_input(len(sources))))
        if weights.parallel:
            sources, fixed = sources + outputs, fixed + layer.attention_bias
        sources = [*sources, mlp]
    final = _norm(weights.final_norm, next_input(len(sources)))
    return Run(sources, final @ weights.unembedding)


def _receiver_input(fixed: Tensor, sources: Sequence[Tensor], receiver: int, edit: Edit) -> Tensor:
    total = fixed
    for index, output in enumerate(sources):
        if edit.gates is None:
            total = total + output
            continue
        gate = edit.gates[index, receiver]
        if gate.dim() == 1:  # one gate an example
            gate = gate[:, None, None]
        assert edit.replacement is not None
        if edit.neurons is not None:
            output = edit.neurons[index] * output + (1 - edit.neurons[index]) * edit.replacement[index]
        total = total + gate * output + (1 - gate) * edit.replacement[index]
    if edit.nudges is not None:
        total = total + edit.nudges[receiver]
    return total


def _norm(norm: Norm, x: Tensor) -> Tensor:
    if norm.bias is None:
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + norm.eps) * norm.scale
    x = x - x.mean(-1, keepdim=True)
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + norm.eps) * norm.scale + norm.bias


def _head(weights: Weights, layer: Layer, head: Head, x_q: Tensor, x_k: Tensor, x_v: Tensor) -> Tensor:
    q = _rotate(weights, x_q @ head.w_q + head.b_q)
    k = _rotate(weights, x_k @ head.w_k + head.b_k)
    v = x_v @ head.w_v + head.b_v
    scores = q @ k.transpose(1, 2) * layer.attention_scale  # [batch, query, key]
    scores = scores.masked_fill(_hidden(scores.shape[1], layer.window), -math.inf)
    return torch.softmax(scores, -1) @ v @ head.w_o


@cache
def _hidden(length: int, window: int | None) -> Tensor:
    """[query, key]: which keys a query may not see."""
    hidden = torch.zeros(length, length, dtype=torch.bool)
    for query in range(length):
        for key in range(length):
            hidden[query, key] = key > query or (window is not None and key <= query - window)
    return hidden


def _rotate(weights: Weights, x: Tensor) -> Tensor:
    """Rotary positions on x [batch, position, d_head]: dimension i is paired with i + n/2 of the n rotated ones."""
    if weights.rotary_base is None:
        return x
    half = weights.rotary_dims // 2
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    cos, sin = _angles(x.shape[1], weights.rotary_dims, weights.rotary_base)
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], -1)


@cache
def _angles(length: int, dims: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [position, dims / 2], in float64 throughout."""
    angles = [[position * base ** (-2 * i / dims) for i in range(dims // 2)] for position in range(length)]
    table = torch.tensor(angles, dtype=torch.float64)
    return torch.cos(table), torch.sin(table)


def _mlp(mlp: Mlp, x: Tensor) -> Tensor:
    hidden = x @ mlp.w_in + mlp.b_in
    if mlp.w_gate is None:
        hidden = _activation(mlp.activation, hidden)
    else:
        hidden = _activation(mlp.activation, x @ mlp.w_gate) * hidden
    return hidden @ mlp.w_out + mlp.b_out


def _activation(name: str, x: Tensor) -> Tensor:
    if name in ("gelu_new", "gelu_pytorch_tanh"):
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    if name == "gelu":
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    if name == "silu":
        return x / (1 + torch.exp(-x))
    if name == "relu":
        return x * (x > 0)
    if name == "linear":
        return x
    raise NotImplementedError(f"the oracle does not know the activation {name}")

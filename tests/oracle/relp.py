"""RelP by going forwards: a change of what a receiver reads is followed to the logits, each module passing it on as its
rule says, with everything that the rule holds constant taken from the clean run. No backward pass anywhere.

    norm       change (centred) * scale / sigma                    the rule `ln`
    act(x)     change * act(x) / (x + 1e-6 * sign x)               the rule `identity`
    a * b      half of (change of a) * b + a * (change of b)       the rule `half`
    attention  pattern * change of v                               the rule `pattern`

Without its rule a module passes a change on by its derivative, written out. The score of an edge is the change of the
loss, to first order, when the receiver reads the replaced source.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tests.oracle.batches import Group, groups, replacements
from tests.oracle.metrics import Example
from tests.oracle.transformer import _activation, _hidden, _norm, _rotate, n_receivers, n_sources, readable
from tests.oracle.weights import Head, Layer, Mlp, Norm, Tensor, Weights

STABLE = 1e-6


def relp(weights: Weights, examples: Sequence[Example], metric: str, ablation: str, rules: Sequence[str]) -> np.ndarray:
    """[source, receiver, example]."""
    every = groups(weights, examples)
    scores = np.zeros((n_sources(weights), n_receivers(weights), len(examples)))
    for group in every:
        replaced = replacements(ablation, every, group)
        logits = group.clean_run.logits.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(-group.metric(metric, logits).sum(), logits)  # of the metric alone
        run = _clean_inputs(weights, group)
        for receiver, count in enumerate(readable(weights)):
            for source in range(count):
                change = replaced[source] - group.clean_run.sources[source]
                moved = _follow(weights, run, receiver, change, rules)
                scores[source, receiver, group.places] = (slope * moved).sum((1, 2)).numpy()
    return scores


@dataclass(frozen=True)
class _Inputs:
    """The clean run's residual stream before each layer's heads, before its MLP, and at the end."""

    attention: list[Tensor]
    mlp: list[Tensor]
    final: Tensor


def _clean_inputs(weights: Weights, group: Group) -> _Inputs:
    sources, heads = group.clean_run.sources, weights.n_heads
    stream = sources[0]
    if weights.positions is not None:
        stream = stream + weights.positions[: stream.shape[1]]
    attention, mlp = [], []
    for index, layer in enumerate(weights.layers):
        first = 1 + index * (heads + 1)
        attention.append(stream)
        stream = stream + sum(sources[first : first + heads]) + layer.attention_bias
        mlp.append(stream)
        stream = stream + sources[first + heads]
    return _Inputs(attention, mlp, stream)


def _follow(weights: Weights, run: _Inputs, receiver: int, change: Tensor, rules: Sequence[str]) -> Tensor:
    """The change of the logits, given a change of what one receiver reads."""
    heads = weights.n_heads
    per_layer = 3 * heads + 1
    stream = torch.zeros_like(change)
    for index, layer in enumerate(weights.layers):
        place = receiver - index * per_layer
        if place < 0 or index > receiver // per_layer:
            own = {part: [stream] * heads for part in "qkv"}  # all heads read the changed stream
        else:
            own = {part: [torch.zeros_like(change)] * heads for part in "qkv"}
            if 0 <= place < 3 * heads:
                part, head = "qkv"[place // heads], place % heads
                own[part] = [change if h == head else torch.zeros_like(change) for h in range(heads)]
        moved = stream
        for h, head_weights in enumerate(layer.heads):
            into = [_norm_change(layer.attention_norm, run.attention[index], own[part][h], rules) for part in "qkv"]
            x = _norm(layer.attention_norm, run.attention[index])
            moved = moved + _head_change(weights, layer, head_weights, x, into, rules)
        into_mlp = change if place == 3 * heads else moved
        at = run.mlp[index]
        into_mlp = _norm_change(layer.mlp_norm, at, into_mlp, rules)
        stream = moved + _mlp_change(layer.mlp, _norm(layer.mlp_norm, at), into_mlp, rules)
    if receiver == n_receivers(weights) - 1:
        stream = change
    return _norm_change(weights.final_norm, run.final, stream, rules) @ weights.unembedding


def _norm_change(norm: Norm, x: Tensor, change: Tensor, rules: Sequence[str]) -> Tensor:
    if norm.bias is not None:
        x, change = x - x.mean(-1, keepdim=True), change - change.mean(-1, keepdim=True)
    sigma = torch.sqrt((x * x).mean(-1, keepdim=True) + norm.eps)
    if "ln" in rules:
        return change / sigma * norm.scale
    return (change / sigma - x * (x * change).mean(-1, keepdim=True) / sigma**3) * norm.scale


def _head_change(
    weights: Weights, layer: Layer, head: Head, x: Tensor, change: list[Tensor], rules: Sequence[str]
) -> Tensor:
    q, k = _rotate(weights, x @ head.w_q + head.b_q), _rotate(weights, x @ head.w_k + head.b_k)
    v = x @ head.w_v + head.b_v
    scores = (q @ k.transpose(1, 2) * layer.attention_scale).masked_fill(_hidden(x.shape[1], layer.window), -math.inf)
    pattern = torch.softmax(scores, -1)
    moved = pattern @ (change[2] @ head.w_v)
    if "pattern" not in rules:
        of_q, of_k = _rotate(weights, change[0] @ head.w_q), _rotate(weights, change[1] @ head.w_k)
        of_scores = (of_q @ k.transpose(1, 2) + q @ of_k.transpose(1, 2)) * layer.attention_scale
        of_pattern = pattern * (of_scores - (pattern * of_scores).sum(-1, keepdim=True))
        moved = moved + of_pattern @ v
    return moved @ head.w_o


def _mlp_change(mlp: Mlp, x: Tensor, change: Tensor, rules: Sequence[str]) -> Tensor:
    if mlp.w_gate is None:
        return _activation_change(mlp.activation, x @ mlp.w_in + mlp.b_in, change @ mlp.w_in, rules) @ mlp.w_out
    up, gate = x @ mlp.w_in + mlp.b_in, x @ mlp.w_gate
    of_gate = _activation_change(mlp.activation, gate, change @ mlp.w_gate, rules)
    product = of_gate * up + _activation(mlp.activation, gate) * (change @ mlp.w_in)
    return (product / 2 if "half" in rules else product) @ mlp.w_out


def _activation_change(name: str, x: Tensor, change: Tensor, rules: Sequence[str]) -> Tensor:
    if "identity" in rules and name != "relu":
        return change * _activation(name, x) / (x + STABLE * torch.where(x < 0, -1.0, 1.0))
    step = 1e-5
    slope = (_activation(name, x + step) - _activation(name, x - step)) / (2 * step)
    return change * slope

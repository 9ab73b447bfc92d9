"""Identities that an adapter must satisfy on the model it is bound to, checked at load on a few random tokens.

1. What the nodes write, with what belongs to no node, sums to the input of every norm that reads the residual stream.
2. The heads' outputs and b_O sum to the attention's output, and enter the stream through the post-norm, if any.
3. The norms' Jacobians, as `norms` computes them, conserve gradients: they equal autograd's.
4. Each receiver's weights, applied to the norm's output, give the projection's output (q, k and v are where we think).
5. A first token attends to itself alone: another query there changes nothing at all, another key nothing there (and so
   neither can be taken for the other, nor for the value, wherever rotary positions or norms come between).
6. With a key and a value of its own for each query head the logits are the same.

An adapter that is wrong for a model fails here, loudly, instead of giving wrong scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mi.core import norms, ports
from mi.core.adapters import Adapter, Layer
from mi.core.executor import Edit, Executor, Port
from mi.core.memory import is_out_of_memory
from mi.core.norms import Norm
from mi.core.outputs import Recorder
from mi.core.receivers import by_receiver, project, projection_ports, receiver_weights, split, ungroup_edits
from mi.core.wide import float64
from mi.errors import MiError

LENGTH = 6
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 8e-2, torch.float16: 2e-2}


SAID = {
    1: "what the nodes write sums to what the norms of the residual stream read",
    2: "the heads' outputs sum to the attention's, and so enter the stream",
    3: "gradients pass the norms as the adapter says",
    4: "queries, keys and values are projected where the adapter looks",
    5: "a first token's own mix depends on no query and no key",
    6: "a key and a value for each query head change nothing",
}


@dataclass(frozen=True)
class Finding:
    """One comparison: of which identity, what it says where it does not hold, and the relative error."""

    identity: int
    otherwise: str
    error: float
    holds: bool


@dataclass
class _Judge:
    """Compares; ``strict``: the first fault ends it."""

    dtype: torch.dtype
    strict: bool
    found: list[Finding] = field(default_factory=list)

    def equal(self, identity: int, ours: Tensor, theirs: Tensor, otherwise: str) -> None:
        error, how = _difference(ours, theirs)
        self.found.append(Finding(identity, otherwise, error, error <= TOLERANCE[self.dtype]))
        if self.strict and error > TOLERANCE[self.dtype]:
            raise MiError(f"the adapter does not fit this model: {otherwise} ({how})")


def check(adapter: Adapter, executor: Executor) -> None:
    """Run the identities.

    Raises:
        MiError: names the identity, the layer and the relative error.
    """
    _run(adapter, executor, strict=True)


def findings(adapter: Adapter, executor: Executor) -> list[Finding]:
    """Run the identities, whichever hold.

    Raises:
        MiError: the parts do not fit together, so that nothing can be compared.
    """
    return _run(adapter, executor, strict=False)


def _run(adapter: Adapter, executor: Executor, strict: bool) -> list[Finding]:
    judge = _Judge(next(adapter.module.parameters()).dtype, strict)
    try:
        _check(adapter, executor, judge)
    except (RuntimeError, IndexError, ValueError, AttributeError, TypeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        fact = (str(error).splitlines() or [type(error).__name__])[0]
        raise MiError(f"the adapter does not fit this model: its parts do not fit together: {fact}") from error
    return judge.found


def _check(adapter: Adapter, executor: Executor, judge: _Judge) -> None:
    device = adapter.device
    generator = torch.Generator().manual_seed(0)
    length = min(LENGTH, adapter.n_positions or LENGTH)
    ids = torch.randint(adapter.vocab_size, (2, length), generator=generator).to(device)
    seen: dict[Port, Tensor] = {}

    def keep(port: Port) -> Edit:
        def function(value: Tensor) -> None:
            seen[port] = value.detach()

        return Edit(port, function)

    layers = adapter.layers
    read = (ports.stream, ports.normed, ports.mlp_stream, ports.mlp_in)
    inputs = [port(layer) for layer in layers for port in read]
    written = [port(layer) for layer in layers for port in (ports.attended, ports.attention_out)]
    projections = [port for layer in layers for port in projection_ports(adapter, layer)]
    final = Port(adapter.roles.final_norm, "in")
    recorder = Recorder(adapter)
    edits = recorder.edits() + [keep(port) for port in dict.fromkeys((*inputs, *written, *projections, final))]
    last = torch.full((2,), length - 1, device=device)
    with torch.no_grad():
        logits = executor.run(ids, edits, last)
        outputs = recorder.outputs()
        total = outputs.embed.clone()
        if (positions := adapter.positions(length)) is not None:
            total += positions
        for layer, z, mlp in zip(layers, outputs.z, outputs.mlp, strict=True):
            heads = layer.attended(z)
            fault = f"layer {layer.index}: heads do not sum to the attention's output"
            judge.equal(2, heads, seen[ports.attended(layer)], fault)
            entering = layer.attention_post_norm(heads)
            fault = f"layer {layer.index}: what the heads write does not pass to the stream as it says"
            judge.equal(2, entering, seen[ports.attention_out(layer)], fault)
            fault = f"layer {layer.index}: the heads read something else than the residual stream"
            judge.equal(1, total, seen[ports.stream(layer)], fault)
            middle = total if adapter.roles.parallel else total + entering
            fault = f"layer {layer.index}: the MLP reads something else than the residual stream through its norm"
            judge.equal(1, middle, seen[ports.mlp_stream(layer)], fault)
            judge.equal(1, layer.mlp_norm(middle), seen[ports.mlp_in(layer)], fault)
            total = total + entering + mlp
            _projections(adapter, layer, seen, judge)
        judge.equal(1, total, seen[final], "the nodes' outputs do not sum to the final norm's input")
    for layer in layers:
        attended = seen[ports.attended(layer)]
        _jacobian(layer.attention_norm, seen[ports.stream(layer)], judge, f"layer {layer.index}: its first norm")
        _jacobian(layer.mlp_norm, seen[ports.mlp_stream(layer)], judge, f"layer {layer.index}: the MLP's norm")
        _jacobian(layer.attention_post_norm, attended, judge, f"layer {layer.index}: the norm after attention")
    _jacobian(adapter.final_norm, seen[final], judge, adapter.roles.final_norm)
    _queries_and_keys(adapter, executor, ids, outputs.z, judge)
    if ungrouped := ungroup_edits(adapter):
        with torch.no_grad():
            found = executor.run(ids, ungrouped, last)
        judge.equal(6, found, logits, "a key and a value for each query head are not what the heads shared")


def _queries_and_keys(adapter: Adapter, executor: Executor, ids: Tensor, z: list[Tensor], judge: _Judge) -> None:
    """Identity 5. ``z`` are the heads' outputs of a run without edits."""
    with torch.no_grad():
        for which, name, where in ((0, "queries", slice(None)), (1, "keys", slice(0, 1))):
            recorder = Recorder(adapter)
            edits = [_elsewhere(adapter, layer, which) for layer in adapter.layers]
            executor.run(ids, [*edits, *recorder.edits()], torch.zeros(len(ids), dtype=torch.long, device=ids.device))
            for layer, before, after in zip(adapter.layers, z, recorder.outputs().z, strict=True):
                fault = f"layer {layer.index}: what it takes for the {name} is something else"
                judge.equal(5, after[:, where], before[:, where], fault)


def _elsewhere(adapter: Adapter, layer: Layer, which: int) -> Edit:
    """Move the queries (0) or keys (1) of the first position far from where they were."""

    def function(value: Tensor) -> Tensor:
        value = value.clone()
        own = split(layer, [value])[which if layer.fused else 0][:, 0]  # a view [batch, head, d_head]
        own.copy_(own.flip((-1, -2)) * -3 + value.abs().max())
        return value

    return Edit(projection_ports(adapter, layer)[0 if layer.fused else which], function)


def _projections(adapter: Adapter, layer: Layer, seen: dict[Port, Tensor], judge: _Judge) -> None:
    normed = seen[ports.normed(layer)].flatten(0, 1)
    weight, bias = receiver_weights(layer)
    ours = project(normed.expand(len(weight), *normed.shape), weight, bias)  # [receiver, token, d_head]
    theirs = by_receiver(layer, [seen[port].flatten(0, 1) for port in projection_ports(adapter, layer)])
    fault = f"layer {layer.index}: q, k and v are not where the adapter looks"
    judge.equal(4, ours, theirs.transpose(0, 1), fault)


def _jacobian(norm: Norm, x: Tensor, judge: _Judge, what: str) -> None:
    if not norm.there:
        return
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randn(x.shape, generator=generator).to(x.device, torch.promote_types(judge.dtype, torch.float32))
    with torch.enable_grad():
        leaf = x.to(judge.dtype).clone().requires_grad_(True)
        (theirs,) = torch.autograd.grad(norm(leaf), leaf, gradient.to(judge.dtype))
    at = norms.normalise(norm, x, gradient.dtype)
    ours = norms.pull_back(norm, at, gradient)
    judge.equal(3, ours, theirs, f"{what} does not conserve gradients as the adapter says")


def _difference(ours: Tensor, theirs: Tensor) -> tuple[float, str]:
    """The largest difference, relative to the largest number, and in words."""
    if ours.shape != theirs.shape:
        return math.inf, f"{list(ours.shape)}, not {list(theirs.shape)}"
    ours, theirs = float64(ours), float64(theirs)
    if not bool(torch.isfinite(theirs).all()):
        return 0.0, ""  # broken weights are named where they are found, not blamed on the adapter
    error = float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12))
    return error, f"relative error {error:.1e}"

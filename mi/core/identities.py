"""Identities that an adapter must satisfy on the model it is bound to, checked at load on a few random tokens.

1. What the nodes write, with what belongs to no node, sums to the input of every norm that reads the residual stream.
2. The heads' outputs and b_O sum to the attention's output, and enter the stream through the post-norm, if any.
3. The norms' Jacobians, as `norms` computes them, conserve gradients: they equal autograd's.
4. Each receiver's weights, applied to the norm's output, give the projection's output (q, k and v are where we think).
5. A first token attends to itself alone: another query there changes nothing at all, another key nothing there (and so
   neither can be taken for the other, nor for the value, wherever rotary positions or norms come between).

An adapter that is wrong for a model fails here, loudly, instead of giving wrong scores.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mi.core import norms, ports
from mi.core.adapters import Adapter, Layer
from mi.core.executor import Edit, Executor, Port
from mi.core.memory import is_out_of_memory
from mi.core.norms import Norm
from mi.core.outputs import Recorder
from mi.core.receivers import by_receiver, project, projection_ports, receiver_weights, split
from mi.errors import MiError

LENGTH = 6
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 8e-2, torch.float16: 2e-2}


def check(adapter: Adapter, executor: Executor) -> None:
    """Run the identities.

    Raises:
        MiError: names the identity, the layer and the relative error.
    """
    try:
        _check(adapter, executor)
    except (RuntimeError, IndexError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        fact = str(error).splitlines()[0]
        raise MiError(f"the adapter does not fit this model: its parts do not fit together: {fact}") from error


def _check(adapter: Adapter, executor: Executor) -> None:
    device = next(adapter.module.parameters()).device
    dtype = next(adapter.module.parameters()).dtype
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
    with torch.no_grad():
        executor.run(ids, edits, torch.full((2,), length - 1, device=device))
        outputs = recorder.outputs()
        total = outputs.embed.clone()
        if (positions := adapter.positions(length)) is not None:
            total += positions
        for layer, z, mlp in zip(layers, outputs.z, outputs.mlp, strict=True):
            heads = layer.attended(z)
            fault = f"layer {layer.index}: heads do not sum to the attention's output"
            _equal(heads, seen[ports.attended(layer)], dtype, fault)
            entering = layer.attention_post_norm(heads)
            fault = f"layer {layer.index}: what the heads write does not pass to the stream as it says"
            _equal(entering, seen[ports.attention_out(layer)], dtype, fault)
            fault = f"layer {layer.index}: the heads read something else than the residual stream"
            _equal(total, seen[ports.stream(layer)], dtype, fault)
            middle = total if adapter.roles.parallel else total + entering
            fault = f"layer {layer.index}: the MLP reads something else than the residual stream through its norm"
            _equal(middle, seen[ports.mlp_stream(layer)], dtype, fault)
            _equal(layer.mlp_norm(middle), seen[ports.mlp_in(layer)], dtype, fault)
            total = total + entering + mlp
            _projections(adapter, layer, seen, dtype)
        _equal(total, seen[final], dtype, "the nodes' outputs do not sum to the final norm's input")
    for layer in layers:
        attended = seen[ports.attended(layer)]
        _jacobian(layer.attention_norm, seen[ports.stream(layer)], dtype, f"layer {layer.index}: its first norm")
        _jacobian(layer.mlp_norm, seen[ports.mlp_stream(layer)], dtype, f"layer {layer.index}: the MLP's norm")
        _jacobian(layer.attention_post_norm, attended, dtype, f"layer {layer.index}: the norm after attention")
    _jacobian(adapter.final_norm, seen[final], dtype, adapter.roles.final_norm)
    _queries_and_keys(adapter, executor, ids, outputs.z, dtype)


def _queries_and_keys(adapter: Adapter, executor: Executor, ids: Tensor, z: list[Tensor], dtype: torch.dtype) -> None:
    """Identity 5. ``z`` are the heads' outputs of a run without edits."""
    with torch.no_grad():
        for which, name, where in ((0, "queries", slice(None)), (1, "keys", slice(0, 1))):
            recorder = Recorder(adapter)
            edits = [_elsewhere(adapter, layer, which) for layer in adapter.layers]
            executor.run(ids, [*edits, *recorder.edits()], torch.zeros(len(ids), dtype=torch.long, device=ids.device))
            for layer, before, after in zip(adapter.layers, z, recorder.outputs().z, strict=True):
                fault = f"layer {layer.index}: what it takes for the {name} is something else"
                _equal(after[:, where], before[:, where], dtype, fault)


def _elsewhere(adapter: Adapter, layer: Layer, which: int) -> Edit:
    """Move the queries (0) or keys (1) of the first position far from where they were."""

    def function(value: Tensor) -> Tensor:
        value = value.clone()
        own = split(layer, [value])[which if layer.fused else 0][:, 0]  # a view [batch, head, d_head]
        own.copy_(own.flip((-1, -2)) * -3 + value.abs().max())
        return value

    return Edit(projection_ports(adapter, layer)[0 if layer.fused else which], function)


def _projections(adapter: Adapter, layer: Layer, seen: dict[Port, Tensor], dtype: torch.dtype) -> None:
    normed = seen[ports.normed(layer)].flatten(0, 1)
    weight, bias = receiver_weights(layer)
    ours = project(normed.expand(len(weight), *normed.shape), weight, bias)  # [receiver, token, d_head]
    theirs = by_receiver(layer, [seen[port].flatten(0, 1) for port in projection_ports(adapter, layer)])
    fault = f"layer {layer.index}: q, k and v are not where the adapter looks"
    _equal(ours, theirs.transpose(0, 1), dtype, fault)


def _jacobian(norm: Norm, x: Tensor, dtype: torch.dtype, what: str) -> None:
    if not norm.there:
        return
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randn(x.shape, generator=generator).to(x.device, torch.promote_types(dtype, torch.float32))
    with torch.enable_grad():
        leaf = x.to(dtype).clone().requires_grad_(True)
        (theirs,) = torch.autograd.grad(norm(leaf), leaf, gradient.to(dtype))
    at = norms.normalise(norm, x, gradient.dtype)
    ours = norms.pull_back(norm, at, gradient)
    _equal(ours, theirs, dtype, f"{what} does not conserve gradients as the adapter says")


def _equal(ours: Tensor, theirs: Tensor, dtype: torch.dtype, otherwise: str) -> None:
    if ours.shape != theirs.shape:
        raise MiError(
            f"the adapter does not fit this model: {otherwise} ({list(ours.shape)}, not {list(theirs.shape)})"
        )
    ours, theirs = ours.double(), theirs.double()
    if not bool(torch.isfinite(theirs).all()):
        return  # broken weights are named where they are found, not blamed on the adapter
    error = float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12))
    if error > TOLERANCE[dtype]:
        raise MiError(f"the adapter does not fit this model: {otherwise} (relative error {error:.1e})")

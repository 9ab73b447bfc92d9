"""Identities that an adapter must satisfy on the model it is bound to, checked at load on a few random tokens.

1. What the nodes write, with what belongs to no node, sums to the final norm's input.
2. The heads' outputs and b_O sum to the attention's output.
3. The norms' Jacobians, as `norms` computes them, conserve gradients: they equal autograd's.
4. Each receiver's weights, applied to the norm's output, give the projection's output (q, k and v are where we think).
5. A first token attends to itself alone: another query there changes nothing at all, another key nothing there (and so
   neither can be taken for the other, nor for the value, wherever rotary positions or norms come between).

An adapter that is wrong for a model fails here, loudly, instead of giving wrong scores.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mi.core import norms
from mi.core.adapters import Adapter, Layer
from mi.core.executor import Edit, Executor, Port
from mi.core.memory import is_out_of_memory
from mi.core.outputs import Recorder
from mi.core.receivers import project, projection_ports, receiver_weights
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

    roles = adapter.roles
    paths = {layer.index: f"{roles.blocks}.{layer.index}" for layer in adapter.layers}
    inputs = [
        Port(f"{base}.{norm}", "in") for base in paths.values() for norm in (roles.attention_norm, roles.mlp_norm)
    ]
    normed = [Port(f"{base}.{roles.attention_norm}", "out") for base in paths.values()]
    attended = [Port(f"{base}.{roles.heads_out}", "out") for base in paths.values()]
    projections = [port for layer in adapter.layers for port in projection_ports(adapter, layer)]
    final = Port(roles.final_norm, "in")
    recorder = Recorder(adapter)
    edits = recorder.edits() + [keep(port) for port in (*inputs, *normed, *attended, *projections, final)]
    with torch.no_grad():
        executor.run(ids, edits, torch.full((2,), length - 1, device=device))
        outputs = recorder.outputs()
        total = outputs.embed.clone()
        if adapter.position is not None:
            total += adapter.position(torch.arange(length, device=device))
        for layer, z, mlp in zip(adapter.layers, outputs.z, outputs.mlp, strict=True):
            heads = torch.einsum("bthe,hed->btd", z.unflatten(-1, (adapter.n_heads, -1)), layer.output_weight)
            if layer.output_bias is not None:
                heads = heads + layer.output_bias
            _equal(
                heads,
                seen[attended[layer.index]],
                dtype,
                f"layer {layer.index}: heads do not sum to the attention's output",
            )
            total = total + heads + mlp
            _projections(adapter, layer, seen, dtype)
        _equal(total, seen[final], dtype, "the nodes' outputs do not sum to the final norm's input")
    for layer in adapter.layers:
        base = paths[layer.index]
        for norm, path in ((layer.attention_norm, roles.attention_norm), (layer.mlp_norm, roles.mlp_norm)):
            _jacobian(adapter, norm, seen[Port(f"{base}.{path}", "in")], dtype, f"layer {layer.index}: {path}")
    _jacobian(adapter, adapter.final_norm, seen[final], dtype, roles.final_norm)
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
    ports = projection_ports(adapter, layer)
    rows = slice(None)
    if len(ports) == 1:
        start = which * layer.n_heads * layer.d_head
        rows = slice(start, start + (layer.n_heads, layer.n_kv_heads)[which] * layer.d_head)

    def function(value: Tensor) -> Tensor:
        value = value.clone()
        value[:, 0, rows] = value[:, 0, rows].flip(-1) * -3 + value.abs().max()
        return value

    return Edit(ports[which if len(ports) > 1 else 0], function)


def _projections(adapter: Adapter, layer: Layer, seen: dict[Port, Tensor], dtype: torch.dtype) -> None:
    base = f"{adapter.roles.blocks}.{layer.index}"
    normed = seen[Port(f"{base}.{adapter.roles.attention_norm}", "out")].flatten(0, 1)
    weight, bias = receiver_weights(layer)
    ours = project(normed.expand(len(weight), *normed.shape), weight, bias)  # [receiver, token, d_head]
    theirs = torch.cat([seen[port] for port in projection_ports(adapter, layer)], -1).flatten(0, 1)
    groups = layer.n_heads // layer.n_kv_heads
    q, kv = layer.n_heads, layer.n_kv_heads
    by_head = theirs.unflatten(-1, (-1, layer.d_head)).transpose(0, 1)
    parts = [by_head[:q]] + [by_head[q + kv * i : q + kv * (i + 1)].repeat_interleave(groups, 0) for i in range(2)]
    _equal(ours, torch.cat(parts), dtype, f"layer {layer.index}: q, k and v are not where the adapter looks")


def _jacobian(adapter: Adapter, norm: nn.Module, x: Tensor, dtype: torch.dtype, what: str) -> None:
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randn(x.shape, generator=generator).to(x.device, torch.promote_types(dtype, torch.float32))
    with torch.enable_grad():
        leaf = x.to(dtype).clone().requires_grad_(True)
        (theirs,) = torch.autograd.grad(norm(leaf), leaf, gradient.to(dtype))
    at = norms.normalise(norm, adapter.roles.centred, x, gradient.dtype)
    ours = norms.pull_back(norm, adapter.roles.centred, at, gradient)
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

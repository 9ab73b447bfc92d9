"""Backward rules: how gradients pass a module where that is not how the chain rule has it. What the model computes
stays the same, bit for bit.

Layer-wise relevance propagation as a modified backward pass (RelP; spec B14):

    ln        the scale of a norm, 1 / sigma, is a constant
    identity  an activation a(x) is x times the constant a(x) / x (which ReLU is already)
    half      each factor of a gated product gets half of the gradient
    pattern   the attention pattern is a constant ("AH rule"), so that only values pass gradients on

Flows in: an executor and the names of rules. Flows out: an executor that does the same, and whose gradients follow the
rules: they are edits that put a tensor of the same value, and of another gradient, in the place of what a module wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mi.core import attention, norms
from mi.core.adapters import Adapter, Layer
from mi.core.attention import constant_pattern
from mi.core.executor import Edit, Executor, Port
from mi.errors import MiError

STABLE = 1e-6  # added to |x| where something is divided by x

Rule = Callable[[Tensor, Tensor], Tensor]  # what a module read, what it wrote: the same with another gradient


class Ruled:
    """An executor whose gradients follow the rules."""

    def __init__(self, executor: Executor, adapter: Adapter, rules: Sequence[str]) -> None:
        self.name = executor.name
        self._executor, self._adapter, self._rules = executor, adapter, rules

    def run(
        self, ids: Int[Tensor, "batch pos"], edits: Sequence[Edit], read: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch vocab"]:
        # Other edits see what a rule has made of a module's output; rules see what other edits made of its input.
        before, after = _rule_edits(self._adapter, self._rules)
        with constant_pattern() if "pattern" in self._rules else nullcontext():
            return self._executor.run(ids, [*after, *edits, *before], read)


def _rule_edits(adapter: Adapter, rules: Sequence[str]) -> tuple[list[Edit], list[Edit]]:
    """Edits at inputs and edits at outputs."""
    roles, before, after = adapter.roles, [], []
    ruled: dict[str, Rule] = {}
    for layer in adapter.layers:
        if "ln" in rules:
            ruled |= {layer.path(path): _constant_scale(norm) for path, norm in _norms(layer).items()}
        if "identity" in rules:
            ruled |= {layer.path(path): _constant_ratio for path in _curved(layer)}
        if "half" in rules:
            before += [Edit(Port(layer.path(path), "in"), _half) for path in product_reader(layer)]
    if "ln" in rules:
        ruled[roles.final_norm] = _constant_scale(adapter.final_norm)
    for path, rule in ruled.items():
        seen: list[Tensor] = []
        before.append(Edit(Port(path, "in"), seen.append))
        after.append(Edit(Port(path, "out"), _by(rule, seen)))
    return before, after


def check(adapter: Adapter, rules: Sequence[str]) -> None:
    """See that the rules reach what they are about in this architecture.

    Raises:
        MiError: one does not; names it.
    """
    roles = adapter.roles
    if "pattern" in rules and roles.implementation != attention.NAME and not roles.mixer:
        raise MiError(
            "this architecture does not mix values by a function of ours, so the pattern rule cannot reach it",
            "leave the rule out with --backward ln,identity,half",
            place="-m",
        )
    if "half" in rules and roles.activation is None:
        raise MiError(
            "nothing says whether the MLP of this architecture has a gate, so the half rule cannot reach it",
            "leave the rule out with --backward ln",
            place="-m",
        )
    for layer in adapter.layers if "ln" in rules and "pattern" not in rules else ():
        own = [name for name, part in layer.block.named_modules() if _is_norm(part)]
        other = [name for name in own if name not in _norms(layer)]
        if other:
            raise MiError(
                f"{other[0]} of layer {layer.index} is a norm of queries or keys, for which the ln rule says nothing",
                "add the pattern rule, under which they pass no gradients: --backward ln,identity,half,pattern",
                place="-m",
            )


def _is_norm(part: nn.Module) -> bool:
    return hasattr(part, "eps") or hasattr(part, "variance_epsilon")


def _norms(layer: Layer) -> dict[str, norms.Norm]:
    """The norms between the residual stream and what reads or writes it, by their paths in the block."""
    roles = layer.roles
    paths = (roles.attention_norm, roles.mlp_norm, roles.attention_post_norm, roles.mlp_post_norm)
    return {path: layer.norm(path) for path in paths if path}


def _by(rule: Rule, seen: list[Tensor]) -> Callable[[Tensor], Tensor | None]:
    def function(value: Tensor) -> Tensor | None:
        x = seen.pop()
        return rule(x, value.detach()) if x.requires_grad else None

    return function


def activations(layer: Layer) -> list[str]:
    """Paths of the activation functions of an MLP, in its block."""
    parts = dict(layer.block.named_modules())
    path = layer.roles.activation
    return [path] if path is not None and path in parts else []


def product_reader(layer: Layer) -> list[str]:
    """The path of the projection that reads the product act(gate) * up; none in an MLP without a gate."""
    return [layer.roles.product] if layer.roles.product else []


def _curved(layer: Layer) -> list[str]:
    """The activation functions that the identity rule changes."""
    paths = activations(layer)
    if not paths:
        raise MiError(
            f"the activation of the MLP of layer {layer.index} is no module, so the identity rule cannot reach it",
            "leave the rule out with --backward ln,half",
        )
    return [path for path in paths if not isinstance(layer.part(path), nn.ReLU | nn.Identity)]


def _constant_scale(norm: norms.Norm) -> Rule:
    def rule(x: Tensor, value: Tensor) -> Tensor:
        scale = norms.normalise(norm, x, torch.promote_types(x.dtype, torch.float32)).inverse_sigma
        gamma = norms.gain(norm, scale.dtype)
        return _passing(x, value, scale if gamma is None else gamma * scale, norm.centred)

    return rule


def _constant_ratio(x: Tensor, value: Tensor) -> Tensor:
    read = x.detach()
    return _passing(x, value, value / (read + torch.where(read < 0, -STABLE, STABLE)))


def _half(product: Tensor) -> Tensor | None:
    return _passing(product, product.detach(), product.new_tensor(0.5)) if product.requires_grad else None


class _Passing(torch.autograd.Function):
    """``value`` forwards; backwards the gradient of x is ``factor`` times what comes in, less its mean if centred."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, factor: Tensor, centred: bool) -> Tensor:
        ctx.save_for_backward(factor)
        ctx.centred = centred
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (factor,) = ctx.saved_tensors
        passed = gradient * factor.to(gradient.dtype)
        if ctx.centred:
            passed = passed - passed.mean(-1, keepdim=True)
        return passed, None, None, None


def _passing(
    x: Float[Tensor, "*shape width"], value: Float[Tensor, "*shape width"], factor: Tensor, centred: bool = False
) -> Float[Tensor, "*shape width"]:
    passed: Tensor = _Passing.apply(x, value, factor, centred)
    return passed

"""A norm's Jacobian in the factored form that makes edge attribution cheap.

For y = gamma * xhat + beta with xhat = (x - mean) / sigma, the gradient g of y comes back to x as

    J^T g = C(gamma * g) / sigma - xhat * mean(gamma * g * xhat) / sigma

and a change d of x goes on to y as

    J d = gamma * (C(d) - xhat * mean(d * xhat)) / sigma

where C subtracts the mean over d_model (LayerNorm) or is the identity (RMSNorm, whose mean is 0 by definition). Where
there is no norm, y = x.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mi.core.placement import HERE, Placement


@dataclass(frozen=True)
class Norm:
    """A module of the model's, and how to read it; without a module, nothing stands there and x passes as it is."""

    module: nn.Module | None
    centred: bool
    unit_offset: bool = False  # gamma is 1 + weight
    placement: Placement = HERE

    def __call__(self, x: Tensor) -> Tensor:
        """What the module makes of x, whatever edits a run has hung on it."""
        return x if self.module is None else self.placement.made(self.module, x)

    @property
    def there(self) -> bool:
        return self.module is not None

    def parameter(self, name: str) -> Float[Tensor, " d_model"] | None:
        return None if self.module is None else self.placement.weight(self.module, name)


@dataclass(frozen=True)
class Normalised:
    """One norm's input, normalised: all that its Jacobian needs."""

    xhat: Float[Tensor, "batch pos d_model"]
    inverse_sigma: Float[Tensor, "batch pos 1"]


def epsilon(norm: Norm) -> float:
    return float(norm.module.eps if hasattr(norm.module, "eps") else norm.module.variance_epsilon)  # type: ignore


def gain(norm: Norm, dtype: torch.dtype) -> Float[Tensor, " d_model"] | None:
    """gamma; None where it is 1."""
    weight = norm.parameter("weight")
    if weight is None:
        return None
    return 1.0 + weight.to(dtype) if norm.unit_offset else weight.to(dtype)


def normalise(norm: Norm, x: Tensor, dtype: torch.dtype) -> Normalised:
    x = x.detach().to(dtype)
    if not norm.there:  # xhat = 0 and sigma = 1: every formula below is then the identity
        return Normalised(x.new_zeros(()).expand_as(x), x.new_ones(()).expand(*x.shape[:-1], 1))
    if norm.centred:
        x = x - x.mean(-1, keepdim=True)
    inverse_sigma = (x.square().mean(-1, keepdim=True) + epsilon(norm)).rsqrt()
    return Normalised(x * inverse_sigma, inverse_sigma)


def pull_back(norm: Norm, at: Normalised, gradient: Tensor, scale_constant: bool = False) -> Tensor:
    """J^T gradient, for a gradient at the norm's output [batch, pos, d_model].

    ``scale_constant``: as if sigma did not depend on x, which leaves the second term out.
    """
    gamma = gain(norm, at.xhat.dtype)
    weighted = gradient.to(at.xhat.dtype)
    if not norm.there:
        return weighted.clone()
    weighted = weighted if gamma is None else weighted * gamma
    along = 0.0 if scale_constant else (weighted * at.xhat).mean(-1, keepdim=True)
    if norm.centred:
        weighted = weighted - weighted.mean(-1, keepdim=True)
    return (weighted - at.xhat * along) * at.inverse_sigma


def push(
    norm: Norm, at: Normalised, changes: Float[Tensor, "source batch pos d_model"], scale_constant: bool = False
) -> None:
    """J changes, in place, of changes of the norm's input. ``scale_constant``: as if sigma did not depend on it."""
    if not norm.there:
        return
    if norm.centred:
        changes -= changes.mean(-1, keepdim=True)
    if not scale_constant:
        along = torch.einsum("sbtd,btd->sbt", changes, at.xhat) / changes.shape[-1]
        changes.addcmul_(along.unsqueeze(-1), at.xhat, value=-1.0)
    gamma = gain(norm, at.xhat.dtype)
    changes *= at.inverse_sigma if gamma is None else at.inverse_sigma * gamma


def folded(norm: Norm, weight: Float[Tensor, "head d_head d_model"], dtype: torch.dtype) -> Tensor:
    """C(gamma * W): the weight with the norm's gain and centring folded in."""
    gamma = gain(norm, dtype)
    weight = weight.to(dtype) if gamma is None else weight.to(dtype) * gamma
    return weight - weight.mean(-1, keepdim=True) if norm.centred and norm.there else weight


def folded_bias(
    norm: Norm, weight: Float[Tensor, "head d_head d_model"], bias: Tensor | None, dtype: torch.dtype
) -> Float[Tensor, "head d_head"]:
    """The part of ``W norm(x) + b`` that does not depend on x: b + W beta."""
    beta = norm.parameter("bias")
    total = weight.new_zeros(weight.shape[:2], dtype=dtype) if bias is None else bias.to(dtype)
    return total if beta is None else total + weight.to(dtype) @ beta.to(dtype)

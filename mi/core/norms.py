"""A norm's Jacobian in the factored form that makes edge attribution cheap.

For y = gamma * xhat + beta with xhat = (x - mean) / sigma, the gradient g of y comes back to x as

    J^T g = C(gamma * g) / sigma - xhat * mean(gamma * g * xhat) / sigma

where C subtracts the mean over d_model (LayerNorm) or is the identity (RMSNorm, whose mean is 0 by definition).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Normalised:
    """One norm's input, normalised: all that its Jacobian needs."""

    xhat: Float[Tensor, "batch pos d_model"]
    inverse_sigma: Float[Tensor, "batch pos 1"]


def epsilon(norm: nn.Module) -> float:
    return float(norm.eps if hasattr(norm, "eps") else norm.variance_epsilon)  # type: ignore[arg-type]


def gain(norm: nn.Module, dtype: torch.dtype) -> Float[Tensor, " d_model"]:
    return norm.weight.to(dtype)  # type: ignore[return-value]


def normalise(norm: nn.Module, centred: bool, x: Tensor, dtype: torch.dtype) -> Normalised:
    x = x.detach().to(dtype)
    if centred:
        x = x - x.mean(-1, keepdim=True)
    inverse_sigma = (x.square().mean(-1, keepdim=True) + epsilon(norm)).rsqrt()
    return Normalised(x * inverse_sigma, inverse_sigma)


def pull_back(norm: nn.Module, centred: bool, at: Normalised, gradient: Tensor, scale_constant: bool = False) -> Tensor:
    """J^T gradient, for a gradient at the norm's output [batch, pos, d_model].

    ``scale_constant``: as if sigma did not depend on x, which leaves the second term out.
    """
    weighted = gradient.to(at.xhat.dtype) * gain(norm, at.xhat.dtype)
    along = 0.0 if scale_constant else (weighted * at.xhat).mean(-1, keepdim=True)
    if centred:
        weighted = weighted - weighted.mean(-1, keepdim=True)
    return (weighted - at.xhat * along) * at.inverse_sigma


def folded(norm: nn.Module, centred: bool, weight: Float[Tensor, "head d_head d_model"], dtype: torch.dtype) -> Tensor:
    """C(gamma * W): the weight with the norm's gain and centring folded in."""
    weight = weight.to(dtype) * gain(norm, dtype)
    return weight - weight.mean(-1, keepdim=True) if centred else weight


def folded_bias(
    norm: nn.Module, weight: Float[Tensor, "head d_head d_model"], bias: Tensor | None, dtype: torch.dtype
) -> Float[Tensor, "head d_head"]:
    """The part of ``W norm(x) + b`` that does not depend on x: b + W beta."""
    beta = getattr(norm, "bias", None)
    total = weight.new_zeros(weight.shape[:2], dtype=dtype) if bias is None else bias.to(dtype)
    return total if beta is None else total + weight.to(dtype) @ beta.to(dtype)

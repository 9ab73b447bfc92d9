"""Constants that stand for what the nodes write, as arrays of a blob and back.

Flows in: a model with prompts to average over, or the arrays of a blob. Flows out: the blob's tensors with the length
of each constant, or :class:`Given` for an ablation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mi.core import batches, replacement
from mi.core.model import Model
from mi.core.outputs import Outputs, write_sources
from mi.core.replacement import Given
from mi.errors import MiError
from mi.tasks.constants import Constants
from mi.tasks.encode import Encoded


@dataclass(frozen=True)
class Means:
    """``arrays`` for the blob, ``norms`` by node: how long what the constant writes is, over its positions."""

    arrays: dict[str, np.ndarray]
    norms: dict[str, float]
    plan: list[list[int]]
    halved: int


def means_of(
    model: Model,
    prompts: Sequence[Encoded],
    *,
    by_position: bool = False,
    batch_size: int | None = None,
    executor: str = "auto",
    on_done: Callable[[int], None] = lambda n: None,
    on_halved: Callable[[int], None] = lambda n: None,
) -> Means:
    """The mean output of every node over the clean prompts.

    Raises:
        MiError: no prompts, or prompts of several lengths where each position has a mean of its own.
    """
    if not prompts:
        raise MiError("no text to average over")
    lengths = [len(prompt.clean) for prompt in prompts]
    replacement.check("mean-positional" if by_position else "mean", lengths)
    plan = batches.plan_for(model, lengths, batch_size)
    halvings: list[int] = []

    def halved(size: int) -> None:
        halvings.append(size)
        on_halved(size)

    found = replacement.means(model, model.executor(executor), prompts, plan, by_position, halved, on_done)
    return Means(as_arrays(found), norms(model, found), plan, len(halvings))


def as_arrays(found: Outputs) -> dict[str, np.ndarray]:
    """The tensors of a blob of constants: embed, then z0, mlp0, z1, ..., each [1, pos or 1, width]."""
    arrays = {"embed": found.embed}
    for layer, (z, mlp) in enumerate(zip(found.z, found.mlp, strict=True)):
        arrays |= {f"z{layer}": z, f"mlp{layer}": mlp}
    return {key: value.detach().to(torch.float32).cpu().numpy() for key, value in arrays.items()}


def norms(model: Model, found: Outputs) -> dict[str, float]:
    """How long what each node's constant writes is: over positions, the root of the mean square."""
    shape = (model.layout.n_sources, 1, found.embed.shape[1], model.adapter.d_model)
    wide = torch.empty(shape, dtype=found.embed.dtype, device=found.embed.device)
    write_sources(model.adapter, model.layout, found, wide)
    lengths = wide.pow(2).sum(-1).mean((1, 2)).sqrt()
    return dict(zip(model.graph.nodes[: len(lengths)], lengths.tolist(), strict=True))


def given(constants: Constants, model: Model) -> Given:
    """What the core needs of an ablation's flags.

    Raises:
        MiError: the constants have not the shape of this model.
    """
    if constants.arrays is None:
        return Given(seed=constants.seed)
    adapter, arrays = model.adapter, constants.arrays
    heads = adapter.n_heads * adapter.d_head
    widths = {"embed": adapter.d_model}
    for layer in range(adapter.n_layers):
        widths |= {f"z{layer}": heads, f"mlp{layer}": adapter.d_model}
    positions = arrays["embed"].shape[1:2] if "embed" in arrays else ()
    for name, width in widths.items():
        shape = arrays[name].shape if name in arrays else None
        if shape != (1, *positions, width):
            said = "missing" if shape is None else f"of shape {list(shape)}"
            fact = f"constant {name} is {said}, not [1, positions, {width}]"
            raise MiError(fact, "the constants are of another model", place=constants.origin)

    def tensor(name: str) -> torch.Tensor:
        return torch.tensor(arrays[name], dtype=model.compute_dtype, device=model.device)

    layers = range(adapter.n_layers)
    found = Outputs(tensor("embed"), [tensor(f"z{at}") for at in layers], [tensor(f"mlp{at}") for at in layers])
    return Given(found, constants.seed)

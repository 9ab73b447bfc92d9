"""A model that transformers has cut up among the processes of one run: tensor parallelism.

transformers cuts each matrix by the plan of the model's family (``tp_plan``), and puts collectives around the modules:
a *colwise* projection puts out this process's columns (its heads, its part of the MLP's width), a *rowwise* one takes
such a part in and puts out the whole sum. Everything else (the residual stream, norms, what nodes write, the logits) is
whole, and the same in each process. So edits at the cut ports are shown what all processes hold, side by side, and what
they give back is cut again. Gradients do likewise (the conjugate operators of Shoeybi et al. 2019):

    gathered    forwards the parts of all, side by side    backwards this process's part of the gradient
    own_part    forwards this process's part               backwards the gradients of all parts, side by side

So every process computes the same numbers, whatever the method, and the first may speak for all. They must do the same
things in the same order: each of them waits for the others.

Flows in: a module that was cut up when it was loaded (`cut_up`). Flows out: :class:`Cut`, its placement.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mi.core.executor import Port
from mi.core.placement import kept
from mi.errors import MiError

CUT = {"colwise": "out", "rowwise": "in"}  # styles of a plan after which one side of a module is cut, and which
EXPERTS = "moe_tp_experts"  # each process has a part of every expert, and what comes out is whole
PER_HEAD = "replicated_with_grad_allreduce"  # a norm of each head's queries or keys, of this process's heads
WHOLE = (  # styles after which both sides of a module are whole, whatever is cut inside
    "colwise_gather_output",
    "colwise_rep",
    "embedding_colwise",
    "embedding_rowwise",
    "packed_colwise",
    "packed_rowwise",
    "replicate",
    "rowwise_rep",
    "rowwise_split_input",
    EXPERTS,
)
KNOWN = frozenset((*CUT, *WHOLE, PER_HEAD))


@dataclass(frozen=True)
class Circle:
    """The processes that hold a model together, and which of them this is."""

    group: Any
    rank: int
    size: int


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, dim: int, circle: Circle) -> Tensor:
        ctx.dim, ctx.circle = dim, circle
        return _side_by_side(part, dim, circle)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _own(gradient, ctx.dim, ctx.circle), None, None


class _OwnPart(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: Tensor, dim: int, circle: Circle) -> Tensor:
        ctx.dim, ctx.circle = dim, circle
        return _own(whole, dim, circle)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _side_by_side(gradient, ctx.dim, ctx.circle), None, None


def _side_by_side(part: Tensor, dim: int, circle: Circle) -> Tensor:
    from torch import distributed

    part = part.contiguous()
    parts = [torch.empty_like(part) for _ in range(circle.size)]
    distributed.all_gather(parts, part, group=circle.group)
    return torch.cat(parts, dim)


def _own(whole: Tensor, dim: int, circle: Circle) -> Tensor:
    return whole.chunk(circle.size, dim)[circle.rank].contiguous()


def gathered(part: Tensor, dim: int, circle: Circle) -> Tensor:
    """The parts of all processes, side by side along ``dim``."""
    whole: Tensor = _Gathered.apply(part, dim, circle)
    return whole


def own_part(whole: Tensor, dim: int, circle: Circle) -> Tensor:
    """This process's part of a tensor that all of them have."""
    part: Tensor = _OwnPart.apply(whole, dim, circle)
    return part


@dataclass(frozen=True, eq=False)
class Cut:
    """The placement of a model that is cut up. ``styles``: what the plan says of each of its modules."""

    circle: Circle
    main: torch.device
    styles: Mapping[str, str]
    module: nn.Module = field(repr=False)
    _kept: OrderedDict[tuple[nn.Module, str], Tensor] = field(default_factory=OrderedDict, repr=False)

    def whole(self, port: Port, value: Tensor) -> Tensor:
        dim = self.cut_along(port)
        return value if dim is None else gathered(value, dim, self.circle)

    def part(self, port: Port, value: Tensor, like: Tensor) -> Tensor:
        dim = self.cut_along(port)
        return value if dim is None else own_part(value, dim, self.circle)

    def weight(self, module: nn.Module, name: str, rows: Int[Tensor, " row"] | None = None) -> Tensor | None:
        from torch.distributed.tensor import DTensor, Shard

        found: Tensor | None = getattr(module, name, None)
        if not isinstance(found, DTensor):
            return found if found is None or rows is None else found[rows]
        if rows is not None and found.placements == (Shard(0),):
            return self._rows(found, rows)
        whole = kept(self._kept, module, name, lambda: found.full_tensor().detach())
        return whole if rows is None else whole[rows]

    def _rows(self, matrix: Any, rows: Int[Tensor, " row"]) -> Float[Tensor, "row ..."]:
        """Some rows of a matrix of which each process has some: for a few of them nobody needs all."""
        from torch import distributed

        own = own_of(matrix)
        first = self.circle.rank * -(-len(matrix) // self.circle.size)  # as torch.chunk cuts
        mine = (rows >= first) & (rows < first + len(own))
        with torch.inference_mode(False), torch.no_grad():
            found = torch.zeros(len(rows), *own.shape[1:], dtype=own.dtype, device=own.device)
            found[mine] = own[rows[mine] - first]
            distributed.all_reduce(found, group=self.circle.group)
        return found

    def made(self, module: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = module.forward(x)
        return out

    def idles(self) -> bool:
        # Where gradients are asked for, transformers computes with torch's DTensor, which cuts no empty batch.
        return not torch.is_grad_enabled()

    def share(self, n_heads: int) -> slice:
        first = n_heads // self.circle.size * self.circle.rank
        return slice(first, first + n_heads // self.circle.size)

    def joined(self, scores: Float[Tensor, "*rows own"], kinds: int) -> Float[Tensor, "*rows all"]:
        by_kind = scores.unflatten(-1, (kinds, -1))  # [*rows, kind, own head]
        return _side_by_side(by_kind, -1, self.circle).flatten(-2)

    def cut_along(self, port: Port) -> int | None:
        """Along which dimension what a port holds is cut; None: it is whole.

        Raises:
            MiError: it is neither whole nor cut along its width.
        """
        if port.side == "pattern":  # [batch, head, query pos, key pos]
            return 1 if self._cut_inside.get(port.path) else None
        style, inside = self.styles.get(port.path), self._cut_inside.get(_above(port.path), False)
        if style in CUT:
            return -1 if CUT[style] == port.side else None
        if style in WHOLE:
            return None
        if style == PER_HEAD or any(self.styles.get(above) == EXPERTS for above in _all_above(port.path)):
            raise _neither(port)
        if not inside:
            return None
        part = self.module.get_submodule(port.path)
        if next(part.children(), None) is not None or next(part.parameters(), None) is not None:
            raise _neither(port)
        return -1  # an activation function, between a colwise and a rowwise projection

    @cached_property
    def _cut_inside(self) -> dict[str, bool]:
        """Of the modules that hold what the plan names: whether something passes inside of which each process has a
        part."""
        found: dict[str, bool] = {}
        for path, style in self.styles.items():
            found[_above(path)] = found.get(_above(path), False) or style in CUT
        return found


def _above(path: str) -> str:
    return path.rpartition(".")[0]


def _all_above(path: str) -> list[str]:
    words = path.split(".")
    return [".".join(words[:n]) for n in range(1, len(words))]


def _neither(port: Port) -> MiError:
    return MiError(
        f"each process has some of the heads or experts that pass {port.path}",
        "name a site at a projection or outside of the attention, or run the model in one process",
    )


def of(module: nn.Module) -> Cut | None:
    """How a module is cut up; None where it is not."""
    mesh: Any = getattr(module, "_device_mesh", None)
    if mesh is None or mesh.size() == 1:
        return None
    mesh = mesh["tp"]
    circle = Circle(mesh.get_group(), mesh.get_local_rank(), mesh.size())
    return Cut(circle, next(module.parameters()).device, styles_of(module), module)


def styles_of(module: nn.Module) -> dict[str, str]:
    """What the plan of a model says of each of its modules."""
    plan: Mapping[str, str] = module.tp_plan  # type: ignore[assignment]
    return {path: plan[rule] for path, _ in module.named_modules() if (rule := wildcard(path)) in plan}


def own_of(parameter: Tensor) -> Tensor:
    """What of a parameter this process has."""
    from torch.distributed.tensor import DTensor

    return parameter.to_local().detach() if isinstance(parameter, DTensor) else parameter


def wildcard(path: str) -> str:
    """A path as plans have it, with a * for the number of a layer."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", path)

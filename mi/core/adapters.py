"""A module seen through a record of roles (`roles`, `families`): its layers, with their weights as per-head views.

Flows in: a Hugging Face causal language model, perhaps a record. Flows out: :class:`Adapter`. What a role names is
found here; how it computes stays the model's own code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mi.core import tensor_parallel
from mi.core.families import ROLES
from mi.core.norms import Norm
from mi.core.placement import HERE, Placement, placement_of
from mi.core.roles import Roles
from mi.errors import MiError

ATTENTION = "mi"  # the name of ours (`attention`)


def _matrix(placement: Placement, linear: nn.Module) -> Float[Tensor, "out in"]:
    """A projection's weight as [out, in], whatever the module's own layout (GPT-2's Conv1D stores [in, out])."""
    weight = placement.weight(linear, "weight")
    if weight is None:
        raise AttributeError(f"a {type(linear).__name__} has no weight")
    return weight.T if type(linear).__name__ == "Conv1D" else weight


@dataclass(frozen=True)
class Layer:
    """One block: its modules by role, and per-head views of its weights (no copies for ungrouped heads)."""

    index: int
    block: nn.Module
    roles: Roles
    n_heads: int
    n_kv_heads: int
    d_head: int
    placement: Placement = HERE

    def part(self, path: str) -> nn.Module:
        return self.block.get_submodule(path)

    def path(self, part: str = "") -> str:
        """Where a part of the block is in the whole model."""
        base = f"{self.roles.blocks}.{self.index}"
        return f"{base}.{part}" if part else base

    def norm(self, path: str | None) -> Norm:
        """The norm at a path in the block."""
        module = None if path is None else self.part(path)
        return Norm(module, self.roles.centred, self.roles.unit_offset, self.placement)

    @cached_property
    def attention_norm(self) -> Norm:
        return self.norm(self.roles.attention_norm)

    @cached_property
    def mlp_norm(self) -> Norm:
        return self.norm(self.roles.mlp_norm)

    @cached_property
    def attention_post_norm(self) -> Norm:
        """Between what the heads write together, b_O included, and the residual stream."""
        return self.norm(self.roles.attention_post_norm)

    @cached_property
    def heads_out(self) -> nn.Module:
        return self.part(self.roles.heads_out)

    @cached_property
    def projections(self) -> tuple[nn.Module, ...]:
        return tuple(self.part(path) for path in self.roles.queries_keys_values)

    @property
    def fused(self) -> bool:
        return len(self.roles.queries_keys_values) == 1

    @property
    def groups(self) -> int:
        """How many query heads share a key and value head."""
        return self.n_heads // self.n_kv_heads

    @property
    def repeats(self) -> bool:
        """Whether the projections always put out a key and a value for each query head (`grouping`)."""
        return bool(self.roles.ungroup) and self.groups > 1

    def _rows(self, which: int, of: Tensor) -> Tensor:
        """Of a projection's output rows, those of q (0), k (1) or v (2), [kv_or_head, d_head, ...]."""
        if not self.fused:
            return of.unflatten(0, (-1, self.d_head))
        if self.roles.interleaved:
            shared = of.unflatten(0, (self.n_kv_heads, self.groups + 2, self.d_head))
            return shared[:, : self.groups].flatten(0, 1) if which == 0 else shared[:, self.groups + which - 1]
        first = (0, self.n_heads, self.n_heads + self.n_kv_heads)[which]
        count = self.n_heads if which == 0 else self.n_kv_heads
        return of.unflatten(0, (-1, self.d_head))[first : first + count]

    def _projection(self, which: int) -> nn.Module:
        return self.projections[0 if self.fused else which]

    def weight(self, which: int) -> Float[Tensor, "kv_or_head d_head d_model"]:
        """W of q (0), k (1) or v (2), a head a row; keys and values keep their grouped heads."""
        return self._rows(which, _matrix(self.placement, self._projection(which)))

    def bias(self, which: int) -> Float[Tensor, "kv_or_head d_head"] | None:
        bias = self.placement.weight(self._projection(which), "bias")
        return None if bias is None else self._rows(which, bias)

    @property
    def whole_projection(self) -> bool:
        """Whether one matrix holds W of every receiver, in the order of receivers."""
        return self.fused and not self.roles.interleaved and self.groups == 1

    def fused_weight(self) -> tuple[Float[Tensor, "receiver d_head d_model"], Float[Tensor, "receiver d_head"] | None]:
        """W and b of q, k and v of every head, as views of the one projection that holds them."""
        (module,) = self.projections
        bias = self.placement.weight(module, "bias")
        return (
            _matrix(self.placement, module).unflatten(0, (-1, self.d_head)),
            None if bias is None else bias.unflatten(0, (-1, self.d_head)),
        )

    def mlp_weights(self) -> list[Float[Tensor, "d_mlp d_model"]]:
        """W of each of the MLP's linear maps of its input."""
        return [_matrix(self.placement, self.part(path)) for path in self.roles.mlp_reads]

    def mlp_biases(self) -> list[Float[Tensor, " d_mlp"] | None]:
        return [self.placement.weight(self.part(path), "bias") for path in self.roles.mlp_reads]

    def kv_head(self, head: int) -> int:
        """The key/value head that a query head shares (grouped-query attention)."""
        return head // self.groups

    @property
    def output_weight(self) -> Float[Tensor, "head d_head d_model"]:
        """W_O by head: a head writes ``z @ output_weight[head]``."""
        return _matrix(self.placement, self.heads_out).T.unflatten(0, (self.n_heads, self.d_head))

    @property
    def output_bias(self) -> Float[Tensor, " d_model"] | None:
        return self.placement.weight(self.heads_out, "bias")

    def attended(self, z: Float[Tensor, "batch pos heads_x_d_head"]) -> Float[Tensor, "batch pos d_model"]:
        """What the heads write together, b_O included, before a post-norm."""
        written = z @ self.output_weight.flatten(0, 1).to(z.dtype)
        return written if self.output_bias is None else written + self.output_bias.to(z.dtype)


@dataclass(frozen=True)
class Adapter:
    """A module seen through its roles."""

    module: nn.Module
    roles: Roles
    layers: tuple[Layer, ...]
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_model: int
    vocab_size: int
    placement: Placement = HERE

    @property
    def device(self) -> torch.device:
        """Where inputs go, and edits compute."""
        return self.placement.main or next(self.module.parameters()).device

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @cached_property
    def n_positions(self) -> int | None:
        """How many tokens learned positions reach; None where positions are computed."""
        if self.position is None:
            return None
        table = self.placement.weight(self.position, "weight")
        assert table is not None
        return len(table) - self.roles.position_offset

    @cached_property
    def embed(self) -> nn.Module:
        return self.module.get_submodule(self.roles.embed)

    @cached_property
    def position(self) -> nn.Module | None:
        return self.module.get_submodule(self.roles.position) if self.roles.position else None

    def positions(self, length: int) -> Float[Tensor, "pos d_model"] | None:
        """What learned positions add to the stream, always; None where positions are computed in the attention."""
        if self.position is None:
            return None
        table = self.placement.weight(self.position, "weight")
        assert table is not None
        return table[self.roles.position_offset :][:length]

    @cached_property
    def final_norm(self) -> Norm:
        module = self.module.get_submodule(self.roles.final_norm)
        return Norm(module, self.roles.centred, self.roles.unit_offset, self.placement)

    @cached_property
    def unembed(self) -> nn.Module:
        return self.module.get_submodule(self.roles.unembed)

    def logits(self, stream: Float[Tensor, "*row d_model"]) -> Float[Tensor, "*row vocab"]:
        """What the model makes of the residual stream after its last block."""
        return self.capped(self.placement.made(self.unembed, self.final_norm(stream)))

    def capped(self, logits: Tensor) -> Tensor:
        """What the model makes of what its unembedding gives: most do nothing."""
        config = text_config(self.module)
        cap = getattr(config, self.roles.logit_cap, None) if self.roles.logit_cap else None
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @property
    def has_post_norms(self) -> bool:
        return self.roles.attention_post_norm is not None


def implementation(config: Mapping[str, Any]) -> str:
    """Which attention a model of this config.json must be loaded with."""
    family = config.get("model_type")
    return next((record.implementation for record in ROLES if family in record.families), ATTENTION)


def missing(module: nn.Module, roles: Roles) -> list[tuple[str, str]]:
    """The roles of a record whose paths are not in the module, as (role, path); block roles are looked for in each."""
    lacking = [(role, path) for role, path in roles.whole.items() if not _has(module, path)]
    if not _has(module, roles.blocks):
        return lacking
    blocks = [(name, block) for name, block in module.get_submodule(roles.blocks).named_children()]
    for role, path in roles.per_layer.items():
        without = next((name for name, block in blocks if not _has(block, path)), None)
        if without is not None:
            lacking.append((role, f"{roles.blocks}.{without}.{path}"))
    return lacking


def _has(module: nn.Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True


def record_for(module: nn.Module, records: Sequence[Roles] | None = None) -> Roles:
    """The record that holds for a module: the first of its family whose conditions its config meets.

    Raises:
        MiError: no record knows the family, or none of the family's fits; says what of the nearest is not there.
    """
    config: Any = module.config
    family = str(getattr(config, "model_type", type(module).__name__))
    known = ROLES if records is None else records
    own = [record for record in known if family in record.families]
    if not own:
        nearest = min(known, key=lambda record: len(missing(module, record)))
        lacking = missing(module, nearest)
        if lacking:
            those = ", ".join(f"{role} ({path})" for role, path in lacking[:4])
            more = f" and {len(lacking) - 4} more" if len(lacking) > 4 else ""
            said = f"these roles of the nearest, {nearest.families[0]}, cannot be found: {those}{more}"
        else:
            said = f"its parts are called as in {nearest.families[0]}, but may be joined in another way"
        hint = (
            "'mi adapter probe' finds the roles of this one and writes a file for --adapter; sites need none (--site)"
        )
        raise MiError(f"no adapter for architecture '{family}'; {said}", hint)
    for record in own:
        if all(_entry(text_config(module), name) == value for name, value in record.when):
            here = [path for path in record.absent if _has(module, path)]
            if here:
                raise MiError(f"'{family}' with {here[0]} has no adapter", "its residual stream has two widths")
            return record
    wanted = own[0].when
    said = ", ".join(f"{name} = {_entry(config, name)}" for name, _ in wanted)
    raise MiError(f"'{family}' with {said} has no adapter", "known are: " + "; ".join(_conditions(r) for r in own))


def text_config(module: nn.Module) -> Any:
    """The config of a model; of a model of text and images, the text's."""
    config: Any = module.config
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def _entry(config: Any, name: str) -> object:
    """A config's entry; one that is not there, or says nothing, is off."""
    value = getattr(config, name, None)
    return False if value is None else value


def _conditions(record: Roles) -> str:
    return ", ".join(f"{name} = {value}" for name, value in record.when)


def bind(module: nn.Module, roles: Roles | None = None) -> Adapter:
    """The adapter of a Hugging Face module, by its family's record or a given one.

    Raises:
        MiError: no record knows the family, or roles are not there (names them and their paths).
    """
    config: Any = module.config
    roles = record_for(module) if roles is None else roles
    family = str(getattr(config, "model_type", type(module).__name__))
    lacking = missing(module, roles)
    if lacking:
        those = ", ".join(f"{role} ({path})" for role, path in lacking)
        raise MiError(f"the '{family}' adapter does not fit this model: these roles cannot be found: {those}")
    config = text_config(module)
    n_heads = getattr(config, roles.heads, None)
    if not isinstance(n_heads, int) or n_heads < 1:
        raise MiError(f"the '{family}' adapter does not fit this model: config.{roles.heads} is {n_heads!r}")
    blocks = list(module.get_submodule(roles.blocks).children())
    placement = tensor_parallel.of(module) or placement_of(module)
    try:
        vocabulary = int(getattr(config, "vocab_size", 0))
        vocabulary = vocabulary or len(_matrix(placement, module.get_submodule(roles.embed)))
        d_model, width = _matrix(placement, blocks[0].get_submodule(roles.heads_out)).shape
        d_head = width // n_heads
        n_kv_heads = _kv_heads(blocks[0], roles, n_heads, d_head, placement)
    except (AttributeError, IndexError, RuntimeError, ValueError, ZeroDivisionError) as error:
        raise MiError(f"the '{family}' adapter does not fit this model: {error}") from None
    layers = tuple(Layer(i, block, roles, n_heads, n_kv_heads, d_head, placement) for i, block in enumerate(blocks))
    return Adapter(module, roles, layers, n_heads, n_kv_heads, d_head, d_model, vocabulary, placement)


def _kv_heads(block: nn.Module, roles: Roles, n_heads: int, d_head: int, placement: Placement) -> int:
    """How many key/value heads the projections have rows for."""
    if len(roles.queries_keys_values) == 3:
        heads, rest = divmod(len(_matrix(placement, block.get_submodule(roles.queries_keys_values[1]))), d_head)
    else:
        rows = len(_matrix(placement, block.get_submodule(roles.queries_keys_values[0])))
        heads, rest = divmod(rows - n_heads * d_head, 2 * d_head)
    if rest or heads < 1 or n_heads % heads:
        raise AttributeError(f"{n_heads} query heads of width {d_head} do not go with its keys and values")
    return heads

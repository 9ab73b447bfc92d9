"""Architecture adapters: one record of roles a family, bound to a module as :class:`Adapter`.

A role says where something is (a dotted path), never how it is computed: the model's own code does that.
Flows in: a Hugging Face causal language model. Flows out: its layers with their weights as per-head views.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from mi.errors import MiError


@dataclass(frozen=True)
class Roles:
    """Where a family keeps its parts. Paths inside a block are relative to the block."""

    families: tuple[str, ...]  # config.model_type
    embed: str  # token embedding: the node `input`
    position: str | None  # learned positions: always on, of no node
    blocks: str
    attention_norm: str  # feeds q, k and v
    queries_keys_values: tuple[str, ...]  # one fused projection (q|k|v along its output) or three
    heads_out: str  # reads the heads' z, side by side
    mlp_norm: str  # feeds the MLP
    mlp: str
    mlp_reads: tuple[str, ...]  # its linear maps of what the norm puts out
    final_norm: str
    unembed: str
    centred: bool  # the norms subtract the mean (LayerNorm) or not (RMSNorm)


ROLES = (
    Roles(
        families=("gpt2",),
        embed="transformer.wte",
        position="transformer.wpe",
        blocks="transformer.h",
        attention_norm="ln_1",
        queries_keys_values=("attn.c_attn",),
        heads_out="attn.c_proj",
        mlp_norm="ln_2",
        mlp="mlp",
        mlp_reads=("mlp.c_fc",),
        final_norm="transformer.ln_f",
        unembed="lm_head",
        centred=True,
    ),
    Roles(
        families=("llama", "mistral", "qwen2"),
        embed="model.embed_tokens",
        position=None,
        blocks="model.layers",
        attention_norm="input_layernorm",
        queries_keys_values=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        heads_out="self_attn.o_proj",
        mlp_norm="post_attention_layernorm",
        mlp="mlp",
        mlp_reads=("mlp.gate_proj", "mlp.up_proj"),
        final_norm="model.norm",
        unembed="lm_head",
        centred=False,
    ),
)


def _matrix(linear: nn.Module) -> Float[Tensor, "out in"]:
    """A projection's weight as [out, in], whatever the module's own layout (GPT-2's Conv1D stores [in, out])."""
    weight = linear.weight
    return weight.T if type(linear).__name__ == "Conv1D" else weight  # type: ignore[return-value]


@dataclass(frozen=True)
class Layer:
    """One block: its modules by role, and per-head views of its weights (no copies for ungrouped heads)."""

    index: int
    block: nn.Module
    roles: Roles
    n_heads: int
    n_kv_heads: int
    d_head: int

    def part(self, path: str) -> nn.Module:
        return self.block.get_submodule(path)

    @cached_property
    def attention_norm(self) -> nn.Module:
        return self.part(self.roles.attention_norm)

    @cached_property
    def mlp_norm(self) -> nn.Module:
        return self.part(self.roles.mlp_norm)

    @cached_property
    def mlp(self) -> nn.Module:
        return self.part(self.roles.mlp)

    @cached_property
    def heads_out(self) -> nn.Module:
        return self.part(self.roles.heads_out)

    @cached_property
    def projections(self) -> tuple[nn.Module, ...]:
        return tuple(self.part(path) for path in self.roles.queries_keys_values)

    def _rows(self, which: int) -> tuple[nn.Module, slice]:
        """The projection and its output rows that hold q (0), k (1) or v (2)."""
        if len(self.projections) == 3:
            return self.projections[which], slice(None)
        q, kv = self.n_heads * self.d_head, self.n_kv_heads * self.d_head
        start = (0, q, q + kv)[which]
        return self.projections[0], slice(start, start + (q if which == 0 else kv))

    def weight(self, which: int) -> Float[Tensor, "kv_or_head d_head d_model"]:
        """W of q (0), k (1) or v (2), a head a row; keys and values keep their grouped heads."""
        module, rows = self._rows(which)
        matrix = _matrix(module)[rows]
        return matrix.unflatten(0, (-1, self.d_head))

    def bias(self, which: int) -> Float[Tensor, "kv_or_head d_head"] | None:
        module, rows = self._rows(which)
        bias = getattr(module, "bias", None)
        return None if bias is None else bias[rows].unflatten(0, (-1, self.d_head))

    def fused_weight(self) -> tuple[Float[Tensor, "receiver d_head d_model"], Float[Tensor, "receiver d_head"] | None]:
        """W and b of q, k and v of every head, as views of the one projection that holds them."""
        (module,) = self.projections
        bias = getattr(module, "bias", None)
        return (
            _matrix(module).unflatten(0, (-1, self.d_head)),
            None if bias is None else bias.unflatten(0, (-1, self.d_head)),
        )

    def mlp_weights(self) -> list[Float[Tensor, "d_mlp d_model"]]:
        """W of each of the MLP's linear maps of its input."""
        return [_matrix(self.part(path)) for path in self.roles.mlp_reads]

    def mlp_biases(self) -> list[Float[Tensor, " d_mlp"] | None]:
        return [getattr(self.part(path), "bias", None) for path in self.roles.mlp_reads]

    def kv_head(self, head: int) -> int:
        """The key/value head that a query head shares (grouped-query attention)."""
        return head // (self.n_heads // self.n_kv_heads)

    @cached_property
    def output_weight(self) -> Float[Tensor, "head d_head d_model"]:
        """W_O by head: a head writes ``z @ output_weight[head]``."""
        return _matrix(self.heads_out).T.unflatten(0, (self.n_heads, self.d_head))

    @property
    def output_bias(self) -> Float[Tensor, " d_model"] | None:
        return getattr(self.heads_out, "bias", None)


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

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def n_positions(self) -> int | None:
        """How many tokens learned positions reach; None where positions are computed."""
        if self.position is None:
            return None
        table: Any = self.position.weight
        return int(table.shape[0])

    @cached_property
    def embed(self) -> nn.Module:
        return self.module.get_submodule(self.roles.embed)

    @cached_property
    def position(self) -> nn.Module | None:
        return self.module.get_submodule(self.roles.position) if self.roles.position else None

    @cached_property
    def final_norm(self) -> nn.Module:
        return self.module.get_submodule(self.roles.final_norm)

    @cached_property
    def unembed(self) -> nn.Module:
        return self.module.get_submodule(self.roles.unembed)


def bind(module: nn.Module) -> Adapter:
    """The adapter of a Hugging Face module.

    Raises:
        MiError: no record knows the family, or a role's path is not there (names the role and the path).
    """
    config: Any = module.config
    family = str(getattr(config, "model_type", type(module).__name__))
    roles = next((record for record in ROLES if family in record.families), None)
    if roles is None:
        known = ", ".join(name for record in ROLES for name in record.families)
        raise MiError(f"no adapter for architecture '{family}'", f"adapters exist for {known}")
    n_heads = int(config.num_attention_heads)
    n_kv_heads = int(getattr(config, "num_key_value_heads", None) or n_heads)
    d_model = int(config.hidden_size)
    d_head = int(getattr(config, "head_dim", None) or d_model // n_heads)
    try:
        blocks = module.get_submodule(roles.blocks)
        layers = tuple(
            Layer(index, block, roles, n_heads, n_kv_heads, d_head) for index, block in enumerate(blocks.children())
        )
        adapter = Adapter(module, roles, layers, n_heads, n_kv_heads, d_head, d_model, int(config.vocab_size))
        for path in (roles.embed, roles.final_norm, roles.unembed):
            module.get_submodule(path)
        for layer in layers:
            for path in (roles.attention_norm, roles.mlp_norm, roles.mlp, roles.heads_out, *roles.queries_keys_values):
                layer.part(path)
    except AttributeError as missing:
        raise MiError(f"the '{family}' adapter does not fit this model: {missing}") from None
    if getattr(config, "add_cross_attention", False):
        raise MiError(f"'{family}' with cross-attention has no adapter")
    return adapter

"""What an architecture adapter is: one record of roles. A role says where something is, never how it is computed.

Flows in: nothing. Flows out: :class:`Roles`, which `families` fills in and `adapters` binds to a module. A record is
data: strings, numbers and booleans only.
"""

from __future__ import annotations

from dataclasses import dataclass

Value = bool | int | str | None


@dataclass(frozen=True)
class Roles:
    """Where a family keeps its parts. Paths inside a block are relative to the block; None: there is no such part."""

    families: tuple[str, ...]  # config.model_type
    embed: str  # what enters the residual stream as the node `input`, scaled if the family scales it
    blocks: str
    attention_norm: str | None  # feeds q, k and v
    queries_keys_values: tuple[str, ...]  # one fused projection or three
    heads_out: str  # reads the heads' z, side by side
    mlp_norm: str | None  # feeds the MLP; may be the attention's own
    mlp: str  # the module whose output is the MLP's
    mlp_reads: tuple[str, ...]  # its linear maps of its input; none where experts have them
    final_norm: str
    unembed: str
    centred: bool  # the norms subtract the mean (LayerNorm) or not (RMSNorm)

    heads: str = "num_attention_heads"  # config entry: how many query heads there are
    position: str | None = None  # learned positions: always on, of no node
    position_offset: int = 0  # rows of their table before that of the first position
    mlp_in: str | None = None  # the module whose input is the MLP's, where that is another one than `mlp`
    attention_post_norm: str | None = None  # between the heads' output and the stream
    mlp_post_norm: str | None = None  # between the MLP's output and the stream
    unit_offset: bool = False  # the norms' gain is 1 + weight
    parallel: bool = False  # the MLP reads what the heads of its layer read
    mlp_norm_first: bool = False  # its norm is run before the attention

    interleaved: bool = False  # a fused projection has q, k, v of each key/value head side by side, not all q first
    ungroup: tuple[tuple[str, Value], ...] = ()  # attributes that let a block take a key for each query head (None: n)
    key_norm: str | None = None  # a norm of keys that knows how many there are
    key_norm_axis: int = -1  # where it has them
    activation: str | None = None  # the MLP's activation function, where that is a module
    product: str | None = None  # the module that reads activation(gate) * up, where there is a gate
    logit_cap: str | None = None  # config entry: logits are cap * tanh(logits / cap)

    implementation: str = "mi"  # attention as registered with transformers: ours, or another where ours cannot be
    mixer: str | None = None  # the module whose method `_attn` mixes values, where none is registered
    side_by_side: tuple[str, ...] = ()  # modules that see [batch x pos, width]
    overwritten: tuple[str, ...] = ()  # modules whose output the block adds to in place

    when: tuple[tuple[str, Value], ...] = ()  # config entries for which this record holds
    absent: tuple[str, ...] = ()  # parts that must not be there

    @property
    def heads_apart(self) -> bool:
        """Whether a head mixes by its own queries and keys alone: not where one norm runs over those of all."""
        return self.key_norm is None or self.key_norm_axis != -1

    @property
    def per_layer(self) -> dict[str, str]:
        """Every path inside a block by role: what must be in each layer. What is inside the MLP, few methods need."""
        single = ("attention_norm", "heads_out", "mlp_norm", "mlp", "mlp_in", "attention_post_norm", "mlp_post_norm")
        found = {name: getattr(self, name) for name in (*single, "mixer")}
        found |= {f"queries_keys_values[{number}]": path for number, path in enumerate(self.queries_keys_values)}
        return {name: path for name, path in found.items() if path is not None}

    @property
    def whole(self) -> dict[str, str]:
        """Every path outside the blocks by role."""
        names = ("embed", "position", "blocks", "final_norm", "unembed")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

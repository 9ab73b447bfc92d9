"""The sizes of a model that its cost depends on, from a config.json. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mi.circuit.graph import Graph

# Families whose MLP is one map, a function and another map; all others multiply a second map by the function.
UNGATED = ("gpt2", "gpt_neo", "gpt_neox", "gptj", "opt", "falcon", "phi", "bloom", "codegen", "stablelm_epoch")
LAYER_NORM = (*UNGATED, "stablelm", "cohere")
POST_NORMS = ("gemma2", "gemma3_text", "olmo2")
LEARNED_POSITIONS = ("gpt2", "gpt_neo", "opt")  # queries and keys are not rotated


@dataclass(frozen=True)
class Shape:
    """Sizes, in numbers. ``d_mlp`` is the width of what a token's MLP (or its chosen experts) computes."""

    n_layers: int
    d_model: int
    vocab_size: int
    n_heads: int = 1
    d_head: int = 0
    d_mlp: int = 0
    gated: bool = False
    rotary: bool = False
    layer_norm: bool = True  # that of the library; RMS norms are written out, and work in float32
    n_kv_heads: int = 0  # as many as there are heads
    soft_capped: bool = False  # attention's scores, which no fused kernel does: the pattern is kept
    post_norms: bool = False  # norms after the heads and the MLP too

    @property
    def kv_width(self) -> int:
        return (self.n_kv_heads or self.n_heads) * self.d_head

    @property
    def heads_width(self) -> int:
        return self.n_heads * self.d_head

    # The graph's own counts; imported where they are asked for, since they bring numpy.

    @property
    def n_sources(self) -> int:
        from mi.circuit.transformer import n_sources

        return n_sources(self.n_layers, self.n_heads)

    @property
    def n_receivers(self) -> int:
        from mi.circuit.transformer import n_receivers

        return n_receivers(self.n_layers, self.n_heads)

    @property
    def layer_receivers(self) -> int:
        from mi.circuit.transformer import layer_receivers

        return layer_receivers(self.n_heads)

    @property
    def n_edges(self) -> int:
        from mi.circuit.transformer import n_edges

        return n_edges(self.n_layers, self.n_heads)


def shape_of(config: Mapping[str, Any]) -> Shape:
    """The shape in a config.json, under the names that families give it."""
    config = config.get("text_config") or config

    def first(*names: str, default: int = 1) -> int:
        return next((int(config[name]) for name in names if config.get(name)), default)

    family = str(config.get("model_type", ""))
    d_model = first("hidden_size", "n_embd", "d_model")
    n_heads = first("num_attention_heads", "n_head", "num_heads")
    experts = first("num_experts_per_tok", "num_experts_per_token")
    d_mlp = first("moe_intermediate_size", default=0) if experts > 1 else 0
    d_mlp = d_mlp or first("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", default=4 * d_model)
    return Shape(
        n_layers=first("num_hidden_layers", "n_layer", "num_layers"),
        d_model=d_model,
        vocab_size=first("vocab_size"),
        n_heads=n_heads,
        d_head=first("head_dim", default=d_model // n_heads),
        d_mlp=d_mlp * experts,
        gated=family not in UNGATED,
        rotary=family not in LEARNED_POSITIONS,
        layer_norm=family in LAYER_NORM,
        n_kv_heads=_key_value_heads(config),
        soft_capped=bool(config.get("attn_logit_softcapping")),
        post_norms=family in POST_NORMS,
    )


def n_kv_heads(config: Mapping[str, Any]) -> int:
    """How many heads of keys and values a model with this config.json has."""
    shape = shape_of(config)
    return shape.n_kv_heads or shape.n_heads


def _key_value_heads(config: Mapping[str, Any]) -> int:
    """How many there are where query heads share them; 0: as many as query heads."""
    if config.get("model_type") == "falcon" and not config.get("new_decoder_architecture"):
        return 1 if config.get("multi_query", True) else 0
    return int(config.get("num_key_value_heads") or config.get("num_kv_heads") or 0)


def graph_of(config: Mapping[str, Any], grouped: bool = False) -> Graph:
    """The graph of a model with this config.json, without the model. ``grouped``: with the receivers of keys and values
    that heads share."""
    from mi.circuit.importers.edges import side_by_side
    from mi.circuit.transformer import transformer_graph

    shape = shape_of(config)
    shared = n_kv_heads(config) if grouped else None
    return transformer_graph(shape.n_layers, shape.n_heads, side_by_side(config), shape.d_model, n_kv_heads=shared)

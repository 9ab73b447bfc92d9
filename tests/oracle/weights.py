"""A Hugging Face state dict and config in; one neutral float64 record of the transformer out.

Grouped key/value heads are repeated here, so that each query head has its own k and v, and every linear map is
stored as [in, out]. Nothing after this file knows which family a model belongs to.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

Tensor = torch.Tensor


@dataclass(frozen=True)
class Norm:
    scale: Tensor  # [d]
    bias: Tensor | None  # [d]; None means a root-mean-square norm, which does not centre
    eps: float


@dataclass(frozen=True)
class Head:
    w_q: Tensor  # [d, d_head]
    w_k: Tensor
    w_v: Tensor
    b_q: Tensor  # [d_head]
    b_k: Tensor
    b_v: Tensor
    w_o: Tensor  # [d_head, d]


@dataclass(frozen=True)
class Mlp:
    activation: str
    w_in: Tensor  # [d, d_mlp]
    b_in: Tensor
    w_gate: Tensor | None  # [d, d_mlp]; activation(gate) * in when present
    w_out: Tensor  # [d_mlp, d]
    b_out: Tensor


@dataclass(frozen=True)
class Layer:
    attention_norm: Norm
    heads: tuple[Head, ...]
    attention_bias: Tensor  # [d], belongs to no head
    attention_scale: float
    window: int | None  # a query sees this many keys, itself included; None sees all
    mlp_norm: Norm
    mlp: Mlp


@dataclass(frozen=True)
class Weights:
    embedding: Tensor  # [vocabulary, d]
    positions: Tensor | None  # [length, d]
    layers: tuple[Layer, ...]
    final_norm: Norm
    unembedding: Tensor  # [d, vocabulary]
    rotary_base: float | None
    rotary_dims: int  # the leading dimensions of a head that are rotated
    parallel: bool  # attention and MLP of a layer read the same residual stream

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def n_heads(self) -> int:
        return len(self.layers[0].heads)


def read_folder(folder: Path) -> Weights:
    """The model saved in a folder as config.json and model.safetensors."""
    config = json.loads((folder / "config.json").read_text())
    return read_state(load_file(str(folder / "model.safetensors")), config)


def read_module(module: torch.nn.Module) -> Weights:
    """A Hugging Face model in memory."""
    return read_state(module.state_dict(), module.config.to_dict())  # type: ignore[union-attr, operator]


def read_state(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Weights:
    """Any supported family, told apart by the config's model_type."""
    double = {name: tensor.detach().to("cpu", torch.float64) for name, tensor in state.items()}
    reader = {"gpt2": _gpt2, "gpt_neox": _neox, "llama": _llama, "mistral": _llama, "qwen2": _llama}
    return reader[config["model_type"]](double, config)


def _gpt2(s: Mapping[str, Tensor], c: Mapping[str, Any]) -> Weights:
    d, n_heads = c["n_embd"], c["n_head"]
    d_head, eps = d // n_heads, c["layer_norm_epsilon"]

    def layer(i: int) -> Layer:
        p = f"transformer.h.{i}."
        w, b = s[p + "attn.c_attn.weight"], s[p + "attn.c_attn.bias"]  # Conv1D: already [in, out]; q, then k, then v
        heads = []
        for h in range(n_heads):
            q, k, v = (slice(part * d + h * d_head, part * d + (h + 1) * d_head) for part in range(3))
            w_o = s[p + "attn.c_proj.weight"][h * d_head : (h + 1) * d_head]
            heads.append(Head(w[:, q], w[:, k], w[:, v], b[q], b[k], b[v], w_o))
        scale = d_head**-0.5 if c.get("scale_attn_weights", True) else 1.0
        if c.get("scale_attn_by_inverse_layer_idx", False):
            scale /= i + 1
        return Layer(
            attention_norm=Norm(s[p + "ln_1.weight"], s[p + "ln_1.bias"], eps),
            heads=tuple(heads),
            attention_bias=s[p + "attn.c_proj.bias"],
            attention_scale=scale,
            window=None,
            mlp_norm=Norm(s[p + "ln_2.weight"], s[p + "ln_2.bias"], eps),
            mlp=Mlp(
                c["activation_function"],
                s[p + "mlp.c_fc.weight"],
                s[p + "mlp.c_fc.bias"],
                None,
                s[p + "mlp.c_proj.weight"],
                s[p + "mlp.c_proj.bias"],
            ),
        )

    embedding = s["transformer.wte.weight"]
    return Weights(
        embedding=embedding,
        positions=s["transformer.wpe.weight"],
        layers=tuple(layer(i) for i in range(c["n_layer"])),
        final_norm=Norm(s["transformer.ln_f.weight"], s["transformer.ln_f.bias"], eps),
        unembedding=s.get("lm_head.weight", embedding).T,
        rotary_base=None,
        rotary_dims=0,
        parallel=False,
    )


def _llama(s: Mapping[str, Tensor], c: Mapping[str, Any]) -> Weights:
    d, n_heads, n_kv = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"]
    d_head, eps = c.get("head_dim") or d // n_heads, c["rms_norm_eps"]

    def projection(name: str, head: int) -> tuple[Tensor, Tensor]:
        rows = slice(head * d_head, (head + 1) * d_head)
        weight = s[name + ".weight"][rows].T
        bias = s.get(name + ".bias")
        return weight, torch.zeros(d_head, dtype=torch.float64) if bias is None else bias[rows]

    def layer(i: int) -> Layer:
        p = f"model.layers.{i}."
        heads = []
        for h in range(n_heads):
            shared = h // (n_heads // n_kv)  # the key/value head that this query head uses
            (w_q, b_q), (w_k, b_k), (w_v, b_v) = (
                projection(p + "self_attn.q_proj", h),
                projection(p + "self_attn.k_proj", shared),
                projection(p + "self_attn.v_proj", shared),
            )
            w_o = s[p + "self_attn.o_proj.weight"].T[h * d_head : (h + 1) * d_head]
            heads.append(Head(w_q, w_k, w_v, b_q, b_k, b_v, w_o))
        d_mlp = s[p + "mlp.up_proj.weight"].shape[0]
        return Layer(
            attention_norm=Norm(s[p + "input_layernorm.weight"], None, eps),
            heads=tuple(heads),
            attention_bias=s.get(p + "self_attn.o_proj.bias", torch.zeros(d, dtype=torch.float64)),
            attention_scale=d_head**-0.5,
            window=_window(c, i),
            mlp_norm=Norm(s[p + "post_attention_layernorm.weight"], None, eps),
            mlp=Mlp(
                c["hidden_act"],
                s[p + "mlp.up_proj.weight"].T,
                torch.zeros(d_mlp, dtype=torch.float64),
                s[p + "mlp.gate_proj.weight"].T,
                s[p + "mlp.down_proj.weight"].T,
                torch.zeros(d, dtype=torch.float64),
            ),
        )

    embedding = s["model.embed_tokens.weight"]
    return Weights(
        embedding=embedding,
        positions=None,
        layers=tuple(layer(i) for i in range(c["num_hidden_layers"])),
        final_norm=Norm(s["model.norm.weight"], None, eps),
        unembedding=(embedding if c["tie_word_embeddings"] else s["lm_head.weight"]).T,
        rotary_base=_rotary_base(c),
        rotary_dims=d_head,
        parallel=False,
    )


def _neox(s: Mapping[str, Tensor], c: Mapping[str, Any]) -> Weights:
    d, n_heads = c["hidden_size"], c["num_attention_heads"]
    d_head, eps = d // n_heads, c["layer_norm_eps"]

    def norm(name: str) -> Norm:
        return Norm(s[name + ".weight"], s[name + ".bias"], eps)

    def layer(i: int) -> Layer:
        p = f"gpt_neox.layers.{i}."
        w, b = s[p + "attention.query_key_value.weight"].T, s[p + "attention.query_key_value.bias"]
        heads = []
        for h in range(n_heads):  # here q, k and v of one head lie side by side
            q, k, v = (slice((3 * h + part) * d_head, (3 * h + part + 1) * d_head) for part in range(3))
            w_o = s[p + "attention.dense.weight"].T[h * d_head : (h + 1) * d_head]
            heads.append(Head(w[:, q], w[:, k], w[:, v], b[q], b[k], b[v], w_o))
        return Layer(
            attention_norm=norm(p + "input_layernorm"),
            heads=tuple(heads),
            attention_bias=s[p + "attention.dense.bias"],
            attention_scale=d_head**-0.5,
            window=None,
            mlp_norm=norm(p + "post_attention_layernorm"),
            mlp=Mlp(
                c["hidden_act"],
                s[p + "mlp.dense_h_to_4h.weight"].T,
                s[p + "mlp.dense_h_to_4h.bias"],
                None,
                s[p + "mlp.dense_4h_to_h.weight"].T,
                s[p + "mlp.dense_4h_to_h.bias"],
            ),
        )

    return Weights(
        embedding=s["gpt_neox.embed_in.weight"],
        positions=None,
        layers=tuple(layer(i) for i in range(c["num_hidden_layers"])),
        final_norm=norm("gpt_neox.final_layer_norm"),
        unembedding=(s["lm_head.weight"] if "lm_head.weight" in s else s["embed_out.weight"]).T,  # memory or file
        rotary_base=_rotary_base(c),
        rotary_dims=int(d_head * c["rope_parameters"]["partial_rotary_factor"]),
        parallel=c["use_parallel_residual"],
    )


def _rotary_base(c: Mapping[str, Any]) -> float:
    rope = c["rope_parameters"]
    assert rope.get("rope_type", "default") == "default", "the oracle knows plain rotary positions only"
    return float(rope["rope_theta"])


def _window(c: Mapping[str, Any], layer: int) -> int | None:
    kinds = c.get("layer_types")
    if kinds is not None and kinds[layer] != "sliding_attention":
        return None
    return c.get("sliding_window")

"""Tiny random models of every family, each built from the library's own configuration: a name and a seed in, a module
out.

Gains, biases and every other parameter are random and wide enough that attention is uneven, that norms rescale, and
that windows and soft-caps bite. `double` keeps a model in float64 where the library would drop to float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch
import transformers
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

LENGTH = 24  # positions that every model has
VOCABULARY = 29
LAYERS, HEADS, GROUPED, WIDTH, HIDDEN = 2, 4, 2, 16, 24

_NO_SPECIAL_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
_ROTARY = {
    "hidden_size": WIDTH,
    "intermediate_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": LENGTH,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
    **_NO_SPECIAL_TOKENS,
}
_GROUPED = {**_ROTARY, "num_key_value_heads": GROUPED}
_GEMMA = {
    **_GROUPED,
    "head_dim": 6,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
}
_CAPPED = {
    **_GEMMA,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "query_pre_attn_scalar": 3,
    "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 3.0,
    "sliding_window": 3,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
_HALF_ROTARY = {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5}
_FALCON = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "ffn_hidden_size": HIDDEN,
    "max_position_embeddings": LENGTH,
    "vocab_size": VOCABULARY,
    **_NO_SPECIAL_TOKENS,
}

# name: the family's configuration class (less "Config"), and options
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": (
        "GPT2",
        {
            "n_layer": LAYERS,
            "n_head": HEADS,
            "n_embd": WIDTH,
            "n_inner": HIDDEN,
            "n_positions": LENGTH,
            "vocab_size": VOCABULARY,
            **_NO_SPECIAL_TOKENS,
        },
    ),
    "gpt-neo": (
        "GPTNeo",
        {
            "num_layers": 2,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 3,
            "num_heads": HEADS,
            "hidden_size": WIDTH,
            "intermediate_size": HIDDEN,
            "max_position_embeddings": LENGTH,
            "vocab_size": VOCABULARY,
            **_NO_SPECIAL_TOKENS,
        },
    ),
    "neox": ("GPTNeoX", {**_ROTARY, "use_parallel_residual": True, "rope_parameters": _HALF_ROTARY}),
    "neox-sequential": ("GPTNeoX", {**_ROTARY, "use_parallel_residual": False, "rope_parameters": _HALF_ROTARY}),
    "gptj": (
        "GPTJ",
        {
            "n_layer": LAYERS,
            "n_head": HEADS,
            "n_embd": WIDTH,
            "n_inner": HIDDEN,
            "rotary_dim": 2,
            "n_positions": LENGTH,
            "vocab_size": VOCABULARY,
            **_NO_SPECIAL_TOKENS,
        },
    ),
    "opt": (
        "OPT",
        {
            "hidden_size": WIDTH,
            "ffn_dim": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "max_position_embeddings": LENGTH,
            "vocab_size": VOCABULARY,
            "dropout": 0.0,
            "word_embed_proj_dim": WIDTH,
            **_NO_SPECIAL_TOKENS,
        },
    ),
    "llama": ("Llama", _GROUPED),
    "mistral": ("Mistral", {**_GROUPED, "head_dim": 4, "sliding_window": 3}),
    "qwen2": ("Qwen2", _GROUPED),
    "qwen3": ("Qwen3", {**_GROUPED, "head_dim": 6}),
    "gemma": ("Gemma", _GEMMA),
    "gemma2": ("Gemma2", _CAPPED),
    "gemma3": (
        "Gemma3",
        {
            **_CAPPED,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "rope_parameters": dict.fromkeys(("full_attention", "sliding_attention"), _GEMMA["rope_parameters"]),
        },
    ),
    "phi3": ("Phi3", _GROUPED),
    "olmo2": ("Olmo2", {**_GROUPED, "attention_bias": True}),
    "falcon": ("Falcon", {**_FALCON, "multi_query": True, "parallel_attn": True, "bias": False}),
    "falcon-new": ("Falcon", {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": GROUPED, "bias": True}),
    "falcon-alibi": (
        "Falcon",
        {**_FALCON, "multi_query": False, "parallel_attn": False, "alibi": True, "bias": True},
    ),
    "stablelm": (
        "StableLm",
        {**_GROUPED, "use_qkv_bias": True, "qk_layernorm": True, "rope_parameters": _HALF_ROTARY},
    ),
    "stablelm-parallel": ("StableLm", {**_GROUPED, "use_parallel_residual": True, "rope_parameters": _HALF_ROTARY}),
    "mixtral": ("Mixtral", {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3-moe": (
        "Qwen3Moe",
        {
            **_GROUPED,
            "head_dim": 6,
            "moe_intermediate_size": 12,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "norm_topk_prob": True,
            "mlp_only_layers": [1],
        },
    ),
}
FAMILIES = tuple(OPTIONS)
PARALLEL = ("neox", "gptj", "falcon", "falcon-new", "stablelm-parallel")
POST_NORM = ("gemma2", "gemma3", "olmo2")


def random_model(
    name: str,
    seed: int,
    dtype: torch.dtype = torch.float32,
    n_layers: int | None = None,
    attention: str | None = None,
    **changes: Any,
) -> PreTrainedModel:
    """A model in evaluation mode whose every parameter comes from the seed alone."""
    family, options = OPTIONS[name]
    options = {**options, **changes}
    if n_layers is not None:
        (key,) = {"num_hidden_layers", "num_layers", "n_layer"} & options.keys()
        options[key] = n_layers
    text = "Text" if family == "Gemma3" else ""
    config = getattr(transformers, f"{family}{text}Config")(**options)
    model: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, parameter in sorted(model.named_parameters()):
            owner = model.get_submodule(path.rpartition(".")[0])
            parameter.copy_(_spread(owner, path, parameter, generator))
    model.tie_weights()
    model = model.eval().requires_grad_(False)
    return double(model) if dtype == torch.float64 else model.to(dtype)


def _spread(owner: nn.Module, path: str, parameter: nn.Parameter, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(parameter.shape, generator=generator)
    if isinstance(owner, nn.Embedding):
        return noise
    if parameter.dim() >= 2:
        fan_in = parameter.shape[0] if type(owner).__name__ == "Conv1D" else parameter.shape[-1]
        return noise * (1.5 / math.sqrt(fan_in))
    if path.endswith("bias"):
        return 0.3 * noise
    return 0.3 * noise if type(owner).__name__.startswith("Gemma") else 1 + 0.3 * noise  # Gemma's gains are 1 + weight


_kept: ContextVar[bool] = ContextVar("kept", default=False)


class _Kept(TorchFunctionMode):
    """Nothing in float64 is made float32: models ask for that in norms, in softmax, in routers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        first = args[0] if args else None
        if isinstance(first, torch.Tensor) and first.dtype == torch.float64:
            if func is torch.Tensor.float:
                return first
            if kwargs.get("dtype") is torch.float32:
                kwargs["dtype"] = torch.float64
            if func is torch.Tensor.to and any(argument is torch.float32 for argument in args[1:]):
                return first
        return func(*args, **kwargs)


def double(model: PreTrainedModel) -> PreTrainedModel:
    """The model in float64 throughout, whichever of its modules is called."""
    model = model.double()
    if hasattr(model.config, "num_experts_per_tok"):
        model.set_experts_implementation("eager")  # the others know no float64
    for module in model.modules():
        kind = type(module)
        if not kind.__module__.startswith("torch."):
            module.__class__ = _subclass(kind)
    return model


def _subclass(kind: type[nn.Module]) -> type[nn.Module]:
    forward: Callable[..., Any] = kind.forward

    def kept(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if _kept.get():
            return forward(self, *args, **kwargs)
        token = _kept.set(True)
        try:
            with _Kept():
                return forward(self, *args, **kwargs)
        finally:
            _kept.reset(token)

    return type(kind.__name__, (kind,), {"forward": kept, "__module__": kind.__module__})

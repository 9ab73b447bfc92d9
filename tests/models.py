"""Tiny random Hugging Face models: family, seed and shape in, a module in memory out.

The weights are spread widely, so that attention is far from uniform, norms really rescale, and every bias counts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

LENGTH = 24  # positions that every model has


@dataclass(frozen=True)
class Shape:
    n_layers: int = 2
    n_heads: int = 4
    n_kv_heads: int = 2  # ignored by families without grouped heads
    d_head: int = 4
    d_mlp: int = 24
    vocabulary: int = 29
    window: int | None = None  # sliding attention window, where the family has one

    @property
    def d_model(self) -> int:
        return self.n_heads * self.d_head


def gpt2(shape: Shape) -> PreTrainedModel:
    config = GPT2Config(
        n_layer=shape.n_layers,
        n_head=shape.n_heads,
        n_embd=shape.d_model,
        n_inner=shape.d_mlp,
        n_positions=LENGTH,
        vocab_size=shape.vocabulary,
        bos_token_id=None,
        eos_token_id=None,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
    )
    return GPT2LMHeadModel(config)


def gpt2_scaled(shape: Shape) -> PreTrainedModel:
    """The options of GPT-2 that change what attention computes, another activation, an untied unembedding."""
    config = gpt2(shape).config
    config.scale_attn_by_inverse_layer_idx = True
    config.activation_function = "silu"
    config.tie_word_embeddings = False
    return GPT2LMHeadModel(config)


def _rotary_options(shape: Shape) -> dict[str, object]:
    return {
        "hidden_size": shape.d_model,
        "intermediate_size": shape.d_mlp,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "max_position_embeddings": LENGTH,
        "vocab_size": shape.vocabulary,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        "tie_word_embeddings": False,
    }


def llama(shape: Shape) -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(num_key_value_heads=shape.n_kv_heads, **_rotary_options(shape)))


def llama_wide_heads(shape: Shape) -> PreTrainedModel:
    """Heads whose width is not d_model / heads, biases in attention and MLP, tied embeddings."""
    options = {**_rotary_options(shape), "tie_word_embeddings": True}
    config = LlamaConfig(
        num_key_value_heads=shape.n_kv_heads, head_dim=shape.d_head + 2, attention_bias=True, mlp_bias=False, **options
    )
    return LlamaForCausalLM(config)


def mistral(shape: Shape) -> PreTrainedModel:
    config = MistralConfig(
        num_key_value_heads=shape.n_kv_heads,
        head_dim=shape.d_head,
        sliding_window=shape.window,
        **_rotary_options(shape),
    )
    return MistralForCausalLM(config)


def qwen2(shape: Shape) -> PreTrainedModel:
    config = Qwen2Config(
        num_key_value_heads=shape.n_kv_heads,
        use_sliding_window=shape.window is not None,
        sliding_window=shape.window,
        max_window_layers=1,  # the first layer attends fully, the others slide
        **_rotary_options(shape),
    )
    return Qwen2ForCausalLM(config)


def neox(shape: Shape) -> PreTrainedModel:
    part = 0.5 if shape.d_head % 4 == 0 else 1.0  # rotated dimensions come in pairs
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": part}
    return GPTNeoXForCausalLM(GPTNeoXConfig(rope_parameters=rope, use_parallel_residual=True, **_rotary_options(shape)))


BUILDERS: dict[str, Callable[[Shape], PreTrainedModel]] = {
    "gpt2": gpt2,
    "gpt2-scaled": gpt2_scaled,
    "llama": llama,
    "llama-wide-heads": llama_wide_heads,
    "mistral": mistral,
    "qwen2": qwen2,
    "neox": neox,
}


def random_model(family: str, seed: int, shape: Shape = Shape(), dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A model in evaluation mode whose every parameter comes from the seed alone."""
    model = BUILDERS[family](shape)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            parameter.copy_(_spread(name, parameter, generator))
    model.tie_weights()
    return model.to(dtype).eval()


def _spread(name: str, parameter: nn.Parameter, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(parameter.shape, generator=generator)
    if parameter.dim() == 2:
        embedding = any(part in name for part in ("wte", "wpe", "embed"))
        fan_in = min(parameter.shape) if embedding else parameter.shape[0 if "c_" in name else 1]
        return noise * (1.0 if embedding and "out" not in name else 1.5 / math.sqrt(fan_in))
    if name.endswith("bias"):
        return 0.3 * noise
    return 1 + 0.3 * noise  # scales of norms


def truly_double(model: PreTrainedModel) -> PreTrainedModel:
    """In float64 with nothing left in float32: the library's own rotary tables and RMS norms are kept there."""
    model = model.double()
    for module in model.modules():
        if hasattr(module, "variance_epsilon"):
            module.forward = _rms_norm(module)  # type: ignore[method-assign]
        if hasattr(module, "inv_freq"):
            module.forward = _rotary(model.config)  # type: ignore[method-assign]
    return model


def _rms_norm(module: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return module.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + module.variance_epsilon))

    return forward


def _rotary(config: object) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    rope = config.rope_parameters  # type: ignore[attr-defined]
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads  # type: ignore[attr-defined]
    dims = int(width * rope.get("partial_rotary_factor", 1.0))
    frequencies = rope["rope_theta"] ** (-torch.arange(0, dims, 2, dtype=torch.float64) / dims)

    def forward(x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = position_ids[..., None].double() * frequencies
        angles = torch.cat([angles, angles], -1)
        return angles.cos(), angles.sin()

    return forward

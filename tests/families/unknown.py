"""An architecture that nobody knows: other names for everything, an order of its own, and a grouped attention that asks
the library for its attention function. Registered with the library under a name that is its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

WORDS = 29


class AuroraConfig(PreTrainedConfig):
    model_type = "aurora"

    def __init__(self, **options: Any) -> None:
        self.width, self.depth, self.n_heads, self.n_kv, self.hidden = 16, 2, 4, 2, 24
        self.words, self.reach, self.ceiling, self.beside, self.faint = WORDS, 24, 0.0, False, False
        super().__init__(**options)


class Scale(nn.Module):
    """An RMSNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), 1e-6

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class Gaze(nn.Module):
    is_causal = True

    def __init__(self, config: AuroraConfig) -> None:
        super().__init__()
        self.config, self.d_head = config, config.width // config.n_heads
        self.give = nn.Linear(config.width, config.n_kv * self.d_head)  # values come first here
        self.ask = nn.Linear(config.width, config.n_heads * self.d_head)
        self.offer = nn.Linear(config.width, config.n_kv * self.d_head)
        self.say = nn.Linear(config.n_heads * self.d_head, config.width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        v, q, k = (p(x).unflatten(-1, (-1, self.d_head)).transpose(1, 2) for p in (self.give, self.ask, self.offer))
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, None)
        mixed, _ = attend(self, q, k, v, mask, scaling=self.d_head**-0.5)
        return self.say(mixed.flatten(-2))


class Muse(nn.Module):
    def __init__(self, config: AuroraConfig) -> None:
        super().__init__()
        self.left = nn.Linear(config.width, config.hidden, bias=False)
        self.right = nn.Linear(config.width, config.hidden, bias=False)
        self.back = nn.Linear(config.hidden, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.back(silu(self.left(x)) * self.right(x))


class Storey(nn.Module):
    def __init__(self, config: AuroraConfig) -> None:
        super().__init__()
        self.tune_b, self.tune_a = Scale(config.width), Scale(config.width)
        self.muse, self.gaze, self.beside = Muse(config), Gaze(config), config.beside
        self.share = 0.5 if config.faint else 1.0  # of what the MLP writes

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        seen = self.gaze(self.tune_a(x), mask)
        return x + seen + self.share * self.muse(self.tune_b(x if self.beside else x + seen))


class AuroraForCausalLM(PreTrainedModel):
    config_class = AuroraConfig
    base_model_prefix = "tower"
    _supports_sdpa = _supports_attention_backend = True

    def __init__(self, config: AuroraConfig) -> None:
        super().__init__(config)
        self.words, self.places = nn.Embedding(config.words, config.width), nn.Embedding(config.reach, config.width)
        self.tower = nn.ModuleList(Storey(config) for _ in range(config.depth))
        self.last, self.speak = Scale(config.width), nn.Linear(config.width, config.words, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def forward(self, input_ids: Tensor, use_cache: bool = False, **_: Any) -> CausalLMOutputWithPast:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.words(input_ids) + self.places(positions)
        mask = create_causal_mask(self.config, x, None, None, positions[None])
        for storey in self.tower:
            x = storey(x, mask)
        logits = self.speak(self.last(x))
        top = self.config.ceiling
        return CausalLMOutputWithPast(logits=top * torch.tanh(logits / top) if top else logits)


def register() -> None:
    AutoConfig.register("aurora", AuroraConfig, exist_ok=True)
    AutoModelForCausalLM.register(AuroraConfig, AuroraForCausalLM, exist_ok=True)


def unknown_model(seed: int, **options: Any) -> AuroraForCausalLM:
    """Random weights, wide enough that attention is uneven."""
    register()
    model = AuroraForCausalLM(AuroraConfig(**options))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            scale = 1.5 / parameter.shape[-1] ** 0.5 if parameter.dim() == 2 else 0.3
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale + (parameter.dim() == 1))
    return model.eval()

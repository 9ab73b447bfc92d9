"""What is measured on: a random model of the shape of GPT-2 small, and pairs of random prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mi.core.model import Model, wrap
from mi.tasks.encode import Encoded


@dataclass(frozen=True)
class Size:
    """A batch: so many prompts of so many tokens."""

    prompts: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.prompts}x{self.tokens}"


def parse(text: str) -> Size:
    prompts, _, tokens = text.partition("x")
    return Size(int(prompts), int(tokens))


def random_gpt2(layers: int = 12, attention: str = "sdpa", seed: int = 0) -> nn.Module:
    """Float32, frozen. Weights are scaled up from their usual start, so that attention is far from uniform."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(n_layer=layers, bos_token_id=None, eos_token_id=None)
    config._attn_implementation = attention
    module = GPT2LMHeadModel(config).eval().requires_grad_(False)
    with torch.no_grad():
        for block in module.transformer.h:
            block.attn.c_attn.weight *= 4
            block.mlp.c_fc.weight *= 2
        module.transformer.wpe.weight *= 2
        module.transformer.wte.weight *= 2
    return module


def evenness(module: nn.Module, size: Size) -> float:
    """The mean over heads and prompts of the largest attention weight of the last token; 1 / tokens is uniform."""
    weights: list[torch.Tensor] = []

    def keep(query: torch.Tensor, key: torch.Tensor) -> None:
        scores = (query[:, :, -1:] @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5
        weights.append(scores.softmax(-1).amax(-1).mean())

    heads = module.config.n_head
    hooks = []
    for block in module.transformer.h:

        def after(_: nn.Module, __: object, out: torch.Tensor) -> None:
            query, key, _value = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in out.chunk(3, -1))
            keep(query, key)

        hooks.append(block.attn.c_attn.register_forward_hook(after))
    with torch.no_grad():
        module(ids(size), use_cache=False)
    for hook in hooks:
        hook.remove()
    return float(torch.stack(weights).mean())


def ids(size: Size, seed: int = 1) -> torch.Tensor:
    return torch.randint(50257, (size.prompts, size.tokens), generator=torch.Generator().manual_seed(seed))


def examples(size: Size) -> list[Encoded]:
    """Pairs of prompts that differ at three positions; the answers are random tokens."""
    rng = np.random.default_rng(2)
    made = []
    for place, clean in enumerate(ids(size).tolist()):
        corrupted = list(clean)
        for position in rng.choice(size.tokens - 1, size=3, replace=False):
            corrupted[position] = int(rng.integers(50257))
        answer, foil = (int(token) for token in rng.choice(50257, size=2, replace=False))
        made.append(Encoded(f"{place}", tuple(clean), tuple(corrupted), (answer,), (foil,), size.tokens - 1))
    return made


def wrapped(module: nn.Module) -> Model:
    return wrap(module, name="random-gpt2-small")

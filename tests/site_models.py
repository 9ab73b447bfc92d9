"""Small models that are no decoder: an encoder of tokens, one of images, a time series transformer, plain modules.

A name and a seed in, a :class:`Case` out: the module in float64 and random examples as its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PatchTSTConfig,
    PatchTSTForClassification,
    ViTConfig,
    ViTForImageClassification,
)

from mi.core.sitewise.load import Module, wrap
from mi.tasks.arguments import Arguments

CLASSES = 4
TOKENS, LENGTH, CHANNELS, TIME = 29, 7, 2, 24


@dataclass(frozen=True)
class Case:
    model: Module
    examples: list[Arguments]

    @property
    def module(self) -> nn.Module:
        return self.model.module


def bert() -> nn.Module:
    config = BertConfig(
        vocab_size=TOKENS,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        num_labels=CLASSES,
    )
    return BertForSequenceClassification(config)


def vit() -> nn.Module:
    config = ViTConfig(
        image_size=8,
        patch_size=4,
        num_channels=CHANNELS,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=CLASSES,
    )
    return ViTForImageClassification(config)


def patchtst() -> nn.Module:
    """Channels are folded into the rows inside: two rows an example."""
    config = PatchTSTConfig(
        num_input_channels=CHANNELS,
        context_length=TIME,
        patch_length=8,
        patch_stride=8,
        num_hidden_layers=2,
        d_model=8,
        num_attention_heads=2,
        ffn_dim=16,
        num_targets=CLASSES,
        use_cls_token=True,
        norm_type="layernorm",
    )
    return PatchTSTForClassification(config)


class Series(nn.Module):
    """A transformer of a time series, written by hand: writes in place, shares a module, returns a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(CHANNELS, 8)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True) for _ in range(2)
        )
        self.bend = nn.ReLU(inplace=True)
        self.shared = nn.Linear(8, 8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, series: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        x = self.bend(self.read(series))
        for layer in self.layers:
            x = self.shared(layer(x))
        if mask is not None:
            x = x * mask[:, :, None]
        return self.head(x.mean(1))


MODELS: dict[str, Callable[[], nn.Module]] = {"bert": bert, "vit": vit, "patchtst": patchtst, "series": Series}


def random_module(name: str, seed: int) -> nn.Module:
    """Weights spread widely, so that attention is far from uniform and every bias counts."""
    torch.manual_seed(seed)
    module = MODELS[name]().double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module.eval()


def random_inputs(name: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    if name == "bert":
        mask = np.ones(LENGTH, dtype=np.int64)
        mask[LENGTH - 1] = 0
        return {"input_ids": rng.integers(0, TOKENS, LENGTH), "attention_mask": mask}
    if name == "vit":
        return {"pixel_values": rng.standard_normal((CHANNELS, 8, 8))}
    series = rng.standard_normal((TIME, CHANNELS))
    return {"past_values": series} if name == "patchtst" else {"series": series}


def random_case(name: str, seed: int, n: int = 3) -> Case:
    rng = np.random.default_rng([seed, 17])
    examples = []
    for number in range(n):
        classes = rng.permutation(CLASSES)
        clean, corrupted = random_inputs(name, rng), random_inputs(name, rng)
        examples.append(Arguments(f"e{number}", clean, corrupted, (int(classes[0]),), (int(classes[1]),)))
    return Case(wrap(random_module(name, seed), name), examples)

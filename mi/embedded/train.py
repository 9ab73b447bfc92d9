"""Train the embedded default model: `python -m mi.embedded.train`.

In: nothing but the package's own word lists. Out: a model folder (config.json, model.safetensors, tokenizer files).
The same machine, versions and arguments give the same weights: fixed threads, seeded data, deterministic kernels.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mi.embedded import build_tokenizer, corpus
from mi.tasks import tokenizer as tokenizers

if TYPE_CHECKING:
    import torch
    from transformers import GPT2LMHeadModel


ENOUGH = 100  # batches of sequences, so that some length fills a batch however few steps there are


@dataclass(frozen=True)
class Settings:
    """What makes the shipped weights."""

    steps: int = 4000
    first: float = 0.25  # share of the steps that see induction only
    batch: int = 64
    sequences: int = 60_000  # of each phase
    learning_rate: float = 2e-3
    warmup: int = 200
    weight_decay: float = 0.1
    label_smoothing: float = 0.1
    layers: int = 4
    heads: int = 4
    width: int = 96
    initial_spread: float = 0.05  # standard deviation of the first weights
    seed: int = 0
    threads: int = 1  # a sum's order, and so the weights, would depend on more


def new_model(settings: Settings, vocab_size: int, bos_id: int) -> GPT2LMHeadModel:
    """A GPT-2 with random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=64,
        n_embd=settings.width,
        n_layer=settings.layers,
        n_head=settings.heads,
        activation_function="gelu_pytorch_tanh",  # the same function as gelu_new, in one pass
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        initializer_range=settings.initial_spread,
        bos_token_id=bos_id,
        eos_token_id=bos_id,
    )
    return GPT2LMHeadModel(config)


def loss_of(logits: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Weighted next-token cross-entropy: [batch, pos, vocab], [batch, pos], [batch, pos] -> scalar."""
    import torch.nn.functional as F

    targets, weights = ids[:, 1:], weights[:, 1:]
    logits = logits[:, :-1]
    each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none", label_smoothing=smoothing)
    return (each * weights.flatten()).sum() / weights.sum()


def train(settings: Settings, tokenizer: tokenizers.Tokenizer) -> GPT2LMHeadModel:
    """Train from scratch, with a line of progress on stderr every now and then."""
    import torch

    torch.manual_seed(settings.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(settings.threads)
    started = time.monotonic()
    assert tokenizer.bos_id is not None
    model = new_model(settings, tokenizer.vocab_size, tokenizer.bos_id).train()
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings))
    for step, (batch, weight) in enumerate(curriculum(settings, tokenizer)):
        logits = model(batch, use_cache=False).logits
        loss = loss_of(logits, batch, weight, settings.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 200 == 0 or step + 1 == settings.steps:
            _say(f"step {step + 1}/{settings.steps}  loss {loss.item():.3f}  {time.monotonic() - started:.0f} s")
    return model.eval()


def curriculum(settings: Settings, tokenizer: tokenizers.Tokenizer) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Every step's ids and loss weights: induction alone first, then all tasks and filler."""
    import torch

    order = torch.Generator().manual_seed(settings.seed)
    first = round(settings.steps * settings.first)
    for phase, (mixture, steps) in enumerate(((corpus.FIRST, first), (corpus.MIXTURE, settings.steps - first))):
        n = min(settings.sequences, max(steps, ENOUGH) * settings.batch)
        data = corpus.build(tokenizer, 2 * settings.seed + phase, n, mixture)
        ids, weights, lengths = map(torch.from_numpy, (data.ids, data.weights, data.lengths))
        for _, rows in zip(range(steps), batches(lengths, settings.batch, order), strict=False):
            length = int(lengths[rows[0]])
            yield ids[rows, :length], weights[rows, :length]


def batches(lengths: torch.Tensor, size: int, order: torch.Generator) -> Iterator[torch.Tensor]:
    """Rows of one length each, so that nothing is spent on padding, in random order, for ever."""
    import torch

    while True:
        shuffled = torch.randperm(len(lengths), generator=order)
        rows = [shuffled[lengths[shuffled] == length] for length in lengths.unique()]
        cut = [batch for group in rows for batch in group.split(size) if len(batch) == size]
        for index in torch.randperm(len(cut), generator=order).tolist():
            yield cut[index]


def _rate(step: int, settings: Settings) -> float:
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * done))


def save(model: GPT2LMHeadModel, folder: Path) -> None:
    """Write the model folder file by file, each one whole or not at all; tokenizer files are written by `main`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as temporary:
        model.save_pretrained(temporary)
        (Path(temporary) / "generation_config.json").unlink(missing_ok=True)
        for file in sorted(Path(temporary).iterdir()):
            file.chmod(0o644)  # safetensors makes its file for the owner alone
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
            file.replace(folder / file.name)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m mi.embedded.train", description="Train the embedded default model."
    )
    default = Settings()
    parser.add_argument("--steps", type=int, default=default.steps, help="optimizer steps (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("embedded-model"), help="model folder to write (%(default)s)")
    parser.add_argument("--seed", type=int, default=default.seed, help="of weights and data (%(default)s)")
    parser.add_argument("--threads", type=int, default=default.threads, help="CPU threads (%(default)s)")
    arguments = parser.parse_args()
    settings = Settings(steps=arguments.steps, seed=arguments.seed, threads=arguments.threads)
    build_tokenizer.write(arguments.out)
    model = train(settings, tokenizers.load(arguments.out))
    save(model, arguments.out)
    _say(f"wrote {arguments.out}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""Commands on machines with GPUs that are pretended (`tests.pretend`): nothing is used on another device than it lies
on, and what is written is what the processor writes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mi.core.sitewise import spread
from mi.io import blobs, stream
from tests.cli.conftest import Session
from tests.pretend import machine

accelerate = pytest.importorskip("accelerate")

MAP = {"transformer.wte": 0, "transformer.wpe": 0, "transformer.drop": 0, "transformer.ln_f": 1, "lm_head": 0,
       **{f"transformer.h.{i}": i % 2 for i in range(4)}}  # fmt: skip
KINDS = ("cache", "scores", "circuit", "report", "effects", "examples", "means")

ONE = (
    ("cache", "--task", "ioi", "-n", "4", "--site", "blocks.*.attn.z", "--positions", "read"),
    ("attribute", "scores.jsonl", "--method", "exact", "--top", "20"),
    ("score", "neurons.jsonl", "--executor", "generic"),
    ("search", "cache.jsonl", "--method", "edge-pruning", "--steps", "2"),
    ("search", "cache.jsonl", "--method", "optimal", "--steps", "2"),
    ("patch", "cache.jsonl", "--site", "z", "--by", "layer,head"),
    ("patch", "cache.jsonl", "--site", "transformer.h.*:output", "--by", "site"),
)
TWO = (
    ("attribute", "cache.jsonl", "--method", "eap"),
    ("attribute", "cache.jsonl", "--method", "nap", "--level", "site"),
    ("score", "circuit.jsonl"),
    ("patch", "cache.jsonl", "--site", "resid_post", "--by", "layer"),
    ("patch", "cache.jsonl", "--site", "transformer.h.*:output", "--by", "site"),
)


@pytest.fixture
def piped(mi: Session) -> None:
    mi("cache", "--task", "ioi", "-n", "4", "-o", "cache.jsonl").ok()
    mi("attribute", "cache.jsonl", "--method", "eap", "-o", "scores.jsonl").ok()
    mi("prune", "scores.jsonl", "--top", "60", "-o", "circuit.jsonl").ok()
    mi("attribute", "cache.jsonl", "--method", "eap", "--level", "neuron", "-o", "all.jsonl").ok()
    mi("prune", "all.jsonl", "--top", "50", "-o", "neurons.jsonl").ok()


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for key in sorted(value):
            yield from numbers(value[key])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from numbers(each)
    elif isinstance(value, int | float):
        yield float(value)


Made = tuple[np.ndarray, str]


def made(mi: Session, *words: str, dtype: str = "float64") -> Made:
    """All numbers that a command writes, and the kind of device that it ran on."""
    mi(*words, "--dtype", dtype, "--fresh", "-o", "made.jsonl").ok()
    found = stream.read("made.jsonl", KINDS)
    held = [blobs.load(found, name) for name in found.blobs]
    arrays = [np.nan_to_num(part[key].astype(float)).ravel() for part in held for key in sorted(part)]
    return np.concatenate([[*numbers(found.records)], *arrays]), found.head["chain"][-1]["env"]["device"]


def same(commands: Sequence[Sequence[str]], there: Sequence[Made], here: Sequence[Made]) -> None:
    for words, (found, gpu), (wanted, processor) in zip(commands, there, here, strict=True):
        assert (processor, gpu) == ("cpu", "cuda")
        assert wanted.size
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9, err_msg=" ".join(words))


def test_on_one_gpu(mi: Session, piped: None, monkeypatch: pytest.MonkeyPatch) -> None:
    here = [made(mi, *words) for words in ONE]
    with machine(1, monkeypatch):
        there = [made(mi, *words, "--device", "cuda:0") for words in ONE]
    same(ONE, there, here)


def test_on_an_apple_gpu(mi: Session, piped: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    commands = (("attribute", "cache.jsonl"), ("score", "circuit.jsonl"), ("patch", "cache.jsonl", *ONE[-2][2:]))
    here = [made(mi, *words, dtype="float32") for words in commands]
    with machine(0, monkeypatch):
        there = [made(mi, *words, "--device", "mps", dtype="float32") for words in commands]
        refused = mi("score", "circuit.jsonl", "--device", "mps", "--dtype", "float64")
    for (found, gpu), (wanted, processor) in zip(there, here, strict=True):
        assert (processor, gpu) == ("cpu", "mps")
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    assert (refused.code, refused.out) == (2, b"")
    assert "mps has no float64" in refused.err


def test_on_two_gpus(mi: Session, piped: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers would read each weight to its GPU, which nothing here can pretend: they are moved once they are
    read."""
    here = [made(mi, *words) for words in TWO]
    Path("map.json").write_text(json.dumps(MAP))
    monkeypatch.setattr(spread, "options", lambda _: {})
    places = {name: f"cuda:{number}" for name, number in MAP.items()}
    monkeypatch.setattr(spread, "check", lambda module, _: accelerate.dispatch_model(module, device_map=places))
    with machine(2, monkeypatch):
        there = [made(mi, *words, "--device-map", "map.json") for words in TWO]
    same(TWO, there, here)

"""Where memory runs out: every command goes on with less at once, says so once, records it, and the result is the same.

The machine is a pretended one, on which only so many rows fit in one run of the model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi.core import identities
from mi.core.exact import _Base as Patched
from mi.core.fast import FastExecutor
from mi.core.gated import Gates
from mi.core.qk_fix import QKFix
from mi.core.resume import Resume
from mi.core.sitewise.trace import Tracer
from mi.io import blobs, stream
from mi.io.stream import Stream
from tests.cli.conftest import Session
from tests.cli.test_modules import model, saved, tensors_of
from tests.examples import random_examples
from tests.models import Shape, random_model
from tests.site_models import Case

__all__ = ["model", "saved", "tensors_of"]
FULL = "[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"
SAME = 1e-5  # of the largest number
EXACT = ("attribute", "cache.jsonl", "--method", "exact", "--level", "node")
COMMANDS: dict[str, tuple[str, ...]] = {
    "cache": ("cache", "-m", "model", "--data", "pairs.jsonl", "--site", "blocks.1.attn.z"),
    "means": ("cache", "-m", "model", "--data", "pairs.jsonl", "--means"),
    "filter": ("data", "filter", "cache.jsonl", "-m", "model"),
    "eap-ig": ("attribute", "cache.jsonl"),
    "activations": ("attribute", "cache.jsonl", "--method", "eap-ig-activations", "--steps", "2"),
    "atp-star": ("attribute", "cache.jsonl", "--method", "atp-star"),
    "relp": ("attribute", "cache.jsonl", "--method", "relp"),
    "ifr": ("attribute", "cache.jsonl", "--method", "ifr"),
    "exact": EXACT,
    "search": ("search", "cache.jsonl", "--method", "subnetwork-probing", "--steps", "3"),
    "patch": ("patch", "cache.jsonl", "--site", "z", "--by", "layer,head"),
    "score": ("score", "scores.jsonl"),
}
OF_MODULES: dict[str, tuple[str, ...]] = {
    "cache": ("cache", "data.jsonl", "-m", "model", "--site", "**.1:output", "--metric", "class-prob"),
    "patch": ("patch", "sites.jsonl", "--split", "all"),
    "nap": ("attribute", "sites.jsonl", "--method", "nap", "--split", "all"),
    "activations": ("attribute", "sites.jsonl", "--split", "all", "--method", "eap-ig-activations", "--steps", "2"),
}


@pytest.fixture
def data(mi: Session) -> None:
    """A model, eight examples of one length in each split, their cache and their scores."""
    random_model("gpt2", 0, Shape()).save_pretrained("model")
    drawn = random_examples(np.random.default_rng(0), 16, 29, (6,))
    rows = [
        {
            "id": f"e{place}",
            **{part: list(getattr(e, part)) for part in ("clean", "corrupted", "answers", "foils")},
            "split": ("train", "validation")[place % 2],
        }
        for place, e in enumerate(drawn)
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mi("cache", "-m", "model", "--data", "pairs.jsonl", "-o", "cache.jsonl").ok()
    mi("attribute", "cache.jsonl", "--method", "eap", "-o", "scores.jsonl").ok()


def fits(n: int, most: int) -> None:
    if n > most:
        raise RuntimeError(FULL)


def limit(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """No run has more rows than this, whether it runs from the start, from a block, under gates, or of heads alone."""
    run, finish, logits, wide = FastExecutor.run, Resume.finish, Gates.logits, QKFix._wide
    change, trace = Patched._change, Tracer._trace

    def running(self: FastExecutor, ids: Any, *rest: Any) -> Any:
        fits(len(ids), most)
        return run(self, ids, *rest)

    def finishing(self: Resume, hidden: Any, *rest: Any) -> Any:
        fits(len(hidden), most)
        return finish(self, hidden, *rest)

    def gated(self: Gates, prepared: Any, *rest: Any) -> Any:
        fits(len(prepared.batch), most)
        return logits(self, prepared, *rest)

    def widened(self: QKFix, sources: Sequence[int]) -> Any:
        fits(len(sources) * len(self._stream[0]), most)
        return wide(self, sources)

    def changed(self: Patched, patches: Any) -> Any:
        fits(len(patches) * len(self._batch), most)
        return change(self, patches)

    def traced(self: Tracer, inputs: Any, *rest: Any) -> Any:
        fits(len(next(iter(inputs.values()))), most)
        return trace(self, inputs, *rest)

    monkeypatch.setattr(identities, "check", lambda *_: None)  # a few rows of one token, when the model is loaded
    monkeypatch.setattr(FastExecutor, "run", running)
    monkeypatch.setattr(Resume, "finish", finishing)
    monkeypatch.setattr(Gates, "logits", gated)
    monkeypatch.setattr(QKFix, "_wide", widened)
    monkeypatch.setattr(Patched, "_change", changed)
    monkeypatch.setattr(Tracer, "_trace", traced)


def numbers(found: Stream) -> dict[str, Any]:
    """Every number that a stream holds, and what its records say besides."""
    made: dict[str, Any] = {}
    for place, record in enumerate(found.records):
        for key, value in record.items():
            made[f"{place} {key}"] = value
    for name in found.blobs:
        made |= {f"{name} {key}": np.asarray(array) for key, array in blobs.load(found, name).items()}
    return made


def recorded(value: Any) -> int:
    """How often something was halved, wherever the head says so."""
    if not isinstance(value, dict):
        return 0
    return max([int(value.get("halved", 0)), *(recorded(inner) for inner in value.values())])


def same(mi: Session, monkeypatch: pytest.MonkeyPatch, words: Sequence[str], most: int) -> None:
    kinds = ("cache", "examples", "scores", "circuit", "effects", "report", "means")
    mi(*words, "--batch-size" if words[0] == "search" else "--memory-budget", "8" if words[0] == "search" else "1GB",
       "-o", "whole.jsonl").ok()  # fmt: skip
    with monkeypatch.context() as patched:
        limit(patched, most)
        fresh = () if words[0] == "data" else ("--fresh",)
        done = mi(*words, *fresh, "-o", "halved.jsonl").ok()
    assert done.err.count("out of memory: batches of ") == 1, done.err
    whole, halved = (stream.read(path, kinds) for path in ("whole.jsonl", "halved.jsonl"))
    assert recorded({k: v for k, v in whole.head.items() if k != "chain"}) == 0
    assert recorded({k: v for k, v in halved.head.items() if k != "chain"}) > 0
    one, other = numbers(whole), numbers(halved)
    assert one.keys() == other.keys()
    unit = max((float(np.abs(v).max()) for v in one.values() if isinstance(v, (float, np.ndarray))), default=0.0)
    for key, value in one.items():
        if isinstance(value, (float, np.ndarray)):
            np.testing.assert_allclose(other[key], value, rtol=0, atol=SAME * unit, err_msg=key)
        elif "baseline" in key:
            assert list(other[key].values()) == pytest.approx(list(value.values()), abs=SAME * 10)
        else:
            assert other[key] == value


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_goes_on_with_less_at_once(
    mi: Session, data: None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    same(mi, monkeypatch, COMMANDS[name], 2)


@pytest.mark.parametrize("name", ["exact", "patch", "atp-star"])
def test_copies_of_one_example_are_halved_too(
    mi: Session, data: None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of one example leaves nothing to halve but the copies of it that run side by side."""
    same(mi, monkeypatch, (*COMMANDS[name], "--batch-size", "1"), 1)


@pytest.mark.parametrize("name", OF_MODULES)
def test_a_command_goes_on_with_fewer_sites_of_a_module_at_once(
    mi: Session, model: Case, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mi("data", "--from", "data.safetensors", "-o", "data.jsonl").ok()
    mi(*OF_MODULES["cache"], "-o", "sites.jsonl").ok()
    same(mi, monkeypatch, OF_MODULES[name], 2)


@pytest.mark.parametrize("name", ["exact", "patch", "cache", "score", "filter"])
def test_one_example_that_does_not_fit_is_an_error_that_says_what_helps(
    mi: Session, data: None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 0)
    done = mi(*COMMANDS[name], "-o", "none.jsonl")
    assert (done.code, done.out) == (4, b"")
    assert "out of memory with a batch of one example" in done.err
    assert "--memory-budget" in done.err
    assert "Traceback" not in done.err
    assert not Path("none.jsonl").exists()

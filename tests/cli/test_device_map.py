"""`--device-map`: commands on a model that is spread over what this machine has, the processor and a disk. What they
write holds the numbers of one device, here to the byte."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mi.core.team import Team, member
from mi.io import stream
from tests.cli.conftest import Done, Session
from tests.data_dir import shared

pytest.importorskip("accelerate")

MAP = {"transformer.wte": "cpu", "transformer.wpe": "disk", "transformer.drop": "cpu", "transformer.ln_f": "disk",
       "lm_head": "cpu", **{f"transformer.h.{i}": "disk" if i % 2 else "cpu" for i in range(4)}}  # fmt: skip


@pytest.fixture(autouse=True)
def written(mi: Session) -> None:
    Path("map.json").write_text(json.dumps(MAP))


def refused(done: Done, code: int, *parts: str) -> None:
    """One clear message, no output, no traceback."""
    assert (done.code, done.out) == (code, b""), done.err
    assert len(done.err.splitlines()) <= 2
    for part in parts:
        assert part in done.err


def made(mi: Session, *words: str) -> tuple[Sequence[Any], dict[str, Any]]:
    """What a command writes: its records, and the digests of its blobs."""
    mi(*words, "--fresh" if words[0] != "data" else "--quiet", "-o", "made.jsonl").ok()
    found = stream.read("made.jsonl", ("cache", "scores", "circuit", "report", "effects", "examples", "means"))
    return found.records, {name: blob.sha256 for name, blob in found.blobs.items()}


COMMANDS = (
    ("cache", "--task", "ioi", "-n", "4", "--site", "blocks.2.attn.z"),
    ("cache", "--task", "ioi", "-n", "4", "--means"),
    ("attribute", "cache.jsonl", "--steps", "2"),
    ("attribute", "cache.jsonl", "--method", "eap", "--executor", "generic"),
    ("attribute", "cache.jsonl", "--method", "eap", "--level", "neuron"),
    ("attribute", "cache.jsonl", "--method", "nap", "--level", "site"),
    ("attribute", "scores.jsonl", "--method", "exact", "--top", "20"),
    ("score", "circuit.jsonl"),
    ("search", "cache.jsonl", "--method", "ugs", "--steps", "2"),
    ("patch", "cache.jsonl", "--site", "resid_post", "--by", "layer"),
    ("patch", "cache.jsonl", "--site", "transformer.h.*:output", "--by", "site"),
    ("data", "filter", "cache.jsonl"),
)


def test_numbers_are_those_of_one_device(mi: Session) -> None:
    mi("cache", "--task", "ioi", "-n", "4", "-o", "cache.jsonl").ok()
    mi("attribute", "cache.jsonl", "--method", "eap", "-o", "scores.jsonl").ok()
    mi("prune", "scores.jsonl", "--top", "60", "-o", "circuit.jsonl").ok()
    for words in COMMANDS:
        here, there = (made(mi, *words, *flags) for flags in ((), ("--device-map", "map.json")))
        assert here == there, words
        assert here[0] or here[1]


def test_the_map_is_recorded_and_counts(mi: Session) -> None:
    """Another map is another run, and its file is an input."""
    words = ("cache", "--task", "ioi", "-n", "2", "--device-map", "map.json", "-o")
    mi(*words, "a.jsonl").ok()
    inputs = [one["name"] for one in stream.read("a.jsonl", ("cache",)).head["chain"][0]["inputs"]]
    assert "map.json" in inputs
    asked = "mi.core.model.load_located"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("mi.core.session.load_located", lambda *_, **__: pytest.fail(f"{asked} runs"))
        mi(*words, "b.jsonl").ok()
    Path("map.json").write_text(json.dumps({**MAP, "transformer.h.0": "disk"}))
    ran: list[object] = []
    with pytest.MonkeyPatch.context() as patched:
        from mi.core import session

        real = session.load_located
        patched.setattr(session, "load_located", lambda *a, **b: (ran.append(b["device_map"]), real(*a, **b))[1])
        mi(*words, "b.jsonl").ok()
    assert len(ran) == 1


@pytest.mark.parametrize("name", ["gpt2-tiny", "llama-tiny"])
def test_a_golden_model_by_accelerates_own_map(mi: Session, name: str) -> None:
    folder = shared("golden", name)
    lines = [{"clean": [1, 2, 3 + i, 4], "corrupted": [1, 5, 3 + i, 4], "answers": [7], "foils": [8]} for i in range(3)]
    Path("data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    mi("cache", "-m", folder, "--data", "data.jsonl", "-o", "cache.jsonl").ok()
    here, there = (
        made(mi, "attribute", "cache.jsonl", "--split", "all", *flags) for flags in ((), ("--device-map", "auto"))
    )
    assert here == there


@pytest.mark.parametrize(
    ("places", "code", "parts"),
    [
        (
            {k: v for k, v in MAP.items() if "ln_f" not in k},
            3,
            ["no device is given for transformer.ln_f.weight and 1 more"],
        ),
        ({"transformer.h.0": "disk"}, 3, ["no device is given for transformer", "more; a map names every module"]),
        ({"": "cpu", "transformer.g": "disk"}, 3, ["map.json: transformer.g is no module of the model"]),
        ({"": 0}, 3, ["map.json: the model is to be on 0, and cuda:0 is not there"]),
        ({"lm_head": "cuda:1", "": "cpu"}, 3, ["map.json: lm_head is to be on 'cuda:1'", "is not there"]),
        ({"": "tpu"}, 3, ["no device 'tpu'; devices are 0, 1, …, cpu and disk"]),
        ({"": -1}, 3, ["no map of devices"]),
        ({"": True}, 3, ["no map of devices"]),
        ([], 3, ["no map of devices"]),
    ],
)
def test_maps_that_do_not_fit(mi: Session, places: object, code: int, parts: list[str]) -> None:
    Path("map.json").write_text(json.dumps(places))
    refused(mi("cache", "--task", "ioi", "-n", "2", "--device-map", "map.json"), code, *parts)


@pytest.mark.parametrize("command", ["attribute", "score", "search", "patch", "cache", "data filter"])
def test_flags_that_say_something_else(mi: Session, command: str) -> None:
    """Refused before anything is read."""
    words = (*command.split(), "nothing.jsonl", "--device-map")
    refused(mi(*words, "auto", "--device", "cpu"), 2, "--device-map and --device both say where")
    refused(mi(*words, "sideways"), 2, "sideways is no file, and no way to spread a model")
    with member(type("Two", (Team,), {"size": 2})()):
        refused(mi(*words, "auto"), 2, "--device-map is of one process")

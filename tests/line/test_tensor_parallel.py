"""A model that two processes hold together: real processes, gloo, and transformers' own plans."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi.io import blobs, stream
from tests.data_dir import CHECKOUT
from tests.families.models import random_model
from tests.line.conftest import Session
from tests.line.test_torchrun import environment
from tests.ports import free_ports

SAME = 1e-6  # of the largest number, in float64; some of transformers' own modules compute in float32
VOCABULARY = 30  # some versions of transformers cut none in parts of two sizes
MEASURED = ("baseline", "sha256")
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
# Grouped heads; norms after, caps and a tied embedding; q, k and v in one, head by head; in one, gathered and then
# taken apart; experts.
FAMILIES = {"llama": {}, "gemma2": HEADS, "neox": {}, "phi3": {}, "mixtral": {}}
SITES = ("blocks.1.attn.z", "model.layers.1.mlp.act_fn:output", "model.layers.0.self_attn.k_proj:output")


def commands(name: str) -> list[list[str]]:
    """What to run on the model of a family; ``DIR`` is where results go, ``IN`` the folder of what several read."""
    of_model = ["--dtype", "float64", "--fresh", "-q"]
    made = [
        ["attribute", f"IN/{name}.cache.jsonl", "-o", f"DIR/{name}.eap-ig.jsonl", *of_model],
        ["score", f"IN/{name}.circuit.jsonl", "-o", f"DIR/{name}.report.jsonl", *of_model],
    ]
    if name != "llama":
        return made
    sites = [word for site in SITES for word in ("--site", site)]
    data = ["--data", "IN/ids.jsonl", "-m", "IN/llama"]
    few = ["attribute", "IN/llama.scores.jsonl", "--method", "exact", "--top", "40", *of_model]
    eap = ["attribute", "IN/llama.cache.jsonl", "--method", "eap", *of_model]
    return [
        ["attribute", "--method", "relp", "-o", "DIR/llama.relp.jsonl", *of_model],  # from standard input
        ["cache", *data, *sites, "-o", "DIR/llama.cache.jsonl", *of_model],
        [*few, "-o", "DIR/llama.exact.jsonl"],
        [*eap, "--kv", "grouped", "-o", "DIR/llama.grouped.jsonl"],
        [*eap[:2], "--method", "eap-ig-activations", *of_model, "-o", "DIR/llama.activations.jsonl"],
        [*eap, "--executor", "generic", "-o", "DIR/llama.traced.jsonl"],
        [
            "search",
            "IN/llama.cache.jsonl",
            "--method",
            "acdc",
            "--tau",
            "0.05",
            "-o",
            "DIR/llama.acdc.jsonl",
            *of_model,
        ],
        ["patch", "IN/llama.cache.jsonl", "-o", "DIR/llama.patch.jsonl", *of_model],
        *made,
    ]


def placed(words: list[str], folder: str) -> list[str]:
    return [word.replace("DIR", folder).replace("IN/", "") for word in words]


def write_ids(path: str) -> None:
    rng = np.random.default_rng(0)
    with open(path, "w") as file:
        for _ in range(6):
            clean = rng.integers(VOCABULARY, size=6).tolist()
            corrupted = [*clean[:2], (clean[2] + 3) % VOCABULARY, *clean[3:]]
            row = {"clean": clean, "corrupted": corrupted, "answers": [7, 20], "foils": [15], "read": 4}
            file.write(json.dumps(row) + "\n")


@pytest.mark.torch_process(2)
def test_two_processes_hold_a_model_together(mi: Session, torch_process: Callable[[int], None]) -> None:
    """Their numbers are those of one that holds it alone, and what one cannot do ends both."""
    write_ids("ids.jsonl")
    for name, options in FAMILIES.items():
        random_model(name, 3, vocab_size=VOCABULARY, **options).save_pretrained(name)
        mi("cache", "--data", "ids.jsonl", "-m", name, "-o", f"{name}.cache.jsonl").ok()
        mi("attribute", f"{name}.cache.jsonl", "-o", f"{name}.scores.jsonl").ok()
        mi("prune", f"{name}.scores.jsonl", "--top", "60", "-o", f"{name}.circuit.jsonl").ok()
    together = [[*placed(words, "both"), "--tensor-parallel"] for name in FAMILIES for words in commands(name)]
    failing = ["attribute", "llama.cache.jsonl", "-o", "both/none.jsonl", "--tensor-parallel", "--fresh", "-q"]
    asked = [*((words, False) for words in together), (failing, True)]
    plan = [[port, words, breaks] for port, (words, breaks) in zip(free_ports(len(asked)), asked, strict=True)]
    Path("both").mkdir()
    torch_process(2)
    started = []
    for rank in range(2):
        here = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        words = [sys.executable, str(CHECKOUT / "tests" / "line" / "in_step.py"), json.dumps(plan)]
        piped = open("llama.cache.jsonl", "rb") if rank == 0 else subprocess.DEVNULL  # noqa: SIM115
        env = environment(MASTER_ADDR="127.0.0.1", **here)
        started.append(subprocess.Popen(words, stdin=piped, stdout=-1, stderr=-1, env=env))
    Path("alone").mkdir()
    for name in FAMILIES:
        for words in commands(name):
            piped_in = Path("llama.cache.jsonl").read_bytes() if "--method" in words[:2] else None
            mi(*placed(words, "alone"), stdin=piped_in).ok()
    said = [process.communicate(timeout=400) for process in started]
    assert [process.returncode for process in started] == [4, 4], said
    assert said[0][1].decode().splitlines() == ["mi attribute: the score of m0 is nan; look at the weights"]
    assert said[1] == (b"", b"")
    names = {path.name for path in Path("alone").glob("*.jsonl")}
    assert names == {path.name for path in Path("both").glob("*.jsonl")}, "nothing is written that failed"
    for name in sorted(names):
        check(name)


def check(name: str) -> None:
    """One result of both processes against that of one."""
    both, alone = (stream.read(f"{folder}/{name}", ()) for folder in ("both", "alone"))
    said = next(both.head[part] for part in ("scoring", "caching", "patching", "attribution") if part in both.head)
    assert said["tensor_parallel"] == 2
    assert both.head["chain"][-1]["argv"] == alone.head["chain"][-1]["argv"]
    assert [as_is(record) for record in both.records] == [as_is(record) for record in alone.records]
    for found, wanted in zip(both.records, alone.records, strict=True):
        for key, value in wanted.items():
            if isinstance(value, float) or key == "baseline":
                assert found[key] == pytest.approx(value, abs=SAME), f"{name}: {key}"
    for blob in alone.blobs:
        tensors, as_alone = blobs.load(both, blob), blobs.load(alone, blob)
        assert tensors.keys() == as_alone.keys()
        for key, values in as_alone.items():
            largest = np.nanmax(np.abs(values))
            np.testing.assert_allclose(tensors[key], values, rtol=0, atol=SAME * largest, err_msg=f"{name}: {key}")


def as_is(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of a record is no measured number."""
    return {key: value for key, value in record.items() if not isinstance(value, float) and key not in MEASURED}

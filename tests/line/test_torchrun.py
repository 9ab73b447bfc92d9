"""mi attribute under torchrun: real processes and gloo."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mi.io import blobs, stream
from tests.data_dir import CHECKOUT
from tests.line.conftest import Session
from tests.ports import free_ports

SAME = 1e-6  # of the largest score


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", **more}


@pytest.mark.torch_process(3)
def test_two_processes_give_the_scores_of_one(mi: Session, torch_process: Callable[[int], None]) -> None:
    """With means that all must agree on; the stream comes through a pipe, which only the first may read."""
    flags = ("--method", "eap", "--ablation", "mean")
    mi("data", "ioi", "-n", "7", "-o", "examples.jsonl").ok()
    mi("attribute", "examples.jsonl", *flags, "-o", "alone.jsonl").ok()
    torch_process(3)
    line = f"cat examples.jsonl | {sys.executable} -m torch.distributed.run --standalone --nproc-per-node 2 -m mi"
    words = ["bash", "-c", f"{line} attribute {' '.join(flags)}"]
    done = subprocess.run(words, capture_output=True, env=environment(), timeout=400)
    assert done.returncode == 0, done.stderr.decode()
    Path("both.jsonl").write_bytes(done.stdout)
    both, alone = (stream.read(name, ("scores",)) for name in ("both.jsonl", "alone.jsonl"))
    found, wanted = blobs.load(both, "scores"), blobs.load(alone, "scores")
    for key, values in wanted.items():
        np.testing.assert_allclose(found[key], values, rtol=0, atol=SAME * np.abs(values).max())
    said = both.head["attribution"]
    assert (said["ranks"], said["n"], sum(size * count for size, count in said["plan"])) == (2, 7, 7)
    assert both.head["chain"][-1]["argv"] == alone.head["chain"][-1]["argv"]


@pytest.mark.torch_process(2)
def test_what_one_cannot_do_ends_both(mi: Session, torch_process: Callable[[int], None]) -> None:
    """One message, from the first; one exit code; nothing written."""
    mi("data", "ioi", "-n", "4", "-o", "examples.jsonl").ok()
    port = str(free_ports(1)[0])
    torch_process(2)
    both = []
    for rank, device in enumerate(("cpu", "xpu")):
        here = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        env = environment(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, MI_DEVICE=device, **here)
        words = [sys.executable, "-m", "mi", "attribute", "examples.jsonl", "-o", "scores.jsonl"]
        both.append(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=-1, stderr=-1, env=env))
    said = [process.communicate(timeout=400) for process in both]
    assert [process.returncode for process in both] == [2, 2], said
    assert said[0][1].decode().splitlines() == [
        "mi attribute: device 'xpu' is not supported; devices are auto, cpu, cuda, cuda:N, mps"
    ]
    assert said[1] == (b"", b"")
    assert not Path("scores.jsonl").exists()

"""The main line as a user has it: a small random model and its streams in a folder, a real shell, and no torch by
mistake.

`mi` runs a command in this process; `sh` runs a line of bash in which `mi` is this checkout's. A process started by
`sh` may not import torch unless the test says how many do, and then `torch_process` counts them. What torch would
compute is in the store already (`made` computed it in this process), so most processes only look it up.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import numpy as np
import pytest

from mi import embedded
from mi.__main__ import main
from tests.cli.conftest import Done, Session

NO_TORCH = 99  # exit code of a process that was told not to import torch, and did

# Imported by every Python that has its folder on PYTHONPATH.
GUARD = f"""
import os, socket, sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "nnsight"):
            os.write(2, b"this process imports " + name.encode() + b"\\n")
            os._exit({NO_TORCH})

def offline(*words, **more):
    raise OSError("no network in this test")

if os.environ.get("MI_TEST_TORCH") != "1":
    sys.meta_path.insert(0, NoTorch())
    from mi.io import source

    source.PATIENCE = 600  # a busy machine may keep stdin waiting although nobody computes
socket.socket.connect = socket.getaddrinfo = offline
"""


def tiny(folder: Path, seed: int = 0, layers: int = 2) -> None:
    """A GPT-2 of two layers with random weights and the embedded tokenizer, as a Hugging Face folder."""
    from transformers.utils import logging

    from tests.models import Shape, random_model

    logging.disable_progress_bar()
    source = embedded.path("default")
    words = json.loads((source / "tokenizer.json").read_text())["model"]["vocab"]
    shape = Shape(n_layers=layers, n_heads=2, d_head=4, d_mlp=24, vocabulary=len(words))
    random_model("gpt2", seed, shape).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder / name)


def write_ids(path: str | Path, seed: int = 0, n: int = 12, length: int = 6, **more: Any) -> None:
    """A plain data file: token ids, no split, and a metric that is read before the end."""
    rng = np.random.default_rng(seed)
    with open(path, "w") as f:
        for _ in range(n):
            clean = rng.integers(5, 200, size=length).tolist()
            corrupted = [*clean[:2], int(rng.integers(200, 400)), *clean[3:]]
            row = {"clean": clean, "corrupted": corrupted, "answers": [7, 8], "foils": [9], "read": 4, **more}
            f.write(json.dumps(row) + "\n")


@contextmanager
def nobody_writes() -> Iterator[None]:
    """Standard input is /dev/null."""
    saved = os.dup(0)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    try:
        yield
    finally:
        os.dup2(saved, 0)
        os.close(saved)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models `model`, `new` (other weights) and `other` (another graph), the data file `ids.jsonl`,
    every stream of the line, and the `store` that computing them left behind."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MI_STORE", "store")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for name in ("MI_MODEL", "MI_DEVICE", "MI_DTYPE", "MI_BATCH_SIZE"):
            patch.delenv(name, raising=False)
        tiny(Path("model"))
        tiny(Path("new"), seed=1)
        tiny(Path("other"), layers=3)
        write_ids("ids.jsonl")
        for line in (
            "data ioi -n 6 -m model -o ioi.jsonl",
            "cache -m model ioi.jsonl -o cache.jsonl -q",
            "attribute cache.jsonl -o scores.jsonl -q",
            "prune scores.jsonl --percent 60 -o circuit.jsonl -q",
            "score circuit.jsonl -o report.jsonl -q",
            "score scores.jsonl -o curve.jsonl -q",
            "cache -m model -n 3 -o started.jsonl -q",
        ):
            with nobody_writes():
                assert main(line.split()) == 0, line
    shutil.rmtree(folder / "cache", ignore_errors=True)
    return folder


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which is empty."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def here(made: Path, own_store: Path, folder: Path) -> Path:
    """The working directory, which holds a copy of `made`; its store is in place."""
    shutil.copytree(made, folder, ignore=shutil.ignore_patterns("store"), dirs_exist_ok=True)
    shutil.copytree(made / "store", own_store)
    return folder


@pytest.fixture
def mi(capfdbinary: pytest.CaptureFixture[bytes], folder: Path) -> Session:
    """Run commands in this process."""
    return Session(capfdbinary)


Shell = Callable[..., Done]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables that put this checkout's `mi` on the path, and the guard before every Python."""
    root = tmp_path_factory.mktemp("programs")
    (root / "guard").mkdir()
    (root / "guard" / "sitecustomize.py").write_text(GUARD)
    (root / "bin").mkdir()
    program = root / "bin" / "mi"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mi "$@"\n')
    program.chmod(0o755)
    checkout = str(Path(__file__).resolve().parent.parent.parent)
    return {
        "PATH": f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{root / 'guard'}{os.pathsep}{checkout}",
    }


Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(programs: dict[str, str], torch_process: Callable[[int], None]) -> Iterator[Start]:
    """`start("mi", "cache", torch=1, stdin=PIPE)`: a process that ends with the test; no torch unless asked for."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*words: str, torch: int = 0, env: Mapping[str, str] | None = None, **options: Any) -> Any:
        if torch:
            torch_process(torch)
        variables = {**os.environ, **programs, "MI_TEST_TORCH": "1" if torch else "0", **(env or {})}
        variables.pop("PYTHONUNBUFFERED", None)  # as users have it: a full disk is met when the buffer is flushed
        options = {"stdin": DEVNULL, "stdout": PIPE, "stderr": PIPE, **options}
        started.append(subprocess.Popen(words, env=variables, **options))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def sh(start: Start) -> Shell:
    """`sh("mi cache | mi attribute", torch=2)`: a line of bash."""

    def run(line: str, torch: int = 0, **options: Any) -> Done:
        process = start("bash", "-c", line, torch=torch, **options)
        out, err = process.communicate(timeout=400)
        return Done(process.returncode, out or b"", err.decode())

    return run


def refused(done: Done, code: int, *parts: str) -> str:
    """One message of one or two lines, nothing on stdout, no traceback. Returns the message."""
    assert (done.code, done.out) == (code, b""), (done.code, done.err)
    lines = done.err.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(("mi ", "mi:"))]
    assert starts, done.err
    message = "\n".join(lines[starts[-1] :])
    assert len(lines[starts[-1] :]) <= 2, message
    for word in ("Traceback", "Exception ignored", "unexpected", "MI_TRACEBACK"):
        assert word not in done.err
    for part in parts:
        assert part in message, message
    return message

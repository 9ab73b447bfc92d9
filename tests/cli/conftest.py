"""Commands as a user runs them: words and standard input in; exit code, standard output and messages out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mi.__main__ import main


@dataclass(frozen=True)
class Done:
    """What one command left behind."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    def ok(self) -> Done:
        assert self.code == 0, self.err
        return self


class Session:
    """`mi("prune", "scores.jsonl")` in this process, with real file descriptors."""

    def __init__(self, capture: Any) -> None:
        self.capture = capture

    def __call__(self, *words: str | Path, stdin: bytes | None = None) -> Done:
        self.capture.readouterr()
        with self._stdin(stdin):
            code = main([str(word) for word in words])
        out, err = self.capture.readouterr()
        return Done(code, out, err.decode())

    def _stdin(self, data: bytes | None) -> Any:
        return _Stdin(data)


class _Stdin:
    """File descriptor 0 is a pipe that holds `data`, or /dev/null."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data

    def __enter__(self) -> None:
        self.saved = os.dup(0)
        if self.data is None:
            source = os.open(os.devnull, os.O_RDONLY)
        else:
            source = (
                os.memfd_create("stdin")
                if hasattr(os, "memfd_create")
                else os.open("stdin.bytes", os.O_RDWR | os.O_CREAT)
            )
            os.write(source, self.data)
            os.lseek(source, 0, os.SEEK_SET)
        os.dup2(source, 0)
        os.close(source)

    def __exit__(self, *error: object) -> None:
        os.dup2(self.saved, 0)
        os.close(self.saved)


@pytest.fixture
def mi(capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Run commands in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    return Session(capfdbinary)

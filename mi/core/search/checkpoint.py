"""A search's state in a file, so that one that was killed goes on where it was and ends with the same result.

Flows in: named arrays. Flows out: one safetensors file, replaced whole; and the arrays again, if the file is of the
same search: one with the same flags, examples, weights and library versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mi.core.team import current
from mi.errors import MiError
from mi.io import atomic, tensors

State = dict[str, np.ndarray]
KEY = "search"  # sha256 of what the state belongs to, as bytes


@dataclass(frozen=True)
class Checkpoint:
    """Where a search keeps its state, and after how many steps it does so. No path: nowhere."""

    path: str | None = None
    every: int = 50
    of: str = ""  # digest of all that the search depends on
    on_resumed: Callable[[int], None] = lambda step: None

    def load(self) -> State | None:
        """The state of a search that was stopped; None where there is no file.

        Raises:
            MiError: the file is damaged, or of another search.
        """
        if self.path is None or not Path(self.path).exists():
            return None
        state = {name: np.array(array) for name, array in tensors.unpack(_bytes(self.path), self.path).items()}
        if bytes(state.pop(KEY, np.zeros(0, dtype=np.uint8))).hex() != self._digest().hex():
            raise MiError(
                "the checkpoint is of another search: other flags, examples, weights or versions",
                "name another file, or remove it to start over",
                place=self.path,
            )
        self.on_resumed(int(state["step"]))
        return state

    def save(self, step: int, state: Callable[[], Mapping[str, np.ndarray]], force: bool = False) -> None:
        """Keep the state after ``step`` steps, where it is time to."""
        if self.path is None or not current().leads or not (force or step % self.every == 0):
            return
        key = np.frombuffer(self._digest(), dtype=np.uint8)
        whole = {**state(), "step": np.array(step, dtype=np.int64), KEY: key}
        with atomic.file(self.path) as f:
            for chunk in tensors.pack("checkpoint", whole).chunks():
                f.write(chunk)

    def _digest(self) -> bytes:
        return hashlib.sha256(self.of.encode()).digest()


NOWHERE = Checkpoint()


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise MiError(f"cannot be read: {error.strerror}", place=path) from error

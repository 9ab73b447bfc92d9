"""Streams in a notebook: a path in, an `Artifact` out, whose tensors are read (and verified) when they are asked for.

acts = mi.load("acts.jsonl")
acts.numpy("blocks.3.attn.z")
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mi.errors import MiError
from mi.io import blobs, stream
from mi.io.tensors import BF16

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Artifact:
    """A verified stream. `names()` lists its tensors, `numpy(name)` reads one."""

    stream: stream.Stream = field(repr=False)

    @property
    def head(self) -> dict[str, Any]:
        return self.stream.head

    @property
    def records(self) -> list[dict[str, Any]]:
        return self.stream.records

    @property
    def kind(self) -> str:
        return self.stream.kind

    def names(self) -> list[str]:
        """Every tensor, as `blob/key` where two blobs have the same key, else as `key`."""
        keys = [(blob.name, key) for blob in self.stream.blobs.values() for key in blob.tensors]
        plain = [key for _, key in keys]
        return [key if plain.count(key) == 1 else f"{blob}/{key}" for blob, key in keys]

    def numpy(self, name: str) -> np.ndarray:
        """One tensor by its key (`blocks.3.attn.z`, `edge`) or as `blob/key`. bfloat16 comes as float32, exactly."""
        blob, key = self._find(name)
        array = blobs.load(self.stream, blob)[key]
        return array.float32() if isinstance(array, BF16) else array

    def _find(self, name: str) -> tuple[str, str]:
        """Blob and key of the one tensor that a name means: a key, `blob/key`, or a blob that holds one tensor."""
        found = [
            (blob.name, key)
            for blob in self.stream.blobs.values()
            for key in blob.tensors
            if name in (key, f"{blob.name}/{key}")
        ]
        if not found and name in self.stream.blobs and len(self.stream.blobs[name].tensors) == 1:
            found = [(name, next(iter(self.stream.blobs[name].tensors)))]
        if len(found) != 1:
            there = ", ".join(self.names()) or "none"
            fact = f"no tensor is called {name}" if not found else f"{len(found)} tensors are called {name}"
            raise MiError(fact, f"tensors here: {there}", place=self.stream.origin)
        return found[0]

    def __repr__(self) -> str:
        return f"Artifact({self.stream.origin!r}, {self.kind}, {len(self.records)} records, tensors: {self.names()})"


def load(path: str | os.PathLike[str]) -> Artifact:
    """Read a stream of any kind and verify every byte of it."""
    return Artifact(stream.read(os.fspath(path), ()))

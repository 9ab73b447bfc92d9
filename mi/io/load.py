"""Streams as objects: an `Artifact`, whose tensors are read (and verified) when they are asked for.

`mi.load` in a notebook gives one with more to it: `mi.show.notebook`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mi.errors import MiError
from mi.io import blobs, stream
from mi.io.tensors import BF16, Array

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
        array = self.array(name)
        return array.float32() if isinstance(array, BF16) else array

    def array(self, name: str) -> Array:
        """The same as it is stored: bfloat16 as its bits."""
        blob, key = self._find(name)
        return blobs.load(self.stream, blob)[key]

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
        held = f"{len(self.records)} records, tensors: {self.names()}"
        return f"{type(self).__name__}({self.stream.origin!r}, {self.kind}, {held})"

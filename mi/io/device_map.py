"""How a model is to be spread over devices: the word or the file of ``--device-map`` in, a :class:`DeviceMap` out.

What there is of devices, and of modules, is not looked at here: that is known when the model is loaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mi.errors import MiError, UsageError
from mi.io import canonical

WORDS = ("auto", "balanced", "balanced_low_0", "sequential")


@dataclass(frozen=True)
class DeviceMap:
    """A word of accelerate's, or where each module goes; ``name`` is the word, or the file's name."""

    name: str
    places: tuple[tuple[str, int | str], ...] = ()
    sha256: str = ""  # of the file

    @property
    def digest(self) -> str:
        """Of what it says, not of how a file is written."""
        return canonical.sha256(canonical.dumps([list(place) for place in self.places] or self.name))

    def inputs(self) -> list[Mapping[str, Any]]:
        """The file, as an input of a chain's link."""
        return [{"name": self.name, "sha256": self.sha256}] if self.sha256 else []


def read(asked: str) -> DeviceMap:
    """
    Raises:
        UsageError: neither a word that accelerate knows nor a file.
        MiError: the file is no map.
    """
    if asked in WORDS:
        return DeviceMap(asked)
    path = Path(asked)
    if not path.is_file():
        raise UsageError(
            f"--device-map {asked} is no file, and no way to spread a model", f"ways are {', '.join(WORDS)}"
        )
    name = os.path.relpath(path).replace(os.sep, "/")
    try:
        data = path.read_bytes()
        found = json.loads(data)
    except OSError as error:
        raise MiError(f"cannot be read: {error.strerror or error}", place=name) from None
    except (ValueError, RecursionError) as error:
        raise MiError(f"no JSON: {error}", place=name) from None
    if not isinstance(found, dict) or not found or not all(_is_place(value) for value in found.values()):
        raise MiError("no map of devices", 'it says {"model.layers.0": 0, "model.layers.1": "disk", …}', place=name)
    return DeviceMap(name, tuple(found.items()), canonical.sha256(data))


def _is_place(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)

"""The models that ship with the package. In: a name. Out: the folder, in the Hugging Face layout."""

from __future__ import annotations

from pathlib import Path

from mi.errors import MiError

NAMES = ("default", "planted")


def path(name: str) -> Path:
    if name not in NAMES:
        raise MiError(f"no embedded model {name!r}", f"embedded models are {', '.join(NAMES)}")
    return Path(__file__).parent / name

"""Where a model lies: an embedded name, a folder or a hub id in; its folder and how a stream names it out.

No torch: light commands, and a command that only looks its result up in the store, need no more than this.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mi.errors import MiError
from mi.io.digests import folder_digest, model_files

DEFAULT = "default"
_FUNCTION = re.compile(r"(?P<file>.+\.py):(?P<name>\w+)")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_TEXT = ["*.json", "*.model", "*.txt", "*.jinja", "*.py"]  # config, tokenizer, and code, which only a flag runs


@dataclass(frozen=True)
class Located:
    """``id`` and ``revision`` are what a stream records: never an absolute path.

    ``code`` is set where the model is no folder but what a function returns, ``model.py:build``: the file lies in
    ``folder``, and beside it the weights, ``model.safetensors``.
    """

    id: str
    revision: str | None
    folder: Path
    code: str | None = None
    whole: bool = True  # whether its weights are here, and part of its identity

    @property
    def source(self) -> Path:
        """The Python file of a model that is what a function returns."""
        assert self.code is not None
        return self.folder / self.code.rpartition(":")[0]

    @property
    def function(self) -> str:
        assert self.code is not None
        return self.code.rpartition(":")[2]

    def files(self) -> list[str]:
        """Names of the files that the model is made of, weights, config, tokenizer and code."""
        if self.code is None:
            return model_files(self.folder, self.whole)
        both = (self.source, self.source.with_suffix(".safetensors"))
        return sorted(path.name for path in both if path.is_file())

    def digest(self) -> str:
        """The model's identity: sha256 over the names and digests of its files."""
        return folder_digest(self.folder, self.files())

    def config(self) -> dict[str, Any]:
        """The model's config.json."""
        if self.code is not None:
            return {"model_type": self.function}
        path = self.folder / "config.json"
        try:
            config = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise MiError(f"{self.id} has no config.json", "name a Hugging Face model folder", place="-m") from None
        except (OSError, ValueError) as error:
            raise MiError(f"{self.id}/config.json cannot be read: {error}", place="-m") from None
        if not isinstance(config, dict):
            raise MiError(f"{self.id}/config.json is not an object", place="-m")
        return config


def locate(
    ref: str | None, revision: str | None = None, *, allow_pickle: bool = False, weights: bool = True
) -> Located:
    """Find a model; a hub model is fetched if it is not in the hub's own cache: without ``weights``, its text only.

    Raises:
        MiError: there is no such model, or the hub cannot be reached.
    """
    from mi import embedded

    ref = ref or DEFAULT
    if ref in embedded.NAMES:
        if revision is not None:
            raise MiError(f"the embedded model '{ref}' has no revisions", "leave --revision away", place="-m", code=2)
        return Located(ref, None, embedded.path(ref))
    if made := _FUNCTION.fullmatch(ref):
        return _function(made, revision)
    folder = Path(ref)
    if folder.is_dir():
        if revision is not None:
            raise MiError(f"{ref} is a folder, which has no revisions", "leave --revision away", place="-m", code=2)
        return Located(Path(os.path.relpath(folder)).as_posix(), None, folder)
    if folder.exists():
        hint = f"name its function too: {ref}:build" if ref.endswith(".py") else "name the model's folder"
        raise MiError(f"{ref} is a file", hint, place="-m")
    if ref.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(ref):
        raise MiError(f"there is no folder {ref}", "-m takes a folder, a hub id or an embedded name", place="-m")
    tensors = ["*.safetensors", *(["*.bin"] if allow_pickle else [])] if weights else []
    return _from_hub(ref, revision, [*_TEXT, *tensors])


def _function(made: re.Match[str], revision: str | None) -> Located:
    path = Path(made["file"])
    if revision is not None:
        raise MiError(f"{path} has no revisions", "leave --revision away", place="-m", code=2)
    if not path.is_file():
        raise MiError(f"there is no file {path}", "-m FILE.py:FUNCTION names one that is here", place="-m")
    name = f"{Path(os.path.relpath(path)).as_posix()}:{made['name']}"
    return Located(name, None, path.parent, f"{path.name}:{made['name']}")


def of_head(head: Mapping[str, Any], weights: bool = True) -> Located:
    """The model that a stream was made with."""
    model = head.get("model")
    if not isinstance(model, dict) or "id" not in model:
        raise MiError("the stream names no model", "give one with -m")
    return locate(model["id"], model.get("revision"), weights=weights)


def _from_hub(ref: str, revision: str | None, patterns: list[str]) -> Located:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(ref, revision=revision, allow_patterns=patterns))
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        at = f" at revision {revision}" if revision else ""
        raise MiError(
            f"no folder or embedded model is called {ref}{at}, and the hub did not give it: {reason}",
            "embedded models: " + ", ".join(_embedded_names()),
            place="-m",
        ) from None
    if "*.safetensors" in patterns and not any(any(folder.glob(kind)) for kind in ("*.safetensors", "*.bin")):
        # Offline, the hub's library hands out what an earlier and smaller request left there.
        raise MiError(
            f"of {ref} there are no weights in {', '.join(p for p in patterns if p not in _TEXT)}",
            "offline, only what was fetched before is there; --allow-pickle takes *.bin files too",
            place="-m",
        )
    # A snapshot's folder is named after the commit, which pins what a branch name does not.
    return Located(ref, folder.name, folder, whole="*.safetensors" in patterns)


def _embedded_names() -> tuple[str, ...]:
    from mi import embedded

    return embedded.NAMES

"""Digests of files and of model folders, remembered so that a large file is read once.

In: a path. Out: its sha256, from the user's cache when path, size, times and inode are those of last time.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from mi.errors import MiError
from mi.io import atomic, canonical

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
PICKLED = ("pytorch_model*.bin", "pytorch_model*.bin.index.json")
REST = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "*.py",  # of a model that brings its own code
)
_CHUNK = 1 << 20
_SETTLED = 2_000_000_000  # ns: a file changed more recently may change again within one tick of its clock


def file_digest(path: str | Path) -> str:
    """sha256 of a file's bytes."""
    real = os.path.realpath(path)
    try:
        before = os.stat(real)
        key = [real, before.st_size, before.st_mtime_ns, before.st_ctime_ns, before.st_ino]
        memory = _memory(real)
        if (known := _remembered(memory, key)) is not None:
            return known
        sha = _read(real)
    except OSError as error:
        raise MiError(f"cannot be read: {error.strerror or error}", place=str(path)) from error
    if time.time_ns() - max(before.st_mtime_ns, before.st_ctime_ns) > _SETTLED:
        _remember(memory, key, sha)
    return sha


def weights_digest(folder: str | Path) -> str:
    """The identity of a model: sha256 over the names and digests of its weights, config and tokenizer files."""
    return folder_digest(folder, model_files(folder))


def model_files(folder: str | Path, weights: bool = True) -> list[str]:
    """Names of a model folder's weights, config and tokenizer files, sorted. Pickled weights count only alone."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except OSError as error:
        raise MiError(f"cannot be read: {error.strerror}", place=str(folder)) from error
    safe = any(fnmatchcase(name, WEIGHTS[0]) for name in names)
    patterns = (*(WEIGHTS if safe else PICKLED), *REST) if weights else REST
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def folder_digest(folder: str | Path, names: Sequence[str]) -> str:
    """sha256 over `<sha256>  <name>` lines: what `sha256sum NAMES | sha256sum` in that folder prints."""
    lines = [f"{file_digest(Path(folder) / name)}  {name}\n" for name in names]
    return canonical.sha256("".join(lines).encode())


def _read(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as f:
        while chunk := f.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _memory(real: str) -> Path:
    """The little file that remembers one path. In the user's cache: it holds paths of this machine."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache) / "mi" / "digests" / f"{canonical.sha256(real.encode('utf-8', 'surrogateescape'))[:32]}.json"


def _remembered(memory: Path, key: list[object]) -> str | None:
    with suppress(OSError, MiError, KeyError, TypeError):
        kept = canonical.loads(memory.read_bytes())
        if kept["key"] == key and isinstance(kept["sha256"], str):
            return str(kept["sha256"])
    return None


def _remember(memory: Path, key: list[object], sha: str) -> None:
    """A memory that cannot be written costs time only."""
    with suppress(OSError, MiError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        with atomic.file(memory) as f:
            f.write(canonical.dumps({"key": key, "sha256": sha}))

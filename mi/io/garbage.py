"""What the store holds and what may go: the store in, a plan out, and its execution.

`mi gc` prints the plan. An entry's age is the time since it was last written or read: every use touches it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mi.errors import MiError
from mi.io import atomic, canonical, store

KINDS = ("blobs", "examples", "memo")


@dataclass(frozen=True)
class Entry:
    """One thing in the store."""

    kind: str
    digest: str
    path: Path
    bytes: int
    used: float  # seconds since the epoch


def entries() -> list[Entry]:
    """Everything in the store, least recently used first."""
    found: list[Entry] = []
    for kind in KINDS:
        for path in _files(store.where() / kind):
            with suppress(OSError):
                state = path.lstat()
                found.append(Entry(kind, path.name.split(".")[0], path, state.st_size, state.st_mtime))
    return sorted(found, key=lambda entry: (entry.used, entry.path))


def plan(everything: Iterable[Entry], older_than: float | None = None, max_size: int | None = None) -> list[Entry]:
    """What must go so that nothing is older than `older_than` seconds and all together is at most `max_size` bytes."""
    everything = list(everything)
    now, size = time.time(), sum(entry.bytes for entry in everything)
    going: list[Entry] = []
    for entry in everything:
        old = older_than is not None and now - entry.used > older_than
        if old or (max_size is not None and size > max_size):
            going.append(entry)
            size -= entry.bytes
    return going


def remove(going: Iterable[Entry]) -> int:
    """Remove entries; how many bytes that freed. What another process removed first is no error."""
    freed = 0
    for entry in going:
        try:
            entry.path.unlink()
            freed += entry.bytes
        except FileNotFoundError:
            continue
        except OSError as error:
            raise MiError(f"cannot be removed: {error.strerror}", place=str(entry.path), code=4) from error
    with suppress(OSError):
        for temporary in store.where().rglob(".*.tmp"):
            if time.time() - temporary.lstat().st_mtime > atomic.STALE:
                temporary.unlink()
    return freed


def users(folder: str | Path = ".") -> dict[str, list[str]]:
    """Which streams under a folder need the store: digest of a blob or of examples to the names of the streams.

    A stream needs its blob where it names no sidecar, and its examples where neither generator nor file can give them.
    """
    found: dict[str, list[str]] = {}
    own = store.where().resolve()
    for path in _files(Path(folder), ".jsonl"):
        if own in path.resolve().parents:  # what is remembered may always go
            continue
        for digest in _needs(path):
            found.setdefault(digest, []).append(os.path.relpath(path, folder))
    return found


def _needs(path: Path) -> Iterator[str]:
    with suppress(OSError, MiError, ValueError, AttributeError), open(path, "rb") as f:
        first = f.readline(1 << 24)
        if b'"mi":"head"' not in first:
            return
        examples = canonical.loads(first.rstrip(b"\n")).get("examples") or {}
        origin = examples.get("source") or {}
        if "sha256" in examples and not {"generator", "path"} & set(origin):
            yield str(examples["sha256"])
        for line in f:
            if line.startswith(b'{"blob":'):
                row = canonical.loads(line.rstrip(b"\n"))
                if "path" not in row:
                    yield str(row.get("sha256"))


def _files(folder: Path, suffix: str = "") -> Iterator[Path]:
    """Every visible file under a folder, in a fixed order; links are not followed."""
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.endswith(suffix):
                yield Path(base) / name

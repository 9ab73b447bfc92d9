"""The content-addressed store: what bare pipes and the memo keep, each thing under the digest of its bytes.

In: bytes, example records. Out: their digest; the same bytes again. The folder is `$MI_STORE`, else `.mi/store` here;
it holds its own `.gitignore`. Several processes may use it at once: everything is written beside its place and renamed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mi.errors import MiError, RunError
from mi.io import atomic, canonical
from mi.io.examples import examples_digest
from mi.io.tensors import Packed

if TYPE_CHECKING:
    from mi.io.blobs import Blob

DEFAULT = Path(".mi/store")
_CHUNK = 1 << 20


def where() -> Path:
    """The store's folder, whether or not it exists."""
    return Path(os.environ.get("MI_STORE") or DEFAULT)


def root() -> Path:
    """The store's folder, made if it is missing."""
    folder = where()
    ignore = folder / ".gitignore"
    try:
        if not ignore.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with atomic.file(ignore) as f:
                f.write(b"# Made by mi: everything here can be made again.\n*\n")
    except OSError as error:
        failed = atomic.failure(folder, error)
        if folder.exists() and not folder.is_dir():
            failed = RunError(f"the store {folder} is no folder")
        failed.hint = "set MI_STORE to a folder that you may write, or give -o FILE"
        raise failed from error
    return folder


def blob(sha: str) -> Path:
    """Where the blob with this digest lies, if the store has it."""
    return where() / "blobs" / sha[:2] / f"{sha}.safetensors"


def put_blob(data: bytes | Packed) -> str:
    """Keep a blob; its digest."""
    sha = data.sha256 if isinstance(data, Packed) else canonical.sha256(data)
    chunks = data.chunks() if isinstance(data, Packed) else (data,)
    _put(blob(sha), chunks, sha)
    return sha


def put(kept: Blob) -> None:
    """Keep a blob of a stream, wherever its bytes are now."""
    from mi.io import blobs

    _put(blob(kept.sha256), blobs.chunks(kept), kept.sha256)


def put_examples(records: Iterable[Mapping[str, Any]]) -> str:
    """Keep example records (without baselines); their digest."""
    plain = [{key: value for key, value in record.items() if key != "baseline"} for record in records]
    sha = examples_digest(plain)
    _put(_examples(sha), (canonical.dumps(record) + b"\n" for record in plain), sha)
    return sha


def get_examples(sha: str) -> list[dict[str, Any]] | None:
    """The records with this digest, or None where the store has none, or damaged ones."""
    try:
        data = _examples(sha).read_bytes()
    except OSError:
        return None
    if canonical.sha256(data) != sha:
        return None
    with suppress(OSError):
        os.utime(_examples(sha))
    return [canonical.loads(line) for line in data.splitlines()]


def _examples(sha: str) -> Path:
    return where() / "examples" / sha[:2] / f"{sha}.jsonl"


def _put(path: Path, chunks: Iterable[bytes | memoryview], sha: str) -> None:
    """Write once. What lies there already is looked at, so that damage heals and `gc` sees that it was used."""
    root()
    with suppress(OSError):
        os.utime(path)
    if _intact(path, sha):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise atomic.failure(path, error) from error
    with atomic.file(path) as f:
        for chunk in chunks:
            f.write(chunk)


def _intact(path: Path, sha: str) -> bool:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as f:
            while chunk := f.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return False
    return digest.hexdigest() == sha


def check_digest(sha: str, place: str = "") -> str:
    """A digest from a stream becomes part of a path: refuse what is none."""
    if len(sha) != 64 or set(sha) - set("0123456789abcdef"):
        raise MiError(f"{sha[:80]!r} is no sha256", place=place)
    return sha

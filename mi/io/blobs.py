"""Blobs: tensors beside a stream, named in it by digest.

In: a stream's blob records. Out: their arrays, once the bytes are found (in memory, beside the stream, or in the store)
and have the digest that the stream says. A path from a stream is never trusted: relative, inside the folder, a regular
file reached through no link.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from mi.errors import MiError, RunError
from mi.io import store
from mi.io.tensors import BF16, DTYPES, Array, Packed, layout, pack, unpack

if TYPE_CHECKING:
    from mi.io.stream import Stream

__all__ = ["BF16", "DTYPES", "Array", "Blob", "Packed", "load", "pack"]

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Blob:
    """One blob record. `memory` is set where the arrays never left this process (`mi pipe`)."""

    name: str
    sha256: str
    bytes: int
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]  # key: (dtype, shape)
    path: str | None = None
    folder: Path | None = field(default=None, compare=False)
    place: str = field(default="", compare=False)
    made_by: str = field(default="", compare=False)  # the pipeline that makes it again
    memory: Packed | None = field(default=None, compare=False, repr=False)

    def record(self, path: str | None) -> dict[str, Any]:
        """The record that names this blob, at another path or none."""
        made: dict[str, Any] = {
            "blob": self.name,
            "sha256": self.sha256,
            "bytes": self.bytes,
            "tensors": {key: [dtype, list(shape)] for key, (dtype, shape) in self.tensors.items()},
        }
        return made if path is None else {**made, "path": path}


def from_record(record: Mapping[str, Any], *, place: str, folder: Path | None, made_by: str) -> Blob:
    """Read a blob record strictly; nothing is opened yet."""
    try:
        name, sha, size, tensors = record["blob"], record["sha256"], record["bytes"], record["tensors"]
        path = record.get("path")
        listed = {str(key): (str(dtype), tuple(shape)) for key, (dtype, shape) in tensors.items()}
        fine = (
            isinstance(name, str) and 0 < len(name) <= 200 and name.isprintable() and isinstance(sha, str)
            and type(size) is int and size >= 0 and (path is None or isinstance(path, str))
            and all(type(n) is int and n >= 0 for _, shape in listed.values() for n in shape)
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError):
        fine = False
    if not fine:
        raise MiError("a blob record that names no blob", "it needs blob, sha256, bytes and tensors", place=place)
    store.check_digest(sha, place)
    return Blob(name, sha, size, listed, path, folder, place, made_by)


def of_packed(name: str, packed: Packed) -> Blob:
    """The blob that a packed file is."""
    return Blob(name, packed.sha256, packed.size, packed.layout, memory=packed)


def load(stream: Stream, name: str) -> dict[str, Array]:
    """The arrays of one blob of a stream, digest verified."""
    if name not in stream.blobs:
        there = ", ".join(sorted(stream.blobs)) or "none"
        raise MiError(f"this stream has no blob {name}", f"its blobs: {there}", place=stream.origin)
    return arrays(stream.blobs[name])


def check(blob: Blob) -> None:
    """Find the bytes and compare them with the record, before anything is computed on what else the stream says."""
    for _ in chunks(blob):
        pass


def arrays(blob: Blob) -> dict[str, Array]:
    """Find, verify and lay out."""
    if blob.memory is not None:
        check(blob)
        return dict(blob.memory.values)
    data = bytearray()
    for chunk in chunks(blob):
        data += chunk
    made = unpack(data, blob.place)
    if {key: layout(value) for key, value in made.items()} != dict(blob.tensors):
        raise MiError(f"blob {blob.name} does not hold the tensors that its record lists", place=blob.place)
    return made


def chunks(blob: Blob) -> Iterator[bytes | memoryview]:
    """The blob's bytes; raises after the last chunk where size or digest differ from the record."""
    digest = hashlib.sha256()
    if blob.memory is not None:
        for chunk in blob.memory.chunks():
            digest.update(chunk)
            yield chunk
        if digest.hexdigest() != blob.sha256:
            raise RunError(f"the arrays of blob {blob.name} were changed after the blob was written")
        return
    path = locate(blob)
    with _open_regular(path, blob) as f:
        size = os.fstat(f.fileno()).st_size
        if size != blob.bytes:
            raise _damaged(blob, path, f"has {size} bytes, not {blob.bytes}")
        while part := f.read(_CHUNK):
            digest.update(part)
            yield part
    if digest.hexdigest() != blob.sha256:
        raise _damaged(blob, path, "has the wrong digest")


def _damaged(blob: Blob, path: Path, what: str) -> MiError:
    return MiError(f"{path} {what}: blob {blob.name} is damaged", _remake(blob), place=blob.place)


def locate(blob: Blob) -> Path:
    """The file that holds the blob: the path beside the stream, else the store."""
    if blob.path is not None:
        beside = safe_path(blob)
        if os.path.lexists(beside):
            return beside
    kept = store.blob(blob.sha256)
    if kept.is_file():
        with suppress(OSError):
            os.utime(kept)  # `mi gc` sees that it was used
        return kept
    missing = blob.path if blob.path is not None else f"{blob.sha256[:12]} in the store {store.where()}"
    raise MiError(f"blob {blob.name} is missing ({missing})", _remake(blob), place=blob.place)


def safe_path(blob: Blob) -> Path:
    """The path of a blob record under the stream's folder, refused where it could lead anywhere else."""
    folder, path = blob.folder or Path("."), PurePosixPath(blob.path or "")
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in str(path) or "\0" in str(path):
        raise MiError(
            f"the path {str(path)[:120]!r} of blob {blob.name} leaves the folder of the stream",
            "a blob's path is relative and inside that folder",
            place=blob.place,
        )
    inside = folder
    for part in path.parts:
        inside = inside / part
        if os.path.islink(inside):
            raise MiError(f"the path {str(path)!r} of blob {blob.name} goes through a link", place=blob.place)
    return inside


def _open_regular(path: Path, blob: Blob) -> Any:
    """Open without following a link and without waiting on a pipe or a device."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        raise MiError(f"cannot read {path}: {error.strerror}", place=blob.place) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise MiError(f"{path} is no regular file: blob {blob.name} is not read from it", place=blob.place)
    return os.fdopen(handle, "rb", buffering=0)


def _remake(blob: Blob) -> str:
    return f"make it again: {blob.made_by}" if blob.made_by else "make it again with the command that wrote the stream"

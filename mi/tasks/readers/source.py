"""The text of one data file, read with care: it may be huge, binary, endless, or no file at all.

In: a path, or "-" for stdin. Out: `Source`, its text without byte order mark. Everything that cannot be text is
refused here, with the line where it happens, so that the parsers behind need not think of it.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mi.errors import MiError
from mi.io.source import stdin

MAX_BYTES = 512 << 20
# The longest prompt of a million tokens is far below this; a longer line is not a file of examples.
MAX_LINE = 64 << 20
_CHUNK = 1 << 20

_EXPORT = "export it as JSON lines first"
_MAGIC = {
    b"\x1f\x8b": ("is compressed with gzip", "unpack it first: gunzip FILE"),
    b"PK\x03\x04": ("is a zip archive or a spreadsheet", "unpack it, or save the sheet as CSV"),
    b"ARROW1": ("is an Arrow file", f"{_EXPORT}: datasets.load_from_disk(folder)['train'].to_json('train.jsonl')"),
    b"PAR1": ("is a Parquet file, which cannot be read from a pipe", "give its path"),
    b"\x80\x04": ("is a pickle, which could run any code", f"pickles are never opened: {_EXPORT}"),
    codecs.BOM_UTF16_LE: ("is UTF-16 text", "convert it first: iconv -f UTF-16 -t UTF-8 FILE"),
    codecs.BOM_UTF16_BE: ("is UTF-16 text", "convert it first: iconv -f UTF-16 -t UTF-8 FILE"),
}
PARQUET_MAGIC = b"PAR1"


@dataclass(frozen=True)
class Source:
    """`name` is the path as it was given, for messages; `split` is set where a folder's file name tells it. `sha256` is
    over the bytes that were read: a pipe cannot be read twice."""

    name: str
    text: str
    sha256: str
    split: str = ""

    def line_at(self, position: int) -> int:
        return self.text.count("\n", 0, position) + 1


def load(path: str, split: str = "", guard: Callable[[str, str], None] = lambda text, name: None) -> Source:
    """Read all of `path`. `guard(text, name)` sees the first chunk before the rest is read, and raises where it is
    nothing that we know: so an endless stream of something else ends at once."""
    if path == "-":
        with stdin() as file:
            return _source(_read(file, "stdin", guard), "stdin", split)
    check_regular(path)
    try:
        with open(path, "rb") as file:
            data = _read(file, path, guard)
    except OSError as error:
        raise MiError(f"cannot be read: {error.strerror or error}", place=path) from None
    return _source(data, path, split)


def _source(data: bytes, name: str, split: str) -> Source:
    return Source(name, _decode(data, name), hashlib.sha256(data).hexdigest(), split)


def check_regular(path: str) -> None:
    """A file or a pipe (a shell's `<(…)`), and nothing else."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise MiError("no such file", _neighbour(path), place=path) from None
    except (OSError, ValueError) as error:
        raise MiError(f"cannot be read: {getattr(error, 'strerror', None) or error}", place=path) from None
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise MiError("is a device, not a data file", "give a file, or - for stdin", place=path)
    if stat.S_ISSOCK(mode):
        raise MiError("is a socket, not a data file", "give a file, or - for stdin", place=path)


def is_parquet(path: str) -> bool:
    """By content: four magic bytes in front."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    except OSError:
        return False  # `load` says why


def _neighbour(path: str) -> str:
    """The next step after a missing file: a name in that folder that differs only in its ending."""
    wanted = Path(path)
    near = sorted(p.name for p in wanted.parent.glob("*") if p.stem == wanted.stem) if wanted.parent.is_dir() else []
    return f"did you mean {wanted.parent / near[0]}?" if near else "give the path of a file of examples"


def _read(file: BinaryIO, name: str, guard: Callable[[str, str], None]) -> bytes:
    chunks: list[bytes] = []
    total = line = 0  # line: bytes since the last line break
    while chunk := file.read(_CHUNK):
        if not chunks:
            _check_magic(chunk, name)
        if (zero := chunk.find(b"\0")) >= 0:
            raise MiError(f"is binary: byte {total + zero} is zero", "give CSV, JSON or JSON lines", place=name)
        total += len(chunk)
        last = chunk.rfind(b"\n")
        line = line + len(chunk) if last < 0 else len(chunk) - last - 1
        if line > MAX_LINE:
            number = sum(part.count(b"\n") for part in chunks) + chunk.count(b"\n") + 1
            raise MiError(
                f"the line is longer than {MAX_LINE >> 20} MB", "give one example a line", place=f"{name}:{number}"
            )
        if total > MAX_BYTES:
            raise MiError(f"has more than {MAX_BYTES >> 20} MB", "give a part of it: head -n 10000 FILE", place=name)
        if not chunks:
            guard(chunk.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="replace"), name)
        chunks.append(chunk)
    return b"".join(chunks)


def _check_magic(chunk: bytes, name: str) -> None:
    for magic, (fact, hint) in _MAGIC.items():
        if chunk.startswith(magic):
            raise MiError(fact, hint.replace("FILE", name), place=name)


def _decode(data: bytes, name: str) -> str:
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MiError(
            f"byte 0x{data[error.start]:02x} is not UTF-8",
            f"convert the file first: iconv -f LATIN1 -t UTF-8 {name}",
            place=f"{name}:{line}",
        ) from None
    if not text.strip():
        raise MiError("is empty", "give a file with at least one example", place=name)
    return text

"""Writing a stream: to stdout with its blobs in the store, or to a file with its blobs beside it.

In: a head, records, tensors by blob name. Out: the same bytes, whichever way they go. Everything is serialised, and so
checked, before the first byte leaves.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import select
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Union

from mi.errors import RunError
from mi.io import atomic, blobs, canonical, channel, store
from mi.io.blobs import Blob
from mi.io.lines import VERSION
from mi.io.tensors import Array, pack

SUFFIX = ".jsonl"
_NAMES = (("id", "example"), ("node", "node"), ("summary", "summary"))
Tensors = Mapping[str, Union[Mapping[str, Array], Blob]]


def write(
    output: str | None,
    head: Mapping[str, Any],
    records: Iterable[Mapping[str, Any]],
    tensors: Tensors | None = None,
    stdout: BinaryIO | None = None,
) -> None:
    """Write one stream. `output` None or "-" is stdout. `tensors` holds arrays by blob name and key, or a `Blob` of
    another stream, whose bytes are carried over as they are."""
    made = as_blobs(tensors)
    rows = list(records)
    handed = channel.current()
    if output in (None, "-") and handed is not None and handed.keeps_output:
        by_digest = {blob.sha256: blob for blob in made.values()}
        handed.made = channel.Handover(seal(head, rows, [blob.record(None) for blob in made.values()]), by_digest)
    elif output in (None, "-") or _is_special(str(output)):
        data = seal(head, rows, [blob.record(None) for blob in made.values()])
        for blob in made.values():
            store.put(blob)
        if output in (None, "-"):
            pour(data, stdout)
        else:
            with atomic.file(str(output)) as f:
                f.write(data)
    else:
        path = Path(os.path.realpath(str(output)))
        with _alone(path.parent):
            _write_file(path, head, rows, made)


def seal(head: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], blob_rows: Iterable[Mapping[str, Any]]) -> bytes:
    """The bytes of a stream: head, records, blob records, end."""
    lines = [_line({**head, "mi": "head", "v": VERSION}, "the head")]
    for number, row in enumerate(rows, start=1):
        name = _label(row, number)
        if "mi" in row or "blob" in row:
            raise RunError(f"{name} has a field called {'mi' if 'mi' in row else 'blob'}, which is reserved")
        lines.append(_line(row, name))
    lines += [canonical.dumps(row) for row in blob_rows]
    body = b"".join(line + b"\n" for line in lines)
    end = {"mi": "end", "n": len(lines) - 1, "sha256": hashlib.sha256(body).hexdigest()}
    return body + canonical.dumps(end) + b"\n"


def _line(row: Mapping[str, Any], name: str) -> bytes:
    try:
        return canonical.dumps(row)
    except RunError as error:
        raise RunError(f"{name}: {error.fact}", error.hint) from error


def _label(row: Mapping[str, Any], number: int) -> str:
    """What a user calls a record: its edge, its id, else its number."""
    if "src" in row and "dst" in row:
        return f"edge {row['src']}->{row['dst']}"
    return next((f"{what} {row[key]}" for key, what in _NAMES if key in row), f"record {number}")


def pour(data: bytes, stdout: BinaryIO | None = None) -> None:
    """All of it to stdout, or an error: what the system did not take is never left for the interpreter's exit."""
    out = stdout if stdout is not None else getattr(sys.stdout, "buffer", None)
    try:
        if out is None:
            raise RunError("standard output is closed", "redirect it, or give -o FILE")
        out.flush()
        handle = out.fileno()
    except (AttributeError, ValueError):  # no descriptor behind it: a test's buffer
        assert out is not None
        out.write(data)
        return
    except BrokenPipeError:
        raise
    except OSError as error:
        raise atomic.failure("standard output", error) from error
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(handle, view) :]
        except BlockingIOError:  # another process made the pipe non-blocking
            select.select([], [handle], [])
        except BrokenPipeError:
            raise
        except OSError as error:
            raise atomic.failure("standard output", error) from error


def as_blobs(tensors: Tensors | None) -> dict[str, Blob]:
    """Arrays packed, blobs of other streams as they are; by name, in the order of the names."""
    return {
        name: value if isinstance(value, Blob) else blobs.of_packed(name, pack(name, value))
        for name, value in sorted((tensors or {}).items())
    }


def _is_special(output: str) -> bool:
    """Not a file that could be renamed over: /dev/null, /dev/stdout, a named pipe."""
    with suppress(OSError):
        return not stat.S_ISREG(os.stat(output).st_mode) and not os.path.isdir(output)
    return False


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One writer in a folder at a time: else one could remove the sidecar that another's stream is about to name."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # no such folder: the writing itself will say so
        yield
        return
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write_file(path: Path, head: Mapping[str, Any], rows: list[Mapping[str, Any]], made: Mapping[str, Blob]) -> None:
    """Sidecars first, the stream last, then the sidecars that only the old stream named."""
    names = {name: sidecar(path, blob) for name, blob in made.items()}
    data = seal(head, rows, [blob.record(names[name]) for name, blob in made.items()])
    old = _old_sidecars(path)
    new: list[Path] = []
    try:
        for name, blob in made.items():
            beside = path.with_name(names[name])
            if not beside.exists():
                new.append(beside)
            with atomic.file(beside) as f:
                for chunk in blobs.chunks(blob):
                    f.write(chunk)
        with atomic.file(path) as f:
            f.write(data)
    except BaseException:
        for beside in new:
            with suppress(OSError):
                beside.unlink()
        raise
    for name in old - set(names.values()):
        with suppress(OSError):
            path.with_name(name).unlink()


def sidecar(path: Path, blob: Blob) -> str:
    """`out.<name>.<first 12 of the digest>.safetensors` for `out.jsonl`."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", blob.name)[:80]
    return f"{_stem(path)}.{name}.{blob.sha256[:12]}.safetensors"


def _stem(path: Path) -> str:
    return atomic.shortened(path.name.removesuffix(SUFFIX), 100).replace("\\", "_")  # which no blob's path may hold


def check_output(output: str | None) -> None:
    """Find out before the work starts, not after it, that the result could not be written."""
    if output in (None, "-") or _is_special(str(output)):
        return
    path = Path(os.path.realpath(str(output)))
    if path.is_dir():
        raise RunError(f"cannot write {output}: it is a folder", "name a file in it")
    if path.parent.exists() and not path.parent.is_dir():
        raise RunError(f"cannot write {output}: {path.parent.name} is no folder", "name a file in a folder")
    if not path.parent.is_dir():
        raise RunError(
            f"cannot write {output}: there is no folder {os.path.dirname(str(output))}", "make its folder first"
        )
    if not os.access(path.parent, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise RunError(f"cannot write {output}: you may not write there")


def _old_sidecars(path: Path) -> set[str]:
    """The sidecars that the file to be replaced names: only such as this writer would have called so."""
    ours = re.compile(re.escape(_stem(path)) + r"\.[A-Za-z0-9._-]+\.[0-9a-f]{12}\.safetensors")
    found: set[str] = set()
    with suppress(OSError), open(path, "rb") as f:
        for line in f:
            if line.startswith(b'{"blob":'):
                with suppress(Exception):
                    name = canonical.loads(line.rstrip(b"\n"))["path"]
                    if ours.fullmatch(name):
                        found.add(name)
    return found

"""Files that are either the old ones or the new ones, whenever the process is killed.

In: a path and, inside the `with`, the bytes. Out: a temporary file in the same folder, synced, then renamed over the
path. On any error the temporary file is removed and the old file is untouched.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mi.errors import RunError

STALE = 3600.0  # seconds: a temporary file this old was left by a process that was killed


@contextmanager
def file(path: str | Path) -> Iterator[BinaryIO]:
    """`with file(path) as f: f.write(...)`. A link is followed; a pipe or a device is written straight."""
    target = Path(os.path.realpath(path))
    try:
        mode = _mode(path)
        if mode is not None and not stat.S_ISREG(mode):
            with open(path, "wb") as straight:
                yield straight
            return
        _remove_stale(target)
        temporary = target.with_name(f"{_prefix(target)}{os.getpid()}-{os.urandom(6).hex()}.tmp")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise failure(path, error) from error
    try:
        with os.fdopen(handle, "wb") as f:
            yield f
            f.flush()
            if mode is not None:
                os.fchmod(f.fileno(), stat.S_IMODE(mode))
            os.fsync(f.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        _remove(temporary)
        raise failure(path, error) from error
    except BaseException:
        _remove(temporary)
        raise


def text(output: str | None, content: str) -> None:
    """Text for a person, or a script: to a file, or to standard output (None or "-")."""
    if output in (None, "-"):
        sys.stdout.write(content)
        return
    with file(str(output)) as f:
        f.write(content.encode())


def content(output: str | None, data: bytes) -> None:
    """A picture or a page: to a file, or to standard output (None or "-")."""
    if output in (None, "-"):
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        return
    with file(str(output)) as f:
        f.write(data)


def failure(path: str | Path, error: OSError) -> RunError:
    """A system error on writing, as the user should read it."""
    import errno

    hints = {
        errno.ENOSPC: "free some space or write elsewhere",
        errno.EDQUOT: "your quota is used up: free some space or write elsewhere",
        errno.EFBIG: "the limit on file sizes is too low for it (ulimit -f)",
        errno.ENOENT: "make its folder first",
        errno.ENOTDIR: "a part of its path is a file",
        errno.EISDIR: "name a file, not a folder",
        errno.EACCES: "you may not write there",
        errno.EPERM: "you may not write there",
        errno.EROFS: "that file system is read-only",
    }
    return RunError(f"cannot write {path}: {error.strerror or error}", hints.get(error.errno or 0, ""))


def shortened(name: str, size: int) -> str:
    """The first `size` bytes of a name, whole characters only: a file system takes 255 bytes in all."""
    return os.fsencode(name)[:size].decode(errors="ignore")


def _prefix(target: Path) -> str:
    return f".{shortened(target.name, 150)}."


def _mode(path: str | Path) -> int | None:
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _remove_stale(target: Path) -> None:
    """Take away what a killed process left beside this target."""
    prefix, before = _prefix(target), time.time() - STALE
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(".tmp"):
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < before:
                        os.unlink(entry.path)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last; some file systems cannot, and then the data is safe all the same."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

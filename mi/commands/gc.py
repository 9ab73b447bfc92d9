"""mi gc: the store in, a smaller store out, and first of all what would break."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mi.errors import UsageError
from mi.io import canonical, store
from mi.options import UNRECORDED, DryRun, Option, Quiet
from mi.show.notes import note
from mi.show.numbers import count, size
from mi.show.table import Column, Table, write

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
SIZES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
STALE = 3600  # seconds: a temporary file this old was left by a process that was killed
SKIPPED = (".git", ".venv", "node_modules", "__pycache__")  # folders without anybody's streams


@dataclass(frozen=True)
class Entry:
    """One file of the store. `sha` is empty for what is not named by the digest of its bytes."""

    path: Path
    kind: str
    sha: str
    bytes: int
    used: float  # when it was last written or read, seconds since the epoch


def gc(
    older_than: Annotated[
        str | None,
        UNRECORDED,
        Option(
            "--older-than", metavar="AGE", show_default=False, help="Remove what was not used for AGE: 12h, 30d, 8w."
        ),
    ] = None,
    max_size: Annotated[
        str | None,
        UNRECORDED,
        Option(
            "--max-size", metavar="SIZE", show_default=False, help="Remove the oldest until SIZE is left: 500M, 10G."
        ),
    ] = None,
    dry_run: DryRun = False,
    json: Annotated[bool, UNRECORDED, Option("--json", help="Print one line of JSON for each file.")] = False,
    quiet: Quiet = False,
) -> None:
    """Empty the store of tensors that are old or too many.

    The store ($MI_STORE, else .mi/store) holds the tensors of bare pipes, sets of examples, and results that need not
    be computed again. Without flags only its size is shown. What would go is listed first, the oldest on top, with the
    streams under the working directory that need it: those cannot be read afterwards, until their command is run
    again. mi pack makes a stream independent of the store.

    Examples:
      mi gc
      mi gc --older-than 30d --dry-run
      mi gc --max-size 10G
    """
    age = None if older_than is None else _amount(older_than, UNITS, "--older-than", "30d")
    limit = None if max_size is None else _amount(max_size, SIZES, "--max-size", "10G")
    entries = sorted(_entries(store.where()), key=lambda entry: (entry.used, str(entry.path)))
    gone = list(_chosen(entries, age, limit, time.time()))
    total, freed = (sum(entry.bytes for entry in some) for some in (entries, gone))
    needed = _needed({entry.sha for entry in gone if entry.sha}) if gone else {}
    _say(gone, needed, json)
    if not dry_run:
        _remove(gone)
    if not json:
        verb = "would free" if dry_run else "freed"
        note(f"{store.where()}: {count(len(entries), 'file')}, {size(total)}; {verb} {size(freed)}")
        if broken := sorted({name for names in needed.values() for name in names}):
            note(f"{'would break' if dry_run else 'broke'} {count(len(broken), 'stream')}: {', '.join(broken)}")


def _entries(root: Path) -> Iterator[Entry]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if name == ".gitignore":
                continue
            with suppress(OSError):
                state = path.lstat()
                kind = path.relative_to(root).parts[0] if path.parent != root else "other"
                stem = path.name.split(".")[0]
                sha = stem if re.fullmatch("[0-9a-f]{64}", stem) and kind == "blobs" else ""
                yield Entry(path, kind, sha, state.st_size, state.st_mtime)


def _chosen(entries: Sequence[Entry], age: float | None, limit: float | None, now: float) -> Iterator[Entry]:
    """What goes, oldest first: all that is too old, then as much as is too much; and what dead processes left."""
    left = sum(entry.bytes for entry in entries)
    for entry in entries:
        dead = entry.path.name.endswith(".tmp")
        if dead and now - entry.used < STALE:
            continue  # somebody may be writing it
        old = age is not None and now - entry.used > age
        if dead or old or (limit is not None and left > limit):
            left -= entry.bytes
            yield entry


def _needed(digests: set[str]) -> dict[str, list[str]]:
    """The streams under the working directory that name one of these blobs and have no copy beside them."""
    found: dict[str, list[str]] = {}
    for path in _streams(Path(".")):
        with suppress(OSError, ValueError), open(path, "rb") as f:
            for line in f:
                if line.startswith(b'{"blob":') and (sha := _wanted(line, path)) in digests:
                    found.setdefault(sha, []).append(path.as_posix())
    return found


def _streams(root: Path) -> Iterator[Path]:
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(
            name for name in inner if name not in SKIPPED and not (Path(folder) / name / "blobs").is_dir()
        )
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(".jsonl"))


def _wanted(line: bytes, stream: Path) -> str:
    """The digest of a blob that only the store holds; nothing where it lies beside the stream."""
    with suppress(Exception):
        record = canonical.loads(line.rstrip(b"\r\n"))
        beside = record.get("path")
        if beside is None or not (stream.parent / beside).is_file():
            return str(record["sha256"])
    return ""


def _say(gone: Sequence[Entry], needed: dict[str, list[str]], json: bool) -> None:
    if json:
        for entry in gone:
            record = {
                "file": entry.path.as_posix(),
                "kind": entry.kind,
                "bytes": entry.bytes,
                "needed_by": needed.get(entry.sha, []),
            }
            sys.stdout.write(canonical.dumps(record).decode() + "\n")
    elif gone:
        rows = [
            (entry.kind, entry.path.name[:12], size(entry.bytes), _ago(entry.used), " ".join(needed.get(entry.sha, [])))
            for entry in gone
        ]
        columns = [Column("kind"), Column("file"), Column("size", right=True), Column("unused", right=True)]
        write([Table([*columns, Column("needed by", wide=True)], rows)])


def _ago(then: float) -> str:
    seconds = max(0.0, time.time() - then)
    unit = next((u for u in ("w", "d", "h", "m") if seconds >= 2 * UNITS[u]), "s")
    return f"{seconds / UNITS[unit]:.0f}{unit}"


def _remove(gone: Sequence[Entry]) -> None:
    for entry in gone:
        with suppress(FileNotFoundError):  # another mi was faster
            entry.path.unlink()
        with suppress(OSError):  # the folder is not empty
            entry.path.parent.rmdir()


def _amount(text: str, units: dict[str, int], flag: str, example: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]?)B?", text.strip())
    unit = match.group(2) if match else ""
    for spelling in (unit, unit.lower(), unit.upper()):
        if match and spelling in units:
            return float(match.group(1)) * units[spelling]
    raise UsageError(f"{flag} {text!r} is no amount", f"{flag} {example}; units are {' '.join(filter(None, units))}")

"""mi gc: the store in, a smaller store out, and first of all what would break."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Annotated

from mi.errors import UsageError
from mi.io import canonical, garbage, store
from mi.io.garbage import Entry
from mi.options import UNRECORDED, DryRun, Option, Quiet
from mi.show.notes import note
from mi.show.numbers import count, size
from mi.show.table import Column, Table, write

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
SIZES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


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
    everything = garbage.entries()
    going = garbage.plan(everything, age, None if limit is None else int(limit))
    users = garbage.users() if going else {}
    _say(going, users, json)
    freed = sum(entry.bytes for entry in going) if dry_run else garbage.remove(going)
    if json:
        return
    total = size(sum(entry.bytes for entry in everything))
    goes = f"; {'would free' if dry_run else 'freed'} {size(freed)}" if age is not None or limit is not None else ""
    note(f"{store.where()}: {count(len(everything), 'file')}, {total}{goes}")
    if broken := sorted({name for entry in going for name in users.get(entry.digest, [])}):
        note(f"{'would break' if dry_run else 'broke'} {count(len(broken), 'stream')}: {', '.join(broken)}")


def _say(going: Sequence[Entry], users: Mapping[str, Sequence[str]], json: bool) -> None:
    if json:
        for entry in going:
            names = list(users.get(entry.digest, []))
            record = {"file": entry.path.as_posix(), "kind": entry.kind, "bytes": entry.bytes, "needed_by": names}
            sys.stdout.write(canonical.dumps(record).decode() + "\n")
    elif going:
        rows = [
            (entry.kind, entry.digest[:12], size(entry.bytes), _ago(entry.used), " ".join(users.get(entry.digest, [])))
            for entry in going
        ]
        columns = [Column("kind"), Column("digest"), Column("size", right=True), Column("unused", right=True)]
        write([Table([*columns, Column("needed by", wide=True)], rows)])


def _ago(then: float) -> str:
    seconds = max(0.0, time.time() - then)
    unit = next((u for u in ("w", "d", "h", "m") if seconds >= 2 * UNITS[u]), "s")
    return f"{seconds / UNITS[unit]:.0f}{unit}"


def _amount(text: str, units: dict[str, int], flag: str, example: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]?)B?", text.strip())
    unit = match.group(2) if match else ""
    for spelling in (unit, unit.lower(), unit.upper()):
        if match and spelling in units:
            return float(match.group(1)) * units[spelling]
    raise UsageError(f"{flag} {text!r} is no amount", f"{flag} {example}; units are {' '.join(filter(None, units))}")

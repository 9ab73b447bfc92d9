"""`mi split`: a set of examples in, a stream for each part of it out."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mi.errors import MiError, RunError, UsageError
from mi.options import UNRECORDED, Input, Json, Option, Quiet, Seed

if TYPE_CHECKING:
    from mi.io.stream import Stream

MOST = 1000  # files
PART, REST = "part", "rest"


def split(
    file: Input = None,
    by: Annotated[
        str | None,
        Option(
            "--by",
            metavar="FIELD",
            show_default=False,
            help="One part for each value of a field: template, split, length, variables.NAME, labels.NAME.",
        ),
    ] = None,
    fraction: Annotated[
        float | None,
        Option(
            "--fraction",
            metavar="X",
            show_default=False,
            help="Two parts: a random share X of the examples ('part'), and the rest.",
        ),
    ] = None,
    seed: Seed = 0,
    only: Annotated[
        str | None,
        Option("--only", metavar="VALUE", show_default=False, help="Write this one part, as a stream."),
    ] = None,
    where: Annotated[
        str | None,
        UNRECORDED,
        Option(
            "--output",
            "-o",
            metavar="FILE",
            show_default=False,
            help="The folder of the parts, VALUE.jsonl each; with --only a file.",
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take a set of examples apart.

    Each part is a stream of its own, with its own digest, that `mi cache` or `mi score --data` reads. A folder that is
    new appears with all its files at once; in one that is there each file is replaced as a whole, and others are left
    as they are. With --only one part goes to standard output or to -o.

    Lengths are in tokens where the examples are ids, else in words. A random share is the same for the same --seed,
    whatever the order of the examples.

    Examples:

        mi split examples.jsonl --by template -o templates/

        mi split examples.jsonl --fraction 0.8 --seed 1 -o parts/

        mi data ioi -n 100 | mi split --by template --only abba-03 | mi cache
    """
    from mi.io import parts, stream
    from mi.show.notes import note
    from mi.show.numbers import count

    _check_flags(by, fraction, only, where)
    read = stream.read(file, parts.KINDS)
    parts.check(read)
    found = _parts(read, by, fraction, seed)
    if only is not None:
        if not found.get(only):
            there = ", ".join(name or "none" for name in list(found)[:12])
            raise UsageError(f"no part is called {only!r}", f"there are {there}{' ...' if len(found) > 12 else ''}")
        _write(read, found[only], only, where, json)
        return
    named = {_file_name(name): (name, records) for name, records in found.items() if records}
    if len(named) < sum(bool(records) for records in found.values()):
        raise MiError("two parts would have one file name", "name one with --only", place=read.origin)
    if len(named) > MOST:
        raise MiError(f"{len(named):,} parts are more than {MOST:,}", "split by something else", place=read.origin)
    assert where is not None
    _write_all(read, named, Path(where), json)
    listed = ", ".join(f"{name} ({len(records)})" for name, (_, records) in list(named.items())[:12])
    note(f"{count(len(named), 'part')}: {listed}{', ...' if len(named) > 12 else ''}")


def _check_flags(by: str | None, fraction: float | None, only: str | None, output: str | None) -> None:
    if (by is None) == (fraction is None):
        fact = "how to split is not said" if by is None else "--by and --fraction are two ways to split"
        raise UsageError(fact, "give --by FIELD or --fraction X")
    if fraction is not None and not 0 < fraction < 1:
        raise UsageError(f"--fraction {fraction:g} leaves one part empty", "give a number between 0 and 1")
    if output is None and only is None:
        raise UsageError("where the parts go is not said", "give -o FOLDER, or --only VALUE for one of them")
    if only is None and output is not None and os.path.exists(output) and not os.path.isdir(output):
        raise UsageError(f"-o {output} is a file", "name a folder, or one part with --only")


def _parts(read: Stream, by: str | None, fraction: float | None, seed: int) -> dict[str, list[Any]]:
    from mi.io import parts

    if fraction is not None:
        first, rest = parts.drawn(read.records, fraction, seed)
        return {PART: list(first), REST: list(rest)}
    assert by is not None
    found = parts.groups(read.records, by)
    if set(found) <= {""}:
        raise MiError(f"no example has a field {by!r}", "template, split, length, variables.NAME", place=read.origin)
    return found


def _file_name(value: str) -> str:
    """A value as the name of a file; examples without a value go to none.jsonl."""
    return (re.sub(r"[^A-Za-z0-9._-]+", "_", value).lstrip(".")[:100] or "none") + ".jsonl"


def _write_all(read: Stream, named: Mapping[str, tuple[str, Sequence[Any]]], folder: Path, json: bool) -> None:
    """All parts at once where the folder is new: it is filled beside its place and renamed."""
    if folder.exists():
        for name, (value, records) in named.items():
            _write(read, records, value, str(folder / name), json)
        return
    parent = folder.absolute().parent
    try:
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=parent))
    except OSError as error:
        raise RunError(f"cannot write {folder}: {error.strerror}", "make its folder first") from error
    try:
        for name, (value, records) in named.items():
            _write(read, records, value, str(beside / name), json)
        umask = os.umask(0)
        os.umask(umask)
        beside.chmod(0o777 & ~umask)
        beside.rename(folder)
    except OSError as error:
        raise RunError(f"cannot write {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write(read: Stream, records: Sequence[Any], value: str, output: str | None, json: bool) -> None:
    """One part. Its chain says which one it is, so that a script makes it again."""
    from mi.io import chain, parts
    from mi.io.chain import Invocation
    from mi.run import invocation
    from mi.show.notes import note
    from mi.show.output import emit

    command = invocation()
    words = command.argv if "--only" in command.argv else (*command.argv, "--only", value)
    head = parts.renamed(read.head, records)
    head = chain.record(head, Invocation(command.command, tuple(words)), read.as_input())
    if error := parts.keep(records):
        note(f"nothing is kept for another time: {error.fact}; $MI_STORE names the folder")
    emit(head, records, output=output, json=json)

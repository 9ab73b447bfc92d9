"""mi pack: a stream in, the same stream with all its tensors beside it out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from mi.errors import UsageError
from mi.io import atomic, canonical, store, stream
from mi.options import UNRECORDED, Input, Option, Quiet
from mi.show.notes import note


def pack(
    file: Input = None,
    output: Annotated[
        str | None,
        UNRECORDED,
        Option("--output", "-o", metavar="FILE", show_default=False, help="The copy; its tensors are put beside it."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Copy a stream together with its tensors.

    A stream that went through a pipe has its tensors in the store, which may be emptied. The copy needs no store: every
    tensor file lies beside it, and the examples too, where no generator makes them and no stream repeats them.

    Examples:
      mi pack scores.jsonl -o results/scores.jsonl
      mi cache --task ioi | mi attribute | mi pack -o scores.jsonl
    """
    if output in (None, "-"):
        raise UsageError("pack needs a file to write to", "mi pack scores.jsonl -o results/scores.jsonl")
    found = stream.read(file, stream.KINDS)
    beside = examples_beside(found.head, Path(str(output)))
    stream.write(output, found.head, found.records, found.blobs)
    if beside is not None:
        note(f"its examples are in {beside.name}: mi score {Path(str(output)).name} --data {beside.name}")


def examples_beside(head: dict[str, Any], output: Path) -> Path | None:
    """Write the examples that only the store has; the file, or None where they are found without it."""
    named = head.get("examples") or {}
    source = named.get("source") or {}
    if head["kind"] in ("examples", "cache") or "generator" in source or "sha256" not in named:
        return None
    records = store.get_examples(named["sha256"])
    if records is None:
        return None
    stem = output.name.removesuffix(".jsonl")
    beside = output.with_name(f"{stem}.examples.{named['sha256'][:12]}.jsonl")
    with atomic.file(beside) as f:
        for record in records:
            f.write(canonical.dumps(record) + b"\n")
    return beside

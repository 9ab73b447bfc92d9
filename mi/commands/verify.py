"""mi verify: streams in, one line for each that says whether it and its tensors are whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any

from mi.errors import BAD_INPUT, FOUND, OK, MiError
from mi.io import blobs, canonical, chain, stream
from mi.options import Files, Option, Quiet
from mi.show.numbers import count


def verify(
    files: Files = None,
    json: Annotated[bool, Option("--json", help="Print one line of JSON for each file.")] = False,
    quiet: Quiet = False,
) -> int:
    """Check the digests of streams and of their tensors.

    Every byte is read: the digest in the end line, the digest of every tensor file, the links of the chain, the graph,
    and whether circuits and scores belong to it. Exit code 1 means that something is damaged or missing; with -q
    nothing is printed.

    Examples:
      mi verify circuit.jsonl
      mi verify -q *.jsonl || echo damaged
    """
    findings = [_finding(file) for file in files or ["-"]]
    for finding in findings:
        if json:
            sys.stdout.write(canonical.dumps(finding).decode() + "\n")
        elif not quiet:
            state = "whole" if finding["whole"] else "absent" if finding["missing"] else "damaged"
            sys.stdout.write(f"{finding['file']}: {state}: {finding['fact']}\n")
    if any(finding.get("missing") for finding in findings):
        return BAD_INPUT
    return OK if all(finding["whole"] for finding in findings) else FOUND


def _finding(file: str) -> dict[str, Any]:
    """What one file is like. A usage error (a terminal as standard input) is not about the file and goes on up."""
    try:
        found = stream.read(file, stream.KINDS)
        facts = ", ".join(_facts(found))
        return {"file": file, "whole": True, "fact": facts}
    except MiError as error:
        if error.code != BAD_INPUT:
            raise
        place = "" if error.place in ("", file) else f"{error.place}: "
        return {
            "file": file,
            "whole": False,
            "fact": place + error.fact,
            "missing": isinstance(error.__context__, OSError),
        }


def _facts(found: stream.Stream) -> Iterator[str]:
    """Look at everything that carries a digest; what was seen, in words."""
    yield f"{found.kind} of {count(len(found.records), 'record')}"
    for blob in found.blobs.values():
        for _ in blobs.chunks(blob):
            pass
    if found.blobs:
        yield f"{count(len(found.blobs), 'blob')} ({', '.join(found.blobs)})"
    if fault := chain.broken(found.head):
        raise MiError(fault, "the head was edited", place=f"{found.origin}:1")
    yield count(len(found.head.get("chain", [])), "command")
    if (found.head.get("graph") or {}).get("builder") not in (None, "sites"):  # sites are joined by nothing
        from mi.circuit import partial, reading  # numpy, which a stream without a graph does not need

        graph = reading.graph_of(found)
        if found.kind == "circuit":
            reading.circuit(found, graph)
        elif shard := partial.shard_of(found.head, found.origin):
            partial.read(found, reading.units_of(found))
            yield str(shard)
        elif found.kind == "scores":
            reading.scored(found, graph)

"""mi stamp: the lines of a stream that was edited, to its end line, in; the same records sealed again out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mi.errors import MiError
from mi.io import blobs, canonical, chain, channel, lines, schemas, source, stream
from mi.io.blobs import Blob
from mi.io.examples import examples_digest, split_counts
from mi.options import Input, Output, Quiet
from mi.run import invocation
from mi.show.notes import note

EXAMPLES = ("examples", "cache")  # kinds whose head holds a digest of their records
END = '{"mi":"end"}'  # the least end line: that the writer came to its end


def stamp(file: Input = None, output: Output = None, quiet: Quiet = False) -> None:
    """Seal a stream again after an edit.

    Reads a head, records and an end line with any count and digest, checks them, and writes the stream with a new end
    line. The chain says that the stream was edited, and the digest of what came in. A stream that is still whole goes
    through as it is. One without an end line is refused, as the command that wrote it may have died; whoever took the
    line out can put one back: {"mi":"end"} is enough.

    Examples:
      mi view --json scores.jsonl | jq -c 'select(.mi or .score > 0.1)' | mi stamp | mi prune
      sed s/validation/train/ examples.jsonl | mi stamp -o train.jsonl
    """
    data, origin = _lines(file)
    handed = channel.current()
    memory = handed.input.blobs if handed is not None and handed.input is not None else {}
    try:
        whole = stream.parse(data, origin, stream.KINDS, folder=_folder(file), memory=memory)
    except MiError:
        pass
    else:
        note("this stream is whole: nothing to seal")
        stream.write(output, whole.head, whole.records, whole.blobs)
        return
    head, records, kept = _edited(data, origin, file)
    if head["kind"] in EXAMPLES:
        head = _count_examples(head, records)
    given = [{"name": "edited", "sha256": canonical.sha256(b"".join(data))}]
    stream.write(output, chain.record(head, invocation(), given), records, kept)


def _lines(file: str | None) -> tuple[list[bytes], str]:
    handed = channel.current()
    if file in (None, "-") and handed is not None and handed.input is not None:
        return handed.input.data.splitlines(keepends=True), "stdin"
    if file in (None, "-"):
        with source.stdin() as f:
            data = list(lines.split(f, "stdin"))
        if not data:
            raise source.dead_upstream()
        return data, "stdin"
    assert file is not None
    with stream.open_file(file) as f:
        return list(lines.split(f, file)), file


def _folder(file: str | None) -> Path:
    """Where the sidecars of the stream lie."""
    return Path(".") if file in (None, "-") else Path(os.path.realpath(str(file))).parent


def _edited(
    data: list[bytes], origin: str, file: str | None
) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Blob]]:
    """Head, records and blobs. What an editor adds is forgiven: blank lines, CR LF, no newline at the end."""
    head: dict[str, Any] | None = None
    records: list[dict[str, Any]] = []
    places: list[int] = []
    found: dict[str, Blob] = {}
    ended = 0
    for number, line in enumerate(data, start=1):
        place = f"{origin}:{number}"
        text = line.strip()
        if not text:
            continue
        if ended:
            raise MiError(f"data after the end line {ended}", "give one stream at a time", place=place)
        try:
            row = lines.parse(text + b"\n", place, first=head is None)
        except MiError:
            if text.startswith(b"{") and not line.endswith(b"\n"):
                raise _unfinished("it breaks off within a line", place) from None
            raise
        if head is None:
            head = lines.check_head(row, place)
            stream.check_kind(head, stream.KINDS, origin)
        elif row.get("mi") == "end":
            ended = number
        elif "mi" in row:
            raise MiError('a second line with "mi"', "give one stream at a time", place=place)
        elif "blob" in row:
            blob = blobs.from_record(row, place=place, folder=_folder(file), made_by=chain.pipeline(head))
            found[blob.name] = blob
        else:
            records.append(row)
            places.append(number)
    if head is None:
        raise MiError("it is empty", "there is nothing to seal", place=origin)
    if not ended:
        raise _unfinished("it has no end line", f"{origin}:{len(data)}")
    schemas.check(head, records, origin, places)
    return head, records, found


def _unfinished(how: str, place: str) -> MiError:
    """What a command that died left must not be sealed, from a pipe or from a file."""
    return MiError(
        f"the stream is cut short: {how}",
        f"the command that wrote it died or was stopped; if you took the end line out, put {END} back",
        place=place,
    )


def _count_examples(head: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    """Edited examples are other examples: a new digest, and no longer what the generator or the file gives."""
    old = head.get("examples", {})
    sha = examples_digest(records)
    if sha == old.get("sha256"):
        return head
    rest = {key: value for key, value in old.items() if key != "source"}
    return {**head, "examples": {**rest, "sha256": sha, "n": split_counts(records)}}

"""`mi pull`: a stream with its tensors from a repository of the hub, verified before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from mi.commands.push import Kind, Repo
from mi.errors import MiError, UsageError
from mi.options import Argument, Json, Option, Output, Quiet, Revision

if TYPE_CHECKING:
    from pathlib import Path


def pull(
    repo: Repo = None,
    name: Annotated[
        str | None, Argument(metavar="PATH", show_default=False, help="The stream's path in the repository.")
    ] = None,
    revision: Revision = None,
    sha256: Annotated[
        str | None,
        Option("--sha256", metavar="DIGEST", show_default=False, help="The digest that the stream's file must have."),
    ] = None,
    kind: Kind = "dataset",
    output: Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Get a stream and its tensors from a repository of the hub.

    Every byte is verified: the stream by its own digest, and by --sha256 where one is given, each tensor by the digest
    that the stream names. Nothing is written that fails. With -o the tensors lie beside the file, otherwise in the
    store. A folder stands for a repository.

    Examples:

        mi pull someone/circuits circuit.jsonl -o circuit.jsonl

        mi pull someone/circuits ioi/scores.jsonl --revision 3f2a91c | mi prune --top 200

        mi pull ../shared/circuits circuit.jsonl | mi view
    """
    import tempfile
    from pathlib import Path

    from mi.io import hub

    if repo is None or name is None:
        raise UsageError("which stream is not said", "mi pull OWNER/NAME circuit.jsonl -o circuit.jsonl")
    hub.check_path(name)
    if hub.is_folder(repo):
        if revision:
            raise UsageError(f"{repo} is a folder, which has no revisions", "leave --revision away")
        _write(repo, Path(repo), name, sha256, output, json)
        return
    hub.check_repo(repo)
    with tempfile.TemporaryDirectory() as folder:
        stem = name.removesuffix(".jsonl")
        wanted = [name, f"{stem}.*.safetensors", f"{stem}.examples.*.jsonl"]
        hint = "without a network, pull from a folder"
        hub.snapshot(repo, kind=kind, revision=revision, patterns=wanted, into=folder, hint=hint)
        _write(repo, Path(folder), name, sha256, output, json)


def _write(repo: str, folder: Path, name: str, sha256: str | None, output: str | None, json: bool) -> None:
    """All of it is verified before any of it is written."""
    from pathlib import Path

    from mi.io import blobs, stream
    from mi.io.digests import file_digest
    from mi.show.output import emit

    path = folder / name
    if not path.is_file():
        raise MiError(f"{repo} has no {name}", "`mi push` prints the line that gets a stream back")
    digest = file_digest(path)
    if sha256 and digest != sha256.lower():
        raise MiError(f"has the digest {digest[:12]}, not {sha256[:12]}", "it was changed", place=f"{repo}/{name}")
    read = stream.read(str(path), ())
    for blob in read.blobs.values():
        blobs.check(blob)
    examples = _examples(read.head, path)
    emit(read.head, read.records, read.blobs, output=output, json=json)
    if examples is not None and output not in (None, "-"):
        _write_examples(examples, read.head, Path(str(output)))


def _examples(head: Mapping[str, Any], path: Path) -> bytes | None:
    """The examples that lie beside the stream, if they are its own."""
    from mi.io import canonical
    from mi.io.examples import examples_digest

    sha = str((head.get("examples") or {}).get("sha256", ""))
    beside = path.with_name(f"{path.name.removesuffix('.jsonl')}.examples.{sha[:12]}.jsonl")
    if not sha or not beside.is_file():
        return None
    data = beside.read_bytes()
    records = [canonical.loads(line, f"{beside.name}:{n}") for n, line in enumerate(data.splitlines(), start=1)]
    if examples_digest(records) != sha:
        raise MiError("these are not the examples that the stream names", "they were changed", place=beside.name)
    return data


def _write_examples(data: bytes, head: Mapping[str, Any], output: Path) -> None:
    from mi.io import atomic
    from mi.show.notes import note

    stem = output.name.removesuffix(".jsonl")
    beside = output.with_name(f"{stem}.examples.{head['examples']['sha256'][:12]}.jsonl")
    with atomic.file(beside) as f:
        f.write(data)
    note(f"its examples are in {beside.name}: mi score {output.name} --data {beside.name}")

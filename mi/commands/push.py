"""`mi push`: a stream with its tensors to a repository of the hub."""

from __future__ import annotations

from typing import Annotated, Literal

from mi.errors import UsageError
from mi.options import Argument, Input, Option, Quiet

Kind = Annotated[
    Literal["dataset", "model"], Option("--kind", help="What the repository is for the hub: dataset or model.")
]
Repo = Annotated[
    str | None, Argument(metavar="REPO", show_default=False, help="The repository, OWNER/NAME, or a folder here.")
]


def push(
    repo: Repo = None,
    file: Input = None,
    name: Annotated[
        str | None,
        Option("--name", metavar="PATH", show_default=False, help="Its path there; if not given, the file's name."),
    ] = None,
    kind: Kind = "dataset",
    message: Annotated[
        str | None, Option("--message", metavar="TEXT", show_default=False, help="What the commit says.")
    ] = None,
    private: Annotated[bool, Option("--private", help="Make the repository private, if it has to be made.")] = False,
    quiet: Quiet = False,
) -> None:
    """Put a stream and its tensors into a repository of the hub.

    The stream is verified first, and goes up together with the tensors that it names, in one commit; so do its examples
    where no generator makes them and the store has them. What is printed is the line that gets the same bytes back: the
    commit pins them, and the digest verifies them. A folder stands for a repository: an exchange without the hub.

    Examples:

        mi push someone/circuits circuit.jsonl

        mi push someone/circuits scores.jsonl --name ioi/scores.jsonl --private

        mi push ../shared/circuits circuit.jsonl
    """
    import os
    import shlex
    import tempfile
    from pathlib import Path

    from mi.commands.pack import examples_beside
    from mi.io import atomic, hub, stream
    from mi.io.digests import file_digest

    if repo is None:
        raise UsageError("where to is not said", "mi push OWNER/NAME circuit.jsonl")
    read = stream.read(file, ())
    path = name or (f"{read.kind}.jsonl" if file in (None, "-") else os.path.basename(str(file)))
    local = hub.is_folder(repo)
    if not local:
        hub.check_repo(repo)
    hub.check_path(path)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / os.path.basename(path)
        examples_beside(read.head, copy)
        stream.write(str(copy), read.head, read.records, read.blobs)
        digest = file_digest(copy)
        inside = os.path.dirname(path)
        files = [(f"{inside}/{each.name}" if inside else each.name, each) for each in sorted(Path(folder).iterdir())]
        files.sort(key=lambda pair: pair[1] == copy)  # the stream last, when all that it names is there
        if local:
            hub.copy(Path(repo), files)
            commit = None
        else:
            text = message or f"Add {path}: a stream of kind {read.kind}"
            commit, _ = hub.upload(repo, files, kind=kind, message=text, private=private)
    words = ["mi", "pull", repo, path, *(["--revision", commit] if commit else []), "--sha256", digest]
    words += ["--kind", kind] if kind != "dataset" and not local else []
    atomic.text(None, f"{shlex.join(words)}\n")

"""Where a result comes from: one link a command, each naming the one before it by digest.

In: a command line, the digests of its inputs. Out: the `chain` of a head; and from a head, the pipeline as one line of
shell, as text for eyes, or (`mi/io/script.py`) as a script that makes the result again.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from mi import __version__
from mi.io import canonical

LIBRARIES = ("torch", "transformers", "nnsight")
ID_LENGTH = 16  # hex digits


@dataclass(frozen=True)
class Invocation:
    """One command as it was typed: the verb, then the arguments without -o, -q, --json."""

    command: str
    argv: tuple[str, ...] = ()


def given(arg: str, sha256: str, files: Sequence[str] = ()) -> dict[str, Any]:
    """An input that the command line names: `arg` is what was typed, and is found again in argv by `link`.

    For a folder, `files` are the names in it that the digest covers (`digests.folder_digest`).
    """
    made: dict[str, Any] = {"name": portable(arg), "sha256": sha256, "arg": arg}
    return {**made, "files": list(files)} if files else made


def portable(path: str) -> str:
    """A path as a stream may hold it: relative to this folder, and the same however it was typed."""
    if not path or path == "-":
        return path
    return os.path.relpath(path).replace(os.sep, "/") if os.path.isabs(path) else os.path.normpath(path)


def link(
    invocation: Invocation, prev: str | None, inputs: Iterable[Mapping[str, Any]], device: str | None = None
) -> dict[str, Any]:
    """The link of one command. `inputs`: `{"name","sha256"}`, with `arg` where argv names the file (see `given`)."""
    known = list(inputs)
    body: dict[str, Any] = {
        "prev": prev,
        "argv": [*invocation.command.split(), *_canonical_argv(invocation.argv, known)],
        "inputs": [{key: value for key, value in item.items() if key != "arg"} for item in known],
        "version": __version__,
        "env": {name: version(name) for name in LIBRARIES} | ({"device": device} if device else {}),
    }
    return {"id": digest(body), **body}


def digest(link: Mapping[str, Any]) -> str:
    """The id of a link: a digest of all the rest of it."""
    body = {key: value for key, value in link.items() if key != "id"}
    return canonical.sha256(canonical.dumps(body))[:ID_LENGTH]


def append(head: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A head with one more link."""
    return {**head, "chain": [*head.get("chain", []), dict(new)]}


def last(head: Mapping[str, Any]) -> str | None:
    """The id of the newest link: the `prev` of the next."""
    chain = head.get("chain") or []
    return str(chain[-1]["id"]) if chain else None


def record(
    head: Mapping[str, Any],
    invocation: Invocation,
    inputs: Iterable[Mapping[str, Any]] = (),
    device: str | None = None,
) -> dict[str, Any]:
    """`append` of `link`, in one call: the head with the link of the command that runs now."""
    return append(head, link(invocation, last(head), inputs, device))


def broken(head: Mapping[str, Any]) -> str | None:
    """What is wrong with a chain: a link whose id is not its digest, or that does not follow the one before it."""
    before: str | None = None
    for number, item in enumerate(head.get("chain", []), start=1):
        if item.get("id") != digest(item):
            return f"link {number} of the chain was changed"
        if item.get("prev") != before:
            return f"link {number} of the chain does not follow link {number - 1}"
        before = item["id"]
    return None


def command(link: Mapping[str, Any]) -> str:
    """One link as a command line."""
    words = [arg["name"] if isinstance(arg, dict) else str(arg) for arg in link["argv"]]
    return " ".join(["mi", *map(shlex.quote, words)])


def pipeline(head: Mapping[str, Any]) -> str:
    """The whole chain as one line of shell."""
    return " | ".join(command(item) for item in head.get("chain", []))


def text(head: Mapping[str, Any]) -> str:
    """The chain for eyes: a command a line, and below it what it read and what it ran on."""
    lines: list[str] = []
    for item in head.get("chain", []):
        lines.append(f"{item['id'][:12]}  {command(item)}")
        lines += [f"{'':14}{read['name']}  sha256 {read['sha256'][:12]}" for read in item.get("inputs", [])]
        env = {key: value for key, value in item.get("env", {}).items() if key != "device"}
        ran = [f"mi {item.get('version', '?')}", *(f"{name} {env[name]}" for name in LIBRARIES if name in env)]
        lines.append(f"{'':14}{', '.join(ran)}" + (f" on {item['env']['device']}" if "device" in item["env"] else ""))
    for parent in head.get("merged", []):  # what else went into it
        lines += [
            "",
            f"{parent['name']}  sha256 {parent['sha256'][:12]}",
            *(f"  {row}" for row in text(parent).split("\n")),
        ]
    return "\n".join(lines)


def script(head: Mapping[str, Any]) -> str:
    """The chain as a shell script that makes the result again."""
    from mi.io import script as writer

    return writer.script(head)


@cache
def version(name: str) -> str:
    """The installed version of a library, which is not imported for it."""
    # The folder's name says it; `importlib.metadata` says the same after importing a mail parser and an unzipper.
    for folder in sys.path:
        for entry in _listing(folder):
            found, _, rest = entry.partition("-")
            if rest.endswith(".dist-info") and found.lower() == name:
                return rest.removesuffix(".dist-info")
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


@cache
def _listing(folder: str) -> tuple[str, ...]:
    try:
        return tuple(os.listdir(folder or "."))
    except OSError:
        return ()


def _canonical_argv(argv: Iterable[str], inputs: list[Mapping[str, Any]]) -> list[Any]:
    """Files as name and digest, other paths relative, `--flag=value` as two words."""
    # Only what lies on this disk can be checked before it is used again; a hub id stays the word that it is.
    files = {
        spelling: {"name": item["name"], "sha256": item["sha256"]}
        for item in inputs
        for spelling in (item.get("arg"), item["name"])
        if spelling == "-" or (spelling and os.path.exists(spelling))
    }
    made: list[Any] = []
    for arg in argv:
        flag, equals, value = arg.partition("=")
        parts = [flag, value] if equals and flag.startswith("--") else [arg]
        for part in parts:
            plain = portable(part) if os.path.isabs(part) else part
            made.append(files.get(part) or files.get(plain) or plain)
    return made

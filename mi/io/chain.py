"""Where a result comes from: one link a command, each naming the one before it by digest.

In: a command line, the digests of its inputs. Out: the `chain` of a head; and from a head, the pipeline as text or as a
shell script that makes the result again.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mi.io import canonical

LIBRARIES = ("torch", "transformers", "nnsight")


@dataclass(frozen=True)
class Invocation:
    """One command as it was typed: the verb, then the arguments without -o, -q, --json."""

    command: str
    argv: tuple[str, ...] = ()


def given(arg: str, sha256: str) -> dict[str, Any]:
    """An input that the command line names: `arg` is what was typed, and is found again in argv by `link`."""
    return {"name": portable(arg), "sha256": sha256, "arg": arg}


def portable(path: str) -> str:
    """A path as a stream may hold it: as typed if relative, under this folder if it lies there, else its last part."""
    if not os.path.isabs(path):
        return os.path.normpath(path) if path else path
    inside = os.path.relpath(path)
    return inside if not inside.startswith(os.pardir) else os.path.basename(os.path.normpath(path))


def link(
    invocation: Invocation, prev: str | None, inputs: Iterable[Mapping[str, Any]], device: str | None = None
) -> dict[str, Any]:
    """The link of one command. `inputs`: `{"name","sha256"}`, with `arg` where argv names the file (see `given`)."""
    known = list(inputs)
    body: dict[str, Any] = {
        "prev": prev,
        "argv": [*invocation.command.split(), *_canonical_argv(invocation.argv, known)],
        "inputs": [{key: value for key, value in item.items() if key != "arg"} for item in known],
        "version": version("mi"),
        "env": {name: version(name) for name in LIBRARIES} | ({"device": device} if device else {}),
    }
    return {"id": canonical.sha256(canonical.dumps(body))[:16], **body}


def append(head: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A head with one more link."""
    return {**head, "chain": [*head.get("chain", []), dict(new)]}


def last(head: Mapping[str, Any]) -> str | None:
    """The id of the newest link: the `prev` of the next."""
    chain = head.get("chain") or []
    return chain[-1]["id"] if chain else None


def record(
    head: Mapping[str, Any],
    invocation: Invocation,
    inputs: Iterable[Mapping[str, Any]] = (),
    device: str | None = None,
) -> dict[str, Any]:
    """`append` of `link`, in one call."""
    return append(head, link(invocation, last(head), inputs, device))


def version(name: str) -> str:
    """The installed version of a library, which is not imported for it."""
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"


def _canonical_argv(argv: Iterable[str], inputs: list[Mapping[str, Any]]) -> list[Any]:
    files = {item["arg"]: {key: item[key] for key in ("name", "sha256", "stream") if key in item}
             for item in inputs if "arg" in item}  # fmt: skip
    made: list[Any] = []
    for arg in argv:
        flag, equals, value = arg.partition("=")
        parts = [flag, value] if equals and flag.startswith("--") else [arg]
        made += [files.get(part) or (portable(part) if os.path.isabs(part) else part) for part in parts]
    return made


def command(link: Mapping[str, Any]) -> str:
    """One link as a command line."""
    words = [arg["name"] if isinstance(arg, dict) else str(arg) for arg in link["argv"] if not _is_stream(arg)]
    return " ".join(["mi", *map(shlex.quote, words)])


def pipeline(head: Mapping[str, Any]) -> str:
    """The whole chain as one line of shell."""
    return " | ".join(command(link) for link in head.get("chain", []))


def _is_stream(arg: Any) -> bool:
    return isinstance(arg, dict) and bool(arg.get("stream"))


def text(head: Mapping[str, Any]) -> str:
    """The chain for eyes: a line per command."""
    return "\n".join(f"{link['id'][:12]}  {command(link)}" for link in head.get("chain", []))


def script(head: Mapping[str, Any]) -> str:
    return "#!/usr/bin/env bash\nset -euo pipefail\n" + pipeline(head) + "\n"

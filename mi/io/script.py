"""A chain as a shell script that makes its result again.

In: a head. Out: a bash script: one variable per recorded file or folder, whose default is the recorded relative path;
a check of each digest that stops the script; then the commands, joined by pipes. What the script is called with goes to
the last command, so that `bash again.sh -o again.jsonl` writes a file.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mi.errors import MiError

STARTERS = ("data", "cache", "import")  # commands that need no stream before them

_CHECKS = """
command -v sha256sum >/dev/null || sha256sum() { shasum -a 256 "$@"; }

same() { # name, recorded digest, digest found
  if [ "$2" != "$3" ]; then
    echo "$1 is not what the result was made from: sha256 $3, recorded $2" >&2
    exit 3
  fi
}
file() { # path, recorded digest
  if [ ! -f "$1" ]; then echo "$1 is missing" >&2; exit 3; fi
  local found
  found="$(sha256sum < "$1")"
  same "$1" "$2" "${found%% *}"
}
folder() { # path, recorded digest, names of the files it covers
  local path="$1" recorded="$2" found
  if [ ! -d "$path" ]; then echo "$path is missing" >&2; exit 3; fi
  shift 2
  found="$(cd -- "$path" && sha256sum -- "$@" | sha256sum)"
  same "$path" "$recorded" "${found%% *}"
}
"""


@dataclass(frozen=True)
class _File:
    """One recorded file or folder and the shell variable that stands for it."""

    variable: str
    name: str
    sha256: str
    files: tuple[str, ...]

    def default(self) -> str:
        if self.name == "-":
            return f'{self.variable}="${{{self.variable}:?give the file that was read from standard input}}"'
        # An assignment splits no words, so the default may stand in quotes of its own: inside double quotes an
        # apostrophe in it would open a string.
        return f"{self.variable}=${{{self.variable}:-{shlex.quote(self.name)}}}"

    def check(self) -> str:
        if self.files:
            return f'folder "${self.variable}" {shlex.quote(self.sha256)} {shlex.join(self.files)}'
        return f'file "${self.variable}" {shlex.quote(self.sha256)}'


def script(head: Mapping[str, Any]) -> str:
    """The script. A chain that cannot be followed again is a MiError that says at which link."""
    chain: Sequence[Mapping[str, Any]] = head.get("chain", [])
    _check_replayable(chain)
    files: dict[tuple[str, str], _File] = {}
    stages = [" ".join(["mi", *_words(link, files), *_pinned(link, head.get("model"))]) for link in chain]
    stages[-1] += ' "$@"'
    parts = [
        "#!/usr/bin/env bash",
        _comment(f"Makes {_title(head)} again. Arguments go to the last command: bash FILE -o OUT.jsonl"),
        *map(_comment, _versions(chain)),
        "set -euo pipefail",
    ]
    if files:
        parts += ["", *(file.default() for file in files.values()), _CHECKS.rstrip("\n"), ""]
        parts += [file.check() for file in files.values()]
    parts += ["", " \\\n  | ".join([f"{stages[0]} < /dev/null" if len(stages) > 1 else stages[0], *stages[1:]])]
    return "\n".join(parts) + "\n"


def _check_replayable(chain: Sequence[Mapping[str, Any]]) -> None:
    if not chain:
        raise MiError("the stream has no chain: no command is recorded in it", "it was written by hand")
    for number, link in enumerate(chain, start=1):
        if link["argv"][:1] == ["stamp"]:
            raise MiError(
                f"the stream was edited by hand before link {number}, so no script makes it again",
                "`mi log` shows the commands around the edit",
            )
    first = str(chain[0]["argv"][0]) if chain[0]["argv"] else ""
    if first not in STARTERS:
        raise MiError(f"the chain starts with `mi {first}`, whose input no recorded command made")


def _title(head: Mapping[str, Any]) -> str:
    task = (head.get("task") or {}).get("name")
    kind = str(head.get("kind", "stream"))
    return f"the {kind}" + (f" of task {task}" if task else "")


def _versions(chain: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the commands ran on, each combination once."""
    lines: dict[str, None] = {}
    for link in chain:
        env = dict(link.get("env") or {})
        device = env.pop("device", None)
        if device is None and any((other.get("env") or {}).get("device") for other in chain):
            continue
        libraries = ", ".join(f"{name} {number}" for name, number in sorted(env.items()))
        lines[f"Made with mi {link.get('version')}, {libraries}" + (f" on {device}" if device else "")] = None
    return list(lines)


def _comment(text: str) -> str:
    """A head can hold anything, and a newline would end the comment."""
    return "# " + re.sub(r"[^\x20-\x7e]", "?", text)


def _words(link: Mapping[str, Any], files: dict[tuple[str, str], _File]) -> list[str]:
    covered = {(item["name"], item["sha256"]): tuple(item.get("files") or ()) for item in link.get("inputs") or []}
    words: list[str] = []
    before = ""
    for arg in link["argv"]:
        if isinstance(arg, dict):
            key = (str(arg["name"]), str(arg["sha256"]))
            if key not in files:
                files[key] = _File(_variable(before, files), *key, covered.get(key, ()))
            words.append(f'"${files[key].variable}"')
        else:
            words.append(shlex.quote(str(arg)))
        before = arg if isinstance(arg, str) else ""
    return words


def _pinned(link: Mapping[str, Any], model: Any) -> list[str]:
    """A hub id names a branch, which moves: the commit that it named then."""
    if not isinstance(model, Mapping) or not model.get("revision"):
        return []
    argv, name = link["argv"], model.get("id")
    named = any(pair in (("-m", name), ("--model", name)) for pair in pairwise(argv))
    return ["--revision", shlex.quote(str(model["revision"]))] if named and "--revision" not in argv else []


def _variable(flag: str, files: Mapping[tuple[str, str], _File]) -> str:
    """MODEL for --model, FILE for an argument; a number where the name is taken."""
    short = {"-m": "MODEL"}
    name = re.sub(r"\W", "_", flag.lstrip("-").upper()) if flag.startswith("--") else short.get(flag, "FILE")
    taken = {file.variable for file in files.values()}
    numbers = (f"{name}{number}" for number in range(2, len(files) + 3))
    return name if name not in taken else next(other for other in numbers if other not in taken)

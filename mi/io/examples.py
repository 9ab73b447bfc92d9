"""The digest of a set of examples, the counts of its splits, and where `score` looks for examples.

In: example records (of `mi data` or `mi cache`). Out: the digest and the counts that a head holds; the records again,
found by that digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mi.errors import MiError
from mi.io import canonical

Record = dict[str, Any]

UNSPLIT = "all"  # the split of an example that names none


def examples_digest(records: Iterable[Mapping[str, Any]]) -> str:
    """sha256 over the records as canonical lines, without the `baseline` that `mi cache` adds."""
    digest = hashlib.sha256()
    for record in records:
        plain = {key: value for key, value in record.items() if key != "baseline"}
        digest.update(canonical.dumps(plain) + b"\n")
    return digest.hexdigest()


def split_counts(records: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many examples each split has, in the order in which the splits first occur."""
    counts: dict[str, int] = {}
    for record in records:
        name = record.get("split") or UNSPLIT
        counts[name] = counts.get(name, 0) + 1
    return counts


@dataclass(frozen=True)
class Found:
    """Examples and where they came from. `same` is False where the user gave other examples on purpose."""

    records: list[Record]
    where: str
    same: bool = True


def find(
    head: Mapping[str, Any],
    *,
    given: tuple[str, Callable[[], Sequence[Record]]] | None = None,
    generate: Callable[[Mapping[str, Any]], Sequence[Record]] | None = None,
    read_file: Callable[[str, Mapping[str, Any]], Sequence[Record]] | None = None,
    allow_other: bool = False,
) -> Found:
    """The examples that a head names by digest: what the user gave, the generator, the store, the relative path.

    `given` is what `--data` or `--task` names and how to get it; `generate` and `read_file` make records again from
    `head["examples"]["source"]`. The digest is verified each time. With `allow_other`, other examples that the user
    gave are taken and `same` says so; else they are refused.
    """
    named = head.get("examples") or {}
    sha, origin = str(named.get("sha256", "")), named.get("source") or {}
    if given is not None:
        return _given(given, sha, allow_other)
    if not sha:
        raise MiError("the stream names no examples", "give them with --data FILE or --task TASK")
    reasons: list[str] = []
    for where, get in _places(origin, sha, generate, read_file):
        try:
            records = get()
        except MiError as error:
            reasons.append(f"{where}: {error.fact}")
            continue
        if records is None:
            reasons.append(f"{where}: not there")
        elif examples_digest(records) != sha:
            reasons.append(f"{where}: other examples than those")
        else:
            return Found(list(records), where)
    raise MiError(
        f"the examples with sha256 {sha[:12]} are not to be found ({'; '.join(reasons) or 'nothing says where'})",
        "give their file with --data FILE",
    )


def _given(given: tuple[str, Callable[[], Sequence[Record]]], sha: str, allow_other: bool) -> Found:
    where, get = given
    records = list(get())
    same = not sha or examples_digest(records) == sha
    if not same and not allow_other:
        raise MiError(f"{where} holds other examples than those that the stream was made from (sha256 {sha[:12]})")
    return Found(records, where, same)


def _places(
    origin: Mapping[str, Any],
    sha: str,
    generate: Callable[[Mapping[str, Any]], Sequence[Record]] | None,
    read_file: Callable[[str, Mapping[str, Any]], Sequence[Record]] | None,
) -> Iterator[tuple[str, Callable[[], Sequence[Record] | None]]]:
    """Where to look, in order, and how."""
    from mi.io import store

    if "generator" in origin and generate is not None:
        yield f"the generator {origin['generator']}", lambda: generate(origin)
    yield f"the store {store.where()}", lambda: store.get_examples(sha)
    if isinstance(origin.get("path"), str) and read_file is not None:
        yield f"the file {origin['path']}", lambda: read_file(origin["path"], origin)

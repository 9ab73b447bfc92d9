"""Examples taken from other examples: records in; the head that names the new set, and groups of records, out.

A part of a set is a set of its own: no generator and no file makes it again, so it is kept in the store, where later
commands find it by its digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from mi.errors import MiError
from mi.io import canonical, store
from mi.io.examples import examples_digest, split_counts
from mi.io.stream import Stream

KINDS = ("examples", "cache")
Record = Mapping[str, Any]


def check(stream: Stream) -> None:
    """Refuse activations, which belong to the examples row by row."""
    if stream.kind in KINDS and stream.blobs:
        raise MiError(
            f"the activations beside it ({', '.join(stream.blobs)}) are of all its examples",
            "take the examples apart or together first, and run `mi cache --site` on the result",
            place=stream.origin,
        )


def renamed(head: Mapping[str, Any], records: Sequence[Record]) -> dict[str, Any]:
    """The head of another set of examples. Where they came from stays, as `of`."""
    old = head.get("examples") or {}
    made: dict[str, Any] = {"sha256": examples_digest(records), "n": split_counts(records)}
    if made["sha256"] == old.get("sha256"):
        return dict(head)
    if "source" in old:
        made["source"] = {"of": old["source"]}
    caching = {"caching": {"metric": head["caching"]["metric"]}} if "caching" in head else {}  # the rest is of them all
    return {**head, **caching, "examples": made}


def keep(records: Sequence[Record]) -> MiError | None:
    """Keep them in the store. One that cannot be written is no reason to fail: `--data` names them just as well."""
    try:
        store.put_examples(records)
    except MiError as error:
        return error
    return None


def joined(streams: Sequence[Stream]) -> tuple[list[Record], int]:
    """The examples of all streams, each once, and how many were there more than once.

    Raises:
        MiError: one id stands for two different examples.
    """
    found: dict[str, tuple[Record, str]] = {}
    made: list[Record] = []
    again = 0
    for stream in streams:
        for index, record in enumerate(stream.records):
            name, plain = str(record.get("id", "")), canonical.dumps(_plain(record)).decode()
            known = found.get(name)
            if known is not None and name and known[1] != plain:
                raise MiError(
                    f"the id {name} is that of another example above",
                    "give the examples ids of their own",
                    place=stream.place(index),
                )
            if known is not None and name:
                again += 1
                continue
            found[name] = (record, plain)
            made.append(record)
    return made, again


def _plain(record: Record) -> Record:
    return {key: value for key, value in record.items() if key != "baseline"}


def groups(records: Sequence[Record], field: str) -> dict[str, list[Record]]:
    """The records by the value of a field: `template`, `labels.kind`, or `length` (tokens where the clean input is in
    ids, words where it is text). Those that have no such field come under the empty name."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(value_of(record, field), []).append(record)
    return found


def value_of(record: Record, field: str) -> str:
    if field == "length":
        clean = record["clean"]
        return str(len(clean.split()) if isinstance(clean, str) else len(clean))
    value: Any = record
    for key in field.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is None:
        return ""
    return value if isinstance(value, str) else canonical.dumps(value).decode()


def drawn(records: Sequence[Record], fraction: float, seed: int) -> tuple[list[Record], list[Record]]:
    """A share of the records, by a digest of seed and example: the same one in any order and any larger set, but for
    the last ones. Both parts in the order of the stream."""
    digests = [
        hashlib.sha256(canonical.dumps([seed, record.get("clean"), record.get("corrupted")])).digest()
        for record in records
    ]
    n = round(fraction * len(records))
    first = set(sorted(range(len(records)), key=lambda i: (digests[i], i))[:n])
    return (
        [record for i, record in enumerate(records) if i in first],
        [record for i, record in enumerate(records) if i not in first],
    )

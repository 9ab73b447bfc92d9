"""The digest of a set of examples and the counts of its splits.

In: example records (of `mi data` or `mi cache`). Out: what a head holds of them, by which `mi score` knows them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from mi.io import canonical

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

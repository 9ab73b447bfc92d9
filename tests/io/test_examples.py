"""The digest of examples and the counts of their splits."""

from __future__ import annotations

import hashlib
from typing import Any

from mi.io.examples import examples_digest, split_counts
from tests.io import plain

RECORDS: list[dict[str, Any]] = [
    {"id": "a", "clean": "x y", "corrupted": "x z", "answers": [" y"], "split": "train"},
    {"id": "b", "clean": "u v", "corrupted": "u w", "answers": [" v"], "split": "validation"},
    {"id": "c", "clean": "s t", "corrupted": "s q", "answers": [" t"], "split": "train"},
]
SHA = hashlib.sha256(b"".join(map(plain.line, RECORDS))).hexdigest()


def test_the_digest_is_over_the_lines_without_baselines() -> None:
    assert examples_digest(RECORDS) == SHA
    cached = [{**record, "baseline": {"clean": 1.5, "corrupted": 0.0}} for record in RECORDS]
    assert examples_digest(cached) == SHA
    assert examples_digest(reversed(RECORDS)) != SHA
    assert examples_digest([]) == hashlib.sha256(b"").hexdigest()


def test_splits_are_counted() -> None:
    assert split_counts(RECORDS) == {"train": 2, "validation": 1}
    assert split_counts([{}, {"split": None}, {"split": "train"}]) == {"all": 2, "train": 1}

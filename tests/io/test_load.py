"""`mi.load` in a notebook: head, records and tensors by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mi
from mi.errors import MiError
from mi.io import blobs, stream
from mi.io.load import Artifact
from tests.io import plain

Z = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)


@pytest.fixture
def artifact() -> Artifact:
    stream.write(
        "acts.jsonl",
        {"kind": "cache", "model": {"id": "default"}},
        plain.RECORDS["cache"],
        {
            "sites": {"blocks.3.attn.z": Z, "half": blobs.BF16.rounded(Z), "mask": Z > 0},
            "run": {"a": np.arange(3), "same": np.ones(1)},
            "other": {"same": np.zeros(1)},
            "single": {"some key": np.full(2, 7.0)},
        },
    )
    return mi.load("acts.jsonl")


def test_head_records_and_kind(artifact: Artifact) -> None:
    assert artifact.head["model"] == {"id": "default"}
    assert artifact.records == plain.RECORDS["cache"]
    assert artifact.kind == "cache"


def test_tensors_by_key_or_with_their_blob(artifact: Artifact) -> None:
    for name in ("blocks.3.attn.z", "sites/blocks.3.attn.z"):
        assert artifact.numpy(name).dtype == np.float32
        assert np.array_equal(artifact.numpy(name), Z)
    assert artifact.numpy("mask").dtype == bool
    assert artifact.numpy("a").tolist() == [0, 1, 2]
    assert artifact.numpy("single").tolist() == [7, 7]


def test_bfloat16_is_widened(artifact: Artifact) -> None:
    half = artifact.numpy("half")
    assert half.dtype == np.float32
    assert np.array_equal(half, blobs.BF16.rounded(Z).float32())
    assert not np.array_equal(half, Z)


def test_a_key_of_two_blobs_needs_its_blob(artifact: Artifact) -> None:
    with pytest.raises(MiError, match="2 tensors are called same"):
        artifact.numpy("same")
    assert artifact.numpy("run/same") == [1]
    assert artifact.numpy("other/same") == [0]
    assert artifact.names() == [
        "other/same", "a", "run/same", "some key", "blocks.3.attn.z", "half", "mask",
    ]  # fmt: skip


def test_an_unknown_name_lists_those_there_are(artifact: Artifact) -> None:
    for name in ("blocks.4.attn.z", "sites", "run"):
        with pytest.raises(MiError, match=f"no tensor is called {name}") as caught:
            artifact.numpy(name)
        assert "blocks.3.attn.z" in caught.value.hint
    assert "blocks.3.attn.z" in repr(artifact)


def test_damage_is_found(artifact: Artifact) -> None:
    (path,) = Path().glob("acts.sites.*")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(MiError, match="damaged"):
        artifact.numpy("mask")
    Path("acts.jsonl").write_bytes(Path("acts.jsonl").read_bytes()[:-2])
    with pytest.raises(MiError):
        mi.load(Path("acts.jsonl"))


def test_paths_and_any_kind_are_taken(artifact: Artifact) -> None:
    assert mi.load(Path("acts.jsonl").absolute()).numpy("a").tolist() == [0, 1, 2]
    Path("r.jsonl").write_bytes(plain.kind("report"))
    assert mi.load("r.jsonl").names() == []

"""Blobs: found by digest, verified on every read, and never read from where a stream must not point."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi.errors import BAD_INPUT, MiError
from mi.io import blobs, chain, store, stream, tensors
from tests import waiting
from tests.io import plain

PACKED = tensors.pack("scores", {"edge": np.arange(3.0), "n": np.arange(2, dtype=np.int64)})
ROW = {
    "blob": "scores",
    "sha256": PACKED.sha256,
    "bytes": PACKED.size,
    "tensors": {"edge": ["F64", [3]], "n": ["I64", [2]]},
}
LINK = chain.link(chain.Invocation("attribute", ("--steps", "7", "--task", "two words")), None, [])


def with_row(**changes: Any) -> stream.Stream:
    row = {key: value for key, value in {**ROW, **changes}.items() if value is not ...}
    Path("s.jsonl").write_bytes(plain.stream({**plain.HEADS["scores"], "chain": [LINK]}, [row]))
    return stream.read("s.jsonl", ())


def refused(name: str = "scores", **changes: Any) -> MiError:
    with pytest.raises(MiError) as caught:
        blobs.load(with_row(**changes), name)
    assert caught.value.code == BAD_INPUT
    assert caught.value.place == "s.jsonl:2"
    return caught.value


def test_a_blob_beside_its_stream_is_read_from_any_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("x.safetensors").write_bytes(PACKED.tobytes())
    with_row(path="x.safetensors")
    os.mkdir("below")
    monkeypatch.chdir("below")
    found = blobs.load(stream.read("../s.jsonl", ()), "scores")
    assert {key: value.tolist() for key, value in found.items() if isinstance(value, np.ndarray)} == {
        "edge": [0, 1, 2],
        "n": [0, 1],
    }


def test_a_blob_in_a_folder_below_is_read() -> None:
    os.makedirs("a/b")
    Path("a/b/x.safetensors").write_bytes(PACKED.tobytes())
    assert list(blobs.load(with_row(path="a/b/x.safetensors"), "scores")) == ["edge", "n"]


def test_a_blob_without_a_path_is_read_from_the_store() -> None:
    store.put_blob(PACKED)
    assert list(blobs.load(with_row(), "scores")) == ["edge", "n"]


def test_the_store_stands_in_for_a_sidecar_that_is_gone() -> None:
    store.put_blob(PACKED)
    assert list(blobs.load(with_row(path="gone.safetensors"), "scores")) == ["edge", "n"]


def test_of_a_stream_on_stdin_from_a_file_the_sidecars_are_found() -> None:
    """`mi prune < far/s.jsonl`"""
    os.mkdir("far")
    stream.write("far/s.jsonl", plain.HEADS["scores"], [], {"scores": {"edge": np.arange(3.0)}})
    program = "from mi.io import blobs, stream; print(blobs.load(stream.read(None, ()), 'scores')['edge'].tolist())"
    with open("far/s.jsonl", "rb") as f:
        made = subprocess.run([sys.executable, "-c", program], stdin=f, capture_output=True, text=True)
    assert made.stdout == "[0.0, 1.0, 2.0]\n", made.stderr


def test_a_blob_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(MiError, match="its blobs: scores"):
        blobs.load(with_row(), "acts")


def test_a_missing_blob_names_the_command_that_makes_it_again() -> None:
    for path in ("gone.safetensors", "x" * 300, ...):
        error = refused(path=path)
        assert "missing" in error.fact
        assert error.hint == "make it again: mi attribute --steps 7 --task 'two words' -o s.jsonl"


# --- damage -----------------------------------------------------------------------------------------------------------


def test_any_flipped_bit_is_found_on_reading() -> None:
    data = PACKED.tobytes()
    found = with_row(path="x.safetensors")
    for index in range(len(data)):
        changed = bytearray(data)
        changed[index] ^= 1 << index % 8
        Path("x.safetensors").write_bytes(changed)
        with pytest.raises(MiError, match="wrong digest: blob scores is damaged"):
            blobs.load(found, "scores")


def test_a_blob_cut_or_longer_is_damaged_and_says_how_to_make_it_again() -> None:
    for data in (PACKED.tobytes()[:-1], PACKED.tobytes() + b"\0", b""):
        Path("x.safetensors").write_bytes(data)
        error = refused(path="x.safetensors")
        assert f"{len(data)} bytes, not {PACKED.size}" in error.fact
        assert "mi attribute --steps 7" in error.hint


def test_a_damaged_sidecar_is_not_passed_over_for_the_store() -> None:
    store.put_blob(PACKED)
    Path("x.safetensors").write_bytes(PACKED.tobytes()[:-1] + b"\1")
    assert "wrong digest" in refused(path="x.safetensors").fact


def test_damage_in_the_store_is_found() -> None:
    store.put_blob(PACKED)
    store.blob(PACKED.sha256).write_bytes(b"x" * PACKED.size)
    assert "wrong digest" in refused().fact


def test_a_file_with_other_tensors_than_its_record_lists_is_refused() -> None:
    store.put_blob(PACKED)
    lists = [{"edge": ["F64", [3]]}]
    lists += [
        {**ROW["tensors"], **other} for other in ({"z": ["F64", [1]]}, {"n": ["I64", [1, 2]]}, {"n": ["F64", [2]]})
    ]
    for listed in lists:
        assert "does not hold the tensors" in refused(tensors=listed).fact


def test_a_size_that_no_file_has_takes_no_memory() -> None:
    store.put_blob(PACKED)
    assert f"not {10**18}" in refused(bytes=10**18).fact


# --- paths ------------------------------------------------------------------------------------------------------------


def outside(own: Path) -> str:
    (own.parent / "x.safetensors").write_bytes(PACKED.tobytes())
    return "../x.safetensors"


def absolute(own: Path) -> str:
    (own / "x.safetensors").write_bytes(PACKED.tobytes())
    return str(own / "x.safetensors")


def down_and_out(own: Path) -> str:
    (own / "a").mkdir()
    outside(own)
    return "a/../../x.safetensors"


def link(own: Path) -> str:
    (own.parent / "x.safetensors").write_bytes(PACKED.tobytes())
    (own / "x.safetensors").symlink_to("../x.safetensors")
    return "x.safetensors"


def link_inside(own: Path) -> str:
    (own / "real.safetensors").write_bytes(PACKED.tobytes())
    (own / "x.safetensors").symlink_to("real.safetensors")
    return "x.safetensors"


def linked_folder(own: Path) -> str:
    (own.parent / "far").mkdir()
    (own.parent / "far" / "x.safetensors").write_bytes(PACKED.tobytes())
    (own / "a").symlink_to("../far")
    return "a/x.safetensors"


def pipe(own: Path) -> str:
    os.mkfifo(own / "x.safetensors")
    return "x.safetensors"


def folder(own: Path) -> str:
    (own / "x.safetensors").mkdir()
    return "x.safetensors"


def device(_: Path) -> str:
    return "/dev/zero"


def empty(_: Path) -> str:
    return ""


def windows(own: Path) -> str:
    (own / "..\\x").write_bytes(PACKED.tobytes())
    return "..\\x"


def zero_byte(_: Path) -> str:
    return "x\0y"


@pytest.mark.parametrize(
    "make",
    [
        outside,
        absolute,
        down_and_out,
        link,
        link_inside,
        linked_folder,
        pipe,
        folder,
        device,
        empty,
        windows,
        zero_byte,
    ],
    ids=lambda make: make.__name__,
)
def test_a_path_leads_to_a_regular_file_inside_the_folder_or_is_refused(
    make: Callable[[Path], str], own_folder: Path
) -> None:
    path = make(own_folder)
    error = refused(path=path)
    assert any(text in error.fact for text in ("leaves the folder", "goes through a link", "no regular file")), error


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": "../../../etc/passwd"},
        {"sha256": plain.SHA.upper()},
        {"sha256": 5},
        {"sha256": ...},
        {"bytes": -1},
        {"bytes": "12"},
        {"bytes": True},
        {"bytes": ...},
        {"blob": ""},
        {"blob": 3},
        {"blob": None},
        {"blob": "a\x1b[2Jb"},
        {"blob": "n" * 201},
        {"tensors": None},
        {"tensors": ["edge"]},
        {"tensors": {"edge": "F64"}},
        {"tensors": {"edge": ["F64"]}},
        {"tensors": {"edge": ["F64", 3]}},
        {"tensors": {"edge": ["F64", [-3]]}},
        {"tensors": {"edge": ["F64", ["3"]]}},
        {"path": 3},
        {"path": ["x"]},
    ],
    ids=repr,
)
def test_a_blob_record_that_is_none_is_refused_on_reading_the_stream(changes: dict[str, Any]) -> None:
    with pytest.raises(MiError) as caught:
        with_row(**changes)
    assert caught.value.place == "s.jsonl:2"
    assert caught.value.code == BAD_INPUT


def test_two_blobs_of_one_name_are_refused() -> None:
    Path("s.jsonl").write_bytes(plain.stream(plain.HEADS["scores"], [ROW, ROW]))
    with pytest.raises(MiError, match="second blob") as caught:
        stream.read("s.jsonl", ())
    assert caught.value.place == "s.jsonl:3"


def test_unknown_fields_of_a_blob_record_are_let_pass() -> None:
    store.put_blob(PACKED)
    assert list(blobs.load(with_row(note={"by": "hand"}), "scores")) == ["edge", "n"]


# --- whole or not at all ----------------------------------------------------------------------------------------------


def test_killed_at_any_instant_a_stream_and_its_sidecar_fit_together(seed: int) -> None:
    program = """
import numpy as np
from mi.io import stream
head = {"kind": "scores", "graph": {"builder": "transformer", "digest": "0" * 64}}
n = 0
while True:
    n += 1
    stream.write("out.jsonl", head, [], {"scores": {"edge": np.full(5000, n % 7)}})
"""
    stream.write("out.jsonl", plain.HEADS["scores"], [], {"scores": {"edge": np.full(5000, 0)}})
    rng = random.Random(seed)
    for _ in range(5):
        before = os.stat("out.jsonl").st_ino
        with waiting.killed([sys.executable, "-c", program]) as writer:
            waiting.until(lambda before=before: os.stat("out.jsonl").st_ino != before, "a first new stream", writer)
            waiting.a_moment(rng, 0.02)
        array = blobs.load(stream.read("out.jsonl", ()), "scores")["edge"]
        assert isinstance(array, np.ndarray)
        assert len(set(array.tolist())) == 1

"""Streams of version 1, as they were first written, are read for ever.

The files in `fixtures/v1` were written by the commands on a tiny model. They never change: a reader that minds one of
them is wrong, whatever the reason for its change. `types` holds every number format, `edges` scores spelled as records,
`curve` a report over sizes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_file_with_bfloat16

from mi.errors import MiError
from mi.io import blobs, chain, schemas, stream

V1 = Path(__file__).parent / "fixtures" / "v1"
FROZEN = {
    "cache.clean.3ac4c625c716.safetensors": "3ac4c625c716f562",
    "cache.jsonl": "6bdee06743b5c022",
    "circuit.jsonl": "a20cf3bc2848b7fd",
    "curve.jsonl": "9b98d75fd3e40390",
    "edges.jsonl": "fdb19e62b0c4a470",
    "effects.jsonl": "043b4f48996e8d42",
    "examples.jsonl": "903edc424f53e4f5",
    "means.jsonl": "fd64b28f8d470a73",
    "means.means.100d855edadd.safetensors": "100d855edaddba62",
    "report.jsonl": "05f09983c35422c4",
    "scores.jsonl": "44a9f1d6ab6391c0",
    "scores.scores.05251357ed56.safetensors": "05251357ed56b4b0",
    "types.f.bf4b260e56d5.safetensors": "bf4b260e56d58614",
    "types.jsonl": "47c15c7aa2a986a6",
}
STREAMS = {
    "examples": "examples",
    "cache": "cache",
    "scores": "scores",
    "circuit": "circuit",
    "report": "report",
    "curve": "report",
    "edges": "scores",
    "effects": "effects",
    "means": "means",
    "types": "cache",
}


def test_the_fixtures_are_as_they_were_first_written() -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in V1.iterdir()}
    assert found == FROZEN


def test_there_is_one_of_every_kind() -> None:
    assert set(STREAMS.values()) == set(stream.KINDS) == set(schemas.KINDS)
    assert {f"{name}.jsonl" for name in STREAMS} == {name for name in FROZEN if name.endswith(".jsonl")}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_read_as_the_standard_library_reads_it(name: str) -> None:
    found = stream.read(str(V1 / f"{name}.jsonl"), (STREAMS[name],))
    head, *rows, end = [json.loads(line) for line in (V1 / f"{name}.jsonl").read_text("utf-8").splitlines()]
    assert found.head == head
    assert found.records == [row for row in rows if "blob" not in row]
    assert [found.blobs[row["blob"]].sha256 for row in rows if "blob" in row] == [
        row["sha256"] for row in rows if "blob" in row
    ]
    assert end["n"] == len(rows)
    assert chain.broken(head) is None


@pytest.mark.parametrize("name", ["cache", "scores"])
def test_tensors_are_read_as_the_library_reads_them(name: str) -> None:
    found = stream.read(str(V1 / f"{name}.jsonl"), ())
    (blob,) = found.blobs.values()
    ours, theirs = blobs.load(found, blob.name), load_file(V1 / str(blob.path))
    assert set(ours) == set(theirs)
    for key, array in ours.items():
        assert isinstance(array, np.ndarray)
        assert array.dtype == theirs[key].dtype
        assert np.array_equal(array, theirs[key])


def test_every_number_format_is_read() -> None:
    found = stream.read(str(V1 / "types.jsonl"), ())
    ours = blobs.load(found, "f")
    theirs = load_file_with_bfloat16(V1 / str(found.blobs["f"].path))
    assert {dtype for dtype, _ in found.blobs["f"].tensors.values()} == set(blobs.DTYPES)
    assert set(ours) == set(theirs)
    for key, array in ours.items():
        plain = array.float32() if isinstance(array, blobs.BF16) else array
        assert plain.tolist() == theirs[key].tolist()


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_written_again_has_the_same_bytes(name: str) -> None:
    found = stream.read(str(V1 / f"{name}.jsonl"), ())
    stream.write(f"{name}.jsonl", found.head, found.records, found.blobs)
    for path in Path().iterdir():
        assert path.read_bytes() == (V1 / path.name).read_bytes()
    arrays = {key: blobs.load(found, key) for key in found.blobs}
    stream.write(f"{name}.jsonl", found.head, found.records, arrays)
    for path in Path().iterdir():
        assert path.read_bytes() == (V1 / path.name).read_bytes()


@pytest.mark.parametrize("name", STREAMS)
def test_a_fixture_that_is_changed_would_be_noticed(name: str) -> None:
    data = (V1 / f"{name}.jsonl").read_bytes()
    Path("s.jsonl").write_bytes(data.replace(b"0", b"1", 1))
    with pytest.raises(MiError):
        stream.read("s.jsonl", ())


def test_the_frozen_chain_still_makes_a_script() -> None:
    head = stream.read(str(V1 / "report.jsonl"), ()).head
    assert "| mi attribute --steps 2" in chain.script(head)
    assert chain.pipeline(head).startswith("mi data --from pairs.jsonl | mi cache ")

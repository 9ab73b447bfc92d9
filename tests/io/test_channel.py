"""The channel of `mi pipe`: the same bytes as a shell pipe, with the tensors in memory."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi.errors import RunError
from mi.io import blobs, chain, channel, store, stream
from tests.io import plain


def first(output: str | None, stdout: io.BytesIO | None = None) -> None:
    """A stage that starts a pipe. float32 scalars and views: what text and memory could spell differently."""
    head = chain.record({"kind": "scores", "graph": plain.GRAPH}, chain.Invocation("attribute", ("--steps", "5")))
    base = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    tensors: Mapping[str, Any] = {"scores": {"edge": base.T, "half": blobs.BF16.rounded(base)}}
    stream.write(output, head, [{"src": "m0", "dst": "logits", "score": np.float32(0.1)}], tensors, stdout)


def second(output: str | None, stdout: io.BytesIO | None = None) -> None:
    """A stage in the middle: reads, computes from tensors and records, carries a blob on."""
    found = stream.read(None, ("scores",))
    arrays = blobs.load(found, "scores")
    assert isinstance(arrays["edge"], np.ndarray)
    assert isinstance(arrays["half"], blobs.BF16)
    total = float(arrays["edge"].sum() + arrays["half"].float32().sum()) + sum(r["score"] for r in found.records)
    head = chain.record(found.head, chain.Invocation("prune", ("--top", "1")))
    records = [*found.records, {"src": "m0", "dst": "logits", "score": total, "at": found.place(0)}]
    stream.write(output, head, records, found.blobs, stdout)


def in_a_shell(stages: int) -> bytes:
    """Stage by stage through real bytes on stdin and the store."""
    data = b""
    for stage in (first, second, second)[:stages]:
        out = io.BytesIO()
        reader, writer = os.pipe()
        os.write(writer, data)
        os.close(writer)
        saved = os.dup(0)
        os.dup2(reader, 0)
        try:
            stage(None, out)
        finally:
            os.dup2(saved, 0)
            os.close(reader)
            os.close(saved)
        data = out.getvalue()
    return data


def in_a_pipe(stages: int, last: str | None = None) -> bytes:
    handed: channel.Handover | None = None
    out = io.BytesIO()
    for number, stage in enumerate((first, second, second)[:stages], start=1):
        ends = number == stages
        with channel.use(channel.Channel(input=handed, keeps_output=not ends)) as used:
            assert channel.taken() is not ends
            stage(last if ends else None, out)
        handed = used.made
    assert not channel.taken()
    return out.getvalue()


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_the_last_stage_writes_the_bytes_of_the_shell_pipe(stages: int) -> None:
    assert in_a_pipe(stages) == in_a_shell(stages)


def test_with_an_output_file_too() -> None:
    in_a_pipe(3, "pipe.jsonl")
    data = Path("pipe.jsonl").read_bytes()
    beside = [name for name in os.listdir(".") if name.endswith(".safetensors")]
    assert len(beside) == 1
    first("first.jsonl")
    found = stream.read("first.jsonl", ())
    assert stream.read("pipe.jsonl", ()).blobs["scores"].sha256 == found.blobs["scores"].sha256
    assert beside[0].encode() in data


def test_between_stages_nothing_reaches_the_disk(own_store: Path) -> None:
    with channel.use(channel.Channel(keeps_output=True)) as used:
        first(None)
    with channel.use(channel.Channel(input=used.made, keeps_output=True)):
        second(None)
    assert not own_store.exists()
    assert os.listdir(".") == []


def test_a_file_that_is_named_wins_over_the_channel() -> None:
    first("named.jsonl")
    handed = channel.Handover(plain.kind("scores"))
    with channel.use(channel.Channel(input=handed)):
        assert stream.read("named.jsonl", ()).origin == "named.jsonl"
        assert stream.read("-", ()).records == plain.RECORDS["scores"]


def test_a_damaged_handover_is_refused_like_a_damaged_pipe() -> None:
    with (
        channel.use(channel.Channel(input=channel.Handover(plain.kind("scores")[:-2]))),
        pytest.raises(Exception, match="stdin"),
    ):
        stream.read(None, ())


def test_arrays_that_their_maker_changes_later_are_noticed() -> None:
    buffer = np.zeros(3)
    with channel.use(channel.Channel(keeps_output=True)) as used:
        stream.write(None, {"kind": "cache"}, [], {"acts": {"x": buffer}})
    buffer[1] = 5
    with channel.use(channel.Channel(input=used.made)):
        found = stream.read(None, ())
        with pytest.raises(RunError, match="changed after"):
            blobs.load(found, "acts")


def test_a_channel_ends_with_its_stage_even_on_an_error() -> None:
    with pytest.raises(KeyError):
        _fail_inside()
    assert channel.current() is None


def _fail_inside() -> None:
    with channel.use(channel.Channel(keeps_output=True)):
        raise KeyError


def test_a_tee_of_a_handover_is_the_file_that_the_stage_would_have_written() -> None:
    """`mi pipe 'attribute --tee scores.jsonl ! prune'`: the handed stream, written through the same writer."""
    with channel.use(channel.Channel(keeps_output=True)) as used:
        first(None)
    with channel.use(channel.Channel(input=used.made)):
        found = stream.read(None, ())
        stream.write("tee.jsonl", found.head, found.records, found.blobs)
    first("direct.jsonl")
    assert _without_end("tee.jsonl") == _without_end("direct.jsonl").replace(b"direct.", b"tee.")


def _without_end(path: str) -> bytes:
    return b"".join(Path(path).read_bytes().splitlines(keepends=True)[:-1])


def test_a_blob_of_the_store_goes_through_a_channel() -> None:
    """A memo hit hands on blobs that lie in the store and were never in memory."""
    sha = store.put_blob(blobs.pack("acts", {"x": np.ones(2)}))
    row = {"blob": "acts", "sha256": sha, "bytes": store.blob(sha).stat().st_size, "tensors": {"x": ["F64", [2]]}}
    kept = stream.parse(plain.stream({"kind": "cache"}, [row]).splitlines(keepends=True), "memo", ())
    with channel.use(channel.Channel(keeps_output=True)) as used:
        stream.write(None, kept.head, [], kept.blobs)
    with channel.use(channel.Channel(input=used.made)):
        assert list(blobs.load(stream.read(None, ()), "acts")) == ["x"]

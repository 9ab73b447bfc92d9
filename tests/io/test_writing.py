"""Writing streams: the plain writer's bytes, to stdout and to files, with blobs in the store or beside the file."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi.errors import FAILED, RunError
from mi.io import blobs, store, stream, tensors, writing
from tests.io import plain

HEAD = plain.HEADS["scores"]


def edges(*values: float) -> dict[str, dict[str, np.ndarray]]:
    return {"scores": {"edge": np.array(values, dtype=np.float32)}}


def names() -> list[str]:
    return sorted(os.listdir("."))


def put(output: str | None, *args: Any) -> bytes:
    out = io.BytesIO()
    stream.write(output, *args, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("kind", stream.KINDS)
def test_bytes_are_those_of_the_plain_writer(kind: str) -> None:
    assert put(None, plain.HEADS[kind], plain.RECORDS[kind]) == plain.kind(kind)
    assert put("-", plain.HEADS[kind], iter(plain.RECORDS[kind])) == plain.kind(kind)
    put("out.jsonl", plain.HEADS[kind], plain.RECORDS[kind])
    assert Path("out.jsonl").read_bytes() == plain.kind(kind)
    assert names() == ["out.jsonl"]


def test_a_head_that_was_read_is_written_with_this_version() -> None:
    assert put(None, {"mi": "head", "v": 0, **HEAD}, []) == plain.stream(HEAD, [])


def test_what_is_written_is_read_back() -> None:
    put("out.jsonl", HEAD, plain.RECORDS["scores"], edges(1, 2, 3))
    found = stream.read("out.jsonl", ("scores",))
    assert found.records == plain.RECORDS["scores"]
    assert found.place(0) == "out.jsonl:2"
    array = blobs.load(found, "scores")["edge"]
    assert isinstance(array, np.ndarray)
    assert array.tolist() == [1, 2, 3]


# --- blobs ------------------------------------------------------------------------------------------------------------


def test_a_sidecar_is_called_by_stream_blob_and_digest() -> None:
    put("out.jsonl", HEAD, [], edges(1, 2))
    packed = tensors.pack("scores", edges(1, 2)["scores"])
    name = f"out.scores.{packed.sha256[:12]}.safetensors"
    assert names() == sorted(["out.jsonl", name])
    assert Path(name).read_bytes() == packed.tobytes()
    row = {"blob": "scores", "sha256": packed.sha256, "bytes": packed.size, "tensors": {"edge": ["F32", [2]]}}
    assert Path("out.jsonl").read_bytes() == plain.stream(HEAD, [{**row, "path": name}])


def test_in_a_pipe_blobs_lie_in_the_store_and_have_no_path(own_store: Path) -> None:
    data = put(None, HEAD, [], edges(1, 2))
    packed = tensors.pack("scores", edges(1, 2)["scores"])
    row = {"blob": "scores", "sha256": packed.sha256, "bytes": packed.size, "tensors": {"edge": ["F32", [2]]}}
    assert data == plain.stream(HEAD, [row])
    assert store.blob(packed.sha256).read_bytes() == packed.tobytes()
    assert str(store.blob(packed.sha256)).startswith(str(own_store))
    assert names() == []


def test_odd_blob_names_make_plain_file_names() -> None:
    made = {"model.layers.3:out/put ü": {"x": np.zeros(1)}, "n" * 150: {"x": np.zeros(1)}}
    put("out.jsonl", {"kind": "cache"}, [], made)
    found = stream.read("out.jsonl", ())
    assert set(found.blobs) == set(made)
    for name in made:
        assert list(blobs.load(found, name)) == ["x"]
        path = found.blobs[name].path
        assert path is not None
        assert path.isascii()
        assert len(path) < 200


def test_a_new_result_replaces_the_old_one_and_its_sidecar() -> None:
    put("out.jsonl", HEAD, [], edges(1))
    put("other.jsonl", HEAD, [], edges(1))
    put("out.jsonl", HEAD, [], edges(2))
    beside = [name for name in names() if name.endswith(".safetensors")]
    assert [name.split(".")[0] for name in beside] == ["other", "out"]
    for file, value in (("out.jsonl", 2), ("other.jsonl", 1)):
        assert blobs.load(stream.read(file, ()), "scores")["edge"] == [value]


def test_the_same_result_twice_keeps_its_sidecar() -> None:
    for _ in range(2):
        put("out.jsonl", HEAD, [], edges(1))
        assert blobs.load(stream.read("out.jsonl", ()), "scores")["edge"] == [1]


def test_only_sidecars_of_our_own_making_are_removed() -> None:
    """A stream from elsewhere may name any file: replacing it must not delete that file."""
    for precious in ("precious.safetensors", "other.scores.0123456789ab.safetensors", "out.jsonl.bak"):
        Path(precious).write_bytes(b"mine")
        row = {"blob": "scores", "sha256": plain.SHA, "bytes": 4, "tensors": {}, "path": precious}
        Path("out.jsonl").write_bytes(plain.stream(HEAD, [row, {**row, "path": "../here/" + precious}]))
        put("out.jsonl", HEAD, [])
        assert Path(precious).read_bytes() == b"mine"


def test_another_suffix_keeps_the_whole_name() -> None:
    put("out.v2.txt", HEAD, [], edges(1))
    assert names()[0].startswith("out.v2.txt")
    assert names()[-1].startswith("out.v2.txt.scores.")


def test_through_a_link_the_sidecar_lies_by_the_real_file() -> None:
    os.mkdir("far")
    os.symlink("far/real.jsonl", "link.jsonl")
    put("link.jsonl", HEAD, [], edges(1))
    assert names() == ["far", "link.jsonl"]
    assert blobs.load(stream.read("link.jsonl", ()), "scores")["edge"] == [1]


def test_blobs_of_another_stream_are_carried_as_they_are() -> None:
    """What `mi pack` and `mi view --json` do: the bytes stay, even those of another writer."""
    import safetensors.numpy

    odd = safetensors.numpy.save({"edge": np.arange(3.0)}, metadata={"by": "another"})
    sha = hashlib.sha256(odd).hexdigest()
    Path("x.safetensors").write_bytes(odd)
    row = {
        "blob": "scores",
        "sha256": sha,
        "bytes": len(odd),
        "tensors": {"edge": ["F64", [3]]},
        "path": "x.safetensors",
    }
    Path("in.jsonl").write_bytes(plain.stream(HEAD, [row]))
    found = stream.read("in.jsonl", ())
    put("out.jsonl", found.head, found.records, found.blobs)
    assert Path(f"out.scores.{sha[:12]}.safetensors").read_bytes() == odd
    data = put(None, found.head, found.records, found.blobs)
    assert store.blob(sha).read_bytes() == odd
    assert b"path" not in data


def test_a_damaged_blob_is_not_carried() -> None:
    put("in.jsonl", HEAD, [], edges(1))
    found = stream.read("in.jsonl", ())
    beside = Path(str(found.blobs["scores"].path))
    beside.write_bytes(beside.read_bytes()[:-1] + b"\1")
    before = names()
    with pytest.raises(Exception, match="damaged"):
        put("out.jsonl", found.head, [], found.blobs)
    assert names() == before
    with pytest.raises(Exception, match="damaged"):
        put(None, found.head, [], found.blobs)
    assert not store.blob(found.blobs["scores"].sha256).exists()


# --- what must not be written -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "record", "fact"),
    [
        ({}, {"src": "m0", "dst": "logits", "score": math.nan}, "edge m0->logits: score is NaN"),
        ({}, {"id": "ab12", "baseline": {"clean": math.inf}}, "example ab12: baseline.clean is infinite"),
        ({}, {"summary": "cpr", "value": math.nan}, "summary cpr: value is NaN"),
        ({}, {"x": [math.nan]}, "record 2: x[0] is NaN"),
        ({"attribution": {"total": -math.inf}}, {}, "the head: attribution.total is infinite"),
        ({}, {"mi": "end"}, "record 2 has a field called mi, which is reserved"),
        ({}, {"id": "ab12", "blob": "x"}, "example ab12 has a field called blob, which is reserved"),
    ],
)
def test_nothing_is_written_where_something_cannot_be(head: Any, record: Any, fact: str) -> None:
    os.mkfifo("../pipe")
    reader = os.open("../pipe", os.O_RDONLY | os.O_NONBLOCK)  # in its stead a broken writer would block
    for output in (None, "out.jsonl", "../pipe"):
        out = io.BytesIO()
        with pytest.raises(RunError) as caught:
            stream.write(output, {**HEAD, **head}, [{"fine": 1}, record], edges(1), stdout=out)
        assert caught.value.fact == fact
        assert out.getvalue() == b""
        assert names() == []
    assert os.read(reader, 100) == b""
    os.close(reader)


def test_a_tensor_that_is_not_finite_writes_nothing(own_store: Path) -> None:
    for output in (None, "out.jsonl"):
        with pytest.raises(RunError, match=r"edge\[1\] is not finite"):
            put(output, HEAD, [], edges(0, math.nan))
        assert names() == []
        assert not own_store.exists()


def test_records_that_fail_halfway_write_nothing() -> None:
    def records() -> Any:
        yield {"fine": 1}
        raise RunError("out of memory")

    put("out.jsonl", HEAD, plain.RECORDS["scores"])
    before = Path("out.jsonl").read_bytes()
    with pytest.raises(RunError):
        put("out.jsonl", HEAD, records())
    assert Path("out.jsonl").read_bytes() == before
    assert names() == ["out.jsonl"]


# --- full disks, limits, closed ends ----------------------------------------------------------------------------------

PROGRAM = """
import sys
import numpy as np
from mi.errors import MiError
from mi.io import stream
head = {"kind": "scores", "graph": {"builder": "transformer", "digest": "0" * 64}}
records = [{"src": "m0", "dst": "logits", "score": 1.0}] * int(sys.argv[2])
output = None if sys.argv[1] == "-" else sys.argv[1]
tensors = {"scores": {"edge": np.zeros(int(sys.argv[3]))}} if len(sys.argv) > 3 else None
%s
try:
    stream.write(output, head, records, tensors)
except BrokenPipeError:
    sys.exit(141)
except MiError as error:
    sys.stderr.write(f"{error}\\n")
    sys.exit(error.code)
"""
LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))"


def program(*args: str, setup: str = "", **how: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", PROGRAM % setup, *args], stderr=subprocess.PIPE, **how)


def test_a_full_disk_under_stdout_is_a_failed_run() -> None:
    with open("/dev/full", "wb") as full:
        for n in ("1", "100000"):
            made = program("-", n, stdout=full)
            assert made.returncode == FAILED
            assert b"cannot write standard output: No space left on device" in made.stderr
            assert made.stderr.count(b"\n") == 1


def test_a_full_disk_under_a_file_is_a_failed_run() -> None:
    made = program("/dev/full", "1")
    assert made.returncode == FAILED
    assert b"cannot write /dev/full: No space left on device" in made.stderr


@pytest.mark.parametrize(
    "args", [("1000",), ("1", "5000"), ("1000", "500")], ids=["lines", "tensors", "lines after tensors"]
)
def test_past_a_limit_on_file_sizes_the_old_result_stays_and_nothing_else(args: tuple[str, ...]) -> None:
    put("out.jsonl", HEAD, [], edges(1))
    before = {name: Path(name).read_bytes() for name in names()}
    made = program("out.jsonl", *args, setup=LIMIT)
    assert made.returncode == FAILED
    assert b"File too large" in made.stderr
    assert {name: Path(name).read_bytes() for name in names()} == before


def test_past_a_limit_the_store_has_no_part_of_a_blob(own_store: Path) -> None:
    made = program("-", "1", "5000", setup=LIMIT, stdout=subprocess.PIPE)
    assert made.returncode == FAILED
    assert made.stdout == b""
    assert [path for path in own_store.rglob("*") if path.is_file()] == [own_store / ".gitignore"]


def test_a_reader_that_goes_away_is_a_broken_pipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as out:
        made = program("-", "100000", stdout=out)
    assert made.returncode == 141
    assert made.stderr == b""


def test_a_closed_stdout_is_said_to_be_closed() -> None:
    made = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" - 1 >&-', sys.executable, PROGRAM % ""], stderr=subprocess.PIPE
    )
    assert made.returncode == FAILED
    assert b"standard output is closed" in made.stderr


def test_a_slow_reader_of_a_pipe_that_does_not_block_gets_everything() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    records = [{"src": "m0", "dst": "logits", "score": 1.0}] * 20_000
    got: list[bytes] = []

    def read() -> None:
        with open(reader, "rb") as f:
            got.append(f.read())

    thread = threading.Thread(target=read)
    thread.start()
    with open(writer, "wb") as out:
        stream.write(None, HEAD, records, stdout=out)
    thread.join()
    assert got == [plain.stream(HEAD, records)]


def test_what_was_printed_before_stays_before(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    sys.stdout.buffer.write(b"first\n")
    stream.write(None, HEAD, [])
    assert capfdbinary.readouterr().out == b"first\n" + plain.stream(HEAD, [])


@pytest.mark.parametrize(
    ("output", "fact"),
    [("folder", "it is a folder"), ("missing/out.jsonl", "no folder missing"), ("file/out.jsonl", "file is no folder")],
)
def test_an_output_that_cannot_be_is_found_out_before_the_work(output: str, fact: str) -> None:
    os.mkdir("folder")
    Path("file").write_bytes(b"")
    with pytest.raises(RunError, match=fact):
        stream.check_output(output)


def test_an_output_that_can_be_passes() -> None:
    for output in (None, "-", "/dev/null", "out.jsonl", str(Path("out.jsonl").absolute())):
        stream.check_output(output)
    assert names() == []


def test_two_writers_of_one_file_leave_one_whole_result() -> None:
    program_text = """
import sys
import numpy as np
from mi.io import stream
head = {"kind": "scores", "graph": {"builder": "transformer", "digest": "0" * 64}}
for n in range(60):
    stream.write("out.jsonl", head, [], {"scores": {"edge": np.full(3, float(sys.argv[1]) + n % 2)}})
"""
    both = [subprocess.Popen([sys.executable, "-c", program_text, number]) for number in ("0", "1")]
    assert [one.wait() for one in both] == [0, 0]
    found = stream.read("out.jsonl", ())
    assert set(blobs.load(found, "scores")["edge"].tolist()) <= {0.0, 1.0, 2.0}  # type: ignore[union-attr]


def test_the_sealed_bytes_hold_their_own_digest() -> None:
    data = writing.seal(HEAD, [], [])
    body, last = data[: data.rindex(b"\n", 0, -1) + 1], json.loads(data.splitlines()[-1])
    assert last == {"mi": "end", "n": 0, "sha256": hashlib.sha256(body).hexdigest()}

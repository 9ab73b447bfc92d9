"""A store that cannot be written: commands that need it say so, and all others go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from mi.io import stream
from tests.line.conftest import Session, refused

pytestmark = pytest.mark.usefixtures("here")
LINE = [
    ("ioi", "data filter ioi.jsonl -m model -o new.jsonl"),
    ("cache", "cache -m model ioi.jsonl -o new.jsonl --fresh"),
    ("scores", "attribute cache.jsonl -o new.jsonl --fresh"),
    ("report", "score circuit.jsonl -o new.jsonl --fresh"),
]


@pytest.fixture(params=["file", "file/under"])
def no_store(request: pytest.FixtureRequest, here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store where a file is in its way."""
    Path("file").write_bytes(b"")
    monkeypatch.setenv("MI_STORE", request.param)
    return str(request.param)


@pytest.mark.parametrize(("name", "line"), LINE)
def test_with_o_a_command_goes_on_and_says_once_that_nothing_is_kept(
    mi: Session, no_store: str, name: str, line: str
) -> None:
    done = mi(*line.split()).ok()
    assert done.err.count("nothing is kept for another time") == 1
    assert (no_store in done.err) and ("MI_STORE" in done.err)
    if name != "ioi":
        new, old = (stream.read(file, (name,)) for file in ("new.jsonl", f"{name}.jsonl"))
        assert (new.head, new.records, new.blobs.keys()) == (old.head, old.records, old.blobs.keys())
    assert mi("verify", "new.jsonl").code == 0


def test_in_a_pipe_tensors_need_a_store(mi: Session, no_store: str) -> None:
    refused(mi("attribute", "cache.jsonl", "--fresh"), 4, no_store, "MI_STORE", "-o")
    assert Path("file").read_bytes() == b""


@pytest.mark.parametrize(
    ("line", "code"), [("prune scores.jsonl --top 3", 0), ("verify scores.jsonl", 0), ("gc", 0), ("info", 0)]
)
def test_commands_that_keep_nothing_do_not_mind(mi: Session, no_store: str, line: str, code: int) -> None:
    done = mi(*line.split())
    assert (done.code, "kept" in done.err) == (code, False)

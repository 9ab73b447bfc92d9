"""The memo: what a key depends on, and a replay that is byte for byte the run."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi.io import channel, memo, store, stream
from tests.io import plain

HEAD = {"kind": "scores", "graph": plain.GRAPH, "model": {"id": "default"}}
RECORDS = [{"src": "m0", "dst": "logits", "score": np.float32(0.1)}]
TENSORS: Mapping[str, Any] = {
    "scores": {"edge": np.arange(6, dtype=np.float32).reshape(2, 3).T},
    "b": {"x": np.ones(1)},
}
KEY = plain.SHA


def piped(head: Any, records: Any, tensors: Any) -> bytes:
    out = io.BytesIO()
    stream.write(None, head, records, tensors, out)
    return out.getvalue()


def remembered() -> memo.Result:
    memo.remember(KEY, HEAD, RECORDS, TENSORS)
    found = memo.lookup(KEY)
    assert found is not None
    return found


def test_a_replay_in_a_pipe_gives_the_same_bytes() -> None:
    assert piped(*remembered()) == piped(HEAD, RECORDS, TENSORS)


def test_a_replay_to_a_file_gives_the_same_bytes_and_sidecars() -> None:
    stream.write("out.jsonl", HEAD, RECORDS, TENSORS)
    fresh = {name: Path(name).read_bytes() for name in os.listdir(".")}
    for name in fresh:
        os.remove(name)
    stream.write("out.jsonl", *remembered())
    assert {name: Path(name).read_bytes() for name in os.listdir(".")} == fresh
    assert len(fresh) == 3


def test_a_replay_through_a_channel_gives_the_same_handover() -> None:
    made = []
    for result in ((HEAD, RECORDS, TENSORS), remembered()):
        with channel.use(channel.Channel(keeps_output=True)) as used:
            stream.write(None, *result)
        assert used.made is not None
        made.append(used.made)
    assert made[0].data == made[1].data
    assert set(made[0].blobs) == set(made[1].blobs)


def test_nothing_is_found_before_it_is_remembered(own_store: Path) -> None:
    assert memo.lookup(KEY) is None
    assert not own_store.exists()


def test_a_result_without_tensors_is_remembered() -> None:
    memo.remember(KEY, {"kind": "report"}, plain.RECORDS["report"])
    found = memo.lookup(KEY)
    assert found is not None
    assert found[1:] == (plain.RECORDS["report"], {})


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_what_is_damaged_or_gone_is_a_miss_and_heals(damage: bytes | None) -> None:
    remembered()
    everything = [path for path in store.where().rglob("*") if path.is_file() and path.name != ".gitignore"]
    assert len(everything) == 3
    for path in everything:
        whole = path.read_bytes()
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage or whole[:-9] + b"x" + whole[-8:])
        assert memo.lookup(KEY) is None, path
        assert piped(*remembered()) == piped(HEAD, RECORDS, TENSORS)


def test_a_hit_makes_its_entry_young() -> None:
    remembered()
    everything = [path for path in store.where().rglob("*") if path.is_file() and path.name != ".gitignore"]
    for path in everything:
        os.utime(path, (1e9, 1e9))
    assert memo.lookup(KEY) is not None
    assert all(path.stat().st_mtime > 1.1e9 for path in everything)


def test_a_store_that_cannot_be_written_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_bytes(b"")
    monkeypatch.setenv("MI_STORE", "file/store")
    failed = memo.remember(KEY, HEAD, RECORDS, TENSORS)
    assert failed is not None
    assert "file/store" in str(failed)
    assert memo.lookup(KEY) is None


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_is_a_digest_that_depends_on_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(command: str = "score", *parts: Any, inputs: tuple[str, ...] = ("a", "b")) -> str:
        return memo.key(command, *(parts or ({"steps": 5}, "cpu", "float32")), inputs=inputs)

    keys = [
        key(),
        key("attribute"),
        key("score", {"steps": 6}, "cpu", "float32"),
        key("score", {"steps": 5}, "cuda", "float32"),
        key("score", {"steps": 5}, "cpu", "bfloat16"),
        key(inputs=("a",)),
        key(inputs=("b", "a")),
        key(inputs=("ab",)),
    ]
    same = key()
    monkeypatch.setattr(memo, "source_digest", lambda: "other source")
    keys.append(key())
    monkeypatch.undo()
    monkeypatch.setattr(memo.chain, "version", lambda name: "2.0" if name == "torch" else "1.0")
    keys.append(key())
    monkeypatch.setattr(memo.chain, "version", lambda _: "1.0")
    keys.append(key())
    for variable in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(variable, "77")
        keys.append(key())
    monkeypatch.setattr(memo.os.path, "exists", lambda _: True)
    keys.append(key())
    assert len(set(keys)) == len(keys)
    assert same == keys[0]
    assert len(same) == 64


def test_a_key_is_the_same_in_another_process_and_folder(tmp_path: Path) -> None:
    program = "from mi.io import memo; print(memo.key('score', {'b': 1, 'a': [2]}, inputs=['x']))"
    made = set()
    for seed in ("0", "1"):
        folder = tmp_path / seed
        folder.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        made.add(run.stdout)
    assert len(made) == 1


def test_any_change_of_the_source_changes_its_digest(tmp_path: Path) -> None:
    """On a copy of the package: a line changed, a file added, a file moved."""
    import shutil

    package = Path(memo.__file__).parents[1]
    copy = tmp_path / "copy"
    shutil.copytree(package, copy / "mi", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    program = "from mi.io import memo; print(memo.source_digest())"

    def digest() -> str:
        environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
        ).stdout

    found = [digest()]
    assert digest() == found[0]
    core = copy / "mi" / "circuit" / "graph.py"
    core.write_text(core.read_text() + "\n# one more line\n")
    found.append(digest())
    (copy / "mi" / "core" / "new.py").write_text("")
    found.append(digest())
    (copy / "mi" / "core" / "new.py").rename(copy / "mi" / "core" / "newer.py")
    found.append(digest())
    assert len(set(found)) == 4


def test_a_hit_imports_no_torch_and_no_numpy() -> None:
    remembered()
    program = f"""
import sys
from mi.io import memo, stream
stream.write("out.jsonl", *memo.lookup({KEY!r}))
print(sorted(set(sys.modules) & {{"torch", "numpy", "safetensors"}}))
"""
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert made.stdout == "[]\n", made.stderr

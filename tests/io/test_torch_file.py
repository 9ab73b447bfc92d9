"""Files of torch without torch: what torch wrote is read, what is written torch reads, and nothing is ever run."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mi.errors import MiError
from mi.io import pickled, torch_file
from tests.seeds import FRESH


def saved(value: Any) -> bytes:
    made = io.BytesIO()
    torch.save(value, made)
    return made.getvalue()


@pytest.mark.parametrize("seed", [0, FRESH])
def test_what_torch_saved_is_read(seed: int) -> None:
    made = torch.Generator().manual_seed(seed)
    wide = torch.randn(4, 6, generator=made)
    tensors = {
        "float": wide,
        "view": wide[1:, ::2].T,
        "scalar": wide[2, 3],
        "expanded": wide[0].expand(3, 6),
        "empty": torch.empty(0, 5),
        "double": wide.double(),
        "half": wide.half(),
        "long": torch.arange(7),
        "bool": wide > 0,
        "bytes": torch.arange(5, dtype=torch.uint8),
        "parameter": torch.nn.Parameter(wide),
    }
    read = torch_file.read(saved(tensors), "x.pt")
    assert list(read) == list(tensors)
    for name, tensor in tensors.items():
        expected = tensor.detach().numpy()
        assert read[name].dtype == expected.dtype
        assert np.array_equal(read[name], expected), name
    brain = wide.bfloat16()
    assert np.array_equal(torch_file.read(saved(brain), "x.pt"), brain.float().numpy())


@pytest.mark.parametrize("protocol", range(6))
def test_containers_of_any_protocol(protocol: int) -> None:
    shared = ["again"]
    value = {
        "cfg": {"n": 12, "big": 1 << 40, "negative": -3, "flag": True, "off": False, "none": None, "x": 0.1},
        ("a", (None, 3), 2): [shared, shared, (1,), (), "é" * 300],
    }
    ordered = OrderedDict(value)
    counted = defaultdict(int, {"a": 1})
    for each in (value, ordered, [value, value], counted):
        assert torch_file.read(pickle.dumps(each, protocol=protocol), "x.pkl") == each


class Act:
    """As other projects store their own objects."""

    def __init__(self) -> None:
        self.act, self.res = torch.arange(3.0), None


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_sparse_tensors_and_objects() -> None:
    sparse = torch.sparse_coo_tensor(torch.tensor([[0, 2], [1, 0]]), torch.tensor([1.5, -2.0]), (3, 4))
    read = torch_file.read(saved({"edges": sparse, "node": Act()}), "x.pt")
    assert read["edges"].shape == (3, 4)
    assert read["edges"].indices.tolist() == [[0, 2], [1, 0]]
    assert read["edges"].values.tolist() == [1.5, -2.0]
    assert read["node"].name.endswith(".Act")
    assert read["node"].fields["res"] is None
    assert read["node"].fields["act"].tolist() == [0, 1, 2]


def test_what_is_written_torch_reads() -> None:
    rng = np.random.default_rng(0)
    values = {
        "cfg": {"n_layers": 3, "parallel_attn_mlp": False, "d_model": 70_000},
        "names": ["input", "a0.h0<q>", "é"],
        "scores": rng.standard_normal((3, 5)).astype(np.float32),
        "mask": rng.random((2, 2, 2)) > 0.5,
        "one": np.array(0.5),
        "none": np.empty((0, 4), dtype=np.float32),
        "transposed": np.arange(6).reshape(2, 3).T,
    }
    data = torch_file.write(values)
    assert data == torch_file.write(values)
    for read in (torch.load(io.BytesIO(data), weights_only=True), torch_file.read(data, "x.pt")):
        assert read["cfg"] == values["cfg"]
        assert read["names"] == values["names"]
        for name in ("scores", "mask", "one", "none", "transposed"):
            array = np.asarray(read[name])
            assert array.dtype == values[name].dtype
            assert array.shape == values[name].shape
            assert np.array_equal(array, values[name])


class Hostile:
    """Would leave a file behind, were it run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch was-run",)


class Deep:
    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (Hostile(), "x")


@pytest.mark.parametrize(
    "value", [Hostile(), Deep(), {"edges_scores": Hostile()}, [Path("x")], os.system, ("a", Deep())]
)
@pytest.mark.parametrize("how", [saved, pickle.dumps], ids=["torch", "pickle"])
def test_nothing_is_run(value: Any, how: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MiError, match="which is no data") as caught:
        torch_file.read(how(value), "x.pt")
    assert caught.value.code == 3
    assert "nothing of the file was run" in caught.value.hint
    assert not Path("was-run").exists()
    assert not Path(tmp_path, "was-run").exists()


def test_damage_is_one_error() -> None:
    whole = saved({"a": torch.arange(100), "b": "text"})
    broken = [whole[:n] for n in (5, 60, len(whole) // 2, len(whole) - 3)]
    broken += [b"", b"PK\x03\x04", b"hello", b"\x80\x02}.extra"[:3], b"(((((", b"\x80\x02t.", b"\x80\x02h\x07."]
    broken += [pickle.dumps({"a": 1})[:-1], b"\x80\x02K\x01K\x02s.", b"\x80\x02]K\x01R.", b"\x80\x02)Q."]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}) + b" " * 10_000)
    broken.append(packed.getvalue())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("word/document.xml", "x")
    broken.append(packed.getvalue())
    for data in broken:
        with pytest.raises(MiError) as caught:
            torch_file.read(data, "x.pt")
        assert caught.value.place == "x.pt"
        assert caught.value.code == 3


def test_a_tensor_that_claims_more_than_its_storage_has() -> None:
    data = saved({"a": torch.arange(8, dtype=torch.float32)})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = next(file for file in parts if file.endswith("data.pkl"))
    for old, new in (
        (b"K\x08\x85", b"K\x64\x85"),
        (b"K\x01\x85", b"K\x63\x85"),
        (b"K\x00K\x08\x85", b"K\x05K\x08\x85"),
    ):
        assert old in parts[name]
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for file, content in {**parts, name: parts[name].replace(old, new)}.items():
                archive.writestr(file, content)
        with pytest.raises(MiError, match="damaged file of torch"):
            torch_file.read(packed.getvalue(), "x.pt")


def test_a_container_within_itself() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert torch_file.read(pickle.dumps(loop), "x") == [None]


def test_a_name_stays_a_name() -> None:
    assert pickled.loads(pickle.dumps(os.getcwd, protocol=2), "x") == pickled.Name("posix.getcwd")
    assert pickled.loads(pickle.dumps(os.getcwd, protocol=4), "x") == pickled.Name("posix.getcwd")


def test_files_that_only_torch_itself_can_read() -> None:
    old = io.BytesIO()
    torch.save({"a": torch.arange(3)}, old, _use_new_zipfile_serialization=False)
    with pytest.raises(MiError, match="a file of torch before 1.6"):
        torch_file.read(old.getvalue(), "x.pt")
    with pytest.raises(MiError, match="'ComplexFloatStorage', which is not read here"):
        torch_file.read(saved(torch.zeros(2, dtype=torch.complex64)), "x.pt")

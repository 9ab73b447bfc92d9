"""The safetensors writer and reader: against the library, against plain loops, against damage."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest
import safetensors.numpy

from mi.errors import MiError, RunError
from mi.io import tensors
from mi.io.tensors import BF16
from tests.io import plain

DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]


def random_array(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    if dtype == "?":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.startswith("f"):
        return rng.standard_normal(shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def random_arrays(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = [(), (1,), (3,), (2, 3), (0,), (4, 0, 2), (2, 1, 3)]
    return {
        f"key {index}": random_array(rng, DTYPES[index % len(DTYPES)], shapes[rng.integers(len(shapes))])
        for index in range(int(rng.integers(1, 20)))
    }


def test_the_library_reads_what_we_write_and_we_what_it_writes(seed: int) -> None:
    arrays = random_arrays(seed)
    data = tensors.pack("acts", arrays).tobytes()
    for found in (safetensors.numpy.load(data), tensors.unpack(data), tensors.unpack(safetensors.numpy.save(arrays))):
        assert sorted(found) == sorted(arrays)
        for key, array in arrays.items():
            assert isinstance(found[key], np.ndarray)
            assert found[key].dtype == array.dtype
            assert found[key].shape == array.shape
            assert np.array_equal(found[key], array)


def test_views_are_written_as_what_they_show() -> None:
    """The library's numpy front end stores the memory behind a view instead (`save` of a transposed array is wrong)."""
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    views = {
        "transposed": base.T,
        "every second": base[:, :, ::2],
        "reversed": base[::-1],
        "broadcast": np.broadcast_to(base[0, 0], (5, 4)),
        "big-endian": base.astype(">f4"),
        "fortran": np.asfortranarray(base[0]),
    }
    found = tensors.unpack(tensors.pack("acts", views).tobytes())
    for key, view in views.items():
        assert isinstance(found[key], np.ndarray)
        assert found[key].tolist() == view.tolist(), key


def test_bytes_depend_on_names_and_values_alone() -> None:
    arrays = random_arrays(5)
    turned = {key: np.array(arrays[key], order="F") for key in reversed(list(arrays))}
    one, two = tensors.pack("acts", arrays), tensors.pack("acts", turned)
    assert one.tobytes() == two.tobytes()
    assert one.sha256 == two.sha256 == plain.hashlib.sha256(one.tobytes()).hexdigest()
    assert one.size == len(one.tobytes())


def test_the_metadata_is_one_key_that_holds_canonical_json() -> None:
    data = tensors.pack("acts", {"x": np.zeros(3)}).tobytes()
    length = struct.unpack("<Q", data[:8])[0]
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    assert header["__metadata__"] == {"mi": '{"blob":"acts","v":1}'}


def test_two_keys_of_metadata_by_another_writer_are_read() -> None:
    data = safetensors.numpy.save({"x": np.arange(3.0)}, metadata={"format": "np", "mi": "{}"})
    found = tensors.unpack(data)
    assert isinstance(found["x"], np.ndarray)
    assert found["x"].tolist() == [0, 1, 2]


def test_arrays_that_are_read_may_be_written_to() -> None:
    found = tensors.unpack(bytearray(tensors.pack("acts", {"x": np.zeros(3)}).tobytes()))["x"]
    assert isinstance(found, np.ndarray)
    found[0] = 1  # torch.from_numpy warns where this would fail


def widened(bits: int) -> float:
    """bfloat16 by its definition: sign, eight bits of exponent, seven of fraction."""
    sign, exponent, fraction = bits >> 15, bits >> 7 & 0xFF, bits & 0x7F
    if exponent == 255:
        return math.nan if fraction else (-1) ** sign * math.inf
    size = fraction / 128 * 2.0**-126 if exponent == 0 else (1 + fraction / 128) * 2.0 ** (exponent - 127)
    return -size if sign else size


def test_every_bfloat16_is_widened_exactly() -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    with np.errstate(invalid="ignore"):  # some of them are signalling NaNs
        found = BF16(bits).float32().astype(float).tolist()
    for number, value in enumerate(found):
        assert value == widened(number) or (math.isnan(value) and math.isnan(widened(number)))


def nearest(value: float) -> int:
    """The nearest bfloat16 of a positive normal number by looking at both neighbours; ties to the even one."""
    below = struct.unpack("<I", struct.pack("<f", value))[0] >> 16
    gap_below, gap_above = value - widened(below), widened(below + 1) - value
    if gap_below == gap_above:
        return below + below % 2
    return below if gap_below < gap_above else below + 1


def test_rounding_to_bfloat16_is_to_nearest_even(seed: int) -> None:
    values = np.random.default_rng(seed).lognormal(0, 20, 500).astype(np.float32)
    values = np.concatenate([values, BF16(np.arange(16256, 16300, dtype=np.uint16)).float32() + np.float32(2**-8)])
    found = BF16.rounded(values).bits.tolist()
    assert found == [nearest(float(value)) for value in values]
    assert BF16.rounded(-values).bits.tolist() == [bits | 0x8000 for bits in found]


def test_rounding_keeps_shape_and_never_turns_nan_into_infinity() -> None:
    odd = np.array([[0x7FFFFFFF, 0x7F800001, 0xFFFFFFFF]], dtype=np.uint32).view(np.float32)
    rounded = BF16.rounded(odd)
    assert rounded.shape == (1, 3)
    assert np.isnan(rounded.float32()).all()
    assert BF16.rounded(np.float32(np.inf)).float32() == np.inf


def test_bfloat16_travels() -> None:
    import torch
    from safetensors.torch import load

    bits = np.random.default_rng(0).integers(0, 0x7F00, (3, 5)).astype(np.uint16)
    data = tensors.pack("acts", {"x": BF16(bits.T)}).tobytes()
    found = tensors.unpack(data)["x"]
    assert isinstance(found, BF16)
    assert found.bits.tolist() == bits.T.tolist()
    assert load(data)["x"].dtype == torch.bfloat16
    assert load(data)["x"].float().numpy().tolist() == found.float32().tolist()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_named(bad: float) -> None:
    array = np.zeros((3, 4), dtype=np.float32)
    array[2, 1] = bad
    for value in (array, array.astype(np.float64), array.astype(np.float16), BF16.rounded(array)):
        with pytest.raises(RunError, match=r"^blob acts: x\[2, 1\] is not finite"):
            tensors.pack("acts", {"w": np.zeros(3), "x": value})


def test_one_bad_number_far_into_a_large_array_is_found() -> None:
    array = np.zeros(3 << 20, dtype=np.float32)
    array[(2 << 20) + 7] = math.nan
    with pytest.raises(RunError, match=rf"x\[{(2 << 20) + 7}\]"):
        tensors.pack("acts", {"x": array})


@pytest.mark.parametrize("value", [np.array([1j]), np.array(["a"]), np.array([object()]), np.array(["2020"], "M8[Y]")])
def test_types_that_the_format_lacks_are_refused(value: np.ndarray) -> None:
    with pytest.raises(RunError, match="which safetensors does not hold"):
        tensors.pack("acts", {"x": value})


def test_a_file_cut_anywhere_is_refused() -> None:
    data = tensors.pack("acts", {"x": np.arange(3.0), "y": np.arange(2, dtype=np.int8)}).tobytes()
    assert tensors.unpack(data)
    for size in range(len(data)):
        with pytest.raises(MiError):
            tensors.unpack(data[:size], "here")
    with pytest.raises(MiError):
        tensors.unpack(data + b"\0")


F4 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HOSTILE = {
    "no dtype": ({"x": {"shape": [2], "data_offsets": [0, 8]}}, 8),
    "unknown dtype": ({"x": {**F4, "dtype": "F3"}}, 8),
    "pickle": ({"x": {**F4, "dtype": "O"}}, 8),
    "negative shape": ({"x": {**F4, "shape": [-1, -2]}}, 8),
    "float shape": ({"x": {**F4, "shape": [2.0]}}, 8),
    "true as shape": ({"x": {**F4, "shape": [True, 2]}}, 8),
    "too large": ({"x": {**F4, "shape": [2**62, 2**62]}}, 8),
    "shape and span differ": ({"x": {**F4, "shape": [3]}}, 8),
    "span backwards": ({"x": {**F4, "shape": [0], "data_offsets": [8, 0]}}, 8),
    "outside": ({"x": {**F4, "data_offsets": [8, 16]}}, 8),
    "gap": ({"x": F4, "y": {**F4, "data_offsets": [12, 20]}}, 20),
    "overlap": ({"x": F4, "y": {**F4, "data_offsets": [4, 12]}}, 12),
    "hidden tail": ({"x": F4}, 9),
    "no object": ([F4], 8),
    "entry is a list": ({"x": [1, 2]}, 8),
    "three offsets": ({"x": {**F4, "data_offsets": [0, 4, 8]}}, 8),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_refused(name: str) -> None:
    header, size = HOSTILE[name]
    with pytest.raises(MiError) as caught:
        tensors.unpack(plain.safetensors(header, b"\0" * size), "here")  # type: ignore[arg-type]
    assert caught.value.code == 3


def test_a_hostile_header_length_is_refused_at_once() -> None:
    for length in (2**64 - 1, 2**40, 100_000_001):
        with pytest.raises(MiError, match="shorter than its header says"):
            tensors.unpack(struct.pack("<Q", length) + b"{}")

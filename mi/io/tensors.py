"""The one writer and the one reader of safetensors files.

In: named numpy arrays (bfloat16 as `BF16`). Out: bytes that depend on names and values alone, with their digest; and
arrays again. The file is standard safetensors: eight bytes of length, a JSON header, the data. Written here because the
library's numpy front end stores views wrongly and cannot hold bfloat16, and because streaming the arrays saves a copy.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Union

from mi.errors import MiError, RunError
from mi.io import canonical

if TYPE_CHECKING:
    import numpy as np

# safetensors name: (numpy type, bytes an item). numpy has no bfloat16: its bits travel as uint16.
DTYPES: dict[str, tuple[str, int]] = {
    "F64": ("<f8", 8),
    "I64": ("<i8", 8),
    "U64": ("<u8", 8),
    "F32": ("<f4", 4),
    "I32": ("<i4", 4),
    "U32": ("<u4", 4),
    "F16": ("<f2", 2),
    "BF16": ("<u2", 2),
    "I16": ("<i2", 2),
    "U16": ("<u2", 2),
    "I8": ("|i1", 1),
    "U8": ("|u1", 1),
    "BOOL": ("|b1", 1),
}
_MAX_HEADER = 100_000_000  # as the safetensors library has it
MAY_BE_UNSCORED = ("node", "neuron")  # scores: a NaN says that nobody scored the node, which is then always kept
_CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class BF16:
    """A bfloat16 array, as its bits."""

    bits: np.ndarray  # uint16, any shape

    @property
    def shape(self) -> tuple[int, ...]:
        return self.bits.shape

    def float32(self) -> np.ndarray:
        """The same numbers, exactly: bfloat16 is the upper half of float32."""
        import numpy as np

        return (self.bits.astype(np.uint32) << 16).view(np.float32)

    @classmethod
    def rounded(cls, array: np.ndarray) -> BF16:
        """The nearest bfloat16 numbers, ties to even."""
        import numpy as np

        wide = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
        upper = ((wide + (((wide >> 16) & 1) + 0x7FFF)) >> 16).astype(np.uint16)
        # A NaN whose payload rounds over would turn into an infinity: keep it a NaN.
        nan = (wide & 0x7FFFFFFF) > 0x7F800000
        return cls(np.where(nan, np.uint16(0x7FC0), upper).reshape(np.shape(array)))


Array = Union["np.ndarray", BF16]


@dataclass(frozen=True, eq=False)
class Packed:
    """A safetensors file that is not written yet: the header and the arrays, without a copy of their data."""

    header: bytes
    arrays: tuple[np.ndarray, ...]
    layout: dict[str, tuple[str, tuple[int, ...]]]  # key: (dtype, shape), in the order of the keys
    values: dict[str, Array]

    def chunks(self) -> Iterator[bytes | memoryview]:
        import numpy as np

        yield self.header
        for array in self.arrays:
            data = array.reshape(-1).view(np.uint8).data
            for start in range(0, len(data), _CHUNK):
                yield data[start : start + _CHUNK]

    @cached_property
    def size(self) -> int:
        return len(self.header) + sum(array.nbytes for array in self.arrays)

    @cached_property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()

    def tobytes(self) -> bytes:
        return b"".join(self.chunks())


def pack(name: str, tensors: Mapping[str, Array]) -> Packed:
    """Lay out one file. A number that is not finite is a RunError that names its tensor and index."""
    plain = {key: _plain(name, key, tensors[key]) for key in sorted(tensors)}
    # Large items first, as the library does: then every array lies at a multiple of its item size.
    order = sorted(plain, key=lambda key: (-DTYPES[plain[key][0]][1], key))
    header: dict[str, Any] = {"__metadata__": {"mi": canonical.dumps({"blob": name, "v": 1}).decode()}}
    end = 0
    for key in order:
        dtype, array = plain[key]
        begin, end = end, end + array.nbytes
        header[key] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
    text = canonical.dumps(header)
    text += b" " * (-len(text) % 8)
    return Packed(
        header=len(text).to_bytes(8, "little") + text,
        arrays=tuple(plain[key][1] for key in order),
        layout={key: (dtype, array.shape) for key, (dtype, array) in plain.items()},
        values={key: BF16(array) if dtype == "BF16" else array for key, (dtype, array) in plain.items()},
    )


def unpack(data: bytes | bytearray, place: str = "") -> dict[str, Array]:
    """The arrays of a file, as views of `data`. Whatever is not exactly a well-formed file is refused."""
    import numpy as np

    entries, start = _header(data, place)
    made: dict[str, Array] = {}
    for key, (dtype, shape, begin, end) in entries.items():
        array = np.frombuffer(data, DTYPES[dtype][0], math.prod(shape), start + begin) if begin < end else None
        array = np.empty(shape, DTYPES[dtype][0]) if array is None else array.reshape(shape)
        made[key] = BF16(array) if dtype == "BF16" else array
    return made


def _header(data: bytes | bytearray, place: str) -> tuple[dict[str, tuple[str, tuple[int, ...], int, int]], int]:
    """Each tensor's type, shape and span, checked to cover the data exactly once; and where the data starts."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_MAX_HEADER, len(data) - 8):
        raise MiError("not a whole safetensors file: it is shorter than its header says", place=place)
    header = canonical.loads(bytes(data[8 : 8 + length]).rstrip(b" "), place)
    if not isinstance(header, dict):
        raise MiError("not a safetensors file: its header is no object", place=place)
    spans = {key: _span(key, value, place) for key, value in header.items() if key != "__metadata__"}
    end = 0
    for begin, stop in sorted((begin, stop) for _, _, begin, stop in spans.values()):
        if begin != end:
            raise MiError("a damaged safetensors file: its tensors overlap or leave a gap", place=place)
        end = stop
    if 8 + length + end != len(data):
        raise MiError(f"a damaged safetensors file: {8 + length + end} bytes expected, {len(data)} found", place=place)
    return spans, 8 + length


def _span(key: str, value: Any, place: str) -> tuple[str, tuple[int, ...], int, int]:
    try:
        dtype, shape, (begin, end) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
        fits = whole and end - begin == math.prod(shape) * DTYPES[dtype][1]
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise MiError(f'a damaged safetensors file: the entry of "{key[:80]}" is wrong', place=place)
    return dtype, shape, begin, end


def layout(value: Array) -> tuple[str, tuple[int, ...]]:
    """The safetensors name of an array's type ("" where it has none), and its shape."""
    import numpy as np

    if isinstance(value, BF16):
        return "BF16", value.shape
    names = {np.dtype(kind): name for name, (kind, _) in DTYPES.items() if name != "BF16"}
    wanted = value.dtype.newbyteorder("<") if value.dtype.itemsize > 1 else value.dtype
    return names.get(wanted, ""), value.shape


def _plain(blob: str, key: str, value: Array) -> tuple[str, np.ndarray]:
    """A contiguous little-endian copy where needed (a view or a transposed array stays itself otherwise)."""
    import numpy as np

    array = value.bits if isinstance(value, BF16) else np.asarray(value)
    dtype, _ = layout(value if isinstance(value, BF16) else array)
    if not dtype:
        raise RunError(f"blob {blob}: {key} has the type {array.dtype}, which safetensors does not hold")
    array = np.asarray(array, dtype=DTYPES[dtype][0], order="C")
    _check_finite(blob, key, array, dtype == "BF16")
    return dtype, array


def _check_finite(blob: str, key: str, array: np.ndarray, bfloat: bool) -> None:
    import numpy as np

    if not bfloat and array.dtype.kind != "f":
        return
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        good = (part & 0x7F80) != 0x7F80 if bfloat else np.isfinite(part)
        if key in MAY_BE_UNSCORED and not bfloat:
            good |= np.isnan(part)
        if not good.all():
            index = np.unravel_index(start + int(np.argmin(good)), array.shape)
            where = f"{key}[{', '.join(str(int(i)) for i in index)}]"
            raise RunError(f"blob {blob}: {where} is not finite", "nothing was written")

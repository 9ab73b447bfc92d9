"""The files of `torch.save`, without torch: bytes in, plain values with numpy arrays out, and back.

Such a file is a zip that holds a pickle and, each in a file of its own, the numbers of its tensors. The pickle is read
as a description (`mi.io.pickled`), so nothing in it is run: what `torch.load(..., weights_only=True)` promises, for
more kinds of file and without the second that importing torch takes. `torch.load` reads what is written here.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mi.errors import MiError
from mi.io import pickled
from mi.io.pickled import Call, Name, Reference
from mi.io.tensors import BF16

if TYPE_CHECKING:
    import numpy as np

# torch's storages: numpy's type, bytes an item
STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "bf16",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1", "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}  # fmt: skip
_MAPPINGS = ("collections.OrderedDict", "collections.defaultdict")
_TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
_PARAMETER = "torch._utils._rebuild_parameter"
_SIZE = "torch.Size"
_SPARSE = "torch._utils._rebuild_sparse_tensor"
MOST_NESTED = 100
OLD = 0x1950A86A20F9469CFC6C  # what the files of torch before 1.6 begin with


@dataclass(frozen=True, eq=False)
class Sparse:
    """A sparse tensor: where its numbers stand, int64 [dimensions, n], the numbers [n], and its shape."""

    indices: np.ndarray
    values: np.ndarray
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Object:
    """An object of some class, as its name and the fields that it was stored with."""

    name: str
    fields: Mapping[str, Any]


def is_archive(data: bytes) -> bool:
    return data[:4] == b"PK\x03\x04"


def read(data: bytes, place: str) -> Any:
    """What `torch.save` or `pickle.dump` stored: mappings, lists, numbers, text, arrays, `Sparse` and `Object`.

    Raises:
        MiError: the file is neither, is damaged, or names something that is not one of these.
    """
    if not is_archive(data):
        value = _plain(pickled.loads(data, place), {}, place)
        if value == OLD:
            raise MiError("a file of torch before 1.6", "load it and save it again with a torch of today", place=place)
        return value
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = {entry.filename.partition("/")[2]: _content(archive, entry, place) for entry in archive.infolist()}
    except (zipfile.BadZipFile, zlib.error, struct.error, OSError, ValueError, RuntimeError, EOFError) as error:
        raise MiError(f"a damaged file of torch: {error}", "was it cut short?", place=place) from None
    if "data.pkl" not in files:
        raise MiError("a zip, but none that torch.save wrote", "it has no data.pkl", place=place)
    if files.get("byteorder", b"little") != b"little":
        raise MiError("a file of torch whose numbers are big-endian", "save it again on another machine", place=place)
    return _plain(pickled.loads(files["data.pkl"], place), files, place)


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, place: str) -> bytes:
    """torch stores without compression, so no entry can be larger than the file."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise MiError(f"a zip whose {entry.filename[:80]!r} is compressed", "torch.save writes none", place=place)
    return archive.read(entry)


@dataclass
class _Values:
    """The described value with arrays in the place of calls. `made`: by identity, for what is named twice."""

    files: Mapping[str, bytes]
    place: str
    made: dict[int, Any] = field(default_factory=dict)

    def of(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, (Name, Reference)):
            raise _unknown(value.text if isinstance(value, Name) else "a reference", self.place)
        if not isinstance(value, (dict, list, tuple, Call)):
            return value
        if depth > MOST_NESTED:
            raise MiError("a pickle nested too deeply", place=self.place)
        if id(value) not in self.made:
            self.made[id(value)] = None  # a container within itself is no value of any format that is read here
            self.made[id(value)] = self._container(value, depth + 1)
        return self.made[id(value)]

    def _container(self, value: Any, depth: int) -> Any:
        if isinstance(value, Call):
            return self._call(value, depth)
        if isinstance(value, dict):
            return self._mapping(value, depth)
        return type(value)(self.of(item, depth) for item in value)

    def _mapping(self, items: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
        return {self.of(key, depth): self.of(item, depth) for key, item in items.items()}

    def _call(self, call: Call, depth: int) -> Any:
        if call.name in _MAPPINGS:
            return self._mapping(call.items, depth)
        if call.name in _TENSORS:
            return _tensor(call.arguments, self.files, self.place)
        if call.name in (_PARAMETER, _SIZE):
            return self.of(call.arguments[0], depth)
        if call.name == _SPARSE:
            indices, values, shape = (self.of(part, depth) for part in call.arguments[1][:3])
            return _sparse(indices, values, shape, self.place)
        if isinstance(call.state, dict) and not call.arguments:
            return Object(call.name, {str(key): self.of(item, depth) for key, item in call.state.items()})
        raise _unknown(call.name, self.place)


def _plain(value: Any, files: Mapping[str, bytes], place: str) -> Any:
    try:
        return _Values(files, place).of(value)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, RecursionError) as error:
        raise MiError(f"a damaged file of torch: {error}", place=place) from None


def _unknown(name: str, place: str) -> MiError:
    return MiError(
        f"a pickle that names {name[:80]!r}, which is no data",
        "only tensors, numbers, text and containers of them are read; nothing of the file was run",
        place=place,
    )


def _tensor(arguments: tuple[Any, ...], files: Mapping[str, bytes], place: str) -> np.ndarray:
    """One dense tensor: a view of its storage, copied."""
    import numpy as np

    storage, offset, shape, strides = arguments[:4]
    _, kind, key = storage.what[:3]
    name = kind.text.rpartition(".")[2]
    if name not in STORAGES:
        raise MiError(f"a tensor of {name[:60]!r}, which is not read here", place=place)
    data, dtype = files[f"data/{key}"], STORAGES[name]
    flat = np.frombuffer(data, "<u2" if dtype == "bf16" else dtype)
    whole = all(type(n) is int and n >= 0 for n in (offset, *shape, *strides)) and len(shape) == len(strides)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if whole else 0
    size = math.prod(shape) if whole else 0
    if not whole or (size and last >= flat.size) or size > max(flat.size, 1) * 64:  # an expanded tensor may repeat
        raise MiError(f"a damaged file of torch: a tensor of shape {shape} in {flat.size} numbers", place=place)
    item = flat.itemsize
    view = np.lib.stride_tricks.as_strided(flat[offset:], shape, [step * item for step in strides]) if size else None
    array = np.array(view) if view is not None else np.empty(shape, flat.dtype)
    return BF16(array).float32() if dtype == "bf16" else array


def _sparse(indices: Any, values: Any, shape: Any, place: str) -> Sparse:
    import numpy as np

    good = isinstance(indices, np.ndarray) and isinstance(values, np.ndarray) and indices.ndim == 2
    if not good or indices.shape != (len(shape), len(values)) or values.ndim != 1:
        raise MiError("a damaged file of torch: a sparse tensor whose parts do not fit", place=place)
    outside = (indices < 0) | (indices >= np.array(shape, dtype=np.int64).reshape(-1, 1))
    if outside.any():
        raise MiError("a damaged file of torch: a sparse tensor with an index out of range", place=place)
    return Sparse(indices, values, tuple(int(n) for n in shape))


# --- writing


def write(values: Mapping[str, Any], name: str = "archive") -> bytes:
    """A file for `torch.load(..., weights_only=True)`: a mapping of text to text, numbers, arrays, lists, mappings.

    Same values, same bytes: no time, and `name` is what torch calls the folder inside.
    """
    storages: list[np.ndarray] = []
    program = b"\x80\x02" + b"".join(_described(values, storages)) + b"."
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        parts = {"data.pkl": program, "byteorder": b"little"}
        parts |= {f"data/{number}": array.tobytes() for number, array in enumerate(storages)}
        for file, content in {**parts, "version": b"3\n"}.items():
            archive.writestr(zipfile.ZipInfo(f"{name}/{file}"), content)
    return packed.getvalue()


def _described(value: Any, storages: list[np.ndarray]) -> Iterator[bytes]:
    """The opcodes that make one value (protocol 2)."""
    import numpy as np

    if isinstance(value, Mapping):
        yield b"}("
        for key, item in value.items():
            yield from (*_described(key, storages), *_described(item, storages))
        yield b"u"
    elif isinstance(value, (list, tuple)):
        yield b"]("
        for item in value:
            yield from _described(item, storages)
        yield b"e"
    elif isinstance(value, bool):
        yield b"\x88" if value else b"\x89"
    elif isinstance(value, int):
        yield b"J" + value.to_bytes(4, "little", signed=True)
    elif isinstance(value, str):
        text = value.encode()
        yield b"X" + len(text).to_bytes(4, "little") + text
    elif isinstance(value, np.ndarray):
        yield from _described_tensor(value, storages)
    else:
        raise TypeError(f"{type(value).__name__} has no place in a file of torch")


def _described_tensor(array: np.ndarray, storages: list[np.ndarray]) -> Iterator[bytes]:
    import numpy as np

    kind = next(name for name, dtype in STORAGES.items() if dtype != "bf16" and np.dtype(dtype) == array.dtype)
    strides = [math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
    yield b"ctorch._utils\n_rebuild_tensor_v2\n(("
    yield from _described("storage", storages)
    yield f"ctorch\n{kind}\n".encode()
    for part in (str(len(storages)), "cpu", int(array.size)):
        yield from _described(part, storages)
    yield b"tQ"
    yield from _described(0, storages)
    for numbers in (array.shape, strides):
        yield b"("
        for number in numbers:
            yield from _described(int(number), storages)
        yield b"t"
    yield b"\x89ccollections\nOrderedDict\n)RtR"
    storages.append(np.ascontiguousarray(array))

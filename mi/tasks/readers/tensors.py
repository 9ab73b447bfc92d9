"""Examples whose inputs are tensors: one safetensors file in, example records and the blob that they name out.

The file holds `clean.NAME` and `corrupted.NAME` for each argument NAME of the model, one example a row; `answers` and
perhaps `foils`, whole numbers [n] or [n, k], where -1 stands for none; perhaps `split` [n]: 0 train, 1 validation,
2 test. A record says `{"$tensor": "inputs/clean", "row": 3, "sha256": …}`: row 3 of every tensor `clean.NAME` of the
blob `inputs`, and the digest of what stands there, so that the digest of the examples is one of their content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mi.errors import MiError
from mi.io import chain
from mi.io.digests import file_digest
from mi.io.tensors import BF16, Array, layout, unpack
from mi.tasks.task import record_id

if TYPE_CHECKING:
    import numpy as np

INPUTS = "inputs"  # the blob
RUNS = ("clean", "corrupted")
SPLITS = ("train", "validation", "test")
SUFFIX = ".safetensors"
LAYOUT = "it holds clean.NAME and corrupted.NAME for each argument of the model, and answers"


@dataclass(frozen=True)
class TensorReading:
    """Records, the tensors that they name, and what a head says of them (as `reading.Reading`)."""

    records: list[dict[str, Any]]
    tensors: dict[str, Array]
    task: dict[str, Any]
    source: dict[str, Any]
    inputs: list[dict[str, Any]]


def is_tensors(path: str) -> bool:
    """By its name: what is in it is looked at when it is read."""
    return path.endswith(SUFFIX)


def read(path: str) -> TensorReading:
    """Read one file.

    Raises:
        MiError: it is none, or is laid out otherwise; names the tensor.
    """
    sha = file_digest(path)
    held = unpack(Path(path).read_bytes(), path)
    inputs = {key: value for key, value in held.items() if key.partition(".")[0] in RUNS}
    n = _check(inputs, held, path)
    answers, foils = (_sets(held.get(name), name, n, path) for name in ("answers", "foils"))
    splits = _splits(held.get("split"), n, path)
    records = []
    for row in range(n):
        record: dict[str, Any] = {
            run: {"$tensor": f"{INPUTS}/{run}", "row": row, "sha256": row_digest(arguments_at(inputs, run, row))}
            for run in RUNS
        }
        record |= {name: sets[row] for name, sets in (("answers", answers), ("foils", foils)) if sets}
        # Two examples may be alike: the row keeps their names apart.
        records.append({"id": f"{record_id(record)}-{row}", **record, **({"split": splits[row]} if splits else {})})
    metric = "kl" if not answers else "logit-diff" if foils and all(foils) else "class-prob"
    return TensorReading(
        records,
        inputs,
        {"name": Path(path).stem, "metric": metric, "counterfactual": "corrupted"},
        {"path": chain.portable(path), "format": "tensors"},
        [chain.given(path, sha)],
    )


def arguments_at(tensors: Mapping[str, Array], run: str, row: int) -> dict[str, Array]:
    """The arguments of one example, by name."""
    return {
        key.partition(".")[2]: BF16(value.bits[row]) if isinstance(value, BF16) else value[row]
        for key, value in tensors.items()
        if key.partition(".")[0] == run
    }


def row_digest(arguments: Mapping[str, Array]) -> str:
    """sha256 over names, types, shapes and bytes."""
    import numpy as np

    digest = hashlib.sha256()
    for name in sorted(arguments):
        value = arguments[name]
        dtype, shape = layout(value)
        plain = value.bits if isinstance(value, BF16) else value
        digest.update(f"{name} {dtype} {list(shape)}\n".encode())
        digest.update(np.ascontiguousarray(plain, dtype=plain.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _check(inputs: Mapping[str, Array], held: Mapping[str, Array], path: str) -> int:
    """How many examples there are; refuses runs that do not line up, and tensors that mean nothing here."""
    names = {run: sorted(key.partition(".")[2] for key in inputs if key.startswith(f"{run}.")) for run in RUNS}
    for run in RUNS:
        if not names[run] or "" in names[run]:
            raise MiError(f"holds no tensor {run}.NAME", LAYOUT, place=path)
    if names["clean"] != names["corrupted"]:
        odd = min(set(names["clean"]) ^ set(names["corrupted"]))
        raise MiError(f"only one of clean.{odd} and corrupted.{odd} is there", LAYOUT, place=path)
    for key in held:
        if key not in inputs and key not in ("answers", "foils", "split"):
            raise MiError(f"holds a tensor {key}, which means nothing here", LAYOUT, place=path)
    shape = next(iter(inputs.values())).shape
    for name in names["clean"]:
        both = [layout(inputs[f"{run}.{name}"]) for run in RUNS]
        if both[0] != both[1]:
            said = " and ".join(f"{run}.{name} is {d} {list(s)}" for run, (d, s) in zip(RUNS, both, strict=True))
            raise MiError(said, "make both of one type and shape", place=path)
        if both[0][1][:1] != shape[:1] or not shape[:1] or shape[0] == 0:
            raise MiError(f"clean.{name} has the shape {list(both[0][1])}", "every tensor has an example a row, and as "
                          "many rows as the others", place=path)  # fmt: skip
    return int(shape[0])


def _whole_numbers(value: Array, name: str, n: int, path: str) -> np.ndarray:
    if isinstance(value, BF16) or value.dtype.kind not in "iu" or value.ndim not in (1, 2) or len(value) != n:
        dtype, shape = layout(value)
        raise MiError(f"{name} is {dtype} {list(shape)}", f"it holds whole numbers, [{n}] or [{n}, k]", place=path)
    return value.reshape(n, -1)


def _sets(value: Array | None, name: str, n: int, path: str) -> list[list[int]]:
    if value is None:
        return []
    rows = _whole_numbers(value, name, n, path)
    return [list(dict.fromkeys(int(item) for item in row if item >= 0)) for row in rows]


def _splits(value: Array | None, n: int, path: str) -> list[str]:
    if value is None:
        return []
    numbers = _whole_numbers(value, "split", n, path)
    if numbers.shape[1] != 1 or numbers.min() < 0 or numbers.max() >= len(SPLITS):
        raise MiError("split holds other numbers than 0, 1 and 2", "0 is train, 1 validation, 2 test", place=path)
    return [SPLITS[int(number)] for number in numbers[:, 0]]

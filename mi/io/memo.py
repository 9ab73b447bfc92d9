"""The memo: work that was done is not done again.

In: what a result depends on. Out: the result, from the store, without importing torch; its bytes are those of a fresh
run, because it goes through the same writer. A key covers mi's own source files, the versions of the libraries, and
what the command passes: its flags, device kind, dtype and the digests of its inputs.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from mi.errors import MiError
from mi.io import atomic, blobs, canonical, chain, store, writing
from mi.io.blobs import Blob

_LIBRARIES = (*chain.LIBRARIES, "numpy", "tokenizers", "safetensors")
# What moves a computation to another device or another order of summing, and shows in no flag.
_ENVIRONMENT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
Result = tuple[dict[str, Any], list[dict[str, Any]], dict[str, Blob]]


def key(command: str, *parts: Any, inputs: Iterable[str] = ()) -> str:
    """The key of one piece of work. `parts`: flags, device kind, dtype; `inputs`: digests of all that is read."""
    return canonical.sha256(
        canonical.dumps(
            {
                "command": command,
                "parts": list(parts),
                "inputs": list(inputs),
                "source": source_digest(),
                "versions": {name: chain.version(name) for name in _LIBRARIES},
                "machine": [platform.machine(), platform.system(), platform.python_version()],
                "environment": {name: os.environ.get(name) for name in _ENVIRONMENT},
                "accelerator": os.path.exists("/dev/nvidiactl"),
            }
        )
    )


@lru_cache(maxsize=1)
def source_digest() -> str:
    """sha256 over mi's own source files: a change of the code forgets every result."""
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        digest.update(f"{name} {canonical.sha256(path.read_bytes())}\n".encode())
    return digest.hexdigest()


def lookup(key: str) -> Result | None:
    """The head, records and blobs that were remembered; None where anything of them is missing or damaged.

    The blobs go into `stream.write` as they are: their bytes are copied, and need no numpy.
    """
    from mi.io import stream

    path = _path(key)
    try:
        with open(path, "rb") as f:
            kept = stream.parse(f, str(path), ())
        for blob in kept.blobs.values():
            blobs.check(blob)
    except (OSError, MiError):
        return None
    with suppress(OSError):
        os.utime(path)
    return kept.head, kept.records, kept.blobs


def remember(
    key: str,
    head: Mapping[str, Any],
    records: Iterable[Mapping[str, Any]],
    tensors: writing.Tensors | None = None,
) -> MiError | None:
    """Keep a result. A store that cannot be written is no reason to fail, the result is there, only not kept: the error
    comes back, for the user to hear of it.
    """
    path = _path(key)
    try:
        made = writing.as_blobs(tensors)
        for blob in made.values():
            store.put(blob)
        data = writing.seal(head, records, [blob.record(None) for blob in made.values()])
        store.root()
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.file(path) as f:
            f.write(data)
    except MiError as error:
        return error
    except OSError as error:
        return atomic.failure(path, error)
    return None


def _path(key: str) -> Path:
    return store.where() / "memo" / key[:2] / f"{key}.jsonl"

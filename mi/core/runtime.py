"""The device that a command computes on: choice, number format, determinism, and one lease a device.

Flows in: the words of ``--device`` and ``--dtype``. Flows out: torch's device and dtype, with torch set up.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from mi.core.wide import WITHOUT
from mi.errors import MiError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


def device(name: str = "auto") -> torch.device:
    """The device called ``name``; auto takes CUDA, then the CPU, and an Apple GPU (mps) where it is named.

    Raises:
        MiError: torch has no such device, or this machine does not.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(name)
    except RuntimeError:
        raise MiError(
            f"no device '{name}'", "devices are auto, cpu, cuda, cuda:N, mps", place="--device", code=2
        ) from None
    if chosen.type == "cuda":
        count = torch.cuda.device_count()
        index = chosen.index or 0
        if index >= count:
            have = f"this machine has {count}" if count else "torch sees no CUDA device"
            raise MiError(f"{name} is not there: {have}", "use --device cpu", place="--device")
        return torch.device("cuda", index)
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise MiError("mps is not there", "use --device cpu", place="--device")
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise MiError(f"device '{name}' is not supported", "devices are auto, cpu, cuda, cuda:N, mps", code=2)
    return chosen


def dtype(name: str = "auto") -> torch.dtype | None:
    """The dtype called ``name``; None for auto, which is the checkpoint's own."""
    if name == "auto":
        return None
    try:
        return DTYPES[name]
    except KeyError:
        raise MiError(f"no dtype '{name}'", f"dtypes are auto, {', '.join(DTYPES)}", code=2) from None


def put(module: nn.Module, on: torch.device) -> None:
    """Move a module.

    Raises:
        MiError: the device has no such numbers.
    """
    if on.type in WITHOUT and any(parameter.dtype == torch.float64 for parameter in module.parameters()):
        raise MiError(f"{on.type} has no float64", "give --dtype float32, or --device cpu", place="--dtype", code=2)
    module.to(on)


def settle(tf32: bool = False) -> None:
    """Deterministic kernels, and full float32 products unless TF32 is asked for."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode(
        "warn"
    )  # use_deterministic_algorithms does the same and imports the compiler: 1 s
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a debugging aid that writes every new tensor twice
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32


@contextmanager
def lease(on: torch.device, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold an accelerator alone among mi's processes of this user, so that two of them never hold two models on it.

    The CPU is not leased: its memory is shared by nature, and the stages of a pipe hand over by their streams.
    """
    if on.type == "cpu":
        yield
        return
    path = Path(tempfile.gettempdir()) / f"mi-{os.getuid()}-{on.type}-{on.index or 0}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)

"""A model spread over several devices, or partly left on a disk, by accelerate.

Flows in: the word or the file of ``--device-map``. Flows out: what `from_pretrained` is told.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mi.core.placement import main_device
from mi.errors import MiError, RunError, UsageError

WORDS = ("auto", "balanced", "balanced_low_0", "sequential")


def options(device_map: str) -> dict[str, Any]:
    """What `from_pretrained` is told.

    Raises:
        UsageError: neither a word that accelerate knows nor a file.
        MiError: the file is no map.
        RunError: accelerate is not installed.
    """
    chosen = device_map if device_map in WORDS else _of_file(device_map)
    if importlib.util.find_spec("accelerate") is None:
        raise RunError("--device-map needs accelerate, which is not installed", "pip install 'mi[devices]'")
    # What has no room elsewhere is left on a disk; of safetensors nothing is copied there.
    folder = tempfile.mkdtemp(prefix="mi-offload-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {"device_map": chosen, "offload_folder": folder}


def _of_file(name: str) -> dict[str, Any]:
    path = Path(name)
    if not path.is_file():
        raise UsageError(
            f"--device-map {name} is no file, and no way to spread a model", f"ways are {', '.join(WORDS)}"
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MiError(f"no JSON: {error}", place=name) from None
    fine = isinstance(found, dict) and found and all(isinstance(v, (int, str)) for v in found.values())
    if not fine:
        raise MiError("no map of devices", 'it says {"model.layers.0": 0, "model.layers.1": "disk", …}', place=name)
    return dict(found)


def wrapped(module: nn.Module) -> Any:
    """nnsight's view of a spread module. nnsight moves inputs to where the first parameter is, and that of a layer on a
    disk is nowhere."""
    from nnsight import NNsight

    class Spread(NNsight):
        @property
        def device(self) -> torch.device | None:
            return main_device(self._module)

    return Spread(module)

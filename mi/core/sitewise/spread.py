"""A model spread over several devices, or partly left on a disk, by accelerate.

Flows in: what ``--device-map`` says. Flows out: what `from_pretrained` is told, and which devices that takes.
"""

from __future__ import annotations

import atexit
import importlib.util
import logging
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from mi.core import runtime
from mi.core.placement import main_device
from mi.errors import MiError, RunError, UsageError
from mi.io.device_map import DeviceMap

FLAG = "--device-map"
OFF_DEVICE = ("cpu", "disk")  # where weights wait that have no room on an accelerator
TIED = "put both of them on the disk, or none"


def options(device_map: DeviceMap) -> dict[str, Any]:
    """What `from_pretrained` is told.

    Raises:
        MiError: a device is not there.
        RunError: accelerate is not installed.
    """
    devices(device_map)
    if importlib.util.find_spec("accelerate") is None:
        raise RunError("--device-map needs accelerate, which is not installed", "pip install 'mi[devices]'")
    # That weights lie elsewhere is what was asked for.
    logging.getLogger("accelerate.big_modeling").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "The following device_map keys do not match")  # `check` says it
    # What has no room elsewhere is left on a disk; of safetensors nothing is copied there.
    folder = tempfile.mkdtemp(prefix="mi-offload-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {"device_map": dict(device_map.places) or device_map.name, "offload_folder": folder}


def devices(device_map: DeviceMap) -> list[torch.device]:
    """The accelerators that a map may put modules on, or the processor; in one order, whatever the map's.

    Raises:
        MiError: one of them is not there.
    """
    named = [where for _, where in device_map.places]
    if "mps" in named or (not named and torch.backends.mps.is_available()):  # where accelerate would put it
        raise UsageError("--device-map puts no part of a model on an Apple GPU", "use --device mps, or cpu")
    if not device_map.places:
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return [torch.device("cuda", index) for index in range(count)] or [runtime.device()]
    found = []
    for module, where in device_map.places:
        if where in OFF_DEVICE:
            continue
        try:
            found.append(runtime.device(f"cuda:{where}" if isinstance(where, int) else where))
        except MiError as error:
            fact = f"{module or 'the model'} is to be on {where!r}, and {error.fact}"
            raise MiError(fact, "devices are 0, 1, …, cpu and disk", place=device_map.name) from None
    return sorted(set(found), key=str) or [torch.device("cpu")]


def check(module: nn.Module, device_map: DeviceMap) -> None:
    """See that a map is of this module. accelerate warns of names that it does not know, and looks for what is left out
    only where something is off the processor.

    Raises:
        MiError: it names what the module does not have, or leaves out what it has.
    """
    if not device_map.places:
        return
    named = [name for name, _ in device_map.places]
    known = {name for name, _ in (*module.named_modules(), *module.named_parameters(), *module.named_buffers())}
    for name in named:
        if name not in known:
            raise MiError(f"{name} is no module of the model", "'mi info -m MODEL' lists them", place=device_map.name)
    covered = tuple(f"{name}." if name else "" for name in named)
    missing = [name for name, _ in module.named_parameters() if not f"{name}.".startswith(covered)]
    if missing:
        raise left_out(missing)
    for one, other in (getattr(module, "all_tied_weights_keys", None) or {}).items():
        if (_place(device_map, one) == "disk") != (_place(device_map, other) == "disk"):
            raise MiError(f"{one} and {other} are one weight", TIED, place=device_map.name)


def _place(device_map: DeviceMap, name: str) -> int | str:
    """Where a parameter goes: as the longest of the names says that it is under."""
    above = [place for place in device_map.places if not place[0] or f"{name}.".startswith(f"{place[0]}.")]
    return max(above, key=lambda place: len(place[0]))[1]


def refusal(error: Exception) -> MiError | None:
    """What an error of accelerate's says about a map, if it does."""
    text = str(error).strip()
    _, left, names = text.partition("does not give any device for the following parameters: ")
    if left:
        return left_out(names.split(", "))
    if "is on the meta device, we need a `value` to put in on" in text:
        return MiError(
            "weights that are one, an embedding and an unembedding, are on a disk and off it", TIED, place=FLAG
        )
    return None


def left_out(names: Sequence[str]) -> MiError:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return MiError(f"no device is given for {names[0]}{more}", "a map names every module", place=FLAG)


def wrapped(module: nn.Module) -> Any:
    """nnsight's view of a spread module. nnsight moves inputs to where the first parameter is, and that of a layer on a
    disk is nowhere."""
    from nnsight import NNsight

    class Spread(NNsight):
        @property
        def device(self) -> torch.device | None:
            return main_device(self._module)

    return Spread(module)

"""What `--remote` and `--device-map` ask for, looked at before anything is loaded: flags in, perhaps an error out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mi.io.device_map import DeviceMap

NDIF, LOCAL = "ndif", "local"


def check(remote: str | None, model: str | None, head: Mapping[str, Any]) -> None:
    """Refuse what no server can run, and a server that does not answer.

    Raises:
        UsageError: another word than ndif or local.
        MiError: the model is on this machine.
        RunError: there is no key, or the server does not answer.
    """
    from mi import embedded
    from mi.errors import MiError, UsageError

    if remote in (None, LOCAL):
        return
    if remote != NDIF:
        raise UsageError(f"nothing remote is called '{remote}'", "--remote alone is NDIF, --remote local a rehearsal")
    name = model or str((head.get("model") or {}).get("id") or embedded.NAMES[0])
    if name in embedded.NAMES or os.path.exists(name.rpartition(":")[0] or name) or os.path.exists(name):
        raise MiError(
            f"the model {name} is on this machine, and NDIF runs models of the hub",
            "name one by its hub id, or rehearse with --remote local",
            place="--remote",
        )
    from mi.core.sitewise.remote import check_server

    check_server()


def spread_over(device_map: str | None, device: str, remote: str | None = None) -> DeviceMap | None:
    """How the model is to be spread.

    Raises:
        UsageError: no such way, or something else says where the model runs.
        MiError: a file that is no map.
    """
    if device_map is None:
        return None
    from mi.core.team import current
    from mi.errors import UsageError
    from mi.io.device_map import read

    if remote or device != "auto":
        other = "--remote" if remote else "--device"
        raise UsageError(f"--device-map and {other} both say where the model runs", "give one of them")
    if current().size > 1:
        raise UsageError("--device-map is of one process", "torchrun wants the whole model on each of its devices")
    return read(device_map)


def weights_here(remote: str | None) -> bool:
    """Whether the weights are needed on this machine."""
    return remote != NDIF

"""What `--remote` asks for, looked at before anything is read or loaded: flags in, an error or nothing out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

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


def weights_here(remote: str | None) -> bool:
    """Whether the weights are needed on this machine."""
    return remote != NDIF

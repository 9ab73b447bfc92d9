"""Settings: a flag, else the environment, else [tool.mi] of the nearest pyproject.toml, else the default.

In: a name such as "batch-size". Out: its value, and where it came from.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mi.errors import MiError


def setting(name: str, flag: Any = None, default: Any = None, *, command: str = "") -> Any:
    """The value of one setting. [tool.mi.COMMAND] goes before [tool.mi]."""
    if flag is not None:
        return flag
    if (value := os.environ.get("MI_" + name.upper().replace("-", "_"))) not in (None, ""):
        return value
    table = project()
    own = table.get(command)
    for place in (own if isinstance(own, Mapping) else {}, table):
        for spelling in (name, name.replace("-", "_")):
            if spelling in place:
                return place[spelling]
    return default


def project(folder: str | Path | None = None) -> dict[str, Any]:
    """The table [tool.mi] of the nearest pyproject.toml that has one, at or above `folder` (here); else empty."""
    here = Path(folder or ".").absolute()
    for place in (here, *here.parents):
        path = place / "pyproject.toml"
        try:
            data = path.read_bytes()
        except OSError:
            continue
        # Parsing TOML costs a few milliseconds at every command: not for the many files that do not name mi.
        if b"mi" in data and (table := _table(path, data)) is not None:
            return table
    return {}


def _table(path: Path, data: bytes) -> dict[str, Any] | None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        tool = tomllib.loads(data.decode("utf-8")).get("tool", {})
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        if b"tool.mi" not in data:
            return None
        raise MiError(f"not TOML: {error}", place=os.path.relpath(path)) from None
    table = tool.get("mi") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise MiError("tool.mi is no table", "write [tool.mi]", place=os.path.relpath(path))
    return table

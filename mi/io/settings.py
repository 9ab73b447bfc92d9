"""The settings of a project: a folder in, the table [tool.mi] of the nearest pyproject.toml out.

A flag and the environment go before it, the default comes after; the parser of the command line sees to that.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from mi.errors import MiError


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

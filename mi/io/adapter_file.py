"""A user's own adapter file: TOML or JSON in, a record of plain data out, and back.

A record is a flat table: a name for each role, with a path, a list of paths, a number or a switch. Nothing in it runs.
What the roles are is `mi.core.roles`' business; here a file is only kept from being anything but such a table.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mi.errors import MiError
from mi.io import canonical

LARGEST = 1 << 16  # bytes: a record is a page of text
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class AdapterFile:
    """``digest`` is of what the record says, not of how the file is written; ``sha256`` is the file's."""

    name: str
    record: Mapping[str, Any]
    sha256: str

    @property
    def digest(self) -> str:
        return digest_of(self.record)


def digest_of(record: Mapping[str, Any]) -> str:
    return canonical.sha256(canonical.dumps(dict(record)))


def read(path: str) -> AdapterFile:
    """The record of a file.

    Raises:
        MiError: it cannot be read, is neither TOML nor JSON, or holds more than names, numbers and lists of them.
    """
    name = os.path.relpath(path)
    try:
        if os.path.getsize(path) > LARGEST:
            raise MiError(f"larger than {LARGEST} bytes, so no adapter", "mi adapter probe writes one", place=name)
        with open(path, "rb") as f:
            data = f.read(LARGEST + 1)
    except OSError as error:
        raise MiError(f"cannot be read: {error.strerror or error}", "--adapter names a file", place=name) from None
    try:
        record = _parse(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, JSONDecodeError and UnicodeDecodeError
        lines = str(error).splitlines() or ["it is nested too deeply"]
        raise MiError(f"neither TOML nor JSON: {lines[0]}", "mi adapter probe writes one", place=name) from None
    return AdapterFile(name.replace(os.sep, "/"), checked(record, name), canonical.sha256(data))


def _parse(text: str) -> Any:
    if text.lstrip().startswith("{"):
        return json.loads(text)
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    return tomllib.loads(text)


def checked(record: Any, place: str) -> dict[str, Any]:
    """The record itself, if it is a flat table of plain values.

    Raises:
        MiError: names the entry that is not.
    """
    if not isinstance(record, dict):
        raise MiError("an adapter is a table of roles", "mi adapter probe writes one", place=place)
    for name, value in record.items():
        if not isinstance(name, str) or not _WORD.fullmatch(name):
            raise MiError(f"{name!r} is no name of a role", "mi adapter show lists the roles", place=place)
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        for one in inner:
            if not isinstance(one, str | int | bool | None):
                raise MiError(f"{name} holds {type(one).__name__}, not text or a whole number", place=place)
            if isinstance(one, str) and (len(one) > 200 or not one.isprintable()):
                raise MiError(f"{name} holds text that is no name", place=place)
            if isinstance(one, int) and not -(1 << 31) < one < 1 << 31:
                raise MiError(f"{name} holds a number that is too large", place=place)
    return record


def to_toml(record: Mapping[str, Any]) -> str:
    """The record as TOML, an entry a line, tables last; what is null is left out."""
    plain = [f"{name} = {_value(value)}\n" for name, value in record.items() if _is_plain(value)]
    tables = [
        f"\n[{name}]\n" + "".join(f"{json.dumps(key)} = {_value(one)}\n" for key, one in value.items())
        for name, value in record.items()
        if isinstance(value, dict) and value
    ]
    return "".join([*plain, *tables])


def _is_plain(value: Any) -> bool:
    return value is not None and not isinstance(value, dict)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    return json.dumps(value)

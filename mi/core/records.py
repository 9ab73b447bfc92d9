"""Between a record of roles as a file holds it and as code uses it: a table in, :class:`Roles` out, and back.

In a file a role without a part is `false`, a path is text, several are a list, `when` and `ungroup` are tables, and the
word "heads" stands for the number of query heads.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from mi.core.roles import Roles
from mi.errors import MiError

HEADS = "heads"  # in `ungroup`: as many as there are query heads
IMPLEMENTATIONS = ("mi", "eager", "sdpa")
_PATH = re.compile(r"[A-Za-z_]\w*(\.\w+)*")
_FIELDS = {field.name: field for field in dataclasses.fields(Roles)}
_LISTS = tuple(name for name, field in _FIELDS.items() if str(field.type) == "tuple[str, ...]")
_TABLES = ("when", "ungroup")
_OPTIONAL = tuple(name for name, field in _FIELDS.items() if str(field.type) == "str | None")
_NAMES = ("families", "logit_cap", "implementation")  # words, not paths


def from_record(record: Mapping[str, Any], place: str) -> Roles:
    """The roles that a table names.

    Raises:
        MiError: an entry is unknown, lacking, or not of its kind; names it.
    """
    unknown = [name for name in record if name not in _FIELDS]
    if unknown:
        raise MiError(f"{unknown[0]} is no role", "mi adapter show lists them: " + ", ".join(_FIELDS), place=place)
    lacking = [
        name
        for name, field in _FIELDS.items()
        if field.default is dataclasses.MISSING and name not in record and name not in _OPTIONAL
    ]
    if lacking:
        raise MiError(f"no role {', '.join(lacking)}", "mi adapter probe -m MODEL finds them", place=place)
    values = {name: _checked(name, value, place) for name, value in record.items()}
    roles = Roles(**{**dict.fromkeys(("attention_norm", "mlp_norm")), **values})
    if len(roles.queries_keys_values) not in (1, 3):
        raise MiError("queries_keys_values has one path, or one each for q, k and v", place=place)
    if roles.implementation not in IMPLEMENTATIONS:
        raise MiError(f"implementation is one of {', '.join(IMPLEMENTATIONS)}", place=place)
    return roles


def for_family(record: Mapping[str, Any], family: str, place: str = "the adapter") -> Roles:
    """The roles that a table names, if they are of this family.

    Raises:
        MiError: the table is no record, or of another family.
    """
    roles = from_record(record, place)
    if family not in roles.families:
        raise MiError(f"it is for {', '.join(roles.families)}, and the model is '{family}'", place=place)
    return roles


def _checked(name: str, value: Any, place: str) -> Any:
    wanted = str(_FIELDS[name].type)
    if name in _TABLES:
        return _table(name, value, place)
    if name in _LISTS:
        if not isinstance(value, list | tuple):
            raise MiError(f"{name} is a list, not {value!r}", place=place)
        return tuple(_text(name, one, place) for one in value)
    if name in _OPTIONAL:
        return None if value in (None, False) else _text(name, value, place)
    if wanted == "str":
        return _text(name, value, place)
    kind = bool if wanted == "bool" else int
    if type(value) is not kind:
        raise MiError(f"{name} is {'true or false' if kind is bool else 'a whole number'}, not {value!r}", place=place)
    return value


def _text(name: str, value: Any, place: str) -> str:
    if not isinstance(value, str) or not value:
        raise MiError(f"{name} is text, not {value!r}", place=place)
    if name not in _NAMES and not _PATH.fullmatch(value):
        raise MiError(f"{name} is the path of a module, such as layers.mlp, not {value!r}", place=place)
    return value


def _table(name: str, value: Any, place: str) -> tuple[tuple[str, Any], ...]:
    if not isinstance(value, Mapping):
        raise MiError(f"{name} is a table, not {value!r}", place=place)
    entries = []
    for key, one in value.items():
        if not isinstance(key, str) or not _PATH.fullmatch(key):
            raise MiError(f"{name} has no such entry as {key!r}", place=place)
        if name == "ungroup":
            if one is not False and one != HEADS:
                raise MiError(f'{name} sets a count to "{HEADS}" or a switch to false, not {one!r}', place=place)
            one = None if one == HEADS else one
        entries.append((key, one))
    return tuple(entries)


def to_record(roles: Roles | Mapping[str, Any]) -> dict[str, Any]:
    """The table that names these roles: what says nothing new is left out."""
    given = roles if isinstance(roles, Mapping) else {name: getattr(roles, name) for name in _FIELDS}
    record: dict[str, Any] = {}
    for name, field in _FIELDS.items():
        if name not in given or given[name] == field.default:
            continue
        value = given[name]
        if name in _TABLES:
            record[name] = {key: HEADS if one is None else one for key, one in value}
        elif name in _LISTS:
            record[name] = list(value)
        else:
            record[name] = False if value is None else value
    return record

"""Canonical JSON: one value has one spelling, so that a digest of the bytes is a digest of the value.

In: plain values, numpy scalars and arrays. Out: UTF-8 without spaces, keys sorted, floats as short as they can be.
Reading is strict: what JSON does not have (NaN, Infinity) or what could not be written again (a key given twice, an
integer of more than 64 bits) is refused.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any, NoReturn

import orjson

from mi.errors import MiError, RunError

_PLAIN = orjson.OPT_SORT_KEYS
_NUMPY = orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY


def dumps(value: Any) -> bytes:
    """The canonical spelling, without a newline. A number that is not finite is a RunError that names its path."""
    try:
        data = orjson.dumps(value, default=_to_plain, option=_NUMPY)
    except TypeError as error:
        raise RunError(f"a value cannot be written as JSON: {error}") from error
    # orjson spells NaN and the infinities `null`, so only a value whose JSON holds a null needs the slow look.
    if b"null" in data and (path := _not_finite(value)) is not None:
        raise RunError(f"{path[0] or 'a number'} is {path[1]}", "a stream holds finite numbers only")
    return data


def loads(data: bytes, place: str = "") -> Any:
    """Read one JSON value, strictly. `place` goes into the error."""
    try:
        value = orjson.loads(data)
    except ValueError as error:
        _explain(data, place, error)
    # Canonical bytes hold no key twice and no number that orjson rounds: only other spellings need the slow look.
    return value if _spell(value, place) == data else _strict(data, place)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _to_plain(value: Any) -> Any:
    """What orjson does not know: arrays that are not contiguous, numpy scalars of rare types, sets of answers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON type")


def _not_finite(value: Any, path: str = "") -> tuple[str, str] | None:
    """The first number that is not finite: its path and its name."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        if math.isfinite(value):
            return None
        return path, "NaN" if math.isnan(value) else "infinite"
    if isinstance(value, dict):
        children = [(f"{path}.{key}" if path else str(key), value[key]) for key in value]
    elif isinstance(value, (list, tuple)):
        children = [(f"{path}[{index}]", child) for index, child in enumerate(value)]
    else:
        return None
    return next((found for name, child in children if (found := _not_finite(child, name))), None)


def _spell(value: Any, place: str) -> bytes:
    try:
        return orjson.dumps(value, option=_PLAIN)
    except TypeError as error:
        raise MiError(f"JSON that cannot be written again: {error}", place=place) from None


def _explain(data: bytes, place: str, error: ValueError) -> NoReturn:
    """The strict reader says what is wrong in words; what only orjson minds is said in orjson's."""
    _strict(data, place)
    raise MiError(f"not JSON: {error}", place=place) from None


def _strict(data: bytes, place: str) -> Any:
    """Read with the standard library, refusing what JSON does not define."""
    import json

    def refuse_constant(name: str) -> NoReturn:
        raise MiError(f"{name} is not JSON", "a stream holds finite numbers only", place=place)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(items)
        if len(made) != len(items):
            names = [name for name, _ in items]
            twice = next(name for name in names if names.count(name) > 1)
            raise MiError(f'the key "{twice[:80]}" is given twice', "keep one of them", place=place)
        return made

    def number(text: str) -> float:
        if not math.isfinite(value := float(text)):
            raise MiError(f"the number {text[:40]} is too large for a float", place=place)
        return value

    def integer(text: str) -> int:
        if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**64:
            raise MiError(f"the integer {text[:40]} needs more than 64 bits", place=place)
        return value

    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MiError(f"not UTF-8: byte {error.start + 1} of the line", place=place) from None
    try:
        value = json.loads(
            text, parse_constant=refuse_constant, object_pairs_hook=pairs, parse_float=number, parse_int=integer
        )
    except RecursionError:
        raise MiError("JSON nested too deeply", place=place) from None
    except ValueError as error:
        raise MiError(f"not JSON: {error}", place=place) from None
    _spell(value, place)
    return value

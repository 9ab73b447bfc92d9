"""A checker for the part of JSON Schema that the kinds use: schema in, a function from value to complaint out.

The whole of JSON Schema needs a library that takes longer to import than a light command runs. This part is held equal
to that library by a test. What it does not know it refuses, so that no word of a schema goes unchecked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from mi.io import canonical

# A complaint, or None where the value is fine.
Check = Callable[[Any], "str | None"]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_SILENT = {"$schema", "$id", "title", "description", "$defs", "examples"}


def compiled(schema: Mapping[str, Any]) -> Check:
    """The checker of one schema."""
    checks: list[Check] = []
    for word, value in schema.items():
        if word in _SILENT:
            continue
        if word not in _WORDS:
            raise ValueError(f"the checker does not know the word {word}")
        checks.append(_WORDS[word](value))
    if len(checks) == 1:
        return checks[0]

    def check(value: Any) -> str | None:
        for one in checks:
            if (problem := one(value)) is not None:
                return problem
        return None

    return check


def _type(names: Any) -> Check:
    wanted = [names] if isinstance(names, str) else list(names)
    classes = tuple(cls for name in wanted for cls in _TYPES[name])
    truths = "boolean" in wanted
    text = " or ".join(wanted)

    def check(value: Any) -> str | None:
        # In Python, True is an integer; in JSON it is not.
        if isinstance(value, classes) and (truths or not isinstance(value, bool)):
            return None
        return f"{_show(value)} is no {text}"

    return check


def _const(wanted: Any) -> Check:
    return lambda value: None if _equal(value, wanted) else f"{_show(value)} is not {_show(wanted)}"


def _enum(choices: Any) -> Check:
    text = ", ".join(_show(choice) for choice in choices)
    return lambda value: (
        None if any(_equal(value, choice) for choice in choices) else f"{_show(value)} is none of {text}"
    )


def _required(names: Any) -> Check:
    def check(value: Any) -> str | None:
        if isinstance(value, dict):
            for name in names:
                if name not in value:
                    return f'"{name}" is missing'
        return None

    return check


def _properties(schemas: Any) -> Check:
    checks = {name: compiled(schema) for name, schema in schemas.items()}

    def check(value: Any) -> str | None:
        if isinstance(value, dict):
            for name, one in checks.items():
                if name in value and (problem := one(value[name])) is not None:
                    return f"{name}: {problem}"
        return None

    return check


def _every_property(schema: Any) -> Check:
    one = compiled(schema)

    def check(value: Any) -> str | None:
        if isinstance(value, dict):
            for name, item in value.items():
                if (problem := one(item)) is not None:
                    return f"{name[:40]}: {problem}"
        return None

    return check


def _items(schema: Any) -> Check:
    one = compiled(schema)

    def check(value: Any) -> str | None:
        if isinstance(value, list):
            for index, item in enumerate(value):
                if (problem := one(item)) is not None:
                    return f"[{index}] {problem}"
        return None

    return check


def _any_of(schemas: Any) -> Check:
    checks = [compiled(schema) for schema in schemas]

    def check(value: Any) -> str | None:
        problems: list[str] = []
        for one in checks:
            if (problem := one(value)) is None:
                return None
            problems.append(problem)
        return " and ".join(dict.fromkeys(problems))

    return check


def _bound(test: Callable[[Any, Any], bool], text: str) -> Callable[[Any], Check]:
    def make(bound: Any) -> Check:
        def check(value: Any) -> str | None:
            if not isinstance(value, (int, float)) or isinstance(value, bool) or test(value, bound):
                return None
            return f"{_show(value)} {text} {bound}"

        return check

    return make


def _length(test: Callable[[int, int], bool], text: str, kind: type) -> Callable[[Any], Check]:
    def make(bound: Any) -> Check:
        def check(value: Any) -> str | None:
            if not isinstance(value, (str, list)) or not isinstance(value, kind) or test(len(value), bound):
                return None
            return f"{_show(value)} {text} {bound}"

        return check

    return make


def _pattern(text: Any) -> Check:
    found = re.compile(text).search
    return lambda value: None if not isinstance(value, str) or found(value) else f"{_show(value)} does not match {text}"


_WORDS: dict[str, Callable[[Any], Check]] = {
    "type": _type,
    "const": _const,
    "enum": _enum,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _every_property,
    "items": _items,
    "anyOf": _any_of,
    "minimum": _bound(lambda a, b: a >= b, "is less than"),
    "maximum": _bound(lambda a, b: a <= b, "is more than"),
    "minItems": _length(lambda a, b: a >= b, "has fewer items than", list),
    "maxItems": _length(lambda a, b: a <= b, "has more items than", list),
    "minLength": _length(lambda a, b: a >= b, "is shorter than", str),
    "pattern": _pattern,
}


def _equal(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _show(value: Any) -> str:
    text = canonical.dumps(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."

"""Canonical JSON against the standard library, and everything that strict reading refuses."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mi.errors import FAILED, MiError, RunError
from mi.io import canonical

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(values)
def test_what_is_written_is_read_back(value: Any) -> None:
    again = canonical.loads(canonical.dumps(value))
    assert again == value
    assert json.dumps(again, sort_keys=True) == json.dumps(value, sort_keys=True)  # 1 is not 1.0, True is not 1


@given(values)
def test_the_standard_library_reads_the_same(value: Any) -> None:
    assert json.loads(canonical.dumps(value)) == value


@given(values)
def test_other_spellings_are_read_alike(value: Any) -> None:
    spaced = json.dumps(value, indent=1, ensure_ascii=True).encode()
    assert canonical.loads(spaced) == value


def sorted_like_json(value: Any) -> Any:
    """Keys by code point, at every depth."""
    if isinstance(value, dict):
        return {key: sorted_like_json(value[key]) for key in sorted(value)}
    return [sorted_like_json(item) for item in value] if isinstance(value, list) else value


@given(values)
def test_keys_are_sorted_and_there_are_no_spaces(value: Any) -> None:
    text = canonical.dumps(value)
    assert b"\n" not in text
    ordered: list[list[str]] = []
    json.loads(text, object_pairs_hook=lambda pairs: ordered.append([key for key, _ in pairs]) or dict(pairs))
    assert all(keys == sorted(keys) for keys in ordered)
    without_floats = json.loads(text, parse_float=lambda spelled: f"<{spelled}>")
    assert len(text) == len(json.dumps(without_floats, separators=(",", ":"), ensure_ascii=False).encode()) - 4 * sum(
        isinstance(leaf, float) for leaf in leaves(value)
    )


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_as_short_as_they_can_be(value: float) -> None:
    spelled = canonical.dumps(value).decode()
    digits = spelled.lower().replace("-", "").split("e")[0].replace(".", "").strip("0")
    shortest = repr(value).lower().replace("-", "").split("e")[0].replace(".", "").strip("0")
    assert len(digits) == len(shortest)
    assert float(spelled) == value
    assert math.copysign(1, float(spelled)) == math.copysign(1, value)


def test_numpy_values_are_plain_values() -> None:
    value = {
        "bool": np.bool_(True),
        "int": np.int64(-3),
        "float": np.float64(0.1),
        "short": np.float32(0.1),
        "list": np.arange(3),
        "every second": np.arange(6)[::2],
        "column": np.arange(6.0).reshape(3, 2)[:, 1],
        "zero": np.array(2.5),
    }
    assert canonical.dumps(value) == (
        b'{"bool":true,"column":[1.0,3.0,5.0],"every second":[0,2,4],"float":0.1,"int":-3,"list":[0,1,2],"short":0.1,'
        b'"zero":2.5}'
    )


@pytest.mark.parametrize(
    ("value", "fact"),
    [
        ({"score": math.nan}, "score is NaN"),
        ({"a": None, "baseline": {"clean": math.inf}}, "baseline.clean is infinite"),
        ({"values": [1.0, -math.inf]}, "values[1] is infinite"),
        ({"array": np.array([0.0, np.nan])}, "array[1] is NaN"),
        ({"scalar": np.float32("nan")}, "scalar is NaN"),
        (math.nan, "a number is NaN"),
    ],
)
def test_a_number_that_is_not_finite_is_named(value: Any, fact: str) -> None:
    with pytest.raises(RunError) as caught:
        canonical.dumps(value)
    assert caught.value.fact == fact
    assert caught.value.code == FAILED


def test_null_and_the_word_null_are_fine() -> None:
    assert canonical.dumps({"a": None, "b": "null"}) == b'{"a":null,"b":"null"}'


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800", object(), {1: 2}])
def test_what_json_cannot_hold_is_an_error_of_ours(value: Any) -> None:
    with pytest.raises(RunError, match="cannot be written as JSON"):
        canonical.dumps({"x": value})


REFUSED = {
    "NaN": (b'{"a":NaN}', "NaN is not JSON"),
    "infinity": (b'{"a":-Infinity}', "-Infinity is not JSON"),
    "too large": (b'{"a":1e400}', "too large"),
    "twice": (b'{"a":1,"a":1}', '"a" is given twice'),
    "twice, deep": (b'{"b":[{"a":1,"c":2,"a":3}]}', '"a" is given twice'),
    "twice, escaped": (b'{"a":1,"\\u0061":2}', '"a" is given twice'),
    "not UTF-8": (b'{"a":"\xff"}', "not UTF-8"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), "not UTF-8"),
    "half a pair": (b'{"a":"\\ud800"}', "JSON"),
    "big integer": (b'{"a":18446744073709551616}', "more than 64 bits"),
    "huge integer": (b'{"a":' + b"9" * 5000 + b"}", "more than 64 bits"),
    "deep": (b"[" * 100_000, "nested too deeply"),
    "deep but whole": (b"[" * 400 + b"]" * 400, "cannot be written again"),
    "cut": (b'{"a":1', "not JSON"),
    "rest": (b"{} {}", "not JSON"),
    "comma": (b'{"a":1,}', "not JSON"),
    "control character": (b'{"a":"\x01"}', "not JSON"),
    "byte order mark": (b"\xef\xbb\xbf{}", "not JSON"),
    "nothing": (b"", "not JSON"),
    "binary": (bytes(range(256)), "not UTF-8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_reading_is_strict(name: str) -> None:
    data, fact = REFUSED[name]
    with pytest.raises(MiError) as caught:
        canonical.loads(data, "here:3")
    assert fact in caught.value.fact
    assert caught.value.place == "here:3"
    assert caught.value.code == 3


def test_an_error_stays_short_whatever_it_is_about() -> None:
    for data in (b'{"' + b"k" * 10_000 + b'":1,"' + b"k" * 10_000 + b'":1}', b"9" * 10_000, b'"' + b"x" * 10_000):
        with pytest.raises(MiError) as caught:
            canonical.loads(data)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["0.10000000000000000001", "1E2", "1.0", "18446744073709551615", "-0.0"])
def test_numbers_in_other_spellings_are_read(text: str) -> None:
    assert canonical.loads(text.encode()) == json.loads(text)


def test_canonical_bytes_are_not_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow reader is for other spellings: a stream of 30,000 edges must not wait for it."""
    monkeypatch.setattr(canonical, "_strict", lambda data, place: pytest.fail(f"slow: {data!r}"))
    value = {"dst": "a9.h9<q>", "score": 0.0812, "src": "a7.h3", "x": [None, True, "ü\n", 1e-300, 2**64 - 1]}
    assert canonical.loads(canonical.dumps(value)) == value

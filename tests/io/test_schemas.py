"""Schemas: our small checker against the jsonschema library, and what each kind accepts and refuses."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mi.errors import BAD_INPUT, USAGE, MiError
from mi.io import chain, schemas, stream
from mi.io.schemas.validate import compiled
from tests.io import plain

LINK = chain.link(chain.Invocation("data", ("--from", "x")), None, [{"name": "x", "sha256": plain.SHA}], "cpu")
FULL_HEAD = {
    "mi": "head",
    "v": 1,
    "task": {"name": "ioi", "metric": "logit-diff", "counterfactual": None},
    "examples": {"sha256": plain.SHA, "n": {"train": 3}, "source": {"generator": "ioi"}},
    "model": {"id": "gpt2", "revision": None, "weights": plain.SHA, "bos": "auto", "dtype": "float32"},
    "graph": plain.GRAPH,
    "attribution": {"steps": 5},
    "patching": {"site": "z"},
    "means": {"ablation": "mean"},
    "chain": [LINK],
}
MORE: dict[str, list[dict[str, Any]]] = {
    "examples": [
        {
            "id": "a", "clean": "x", "corrupted": "y", "answers": [" z", 3], "foils": [], "split": None, "read": -1,
            "spans": {"S": [0, 2]}, "counterfactuals": {"abc": [1, 2]}, "variables": {}, "labels": {"k": 1},
        },
        {"clean": {"$tensor": "t"}, "corrupted": {"$tensor": "u"}},
    ],
    "cache": [],
    "scores": [],
    "circuit": [{"node": "m0", "score": 1}, {"src": "input", "dst": "logits", "score": None}],
    "report": [
        {"id": "a", "size": 10, "nominal": 0.5, "mode": "signed", "value": 1, "clean": 2.0, "corrupted": 0},
        {"id": "a", "size": None, "nominal": None, "mode": None, "value": 1},
        {"summary": "faithfulness", "undetermined": "the difference is noise"},
    ],
    "effects": [
        {"layer": 1, "head": 2, "effect": -1, "se": 0.5, "low": -2, "high": 0.1, "normalised": 0.3, "n": 3},
    ],
    "means": [],
}  # fmt: skip


def lines_of(kind: str) -> list[dict[str, Any]]:
    """One line of every sort that a stream of this kind may hold."""
    head = {**FULL_HEAD, "kind": kind}
    blob = {"blob": "x", "sha256": plain.SHA, "bytes": 3, "tensors": {"k": ["F32", [2]]}, "path": "x.safetensors"}
    end = {"mi": "end", "n": 3, "sha256": plain.SHA}
    return [head, *plain.RECORDS[kind], *MORE[kind], blob, end]


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_a_schema_is_valid_json_schema_and_takes_every_line(kind: str) -> None:
    schema = schemas.get(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for line in lines_of(kind):
        assert validator.is_valid(line), line


SPOILERS: list[Any] = [None, True, -1, 0.5, "", "x", [], [1], ["a", -2], {}, {"a": []}, {"sha256": "x"}, 7, plain.SHA]


def spoil(value: Any, rng: random.Random) -> Any:
    """Change, remove or add one thing somewhere in a value."""
    value = copy.deepcopy(value)
    place = value
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = rng.choice(keys)
        if isinstance(place[key], (dict, list)) and place[key] and rng.random() < 0.6:
            place = place[key]
            continue
        if rng.random() < 0.25:
            del place[key]
        else:
            place[key] = copy.deepcopy(rng.choice(SPOILERS))
        break
    return value


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_the_checker_agrees_with_the_library(kind: str, seed: int) -> None:
    rng = random.Random(seed)
    definitions = schemas.get(kind)["$defs"]
    wrong = 0
    for name, samples in (("head", lines_of(kind)[:1]), ("record", lines_of(kind)[1:-2])):
        check, library = compiled(definitions[name]), jsonschema.Draft202012Validator(definitions[name])
        for _ in range(400):
            value = spoil(rng.choice(samples), rng)
            problem = check(value)
            assert (problem is None) == library.is_valid(value), (seed, value, problem)
            wrong += problem is not None
    assert wrong > 100


def test_a_word_that_the_checker_does_not_know_is_no_silent_pass() -> None:
    with pytest.raises(ValueError, match="multipleOf"):
        compiled({"type": "integer", "multipleOf": 3})


@pytest.mark.parametrize(
    ("kind", "record", "fact"),
    [
        ("examples", {"clean": "a"}, '"corrupted" is missing'),
        ("examples", {"clean": "a", "corrupted": [1, -2]}, "corrupted"),
        ("examples", {"clean": "a", "corrupted": "b", "answers": " x"}, 'answers: " x" is no array'),
        ("examples", {"clean": "a", "corrupted": "b", "spans": {"S": [1]}}, "spans: S: [1] has fewer items than 2"),
        ("cache", {"clean": "a", "corrupted": "b"}, '"baseline" is missing'),
        (
            "cache",
            {"clean": "a", "corrupted": "b", "baseline": {"clean": "1", "corrupted": 2}},
            'clean: "1" is no number',
        ),
        ("scores", {"src": "a", "dst": "b"}, '"score" is missing'),
        ("scores", {"src": "a", "dst": "b", "score": True}, "score: true is no number"),
        ("circuit", {"score": 1}, '"src" is missing and "node" is missing'),
        ("circuit", {"src": "", "dst": "b"}, "src"),
        ("effects", {"layer": 0, "effect": 1}, '"n" is missing'),
        ("effects", {"layer": -1, "effect": 1, "n": 2}, "layer: -1 is less than 0"),
        ("means", {"node": "m0"}, '"norm" is missing'),
        ("report", {"value": 1}, '"id" is missing and "summary" is missing'),
        ("report", {"id": "a", "value": 1, "mode": "both"}, 'mode: "both" is none of "signed", "absolute", null'),
    ],
)
def test_a_record_that_is_none_is_named_by_line_and_field(kind: str, record: Any, fact: str) -> None:
    Path("s.jsonl").write_bytes(plain.stream(plain.HEADS[kind], [*plain.RECORDS[kind], record]))
    with pytest.raises(MiError) as caught:
        stream.read("s.jsonl", ())
    assert fact in caught.value.fact
    assert caught.value.place == f"s.jsonl:{len(plain.RECORDS[kind]) + 2}"
    assert caught.value.code == BAD_INPUT
    assert f"mi schema {kind}" in caught.value.hint


@pytest.mark.parametrize(
    ("part", "value", "fact"),
    [
        ("graph", ..., '"graph" is missing'),
        ("graph", {"builder": "transformer"}, 'graph: "digest" is missing'),
        ("graph", {**plain.GRAPH, "digest": "x"}, "graph: digest"),
        ("chain", {}, "chain: {} is no array"),
        ("chain", [{}], "chain: [0]"),
        ("chain", [{**LINK, "argv": []}], "argv: [] has fewer items than 1"),
        ("chain", [{**LINK, "argv": [{"name": "x"}]}], "argv"),
        ("chain", [{**LINK, "prev": 3}], "prev"),
        ("examples", {"sha256": plain.SHA, "n": {"train": -1}}, "n: train: -1 is less than 0"),
        ("examples", {"n": {}}, '"sha256" is missing'),
        ("model", {"weights": plain.SHA}, '"id" is missing'),
        ("model", {"id": "x", "bos": "always"}, "bos"),
        ("task", "ioi", 'task: "ioi" is no object'),
        ("selection", 3, "selection: 3 is no object"),
    ],
)
def test_a_head_that_is_none_is_named_by_its_part(part: str, value: Any, fact: str) -> None:
    head = {**FULL_HEAD, "kind": "circuit", part: value}
    Path("s.jsonl").write_bytes(plain.stream({k: v for k, v in head.items() if v is not ...}, []))
    with pytest.raises(MiError) as caught:
        stream.read("s.jsonl", ())
    assert fact in caught.value.fact
    assert caught.value.place == "s.jsonl:1"


def test_the_head_of_an_unknown_kind_is_looked_at_too() -> None:
    Path("s.jsonl").write_bytes(plain.stream({"kind": "featurizer", "chain": [{}]}, [{"any": "record"}]))
    with pytest.raises(MiError, match="the head is no featurizer head: chain"):
        stream.read("s.jsonl", ())


def test_a_kind_without_a_schema_is_a_usage_error() -> None:
    with pytest.raises(MiError, match="featurizer") as caught:
        schemas.get("featurizer")
    assert caught.value.code == USAGE
    assert "circuit" in caught.value.hint


def test_the_kinds_are_those_of_streams() -> None:
    assert schemas.KINDS == stream.KINDS

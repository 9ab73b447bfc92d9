"""The digest of examples, and the order in which `score` looks for them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from mi.errors import BAD_INPUT, MiError
from mi.io import store
from mi.io.examples import examples_digest, find, split_counts
from tests.io import plain

RECORDS: list[dict[str, Any]] = [
    {"id": "a", "clean": "x y", "corrupted": "x z", "answers": [" y"], "split": "train"},
    {"id": "b", "clean": "u v", "corrupted": "u w", "answers": [" v"], "split": "validation"},
    {"id": "c", "clean": "s t", "corrupted": "s q", "answers": [" t"], "split": "train"},
]
OTHERS = [{**RECORDS[0], "id": "other"}]
SHA = hashlib.sha256(b"".join(map(plain.line, RECORDS))).hexdigest()


def test_the_digest_is_over_the_lines_without_baselines() -> None:
    assert examples_digest(RECORDS) == SHA
    cached = [{**record, "baseline": {"clean": 1.5, "corrupted": 0.0}} for record in RECORDS]
    assert examples_digest(cached) == SHA
    assert examples_digest(reversed(RECORDS)) != SHA
    assert examples_digest([]) == hashlib.sha256(b"").hexdigest()


def test_splits_are_counted() -> None:
    assert split_counts(RECORDS) == {"train": 2, "validation": 1}
    assert split_counts([{}, {"split": None}, {"split": "train"}]) == {"all": 2, "train": 1}


class Places:
    """Where examples may be, and what was looked at."""

    def __init__(self, *there: str, wrong: tuple[str, ...] = (), failing: tuple[str, ...] = ()) -> None:
        self.there, self.wrong, self.failing = there, wrong, failing
        self.asked: list[str] = []
        if "store" in there:
            store.put_examples(RECORDS)

    def get(self, name: str) -> list[dict[str, Any]]:
        self.asked.append(name)
        if name in self.failing:
            raise MiError(f"{name} failed")
        return OTHERS if name in self.wrong else RECORDS

    def find(self, given: str = "", allow_other: bool = False, sha: str = SHA) -> Any:
        source: dict[str, Any] = {}
        if "generator" in self.there:
            source["generator"] = "ioi"
        if "path" in self.there:
            source["path"] = "data/x.csv"

        def generate(origin: Mapping[str, Any]) -> list[dict[str, Any]]:
            assert origin == source
            return self.get("generator")

        def read_file(path: str, origin: Mapping[str, Any]) -> list[dict[str, Any]]:
            assert (path, origin) == ("data/x.csv", source)
            return self.get("path")

        return find(
            {"examples": {"sha256": sha, "source": source}},
            given=(given, lambda: self.get("given")) if given else None,
            generate=generate,
            read_file=read_file,
            allow_other=allow_other,
        )


def test_what_the_user_gives_goes_first() -> None:
    places = Places("generator", "store", "path")
    found = places.find(given="--data x.csv")
    assert (found.records, found.where, found.same) == (RECORDS, "--data x.csv", True)
    assert places.asked == ["given"]


@pytest.mark.parametrize(
    ("there", "wrong", "failing", "asked", "where"),
    [
        (("generator", "store", "path"), (), (), ["generator"], "the generator ioi"),
        (("generator", "store", "path"), ("generator",), (), ["generator"], "the store"),
        (("generator", "store", "path"), (), ("generator",), ["generator"], "the store"),
        (("generator", "path"), ("generator",), (), ["generator", "path"], "the file data/x.csv"),
        (("store", "path"), (), (), [], "the store"),
        (("path",), (), (), ["path"], "the file data/x.csv"),
        (("store",), (), (), [], "the store"),
    ],
)
def test_then_generator_store_and_path_in_this_order(
    there: tuple[str, ...], wrong: tuple[str, ...], failing: tuple[str, ...], asked: list[str], where: str
) -> None:
    places = Places(*there, wrong=wrong, failing=failing)
    found = places.find()
    assert found.records == RECORDS
    assert found.where.startswith(where)
    assert found.same
    assert places.asked == asked


def test_found_nowhere_is_bad_input_that_names_the_flag_and_what_was_tried() -> None:
    with pytest.raises(MiError) as caught:
        Places("generator", "path", wrong=("generator",), failing=("path",)).find()
    assert caught.value.code == BAD_INPUT
    assert "--data" in caught.value.hint
    assert "the generator ioi: other examples" in caught.value.fact
    assert "not there" in caught.value.fact
    assert "path failed" in caught.value.fact


def test_damage_in_the_store_is_passed_over() -> None:
    places = Places("store", "path")
    (path,) = store.where().rglob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-1])
    assert places.find().where == "the file data/x.csv"


def test_other_examples_are_taken_only_where_that_is_allowed() -> None:
    places = Places("generator", wrong=("given",))
    with pytest.raises(MiError, match="holds other examples"):
        places.find(given="--data x.csv")
    found = places.find(given="--data x.csv", allow_other=True)
    assert (found.records, found.same) == (OTHERS, False)


def test_a_head_that_names_no_examples() -> None:
    with pytest.raises(MiError, match="names no examples") as caught:
        find({})
    assert "--data" in caught.value.hint
    assert find({}, given=("--task ioi", lambda: RECORDS)).same

"""`mi head`, `mi cat`, `mi split`: examples and circuits taken apart and together, always sealed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi.io import chain, store, stream
from mi.io.examples import examples_digest, split_counts
from tests.cli.conftest import Session
from tests.cli.streams import example, head, write_examples, write_scores


def read(path: str) -> stream.Stream:
    found = stream.read(path, ())
    assert chain.broken(found.head) is None
    if found.kind in ("examples", "cache"):
        assert found.head["examples"]["sha256"] == examples_digest(found.records)
        assert found.head["examples"]["n"] == split_counts(found.records)
        assert store.get_examples(found.head["examples"]["sha256"]) is not None
    return found


def write(path: str, records: list[dict[str, Any]], **change: Any) -> None:
    named = {"sha256": examples_digest(records), "n": split_counts(records), "source": {"generator": "ioi"}}
    stream.write(path, head(change.pop("kind", "examples"), "data", "ioi", **{"examples": named, **change}), records)


def many(n: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {**example(i), "template": f"t/{i % 3}", "variables": {"k": i % 2}, "clean": "x " * (1 + i % 4) + str(i)}
        for i in range(start, start + n)
    ]


def test_the_head_of_examples_is_a_set_of_its_own(mi: Session) -> None:
    records = write_examples("e.jsonl", 8)
    mi("head", "e.jsonl", "-n", "3", "-o", "out.jsonl").ok()
    found = read("out.jsonl")
    assert found.records == records[:6]  # three of each split
    assert found.head["examples"]["n"] == {"train": 3, "validation": 3}
    assert found.head["examples"]["source"] == {"of": {"generator": "ioi", "seed": 0}}
    assert found.head["chain"][-1]["argv"] == ["head", "--number", "3"]
    mi("head", "e.jsonl", "-n", "99", "-o", "all.jsonl").ok()
    assert read("all.jsonl").head["examples"] == stream.read("e.jsonl", ()).head["examples"]
    piped = mi("head", "-n", "3", stdin=Path("e.jsonl").read_bytes()).ok().out
    assert piped == Path("out.jsonl").read_bytes()


def test_the_head_of_a_circuit_has_the_largest_scores(mi: Session) -> None:
    write_scores("s.jsonl")
    mi("prune", "s.jsonl", "--top", "20", "-o", "c.jsonl").ok()
    mi("head", "c.jsonl", "-n", "5", "-o", "out.jsonl").ok()
    found, whole = read("out.jsonl"), read("c.jsonl")
    assert found.records == whole.records[:5]
    assert found.head["selection"] == {
        "rule": "head", "level": "edge", "signed": False, "edges": 46, "selected": 5, "realised": 5,
        "of": [whole.head["selection"]],
    }  # fmt: skip


def test_a_cache_keeps_its_baselines_but_no_activations(mi: Session) -> None:
    records = [{**record, "baseline": {"clean": 1.0, "corrupted": 0.0}} for record in many(4)]
    caching = {"metric": "logit-diff", "accuracy": 1.0}
    write("c.jsonl", records, kind="cache", caching=caching)
    mi("head", "c.jsonl", "-n", "1", "-o", "out.jsonl").ok()
    found = read("out.jsonl")
    assert found.records == records[:2]
    assert found.head["caching"] == {"metric": "logit-diff"}
    whole = stream.read("c.jsonl", ())
    stream.write("sites.jsonl", whole.head, whole.records, {"clean": {"z": np.zeros((4, 2), dtype=np.float32)}})
    for words in (
        ["head", "sites.jsonl"],
        ["cat", "sites.jsonl"],
        ["split", "sites.jsonl", "--by", "split", "-o", "d"],
    ):
        done = mi(*words)
        assert done.code == 3
        assert "sites.jsonl: the activations beside it (clean) are of all its examples" in done.err


def test_cat_joins_and_takes_each_example_once(mi: Session) -> None:
    a, b = many(6), many(6, start=4)
    write("a.jsonl", a)
    write("b.jsonl", b, task={"name": "other", "metric": "logit-diff", "counterfactual": "x"})
    done = mi("cat", "a.jsonl", "b.jsonl", "-o", "out.jsonl").ok()
    assert "2 examples are there more than once" in done.err
    found = read("out.jsonl")
    assert found.records == many(10)
    assert found.head["task"] == {"name": "ioi+other", "metric": "logit-diff", "counterfactual": None}
    assert found.head["merged"][0]["name"] == "b.jsonl"
    assert mi("log", "out.jsonl").ok().text.count("mi data ioi") == 2
    piped = mi("cat", "-", "b.jsonl", stdin=Path("a.jsonl").read_bytes()).ok()
    assert piped.out.splitlines()[1:-1] == Path("out.jsonl").read_bytes().splitlines()[1:-1]


def test_cat_refuses_what_is_no_set(mi: Session) -> None:
    write("a.jsonl", many(3))
    write("b.jsonl", [{**many(1)[0], "clean": "something else"}])
    assert "b.jsonl:2: the id 000000000000 is that of another example above" in mi("cat", "a.jsonl", "b.jsonl").err
    write("c.jsonl", many(2, 7), task={"name": "ioi", "metric": "kl"})
    assert "c.jsonl: the metric differs: kl here, logit-diff in a.jsonl" in mi("cat", "a.jsonl", "c.jsonl").err
    write("d.jsonl", many(2, 7), model={"id": "toy", "weights": "cd" * 32})
    done = mi("cat", "a.jsonl", "d.jsonl")
    assert (done.code, "the model differs: toy (weights cdcdcdcdcdcd) here" in done.err) == (3, True)
    assert mi("cat").code == 2


@pytest.mark.parametrize("by", ["template", "split", "length", "variables.k"])
def test_split_by_a_field(mi: Session, by: str) -> None:
    records = many(12)
    write("e.jsonl", records)
    value = {
        "template": lambda r: r["template"].replace("/", "_"),
        "split": lambda r: r["split"],
        "length": lambda r: str(len(r["clean"].split())),
        "variables.k": lambda r: str(r["variables"]["k"]),
    }[by]
    mi("split", "e.jsonl", "--by", by, "-o", "parts/").ok()
    files = sorted(path.name for path in Path("parts").iterdir())
    assert files == sorted({f"{value(record)}.jsonl" for record in records})
    for name in files:
        found = read(f"parts/{name}")
        assert found.records == [record for record in records if f"{value(record)}.jsonl" == name]
    whole = mi("cat", *(f"parts/{name}" for name in files)).ok()
    assert len(whole.text.splitlines()) == 14


def test_a_part_can_be_made_again_alone(mi: Session) -> None:
    write("e.jsonl", many(9))
    mi("split", "e.jsonl", "--by", "template", "-o", "parts").ok()
    alone = mi("split", "--by", "template", "--only", "t/1", stdin=Path("e.jsonl").read_bytes()).ok().out
    assert alone == Path("parts/t_1.jsonl").read_bytes()
    assert read("parts/t_1.jsonl").head["chain"][-1]["argv"] == ["split", "--by", "template", "--only", "t/1"]
    mi("split", "e.jsonl", "--by", "template", "--only", "t/1", "-o", "one.jsonl").ok()
    assert Path("one.jsonl").read_bytes() == alone


def test_a_random_share_depends_on_the_seed_alone(mi: Session) -> None:
    records = many(40)
    write("e.jsonl", records)
    write("mixed.jsonl", records[::-1])

    def ids(*words: str) -> list[str]:
        found = mi("split", *words, "--fraction", "0.3", "--only", "part", "-o", "p.jsonl").ok()
        assert found.err == ""
        return [record["id"] for record in read("p.jsonl").records]

    first = ids("e.jsonl")
    assert len(first) == 12
    assert first == sorted(first)
    assert sorted(ids("mixed.jsonl")) == first
    assert ids("e.jsonl", "--seed", "1") != first
    mi("split", "e.jsonl", "--fraction", "0.3", "-o", "parts").ok()
    assert {r["id"] for r in read("parts/rest.jsonl").records} == {r["id"] for r in records} - set(first)


def test_a_folder_that_is_there_keeps_its_other_files(mi: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    write("e.jsonl", many(6))
    Path("parts").mkdir()
    Path("parts/mine.txt").write_text("mine")
    mi("split", "e.jsonl", "--by", "template", "-o", "parts").ok()
    assert {path.name for path in Path("parts").iterdir()} == {"mine.txt", "t_0.jsonl", "t_1.jsonl", "t_2.jsonl"}
    seen: list[str] = []

    def fails(output: str, *rest: Any, **more: Any) -> None:
        seen.append(output)
        if len(seen) == 2:
            raise OSError(28, "No space left on device")
        Path(output).write_text("x")

    monkeypatch.setattr("mi.commands.split._write", lambda read, records, value, output, json: fails(output))
    done = mi("split", "e.jsonl", "--by", "template", "-o", "new")
    assert done.code == 4
    assert not Path("new").exists()
    assert {path.name for path in Path().iterdir() if not path.name.startswith(".mi")} == {"e.jsonl", "parts"}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "how to split is not said"),
        (["--by", "split", "--fraction", "0.5", "-o", "d"], 2, "two ways to split"),
        (["--by", "split"], 2, "where the parts go is not said"),
        (["--fraction", "1", "-o", "d"], 2, "--fraction 1 leaves one part empty"),
        (["--by", "split", "-o", "e.jsonl"], 2, "-o e.jsonl is a file"),
        (["--by", "nothing", "-o", "d"], 3, "no example has a field 'nothing'"),
        (["--by", "template", "--only", "x"], 2, "no part is called 'x'; there are t/0, t/1, t/2"),
        (["--by", "template", "-o", "no/where"], 4, "cannot write no/where"),
    ],
)
def test_splits_that_make_no_sense(mi: Session, words: list[str], code: int, says: str) -> None:
    write("e.jsonl", many(6))
    done = mi("split", "e.jsonl", *words)
    assert (done.code, done.text) == (code, "")
    assert says in done.err


def test_heads_that_make_no_sense(mi: Session) -> None:
    write_scores("s.jsonl")
    done = mi("head", "s.jsonl")
    assert (done.code, "a stream of kind 'scores'; needed: examples or cache or circuit" in done.err) == (3, True)
    assert mi("head", "s.jsonl", "-n", "0").code == 2


def test_in_one_process(mi: Session) -> None:
    write("e.jsonl", many(6))
    shell = mi("head", "-n", "2", stdin=mi("cat", "e.jsonl").ok().out).ok().out
    assert mi("pipe", "cat e.jsonl ! head -n 2").ok().out == shell

"""`mi diff`: what it says of two circuits, scores, reports and models, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi.io import stream
from mi.io.tensors import pack
from tests.cli.conftest import Session
from tests.cli.reports import OTHER_GRAPH, write_curve, write_report
from tests.cli.streams import head, write_scores


@pytest.fixture(autouse=True)
def circuits(mi: Session) -> None:
    write_scores("a.scores.jsonl", 0)
    write_scores("b.scores.jsonl", 1)
    for name, n in (("a", 12), ("b", 20)):
        mi("prune", "a.scores.jsonl", "--top", str(n), "-o", f"{name}.jsonl").ok()


def lines(mi: Session, *words: str, code: int = 1) -> list[dict[str, Any]]:
    done = mi("diff", *words, "--json")
    assert done.code == code, done.err
    return [json.loads(line) for line in done.text.splitlines()]


def values(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {line["name"]: line.get("value") for line in found if line["rule"] == "summary"}


def names(path: str) -> set[str]:
    return {f"{r['src']}->{r['dst']}" for r in stream.read(path, ()).records}


def test_circuits(mi: Session) -> None:
    found = lines(mi, "a.jsonl", "b.jsonl")
    a, b = names("a.jsonl"), names("b.jsonl")
    assert {line["name"] for line in found if line["verdict"] == "added"} == b - a
    assert {line["name"] for line in found if line["verdict"] == "removed"} == a - b
    assert values(found)["jaccard"] == len(a & b) / len(a | b)
    assert (values(found)["a"], values(found)["b"], values(found)["spearman"]) == (len(a), len(b), pytest.approx(1))
    assert lines(mi, "a.jsonl", "a.jsonl", code=0)[-1]["rule"] == "summary"


def test_what_a_person_reads(mi: Session) -> None:
    done = mi("diff", "a.jsonl", "b.jsonl", "--top", "3")
    assert done.code == 1
    first, second = done.text.split("\n\n")
    assert first.startswith("circuit  A a.jsonl  B b.jsonl\nmeasure")
    assert len(second.splitlines()) == 5
    assert second.splitlines()[-1].startswith("3 of ")
    mi("diff", "a.jsonl", "b.jsonl", "-o", "diff.txt")
    assert Path("diff.txt").read_text().startswith(first)


def test_one_of_the_two_may_be_piped(mi: Session) -> None:
    data = Path("a.jsonl").read_bytes()
    assert mi("diff", "-", "a.jsonl", stdin=data).code == 0
    assert mi("diff", "b.jsonl", "-", stdin=data).code == 1


def test_scores(mi: Session) -> None:
    found = lines(mi, "a.scores.jsonl", "b.scores.jsonl")
    a, b = (np.float64(stream_scores(name)) for name in ("a", "b"))
    assert values(found)["sign-flips"] == int(np.count_nonzero(a * b < 0))
    assert values(found)["largest-change"] == pytest.approx(np.abs(a - b).max())
    changes = [line for line in found if line["rule"] == "edge"]
    assert len(changes) == 46
    assert abs(changes[0]["a"] - changes[0]["b"]) == pytest.approx(np.abs(a - b).max())
    assert (
        len([line for line in lines(mi, "a.scores.jsonl", "b.scores.jsonl", "--top", "5") if line["rule"] == "edge"])
        == 5
    )
    assert lines(mi, "a.scores.jsonl", "b.scores.jsonl", "--atol", "100", code=0)


def stream_scores(name: str) -> np.ndarray:
    from mi import load

    return load(f"{name}.scores.jsonl").numpy("edge")


def test_a_filtered_stream_of_scores_lists_what_it_has(mi: Session) -> None:
    some = mi("view", "--json", "a.scores.jsonl", "--top", "7").ok().out
    Path("some.jsonl").write_bytes(some)
    found = lines(mi, "a.scores.jsonl", "some.jsonl")
    assert sum(line["verdict"] == "removed" for line in found) == 39


def test_reports(mi: Session) -> None:
    write_report("old.jsonl", 0.9)
    write_report("new.jsonl", 0.8)
    found = {line["name"]: line for line in lines(mi, "old.jsonl", "new.jsonl") if line["verdict"] == "changed"}
    assert set(found) == {"faithfulness"}
    assert found["faithfulness"]["a"] - found["faithfulness"]["b"] == pytest.approx(0.1, abs=0.01)
    lines(mi, "old.jsonl", "new.jsonl", "--rtol", "0.5", code=0)
    write_curve("curve.jsonl")
    assert {line["verdict"] for line in lines(mi, "old.jsonl", "curve.jsonl") if line["rule"] == "number"} >= {
        "added",
        "removed",
    }


def test_what_the_heads_say_otherwise_is_said(mi: Session) -> None:
    read = stream.read("a.scores.jsonl", ())
    changed = {**read.head, "attribution": {"method": "eap"}, "task": {"name": "greater-than"}}
    stream.write("c.jsonl", changed, [], read.blobs)
    notes = [line["text"] for line in lines(mi, "a.scores.jsonl", "c.jsonl", code=0) if line["rule"] == "note"]
    assert notes == [
        "another task: greater-than, was ioi",
        "another counterfactual of the task: not said, was s2-io-flip",
        "another method of attribution: eap, was not said",
    ]


def write_model(folder: str, change: float = 0.0, **config: Any) -> None:
    """Two heads of width 2, one layer."""
    rng = np.random.default_rng(3)
    tensors = {
        "transformer.h.0.attn.c_attn.weight": rng.normal(size=(4, 12)).astype(np.float32),
        "transformer.h.0.attn.c_proj.weight": rng.normal(size=(4, 4)).astype(np.float32),
        "transformer.h.0.mlp.c_fc.weight": rng.normal(size=(4, 8)).astype(np.float32),
        "transformer.wte.weight": rng.normal(size=(5, 4)).astype(np.float32),
    }
    tensors["transformer.h.0.attn.c_proj.weight"][2:] *= 1 + change
    Path(folder).mkdir()
    Path(folder, "model.safetensors").write_bytes(pack("m", tensors).tobytes())
    made = {"model_type": "gpt2", "n_head": 2, "n_layer": 1, **config}
    Path(folder, "config.json").write_text(json.dumps(made))


def test_models(mi: Session) -> None:
    write_model("one")
    write_model("two", 0.5)
    (line,) = lines(mi, "one", "two/")
    assert (line["rule"], line["name"], line["weights"]) == ("node", "a0.h1", 8)
    text = mi("diff", "one", "two").text
    assert text.splitlines()[0] == "model  A one  B two"
    assert "1 of 3 nodes moved" in text and "0 of 1 tensor moved" in text
    lines(mi, "one", "two", "--rtol", "0.6", code=0)
    lines(mi, "one", "one", code=0)
    write_model("three", n_ctx=7)
    assert lines(mi, "one", "three")[0]["text"] == "config.json: n_ctx is 7, was None"
    for name in ("five", "six"):
        write_model(name, 0.5 * (name == "six"), model_type="mine")
    tensor, note = lines(mi, "five", "six")
    assert (tensor["rule"], tensor["name"]) == ("tensor", "transformer.h.0.attn.c_proj.weight")
    assert note["text"] == "how mine keeps its heads is not known: tensors are compared by their names"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["a.jsonl"], 2, "two things to compare are needed"),
        (["-", "-"], 2, "standard input is named twice"),
        (["one", "a.jsonl"], 2, "a.jsonl is no model, and the other one is"),
        (["a.jsonl", "a.scores.jsonl"], 3, "this is a scores stream, a.jsonl a circuit stream"),
        (["a.jsonl", "none.jsonl"], 3, "none.jsonl: no such file"),
        (["a.jsonl", "b.jsonl", "--atol", "-1"], 2, "-1"),
        (["a.jsonl", "b.jsonl", "--rtol", "nan"], 2, "--rtol nan is not a number"),
        (["one", "four"], 3, "four: it has 4 heads a layer, one 2"),
        (["one", "empty"], 3, "empty has no config.json"),
        (["one", "bare"], 3, "bare: there is no *.safetensors file in it"),
        (["one", "less"], 3, "less: there is no tensor transformer.wte.weight in it"),
        (["one", "other"], 3, "other: transformer.wte.weight has the shape [3, 4], [5, 4] in one"),
        (["one", "cut"], 3, "cut/model.safetensors: not a whole safetensors file"),
        (["a.jsonl", "deep.jsonl"], 3, "deep.jsonl: the graph differs"),
    ],
)
def test_what_cannot_be_compared(mi: Session, words: list[str], code: int, says: str) -> None:
    write_model("one")
    write_model("four", n_head=4)
    Path("empty").mkdir()
    for name in ("bare", "less", "other", "cut"):
        write_model(name)
    Path("bare/model.safetensors").unlink()
    kept = {"transformer.h.0.attn.c_attn.weight": (4, 12), "transformer.h.0.attn.c_proj.weight": (4, 4)}
    kept["transformer.h.0.mlp.c_fc.weight"] = (4, 8)
    arrays = {name: np.zeros(shape, dtype=np.float32) for name, shape in kept.items()}
    Path("less/model.safetensors").write_bytes(pack("m", arrays).tobytes())
    arrays["transformer.wte.weight"] = np.zeros((3, 4), dtype=np.float32)
    Path("other/model.safetensors").write_bytes(pack("m", arrays).tobytes())
    data = Path("cut/model.safetensors").read_bytes()
    Path("cut/model.safetensors").write_bytes(data[:40])
    stream.write("deep.jsonl", head("circuit", "prune", graph=OTHER_GRAPH), [])
    done = mi("diff", *words)
    assert (done.code, done.text) == (code, "")
    assert says in done.err

"""mi log, verify, schema, pack, gc and info."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import jsonschema
import pytest

from mi.io import store, stream
from tests.cli import streams
from tests.cli.conftest import Session

# log


def test_log_names_the_commands_in_order(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    mi("prune", "scores.jsonl", "--top", "5", "-o", "circuit.jsonl").ok()
    commands = [
        line.split("mi ", 1)[1] for line in mi("log", "circuit.jsonl").ok().text.splitlines() if "  mi " in line
    ]
    assert commands[0] == "attribute"
    assert "prune --top 5" in commands
    links = [json.loads(line) for line in mi("log", "--json", "circuit.jsonl").ok().text.splitlines()]
    assert [link["argv"] for link in links] == [["attribute"], ["prune", "--top", "5"]]
    assert links[1]["prev"] == links[0]["id"]


def test_log_reads_standard_input(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    assert mi("log", stdin=Path("scores.jsonl").read_bytes()).ok().out == mi("log", "scores.jsonl").out
    assert mi("log", "scores.jsonl", "-o", "log.txt").ok().out == b""
    assert Path("log.txt").read_bytes() == mi("log", "scores.jsonl").out


# verify


def test_verify_says_what_is_whole(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    streams.write_examples("examples.jsonl")
    done = mi("verify", "scores.jsonl", "examples.jsonl").ok()
    assert [line.split(": ")[:2] for line in done.text.splitlines()] == [
        ["scores.jsonl", "whole"],
        ["examples.jsonl", "whole"],
    ]
    assert mi("verify", "-q", "scores.jsonl").ok().out == b""
    assert mi("verify", stdin=Path("examples.jsonl").read_bytes()).code == 0


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def sidecar() -> Path:
    return next(Path().glob("*.safetensors"))


@pytest.mark.parametrize(
    "harm",
    [
        lambda: flip(Path("scores.jsonl"), 30),
        lambda: flip(Path("scores.jsonl"), -5),
        lambda: Path("scores.jsonl").write_bytes(Path("scores.jsonl").read_bytes()[:-40]),
        lambda: flip(sidecar(), -1),
        lambda: flip(sidecar(), 100),
        lambda: sidecar().write_bytes(sidecar().read_bytes()[:-8]),
        lambda: sidecar().unlink(),
    ],
)
def test_verify_finds_every_kind_of_damage(mi: Session, harm: object) -> None:
    streams.write_scores("scores.jsonl")
    streams.write_examples("examples.jsonl")
    harm()  # type: ignore[operator]
    done = mi("verify", "scores.jsonl", "examples.jsonl")
    assert done.code == 1
    states = [line.split(": ")[1] for line in done.text.splitlines()]
    assert states == ["damaged", "whole"]
    found = [json.loads(line) for line in mi("verify", "--json", "scores.jsonl").text.splitlines()]
    assert [item["whole"] for item in found] == [False]


def test_verify_looks_at_the_chain_and_the_graph(mi: Session) -> None:
    head, tensors = streams.scores()
    head["chain"][0]["argv"] = ["attribute", "--steps", "50"]
    stream.write("chain.jsonl", head, [], tensors)
    head, tensors = streams.scores()
    head["graph"]["params"]["n_layers"] = 1
    stream.write("graph.jsonl", head, [], tensors)
    done = mi("verify", "chain.jsonl", "graph.jsonl")
    assert done.code == 1
    assert ["link" in done.text.splitlines()[0], "graph" in done.text.splitlines()[1]] == [True, True]


def test_verify_finds_edges_and_scores_of_another_graph(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    mi("prune", "--top", "3", "scores.jsonl", "-o", "circuit.jsonl").ok()
    made = stream.read("circuit.jsonl", ["circuit"])
    assert mi("verify", "circuit.jsonl", "scores.jsonl").code == 0
    stream.write("circuit.jsonl", made.head, [*made.records, {**made.records[0], "src": "a99.h0"}])
    head, tensors = streams.scores()
    stream.write("scores.jsonl", head, [], {"scores": {"edge": tensors["scores"]["edge"][:-1]}})
    done = mi("verify", "circuit.jsonl", "scores.jsonl")
    assert done.code == 1
    lines = done.text.splitlines()
    assert lines[0].startswith("circuit.jsonl: damaged: ")
    assert "a99.h0" in lines[0]
    assert lines[1].startswith("scores.jsonl: damaged: ")


def test_verify_of_a_file_that_is_not_there_is_bad_input(mi: Session) -> None:
    streams.write_examples("examples.jsonl")
    done = mi("verify", "none.jsonl", "examples.jsonl")
    assert done.code == 3
    assert "examples.jsonl: whole" in done.text
    assert "none.jsonl: absent: no such file" in done.text


# schema


@pytest.mark.parametrize("kind", stream.KINDS)
def test_a_schema_is_a_json_schema(mi: Session, kind: str) -> None:
    schema = json.loads(mi("schema", kind).ok().text)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert mi("schema", kind, "-o", "schema.json").ok().out == b""
    assert json.loads(Path("schema.json").read_text()) == schema


def test_the_schema_holds_of_what_is_written(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    mi("prune", "scores.jsonl", "-o", "circuit.jsonl").ok()
    streams.write_examples("examples.jsonl")
    for kind in ("scores", "circuit", "examples"):
        schema = json.loads(mi("schema", kind).text)
        for line in Path(f"{kind}.jsonl").read_text().splitlines():
            jsonschema.validate(json.loads(line), schema)


def test_an_unknown_kind_is_a_usage_error(mi: Session) -> None:
    done = mi("schema", "poem")
    assert done.code == 2
    assert "circuit" in done.err


# pack


def test_pack_makes_a_stream_independent_of_the_store(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    piped = mi("view", "--json", "scores.jsonl")
    head, tensors = streams.scores()
    stream.write("piped.jsonl", head, [], tensors)
    bare = Path("bare.jsonl")
    bare.write_bytes(mi("stamp", "piped.jsonl").ok().out)  # its blob is in the store alone
    assert piped.code == 0
    Path("results").mkdir()
    mi("pack", "bare.jsonl", "-o", "results/scores.jsonl").ok()
    shutil.rmtree(store.where())
    assert mi("verify", "bare.jsonl").code == 1
    assert mi("verify", "results/scores.jsonl").code == 0
    assert mi("view", "results/scores.jsonl").out == mi("view", "scores.jsonl").out


def test_pack_takes_examples_that_only_the_store_has(mi: Session) -> None:
    records = streams.write_examples("examples.jsonl")
    examples, _ = streams.examples()
    named = {key: value for key, value in examples["examples"].items() if key != "source"}
    _, tensors = streams.scores()
    stream.write("scores.jsonl", streams.head("scores", examples=named), [], tensors)
    done = mi("pack", "scores.jsonl", "-o", "packed.jsonl").ok()
    beside = next(Path().glob("packed.examples.*.jsonl"))
    assert [json.loads(line) for line in beside.read_text().splitlines()] == records
    assert beside.name in done.err
    stream.write("made.jsonl", streams.head("scores", examples=examples["examples"]), [], tensors)
    mi("pack", "made.jsonl", "-o", "made2.jsonl").ok()
    assert not list(Path().glob("made2.examples*")), "the generator makes them"


def test_pack_needs_a_file(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    assert mi("pack", "scores.jsonl").code == 2


# gc


def aged(days: float, seed: int) -> Path:
    """A scores stream without sidecars whose blob in the store was last used some days ago."""
    head, tensors = streams.scores(seed)
    Path("bare").mkdir(exist_ok=True)
    before = set(store.where().rglob("*.safetensors"))
    stream.write(f"{seed}.side.jsonl", head, [], tensors)
    side = stream.read(f"{seed}.side.jsonl", ("scores",))
    sha = store.put(side.blobs["scores"]) or side.blobs["scores"].sha256
    data = Path(f"{seed}.side.jsonl").read_text().splitlines()
    row = json.loads(data[1])
    del row["path"]
    Path(f"bare/{seed}.jsonl").write_text(
        "\n".join([data[0], json.dumps(row, separators=(",", ":"), sort_keys=True)]) + "\n"
    )
    for path in Path().glob(f"{seed}.side*"):
        path.unlink()
    blob = store.blob(side.blobs["scores"].sha256)
    assert blob not in before, sha
    then = time.time() - days * 86400
    os.utime(blob, (then, then))
    return blob


def test_gc_without_flags_removes_nothing(mi: Session) -> None:
    blob = aged(100, 1)
    done = mi("gc").ok()
    assert blob.exists()
    assert done.out == b""
    assert "1 file" in done.err


def test_gc_removes_what_is_old_and_says_which_streams_need_it(mi: Session) -> None:
    old, new = aged(40, 1), aged(1, 2)
    dry = mi("gc", "--older-than", "30d", "--dry-run").ok()
    assert old.exists()
    assert "bare/1.jsonl" in dry.text
    assert "bare/2.jsonl" not in dry.text
    assert "would break 1 stream: bare/1.jsonl" in dry.err
    done = mi("gc", "--older-than", "30d").ok()
    assert (old.exists(), new.exists()) == (False, True)
    assert "broke 1 stream: bare/1.jsonl" in done.err


def test_gc_leaves_at_most_a_size_and_takes_the_oldest_first(mi: Session) -> None:
    blobs = [aged(days, seed) for seed, days in ((1, 3), (2, 1), (3, 2))]
    size = blobs[0].stat().st_size
    mi("gc", "--max-size", str(int(2.5 * size))).ok()
    assert [blob.exists() for blob in blobs] == [False, True, True]
    mi("gc", "--max-size", str(size)).ok()
    assert [blob.exists() for blob in blobs] == [False, True, False]


def test_gc_knows_a_stream_that_has_its_own_copy(mi: Session) -> None:
    head, tensors = streams.scores(5)
    stream.write("own.jsonl", head, [], tensors)
    store.put(stream.read("own.jsonl", ("scores",)).blobs["scores"])
    assert "own.jsonl" not in mi("gc", "--max-size", "0", "--dry-run").ok().text


def test_gc_removes_what_dead_processes_left_and_no_more(mi: Session) -> None:
    blob = aged(0, 1)
    for name, age in ((".a.tmp", 7200), (".b.tmp", 10)):
        path = blob.with_name(name)
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age, time.time() - age))
    mi("gc", "--older-than", "30d").ok()
    assert not blob.with_name(".a.tmp").exists()
    assert blob.with_name(".b.tmp").exists()
    assert (store.where() / ".gitignore").exists()


@pytest.mark.parametrize("words", [("--older-than", "soon"), ("--max-size", "10Q"), ("--older-than", "")])
def test_gc_refuses_what_is_no_amount(mi: Session, words: tuple[str, str]) -> None:
    blob = aged(100, 1)
    assert mi("gc", *words).code == 2
    assert blob.exists()


# info


def test_info_lists_what_is_installed(mi: Session) -> None:
    import torch

    facts = json.loads(mi("info", "--json").ok().text)
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["devices"][0]["name"] == "cpu"
    assert {"ioi", "greater-than", "pronoun", "induction"} <= {task["name"] for task in facts["tasks"]}
    assert {"eap", "eap-ig"} <= set(facts["methods"]["method"])
    assert "default" in facts["models"]
    text = mi("info").ok().text
    assert torch.__version__ in text
    assert "greater-than" in text


def test_info_of_a_model_names_every_site_with_its_shape(mi: Session) -> None:
    from tests.data_dir import shared

    folder = shared("golden", "gpt2-tiny")
    facts = json.loads(mi("info", "-m", folder, "--json").ok().text)
    config = json.loads((folder / "config.json").read_text())
    assert facts["model"]["architecture"] == config["model_type"]
    assert facts["adapter"]["layers"] == config["n_layer"]
    assert facts["adapter"]["heads"] == config["n_head"]
    sites = {site["name"]: site for site in facts["sites"]}
    wide = config["n_embd"] // config["n_head"]
    assert sites["blocks.1.attn.z"]["shape"] == ["batch", "pos", ["head", config["n_head"]], ["d_head", wide]]
    table = mi("info", "-m", folder).ok().text
    assert all(name in table for name in sites)


def test_the_log_of_a_stream_cannot_move_the_cursor_or_colour_the_terminal(mi: Session) -> None:
    evil = {"name": "a\x1b[31mred\x07", "sha256": "0" * 64}
    link = {"id": "1" * 64, "prev": None, "argv": ["data", evil], "inputs": [evil], "version": "1\x1b[0m", "env": {}}
    stream.write("x.jsonl", {"kind": "examples", "chain": [link]}, [])
    shown = mi("log", "x.jsonl").ok().text
    assert "\\x1b[31mred\\x07" in shown
    assert not {"\x1b", "\x07"} & set(shown)

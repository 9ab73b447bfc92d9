"""mi attribute --shard and mi merge --sum: a run that is cut up is the run in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi.io import blobs, chain, stream
from mi.io.stream import Stream
from tests.cli.conftest import Session
from tests.seeds import FRESH

SAME = 1e-6  # of the largest score, in float32


def arrays(file: str) -> dict[str, Any]:
    return blobs.load(stream.read(file, ("scores",)), "scores")


def head(file: str) -> dict[str, Any]:
    return stream.read(file, ("scores",)).head


def cut(mi: Session, n: int, *flags: str, file: str = "examples.jsonl", name: str = "part") -> list[str]:
    names = [f"{name}-{i}.jsonl" for i in range(1, n + 1)]
    for i, part in enumerate(names, start=1):
        mi("attribute", file, *flags, "--shard", f"{i}/{n}", "-o", part).ok()
    return names


@pytest.fixture
def examples(mi: Session) -> str:
    mi("data", "ioi", "-n", "7", "--seed", str(FRESH), "-o", "examples.jsonl").ok()
    return "examples.jsonl"


@pytest.mark.parametrize(
    ("n", "flags"),
    [
        (1, []),
        (3, []),
        (7, ["--method", "eap", "--ablation", "mean"]),
        (2, ["--method", "eap", "--ablation", "resample", "--seed", "3"]),
        (2, ["--method", "hisp", "--normalise-layers"]),
        (2, ["--method", "relp", "--level", "neuron"]),
        (2, ["--method", "ifr", "--split", "all"]),
        (3, ["--compat", "mib", "--batch-size", "2", "--limit", "5"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else str(value),
)
def test_the_sum_is_the_run_in_one_piece(mi: Session, examples: str, n: int, flags: list[str]) -> None:
    mi("attribute", examples, *flags, "-o", "whole.jsonl").ok()
    parts = cut(mi, n, *flags)
    mi("merge", "--sum", *parts, "-o", "sum.jsonl").ok()
    found, wanted = arrays("sum.jsonl"), arrays("whole.jsonl")
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        assert found[key].dtype == values.dtype
        scale = np.nanmax(np.abs(values))
        np.testing.assert_allclose(found[key], values, rtol=0, atol=SAME * scale)
    said, whole = (dict(head(name)["attribution"]) for name in ("sum.jsonl", "whole.jsonl"))
    assert sum(size * count for size, count in said.pop("plan")) == said["n"]
    whole.pop("plan")
    sides = [made.pop("completeness", {}) for made in (said, whole)]
    assert sides[0] == pytest.approx(sides[1], rel=1e-5)
    assert said == whole
    assert "partial" not in head("sum.jsonl")
    mi("prune", "sum.jsonl", "--percent", "50", "-o", "circuit.jsonl").ok()


def test_a_sum_is_stable_as_the_run_in_one_piece_is(mi: Session, examples: str) -> None:
    mi("attribute", examples, "-o", "whole.jsonl").ok()
    mi("merge", "--sum", *cut(mi, 2), "-o", "sum.jsonl").ok()
    circuits = []
    for name in ("whole.jsonl", "sum.jsonl"):
        done = mi("prune", name, "--percent", "30", "--stable", "0.9").ok()
        records = stream.parse(done.out.splitlines(keepends=True), "x", ()).records
        circuits.append([(record["src"], record["dst"]) for record in records])
    assert circuits[0] == circuits[1]
    tables = [mi("view", name, "--top", "5").ok().text for name in ("whole.jsonl", "sum.jsonl")]
    assert tables[0] == tables[1]
    assert "± s.e." in tables[0]


def test_the_order_of_the_shards_changes_no_byte(mi: Session, examples: str) -> None:
    parts = cut(mi, 3)
    made = set()
    for order in permutations(parts):
        mi("merge", "--sum", *order, "-o", "sum.jsonl").ok()
        sidecar = next(blob.path for blob in stream.read("sum.jsonl", ()).blobs.values())
        assert sidecar is not None
        made.add((Path("sum.jsonl").read_bytes(), Path(sidecar).read_bytes()))
    assert len(made) == 1
    piped = Path(parts[1]).read_bytes()
    by_stdin = mi("merge", "--sum", parts[2], "-", parts[0], stdin=piped).ok().out
    assert by_stdin == mi("merge", "--sum", "-", parts[0], parts[2], stdin=piped).ok().out


def test_where_a_sum_comes_from(mi: Session, examples: str) -> None:
    parts = cut(mi, 2)
    mi("merge", "--sum", *reversed(parts), "-o", "sum.jsonl").ok()
    found = head("sum.jsonl")
    assert chain.broken(found) is None
    assert [chain.command(link) for link in found["chain"]][1:] == [
        "mi attribute --shard 1/2",
        "mi merge --sum - part-2.jsonl",
    ]
    assert [each["name"] for each in found["merged"]] == ["part-2.jsonl"]
    assert "2 commands, shard 2 of 2" in mi("verify", "sum.jsonl", *parts).ok().text


def test_what_a_shard_says_of_itself(mi: Session, examples: str) -> None:
    part = head(cut(mi, 3)[1])["partial"]
    assert (part["shard"], part["of"], part["examples"]["n"], part["set"]["n"]) == (2, 3, 2, 7)
    assert len(part["set"]["sha256"]) == len(part["examples"]["sha256"]) == 64
    shown = mi("view", "part-2.jsonl").ok().text
    assert "2 of 3" in shown
    assert "mi merge --sum" in shown
    spelled = mi("view", "--json", "part-2.jsonl").ok().out
    assert stream.parse(spelled.splitlines(keepends=True), "x", ()).blobs.keys() == {"partial"}


@pytest.mark.parametrize(
    "words",
    [
        ["prune"],
        ["score"],
        ["plot"],
        ["diff", "part-1.jsonl"],
        ["eval", "ground-truth", "--truth", "truth.json"],
        ["merge", "--mean", "part-1.jsonl"],
        ["attribute", "examples.jsonl", "--method", "exact", "--on"],
    ],
    ids=lambda words: words[0],
)
def test_a_shard_is_no_ranking(mi: Session, examples: str, words: list[str]) -> None:
    Path("truth.json").write_text('{"true_edges": ["input->m0"]}')
    cut(mi, 2)
    output = "out.svg" if words == ["plot"] else "out.jsonl"
    done = mi(*words, "part-2.jsonl", "-o", output)
    assert done.code == 3
    assert done.err.count("\n") <= 2
    assert "the sums of shard" in done.err
    assert "join all shards: mi merge --sum PART..." in done.err
    assert not Path(output).exists()


def refused(mi: Session, *parts: str) -> str:
    done = mi("merge", "--sum", *parts, "-o", "out.jsonl")
    assert done.code == 3
    assert done.out == b""
    assert not Path("out.jsonl").exists()
    return done.err


def test_a_shard_is_there_once(mi: Session, examples: str) -> None:
    parts = cut(mi, 4)
    assert refused(mi, *parts[:3]).startswith("mi merge: shard 4 of 4 is missing; `mi attribute --shard 4/4` makes it")
    assert "shards 1, 3 of 4 are missing" in refused(mi, parts[1], parts[3])
    assert "part-2.jsonl: shard 2 of 4 is there twice; it is in part-2.jsonl too" in refused(mi, *parts, parts[1])


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--method", "eap"], "method eap here, eap-ig in part-1.jsonl"),
        (["--metric", "prob-diff"], "metric prob-diff here, logit-diff in part-1.jsonl"),
        (["--steps", "3"], "steps 3 here, 5 in part-1.jsonl"),
        (["--split", "validation"], "split validation here, train in part-1.jsonl"),
        (["--limit", "6"], "examples of the split n 6 here, 7 in part-1.jsonl"),
        (["--dtype", "float64"], "model dtype float64 here, float32 in part-1.jsonl"),
        (["-m", "planted"], "model weights"),
        (["--shard", "2/3"], "number of shards 3 here, 2 in part-1.jsonl"),
    ],
    ids=lambda value: value[0] + value[1] if isinstance(value, list) else "",
)
def test_a_shard_of_another_run(mi: Session, examples: str, flags: Sequence[str], says: str) -> None:
    if "planted" in flags:  # it has no words
        examples = "ids.jsonl"
        records = [
            {"id": str(i), "clean": ids, "corrupted": ids[::-1], "answers": [1], "foils": [2], "split": "train"}
            for i, ids in enumerate([[1, 2, 3, 4], [4, 3, 1, 2], [2, 2, 1, 3]])
        ]
        old = stream.read("examples.jsonl", ()).head
        stream.write(examples, {"kind": "examples", "task": old["task"]}, records)
    mi("attribute", examples, "--shard", "1/2", "-o", "part-1.jsonl").ok()
    mi("attribute", examples, "--shard", "2/2", *flags, "-o", "part-2.jsonl").ok()
    said = refused(mi, "part-1.jsonl", "part-2.jsonl")
    assert "a shard of another run: " in said
    assert says in said


def test_shards_of_other_examples(mi: Session, examples: str) -> None:
    mi("data", "ioi", "-n", "7", "--seed", str(FRESH + 1), "-o", "others.jsonl").ok()
    cut(mi, 2)
    mi("attribute", "others.jsonl", "--shard", "2/2", "-o", "part-2.jsonl").ok()
    assert "a shard of another run: examples sha256" in refused(mi, "part-1.jsonl", "part-2.jsonl")


def test_shards_that_looked_at_other_units(mi: Session, examples: str) -> None:
    mi("attribute", examples, "--method", "eap", "-o", "a.jsonl").ok()
    made = stream.read("a.jsonl", ("scores",))
    scores = blobs.load(made, "scores")
    stream.write("b.jsonl", made.head, [], {"scores": {**scores, "edge": np.roll(scores["edge"], 100)}})
    for i, on in ((1, "a.jsonl"), (2, "b.jsonl")):
        words = ["--method", "exact", "--on", on, "--top", "9", "--shard", f"{i}/2", "-o", f"part-{i}.jsonl"]
        mi("attribute", examples, *words).ok()
    assert "a shard of another run: what was looked at" in refused(mi, "part-1.jsonl", "part-2.jsonl")


def edited(name: str, change: Any) -> None:
    """A shard whose tensors or head were changed, and sealed again."""
    found: Stream = stream.read(name, ())
    made, held = dict(found.head), dict(blobs.load(found, "partial"))
    change(made, held)
    stream.write(name, made, [], {"partial": held})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda head, held: held.pop("rows"), "the shard's blob holds no rows"),
        (lambda head, held: held.update(shard_n=held["shard_n"] + 1), "other sizes than its graph"),
        (lambda head, held: held.update(rows=held["rows"] * 0), "the shards hold 7 examples, which are not the 7"),
        (lambda head, held: head.update(partial={"shard": "x"}), "the entry `partial` says no shard"),
        (lambda head, held: head["attribution"].update(level="node"), "a shard of another run: level node"),
    ],
    ids=["rows", "sizes", "twice", "entry", "level"],
)
def test_a_damaged_shard(mi: Session, examples: str, change: Any, says: str) -> None:
    parts = cut(mi, 2)
    edited(parts[1], change)
    assert says in refused(mi, *parts)


def test_whole_scores_are_no_shard(mi: Session, examples: str) -> None:
    mi("attribute", examples, "-o", "whole.jsonl").ok()
    said = refused(mi, "whole.jsonl", *cut(mi, 2))
    assert "whole.jsonl: these are whole scores, no shard of them" in said


def test_shards_of_several_machines_are_said(mi: Session, examples: str) -> None:
    parts = cut(mi, 2)

    def elsewhere(head: dict[str, Any], held: Any) -> None:
        old = head["chain"][-1]
        link = {key: value for key, value in old.items() if key != "id"} | {"env": {**old["env"], "device": "cuda"}}
        head["chain"] = [*head["chain"][:-1], {"id": chain.digest(link), **link}]

    edited(parts[1], elsewhere)
    done = mi("merge", "--sum", *parts, "-o", "sum.jsonl").ok()
    assert "the shards did not all run alike: device cpu, cuda" in done.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--shard", "2"], "--shard 2 is not a shard; give I/N, such as 2/5"),
        (["--shard", "a/b"], "--shard a/b is not a shard"),
        (["--shard", "0/3"], "--shard 0/3 is not there; shards are counted from 1 to 3"),
        (["--shard", "4/3"], "--shard 4/3 is not there"),
        (["--shard", "1/0"], "--shard 1/0 is not there; shards are counted from 1 to N"),
        (["--shard", "1/8"], "there are 8 shards and 7 examples; use at most 7 shards"),
        (["--shard", "1/2", "--method", "exact", "--on", "x", "--missed-bound", "20"], "--missed-bound needs all"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_shards_that_make_no_sense(mi: Session, examples: str, words: list[str], says: str) -> None:
    done = mi("attribute", examples, *words)
    assert done.code == 2
    assert says in done.err


def test_sums_have_no_other_rule(mi: Session) -> None:
    assert "0 files to merge; give all shards" in mi("merge", "--sum").err
    assert "--mean and --sum contradict each other" in mi("merge", "--sum", "--mean", "a", "b").err
    assert "--normalise means nothing with --sum" in mi("merge", "--sum", "--normalise", "a").err


def test_a_dry_run_counts_the_examples_of_the_shard(mi: Session, examples: str) -> None:
    assert "over 2 examples" in mi("attribute", examples, "--shard", "3/3", "--dry-run").ok().err

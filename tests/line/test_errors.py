"""What a user can get wrong, as processes: the exit code, one clear message, nothing on stdout, and no torch loaded
for it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.data_dir import shared
from tests.line.conftest import Session, Shell, refused

pytestmark = pytest.mark.usefixtures("here")

FLAGS = [
    ("mi cache --bogus", 2, ("--bogus", "mi cache --help")),
    ("mi attribute cache.jsonl --method acdc", 2, ("acdc", "eap-ig")),
    ("mi attribute cache.jsonl --steps 0", 2, ("--steps",)),
    ("mi score circuit.jsonl --batch-size x", 2, ("--batch-size", "'x'")),
    ("mi prune scores.jsonl --top 3 --percent 5", 2, ("--top", "--percent")),
    ("mi cache --task no-such-task", 2, ("no-such-task", "greater-than")),
    ("mi cache --task ioi --data ids.jsonl", 2, ("--task", "--data")),
    ("mi cache ioi.jsonl --data ids.jsonl", 2, ("ioi.jsonl", "--data")),
    ("mi cache -m model --task ioi --counterfactual upside-down", 2, ("upside-down",)),
    ("mi data ioi --skip", 2, ("--skip", "--from")),
    ("mi cache ioi.jsonl -n 3", 2, ("--number", "ioi.jsonl", "--limit")),
    ("mi cache --data ids.jsonl -n 3", 2, ("--number", "ids.jsonl", "--limit")),
    ("mi cache ioi.jsonl --counterfactual abc", 2, ("--counterfactual", "ioi.jsonl")),
    ("mi cache --task ioi --runs both", 2, ("--runs", "--site")),
    ("mi cache --task ioi --positions read", 2, ("--positions", "--site")),
    ("mi cache --task ioi --means --site blocks.0.attn.z", 2, ("--site", "--means")),
    ("mi cache --task ioi --means --metric kl", 2, ("--metric", "--means")),
    ("mi cache -m model --revision main", 2, ("--revision", "folder")),
    ("mi prune --bogus scores.jsonl", 2, ("--bogus", "mi prune --help")),
    ("mi frobnicate", 2, ("frobnicate", "mi --help")),
]

# A variable of the shell that is empty must not quietly become a default.
EMPTY = [
    ('mi cache -m "$NOTHING"', 2, ("--model is empty",)),
    ('mi cache -m model --data "$NOTHING"', 2, ("--data is empty",)),
    ('mi score "$NOTHING"', 2, ("FILE is empty",)),
    ('mi prune scores.jsonl -o "$NOTHING"', 2, ("--output is empty",)),
    ("mi pipe \"cache -m '$NOTHING' ! attribute\"", 2, ("--model is empty",)),
]

FILES = [
    ("mi cache none.jsonl", 3, ("none.jsonl", "no such file")),
    ("mi cache --data none.csv", 3, ("none.csv", "no such file")),
    ("mi attribute none.jsonl", 3, ("none.jsonl", "no such file")),
    ("mi prune none.jsonl", 3, ("none.jsonl", "no such file")),
    ("mi score none.jsonl", 3, ("none.jsonl", "no such file")),
    ("mi score model", 3, ("model",)),
    ("mi cache -m ./nowhere ioi.jsonl", 3, ("nowhere",)),
    ("mi cache -m model/config.json ioi.jsonl", 3, ("config.json", "folder")),
    ("mi cache --data model/model.safetensors", 3, ("model.safetensors", "binary")),
    ("mi attribute circuit.jsonl", 3, ("circuit.jsonl:1", "'circuit'", "mi cache")),
    ("mi prune cache.jsonl", 3, ("cache.jsonl:1", "'cache'", "mi attribute")),
    ("mi score cache.jsonl", 3, ("cache.jsonl:1", "'cache'", "mi prune")),
    ("mi score circuit.jsonl --data none.csv", 3, ("none.csv",)),
    ("mi attribute cache.jsonl --split test", 3, ("no test example", "--split all")),
    ("mi attribute cache.jsonl -o nowhere/scores.jsonl", 4, ("nowhere", "folder")),
    ("mi attribute cache.jsonl -o model", 4, ("model", "folder")),
    ("mi pipe 'cache --task ioi ! attribute' -o nowhere/scores.jsonl", 4, ("nowhere",)),
    ("mi pipe 'cache --task ioi --tee nowhere/cache.jsonl ! attribute'", 4, ("write nowhere",)),
    ("mi prune scores.jsonl -o ids.jsonl/circuit.jsonl", 4, ("ids.jsonl is no folder",)),
    ("mi pack scores.jsonl -o ids.jsonl/copy.jsonl", 4, ("ids.jsonl is no folder",)),
    ("mi view scores.jsonl -o model", 4, ("model", "it is a folder")),
    ("mi stamp scores.jsonl -o nowhere/copy.jsonl", 4, ("nowhere", "folder")),
]


@pytest.mark.parametrize(("line", "code", "parts"), FLAGS + EMPTY + FILES, ids=lambda value: str(value)[:60])
def test_a_mistake_on_the_command_line(sh: Shell, here: Path, line: str, code: int, parts: tuple[str, ...]) -> None:
    message = refused(sh(line), code, *parts)
    assert message.startswith("mi: " if "frobnicate" in line else f"mi {line.split()[1]}: ") or "pipe" in line


DAMAGE = [
    ("cat cache.jsonl | head -c -10 | mi attribute", "cut short"),
    ("cat circuit.jsonl | head -n -1 | mi score", "cut short"),
    ("cat scores.jsonl | head -n -1 | mi prune", "cut short"),
    ("cat circuit.jsonl | head -c 200 | mi score", "cut short"),
    ("cat cache.jsonl | tail -n +2 | mi attribute", "no head"),
    ("sed 's/logit-diff/prob-diff/' circuit.jsonl | mi score", "mi stamp"),
    ("sed 's/logit-diff/prob-diff/' scores.jsonl | mi prune", "mi stamp"),
    ("sed 2d cache.jsonl | mi attribute", "mi stamp"),
    ("cat circuit.jsonl circuit.jsonl | mi score", "after the end line"),
    ("gzip -c cache.jsonl | mi attribute", "gunzip"),
]


@pytest.mark.parametrize(("line", "word"), DAMAGE)
def test_a_stream_damaged_on_its_way(sh: Shell, here: Path, line: str, word: str) -> None:
    """Found without `pipefail`: the last command itself fails."""
    refused(sh(line), 3, "stdin", word)


def test_every_cut_is_found(mi: Session, here: Path) -> None:
    """At random bytes, by every verb that reads."""
    import random

    seed = random.SystemRandom().randrange(1 << 30)
    rng = random.Random(seed)
    for verb, name in (("cache", "ioi"), ("attribute", "cache"), ("prune", "scores"), ("score", "circuit")):
        data = Path(f"{name}.jsonl").read_bytes()
        for cut in [1, len(data) - 1, *rng.sample(range(1, len(data)), 12)]:
            done = mi(verb, stdin=data[:cut])
            assert done.code == 3, f"{verb} took a stream cut at byte {cut} (seed {seed})"
            refused(done, 3, "stdin")


def test_a_dead_upstream_cannot_look_like_success(sh: Shell, here: Path) -> None:
    done = sh("set +o pipefail; mi cache none.jsonl | mi attribute | mi prune | mi score -o report2.jsonl")
    assert (done.code, done.out) == (3, b"")
    assert re.findall("^mi [a-z]+:", done.err, re.MULTILINE).count("mi cache:") == 1
    assert all(f"mi {verb}: stdin: no stream came" in done.err for verb in ("attribute", "prune", "score"))
    assert "--task" in done.err
    assert not Path("report2.jsonl").exists()


def lines(path: str, *records: object) -> None:
    Path(path).write_text("".join(json.dumps(record) + "\n" for record in records))


GOOD = {"clean": [5, 6, 7], "corrupted": [5, 9, 7], "answers": [10], "foils": [12]}
PAIRS = [
    ({"corrupted": [5, 9]}, ("3 tokens", "2", "equally long")),
    ({"corrupted": [5, 9999, 7]}, ("9999", "another tokenizer")),
    ({"answers": [12]}, ("share",)),
    ({"answers": []}, ("no answers",)),
    ({"read": 3}, ("'read' is 3",)),
    ({"clean": "John went", "corrupted": [5, 6]}, ("BOS",)),
    ({"clean": "zebra", "corrupted": "John"}, ("'zebra'", "tokenizer")),
    ({"answers": [" John went"], "foils": [" Mary"]}, ("single token", "' John went'")),
    ({"clean": []}, ("clean", "empty")),
    ({"clean": None}, ("clean",)),
]


@pytest.mark.parametrize(("change", "parts"), PAIRS, ids=lambda value: str(value)[:50])
def test_a_pair_that_cannot_be_used_is_named_by_its_line(
    sh: Shell, here: Path, change: dict[str, object], parts: tuple[str, ...]
) -> None:
    lines("bad.jsonl", GOOD, {**GOOD, **change})
    refused(sh("mi cache -m model --data bad.jsonl"), 3, "bad.jsonl:2", *parts)


def test_a_task_that_the_tokenizer_cannot_express(sh: Shell, here: Path) -> None:
    refused(sh("mi cache -m model --task docstring"), 3, "docstring", "token")


def test_ids_of_another_tokenizer(sh: Shell, here: Path) -> None:
    """Llama-3's ids, for a model that has 512 tokens."""
    refused(sh(f"mi cache -m model --data '{shared('data', 'eapig_data', 'ioi_llama.csv')}'"), 3, "ioi_llama.csv:2")


def test_a_graph_that_is_not_the_stream_s(sh: Shell, here: Path) -> None:
    for verb, stream in (("attribute", "cache"), ("score", "scores"), ("score", "circuit")):
        refused(sh(f"mi {verb} {stream}.jsonl -m other"), 3, "graph", "n_layers is 3, not 2")


def test_weights_that_changed_without_a_word(sh: Shell, here: Path) -> None:
    Path("model/model.safetensors").write_bytes(Path("new/model.safetensors").read_bytes())
    refused(sh("mi score circuit.jsonl"), 3, "weights of model", "-m model")
    refused(sh("mi attribute cache.jsonl"), 3, "weights of model", "-m model")
    Path("model/model.safetensors").unlink()
    refused(sh("mi score circuit.jsonl"), 3, "model")


def test_a_blob_that_is_gone_or_bent_names_the_command_that_makes_it(sh: Shell, here: Path) -> None:
    beside = next(here.glob("scores.*.safetensors"))
    data = bytearray(beside.read_bytes())
    data[-1] ^= 1
    beside.write_bytes(data)
    refused(sh("mi score scores.jsonl"), 3, "damaged", "mi cache --model model")
    beside.unlink()
    assert sh("mi prune scores.jsonl").code == 0, "the store has it too"
    refused(sh("mi prune scores.jsonl", env={"MI_STORE": "empty"}), 3, "missing", "mi cache --model model")

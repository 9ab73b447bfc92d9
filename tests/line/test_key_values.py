"""`--kv grouped`, as a user has it: a small model whose heads share keys and values, a real shell, bad inputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi.__main__ import main
from mi.circuit import reading
from mi.io import stream
from mi.show import notebook
from mi.show.picture.diagram import by_layer, diagram
from tests.line.conftest import Session, Shell, nobody_writes, refused, write_ids
from tests.models import Shape, random_model
from tests.oracle.key_values import own_receivers

SHAPE = Shape(n_layers=2, n_heads=4, n_kv_heads=2, d_head=4, d_mlp=24, vocabulary=403)
TESTS = ("complement", "nodes", "minimality", "random")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Streams of a model with four heads and two keys in a layer, and of one whose heads share nothing."""
    folder = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MI_STORE", "store")
        random_model("mistral", 0, SHAPE).save_pretrained("model")
        random_model("gpt2", 0, SHAPE).save_pretrained("plain")
        write_ids("ids.jsonl")
        for line in (
            "cache -m model --data ids.jsonl -o cache.jsonl -q",
            "attribute cache.jsonl --kv grouped -o scores.jsonl -q",
            "attribute cache.jsonl -o own.jsonl -q",
            "prune scores.jsonl --top 20 -o circuit.jsonl -q",
            "score circuit.jsonl -o report.jsonl -q",
            "cache -m plain --data ids.jsonl -o plain.jsonl -q",
        ):
            with nobody_writes():
                assert main(line.split()) == 0, line
    return folder


@pytest.fixture
def here(shared: Path, own_store: Path, folder: Path) -> Path:
    shutil.copytree(shared, folder, ignore=shutil.ignore_patterns("store"), dirs_exist_ok=True)
    shutil.copytree(shared / "store", own_store)
    return folder


def edges(name: str) -> dict[str, float]:
    found = stream.read(name, ("scores", "circuit"))
    scored = reading.scored(found, reading.graph_of(found))
    listed = scored.listed if scored.listed is not None else np.ones(scored.units.n, dtype=bool)
    return {scored.units.name(edge): float(scored.scores[edge]) for edge in np.flatnonzero(listed).tolist()}


def test_the_line_in_a_shell_is_that_of_the_files(sh: Shell, here: Path) -> None:
    line = "mi cache -m model --data ids.jsonl | mi attribute --kv grouped | mi prune --top 20 | mi score"
    done = sh(f"set -o pipefail; {line}")
    assert done.code == 0, done.err
    assert done.out == Path("report.jsonl").read_bytes()
    head = json.loads(done.out.splitlines()[0])
    assert head["graph"]["params"]["n_kv_heads"] == 2
    found = edges("scores.jsonl")
    assert len(found) == 82
    own = edges("own.jsonl")
    assert len(own) == 110
    shared_by_two = own["m0->a1.h2<k>"] + own["m0->a1.h3<k>"]
    assert found["m0->a1.kv1<k>"] == pytest.approx(shared_by_two, abs=1e-5 * max(map(abs, own.values())))
    assert found["m0->a1.h2<q>"] == pytest.approx(own["m0->a1.h2<q>"], abs=1e-5 * max(map(abs, own.values())))


def test_light_commands_follow_the_streams_graph(sh: Shell, here: Path, mi: Session) -> None:
    """And import no torch."""
    done = sh(
        "set -o pipefail; mi view scores.jsonl --json 'm0->a1.h3' '*->logits' 'input->m0' | "
        "jq -c 'select(.mi or .src)' | mi stamp | mi prune --percent 100 --strict | mi view --top 0"
    )
    assert done.code == 0, done.err
    assert "a1.kv1<k>" in done.text
    for line in (
        "mi view scores.jsonl --by receiver",
        "mi view scores.jsonl --by layer",
        "mi prune scores.jsonl --greedy 20 --strict",
        "mi prune scores.jsonl --top 20 --exact-size",
        "mi prune scores.jsonl --top 20 --ilp",
        "mi prune scores.jsonl --top 30 --drop a1.kv1<k> -o other.jsonl",
        "mi set union other.jsonl circuit.jsonl",
        "mi diff circuit.jsonl circuit.jsonl",
        "mi check report.jsonl --baseline report.jsonl --max-drop faithfulness=0.1",
        "mi graph circuit.jsonl -o c.svg",
        "mi graph circuit.jsonl --by layer -o c.html",
        "mi graph scores.jsonl --top 9 -o s.dot",
        "mi plot scores.jsonl --what heads -o c.svg",
        "mi report circuit.jsonl report.jsonl -o page.html",
        "mi log circuit.jsonl",
    ):
        mi(*line.split()[1:]).ok()
    assert "a1.kv1<k>" not in "".join(edges("other.jsonl"))


def test_pictures_and_graphs_draw_an_edge_to_every_head_that_reads_it(here: Path, mi: Session) -> None:
    """To those of the circuit: an edge that nobody in it reads has been pruned."""
    names = ["input->a0.kv1<v>", "a0.h2->logits", "a0.h3->m1", "m1->logits"]
    rows = [{"src": name.split("->")[0], "dst": name.split("->")[1], "score": 1.0} for name in names]
    head, *_ = Path("circuit.jsonl").read_text().splitlines()
    Path("few.jsonl").write_text("\n".join([head, *map(json.dumps, rows), '{"mi":"end"}']) + "\n")
    mi("stamp", "few.jsonl", "-o", "small.jsonl").ok()
    dot = mi("graph", "small.jsonl", "-o", "small.dot").ok() and Path("small.dot").read_text()
    assert "an edge that heads share is drawn to each" in mi("graph", "small.jsonl").ok().text
    assert [f'"input" -> "a0.h{head}"' in dot for head in range(4)] == [False, False, True, True]
    drawn = diagram(stream.read("small.jsonl", ("circuit",)))
    assert len(drawn.links) == 5
    bundles = {link.name: link for link in by_layer(drawn).links}
    assert bundles["input->a0<v>"].score == 1.0  # it is one edge, however many heads read it
    assert bundles["input->a0<v>"].says.startswith("1 edge")
    found = notebook.load("small.jsonl").networkx()
    assert set(found.nodes) == {"input", "a0.h2", "a0.h3", "m1", "logits"}
    assert found.edges["input", "a0.h3", "v"]["name"] == "input->a0.kv1<v>"
    view = mi("view", "small.jsonl", "--json", "input->a0.h3").ok().text
    assert "a0.kv1<v>" in view and "logits" not in view.splitlines()[1]
    fewer = mi("prune", "small.jsonl", "--percent", "100", "--drop", "a0.h2->logits", "-o", "one.jsonl").ok()
    assert fewer.code == 0 and set(edges("one.jsonl")) == {names[0], names[2], names[3]}
    assert mi("prune", "small.jsonl", "--percent", "100", "--drop", "a0.h3", "--json").ok().text.count("src") == 0


def test_a_circuit_is_exported_edge_by_edge_with_the_scores_of_single_heads(here: Path, mi: Session) -> None:
    own = edges("own.jsonl")
    mi("export", "mib", "circuit.jsonl", "--scores", "own.jsonl", "-o", "out.json").ok()
    written = json.loads(Path("out.json").read_text())["edges"]
    assert {name: entry["score"] for name, entry in written.items()} == pytest.approx(own, rel=1e-6)
    kept = {name for name, entry in written.items() if entry["in_graph"]}
    expected = set()
    for name in edges("circuit.jsonl"):
        source, receiver = name.split("->")
        expected |= {f"{source}->{one}" for one in own_receivers(receiver, 4, 2)}
    assert kept == expected
    assert len(expected) > len(edges("circuit.jsonl"))
    runs = []
    mi("import", "mib", "out.json", "--circuit", "-m", "model", "-o", "single.jsonl").ok()
    for name in ("circuit.jsonl", "single.jsonl"):
        mi("score", name, "-m", "model", "--data", "ids.jsonl", "-o", "out.jsonl", "-q").ok()
        runs.append([record["value"] for record in stream.read("out.jsonl", ("report",)).records if "clean" in record])
    assert runs[0] == pytest.approx(runs[1], abs=1e-5)
    refused(mi("export", "mib", "circuit.jsonl", "--scores", "scores.jsonl", "-o", "x.json"), 3, "without --kv grouped")


def test_scores_of_parts_add_up(here: Path, mi: Session) -> None:
    for part in (1, 2):
        mi("attribute", "cache.jsonl", "--kv", "grouped", "--shard", f"{part}/2", "-o", f"{part}.jsonl", "-q").ok()
    mi("merge", "--sum", "1.jsonl", "2.jsonl", "-o", "whole.jsonl", "-q").ok()
    whole, once = edges("whole.jsonl"), edges("scores.jsonl")
    assert list(whole) == list(once)
    np.testing.assert_allclose(list(whole.values()), list(once.values()), rtol=0, atol=1e-6)


def test_what_scores_rank_highest_is_patched_in_their_own_graph(here: Path, mi: Session) -> None:
    exact = ("--method", "exact", "--top", "6", "-q")
    mi("attribute", "scores.jsonl", *exact, "-o", "piped.jsonl").ok()
    mi("attribute", "cache.jsonl", *exact, "--on", "scores.jsonl", "-o", "on.jsonl").ok()
    assert edges("piped.jsonl") == edges("on.jsonl")
    assert sum(score != 0 for score in edges("on.jsonl").values()) == 6


@pytest.mark.parametrize(
    "words",
    [
        ("score", "scores.jsonl"),
        ("score", "circuit.jsonl", "--random", "3", *(w for t in TESTS for w in ("--test", t))),
        *(("search", "cache.jsonl", "--kv", "grouped", "--method", m, "--steps", "3") for m in ("ugs", "edge-pruning")),
        ("search", "cache.jsonl", "--kv", "grouped", "--method", "subnetwork-probing", "--steps", "3", "--ranking"),
    ],
)
def test_commands_that_run_the_model(words: tuple[str, ...], here: Path, mi: Session) -> None:
    made = mi(*words, "-o", "out.jsonl", "-q").ok()
    assert made.code == 0
    head = stream.read("out.jsonl", ()).head
    assert head["graph"] == stream.read("scores.jsonl", ("scores",)).head["graph"]


def test_a_pipe_in_one_process_keeps_the_model_and_takes_each_stages_graph(here: Path, mi: Session) -> None:
    line = "cache -m model --data ids.jsonl ! attribute --kv grouped ! prune --top 20 ! score"
    assert mi("pipe", line, "-q").ok().out == Path("report.jsonl").read_bytes()
    line = "cache -m model --data ids.jsonl ! attribute --kv grouped --fresh ! attribute --method exact --top 4 --fresh"
    head = json.loads(mi("pipe", line, "-q").ok().out.splitlines()[0])
    assert head["graph"]["params"]["n_kv_heads"] == 2


def test_where_heads_share_nothing_it_is_the_usual_graph(here: Path, mi: Session) -> None:
    plain: list[dict[str, Any]] = []
    for kv in ((), ("--kv", "grouped"), ("--kv", "query")):
        mi("attribute", "plain.jsonl", *kv, "-o", "out.jsonl", "-q").ok()
        plain.append(stream.read("out.jsonl", ("scores",)).head["graph"])
    assert plain[0] == plain[1] == plain[2]
    assert "n_kv_heads" not in plain[0]["params"]


def test_a_dry_run_counts_the_edges_of_the_graph_that_is_asked_for(here: Path, mi: Session) -> None:
    def forwards(*words: str) -> int:
        said = mi(*words, "--dry-run").ok().err
        return int(said.partition("would run ")[2].split()[0].replace(",", ""))

    few, many = (forwards("search", "cache.jsonl", "--kv", kv) for kv in ("grouped", "query"))
    assert many - few == 110 - 82
    few, many = (forwards("attribute", "cache.jsonl", "--method", "exact", "--kv", kv) for kv in ("grouped", "query"))
    assert few < many


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (("attribute", "cache.jsonl", "--kv", "heads"), 2, ["--kv", "query", "grouped"]),
        (("attribute", "cache.jsonl", "--kv", "grouped", "--level", "node"), 2, ["only edges have receivers"]),
        (("attribute", "cache.jsonl", "--kv", "grouped", "--method", "hisp"), 2, ["only edges have receivers"]),
        (("attribute", "cache.jsonl", "--kv", "grouped", "--compat", "mib"), 2, ["--kv", "--compat"]),
        (("attribute", "cache.jsonl", "--kv", "grouped", "--level", "site", "--method", "nap"), 2, ["--kv"]),
        (("search", "cache.jsonl", "--kv", "grouped", "--method", "optimal"), 2, ["--kv means nothing to optimal"]),
        (("attribute", "own.jsonl", "--method", "exact", "--kv", "grouped"), 3, ["made with --kv query", "own.jsonl"]),
        (("attribute", "scores.jsonl", "--method", "exact", "--kv", "query"), 3, ["made with --kv grouped"]),
        (
            ("attribute", "plain.jsonl", "--method", "exact", "--on", "scores.jsonl"),
            3,
            ["another graph", "scores.jsonl"],
        ),
        (("score", "circuit.jsonl", "-m", "plain"), 3, ["another graph"]),
        (("diff", "scores.jsonl", "own.jsonl"), 3, ["n_kv_heads=2"]),
        (("merge", "--mean", "scores.jsonl", "own.jsonl"), 3, ["graph"]),
        (("eval", "ground-truth", "own.jsonl", "--truth", "circuit.jsonl"), 3, ["another graph", "n_kv_heads=2"]),
        (("set", "union", "circuit.jsonl", "other.jsonl"), 3, ["the graph differs"]),
        (("export", "mib", "scores.jsonl", "-o", "x.json"), 3, ["without --kv grouped"]),
        (("export", "mib", "circuit.jsonl", "-o", "x.json"), 3, ["without --kv grouped"]),
        (("export", "mib", "scores.jsonl", "-o", "x.pt"), 3, ["without --kv grouped"]),
    ],
)
def test_what_cannot_be(words: tuple[str, ...], code: int, parts: list[str], here: Path, mi: Session) -> None:
    mi("prune", "own.jsonl", "--top", "20", "-o", "other.jsonl", "-q").ok()
    refused(mi(*words), code, *parts)
    assert not list(here.glob("x.*"))


def test_an_edited_head_is_refused(here: Path, mi: Session) -> None:
    """Another number of keys, or one that heads cannot share."""
    text = Path("circuit.jsonl").read_text()
    for other, fact in (("1", "does not match its digest"), ("3", "evenly"), ('"2"', "")):
        Path("edited.jsonl").write_text(text.replace('"n_kv_heads":2', f'"n_kv_heads":{other}'))
        refused(mi("prune", "edited.jsonl"), 3)
        stamped = mi("stamp", "edited.jsonl")
        done = mi("prune", "-", stdin=stamped.out) if stamped.code == 0 else stamped
        refused(done, 3, fact)

"""`mi import mib`, `mi export mib`, `mi mib results`: files of the benchmark in and out, and what is refused."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mi.circuit import curve, mib_json, reading
from mi.circuit.benchmark import CELLS, SIZES, Cell, cell_of, parse
from mi.circuit.transformer import transformer_graph
from mi.errors import MiError
from mi.io import stream
from mi.show.notebook import load
from tests.circuit.test_importers import feature_file, modules
from tests.cli import streams
from tests.cli.conftest import Session
from tests.cli.streams import GRAPH
from tests.data_dir import shared
from tests.io.test_torch_file import Hostile


def refused(mi: Session, *words: str | Path, code: int = 3) -> str:
    done = mi(*words)
    assert done.code == code, done.err
    assert done.out == b""
    assert len(done.err.splitlines()) <= 2
    return done.err


def test_a_golden_file_goes_round_as_json_and_as_pt(mi: Session) -> None:
    folder = shared("golden", "neox-tiny")
    data = (folder / "graph.json").read_bytes()
    for file in (folder / "graph.json", folder / "graph.pt"):
        mi("import", "mib", file, "-o", "scores.jsonl").ok()
        assert mi("export", "mib", "scores.jsonl").ok().out == data
        mi("export", "mib", "scores.jsonl", "-o", "again.pt").ok()
        theirs = torch.load(folder / "graph.pt", weights_only=True)
        ours = torch.load("again.pt", weights_only=True)
        assert all(torch.equal(ours[name], theirs[name]) for name in ("edges_scores", "edges_in_graph"))
    piped = mi("export", "mib", stdin=mi("import", "mib", "-", stdin=data).ok().out).ok()
    assert piped.out == data
    head = stream.read("scores.jsonl", ("scores",)).head
    assert head["attribution"] == {"method": "imported", "from": "mib", "level": "edge"}
    assert "mi import mib" in mi("log", "--script", "scores.jsonl").ok().text


def test_the_circuit_of_a_file(mi: Session) -> None:
    folder = shared("golden", "gpt2-tiny")
    mi("import", "mib", folder / "graph.json", "--circuit", "-o", "circuit.jsonl").ok()
    value = json.loads((folder / "graph.json").read_text())
    marked = {name: edge["score"] for name, edge in value["edges"].items() if edge["in_graph"]}
    records = stream.read("circuit.jsonl", ("circuit",)).records
    assert {f"{r['src']}->{r['dst']}": r["score"] for r in records} == marked
    mi("import", "mib", folder / "graph.json", "-o", "scores.jsonl").ok()
    mi("export", "mib", "circuit.jsonl", "--scores", "scores.jsonl", "-o", "again.json").ok()
    assert Path("again.json").read_bytes() == (folder / "graph.json").read_bytes()


def test_what_is_pruned_leaves_the_old_membership_behind(mi: Session) -> None:
    folder = shared("golden", "gpt2-tiny")
    mi("import", "mib", folder / "graph.json", "-o", "scores.jsonl").ok()
    mi("prune", "scores.jsonl", "--top", "20", "-o", "circuit.jsonl").ok()
    value = json.loads(mi("export", "mib", "circuit.jsonl").ok().out)
    kept = {f"{r['src']}->{r['dst']}" for r in stream.read("circuit.jsonl", ()).records}
    assert {name for name, edge in value["edges"].items() if edge["in_graph"]} == kept
    assert {name for name, node in value["nodes"].items() if node["in_graph"]} == {
        *(name.partition("->")[0] for name in kept), "logits",
    }  # fmt: skip
    assert all(edge["score"] == 0 for name, edge in value["edges"].items() if name not in kept)


def test_an_import_starts_a_pipe_in_one_process(mi: Session) -> None:
    Path("graph.json").write_bytes((shared("golden", "gpt2-tiny") / "graph.json").read_bytes())
    mi("pipe", "import mib graph.json ! prune --top 20", "-o", "piped.jsonl").ok()
    mi("import", "mib", "graph.json", "-o", "scores.jsonl").ok()
    mi("prune", "scores.jsonl", "--top", "20", "-o", "circuit.jsonl").ok()
    assert Path("piped.jsonl").read_bytes() == Path("circuit.jsonl").read_bytes()
    assert mi("pipe", "prune scores.jsonl ! import mib graph.json").code == 2


@pytest.mark.parametrize("level", ["node", "neuron"])
def test_nodes_and_neurons_go_round(level: str, mi: Session) -> None:
    rng = np.random.default_rng(3)
    shape = (GRAPH.n_sources,) if level == "node" else (GRAPH.n_sources, 8)
    values = rng.standard_normal(shape).astype(np.float32)
    values.ravel()[1] = np.nan
    head = streams.head("scores", "attribute", attribution={"level": level})
    stream.write("scores.jsonl", head, [], {"scores": {level: values}})
    for ending in ("json", "pt"):
        mi("export", "mib", "scores.jsonl", "-o", f"graph.{ending}").ok()
        mi("import", "mib", f"graph.{ending}", "-o", "again.jsonl").ok()
        back = stream.read("again.jsonl", ())
        assert back.head["attribution"]["level"] == level
        pruned = [mi("prune", file, "--percent", "40").ok().out for file in ("scores.jsonl", "again.jsonl")]
        assert len({tuple(line for line in out.splitlines() if line.startswith(b'{"node"')) for out in pruned}) == 1
    mi("prune", "scores.jsonl", "--percent", "40", "-o", "circuit.jsonl").ok()
    mi("export", "mib", "circuit.jsonl", "-o", "circuit.json").ok()
    mi("import", "mib", "circuit.json", "--circuit", "-o", "edges.jsonl").ok()
    ours, theirs = (reading.circuit(stream.read(file, ()), GRAPH) for file in ("circuit.jsonl", "edges.jsonl"))
    assert np.array_equal(ours.edges, theirs.edges)
    assert ours.n_edges > 0
    if level == "neuron":
        written = np.isin(np.arange(GRAPH.n_sources), GRAPH.source[ours.edges])
        assert np.array_equal(ours.neurons[written], theirs.neurons[written])


def test_an_edge_that_carries_none_of_its_source_is_no_edge(mi: Session) -> None:
    neurons = np.ones((GRAPH.n_sources, 8), dtype=bool)
    neurons[0], neurons[1, :3] = False, False
    members = {"edge": np.ones(GRAPH.n_edges, dtype=bool), "neuron": neurons}
    Path("graph.json").write_bytes(mib_json.to_json(mib_json.ScoredGraph(GRAPH, {}, members)))
    mi("import", "mib", "graph.json", "--circuit", "-o", "circuit.jsonl").ok()
    found = reading.circuit(stream.read("circuit.jsonl", ()), GRAPH)
    assert np.array_equal(found.edges, GRAPH.source != 0)
    assert found.neurons is not None
    assert np.array_equal(found.neurons[1:], neurons[1:])


def test_a_level_is_chosen(mi: Session) -> None:
    value = json.loads(mib_json.to_json(mib_json.ScoredGraph(GRAPH, {"edge": np.ones(GRAPH.n_edges)})))
    for name, node in value["nodes"].items():
        if name != "logits":
            node["score"] = 0.5
    Path("both.json").write_text(json.dumps(value))
    for flags, level in (((), "node"), (("--level", "edge"), "edge")):
        out = mi("import", "mib", "both.json", *flags).ok().out
        assert json.loads(out.splitlines()[0])["attribution"]["level"] == level
    assert "holds no scores of neurons (it has: edge, node)" in refused(
        mi, "import", "mib", "both.json", "--level", "neuron"
    )
    assert "puts nothing into a circuit" in refused(mi, "import", "mib", "both.json", "--circuit")


def test_the_model_is_compared_and_recorded(mi: Session) -> None:
    folder = shared("golden", "gpt2-tiny")
    made = mi("import", "mib", folder / "graph.json", "-m", folder, "--about", "ioi").ok()
    head = json.loads(made.out.splitlines()[0])
    assert head["task"] == {"name": "ioi"}
    assert head["model"]["architecture"] == "gpt2"
    assert len(head["model"]["weights"]) == 64
    err = refused(mi, "import", "mib", folder / "graph.json", "-m", "default")
    assert "its n_layers is 3, and the model's 4" in err or "its n_heads" in err or "its d_model" in err


def test_hostile_and_broken_files_are_one_error(mi: Session) -> None:
    packed = io.BytesIO()
    torch.save({"cfg": Hostile()}, packed)
    Path("bad.pt").write_bytes(packed.getvalue())
    assert "which is no data" in refused(mi, "import", "mib", "bad.pt")
    assert not Path("was-run").exists()
    Path("bad.json").write_text("{}")
    assert "nodes or edges are missing" in refused(mi, "import", "mib", "bad.json")
    assert "no such file" in refused(mi, "import", "mib", "nowhere.json")
    Path("empty.json").write_bytes(b"")
    for tool in ("mib", "acdc", "autocircuit", "edge-pruning", "feature-circuits"):
        assert "empty.json: it is empty" in refused(mi, "import", tool, "empty.json")
    assert "mi import has mib, acdc" in refused(mi, "import", code=2)
    assert "no format is called 'json'" in refused(mi, "import", "json", code=2)
    assert "mi export has mib" in refused(mi, "export", code=2)


def write_cell(file: str, task: str = "ioi", model: str = "openai-community/gpt2") -> None:
    graph = transformer_graph(12, 12, d_model=768)
    head = streams.head("scores", graph=graph, task={"name": task, "metric": "logit-diff"}, model={"id": model})
    values = np.random.default_rng(0).standard_normal(graph.n_edges).astype(np.float32)
    stream.write(file, head, [], {"scores": {"edge": values}})


def test_a_submission_of_one_file_and_of_nine(mi: Session) -> None:
    write_cell("scores.jsonl")
    done = mi("export", "mib", "scores.jsonl", "--submission", "out").ok()
    assert "1 file in out/ioi_gpt2" in done.err
    assert Path("out/ioi_gpt2/importances.json").read_bytes() == mi("export", "mib", "scores.jsonl").ok().out
    mi("export", "mib", "scores.jsonl", "--submission", "nine", "--cell", "ioi_gpt2", "--nine", "--format", "pt").ok()
    for absolute in (False, True):
        folder = Path(f"nine/ioi_gpt2/circuits_abs-{absolute}")
        assert len(list(folder.iterdir())) == 9
        sizes = []
        for fraction in SIZES:
            made = torch.load(folder / f"circuit_{100 * fraction:g}pct.pt", weights_only=True)
            sizes.append(int(made["edges_in_graph"].sum()))
            kept = made["edges_scores"][made["edges_in_graph"]]
            assert absolute or fraction == 0.5 or bool((kept > 0).all())
            assert sizes[-1] <= fraction * 32_491
        assert sizes == sorted(sizes)
        assert sizes[-1] > 10_000


def test_nine_circuits_of_another_making(mi: Session) -> None:
    write_cell("scores.jsonl")
    files = []
    for number, fraction in enumerate(SIZES):
        files.append(f"c{number}.jsonl")
        mi("prune", "scores.jsonl", "--percent", f"{100 * fraction:g}", "-q", "-o", files[-1])
    mi("export", "mib", *reversed(files), "--submission", "out", "--cell", "ioi_gpt2").ok()
    written = [json.loads(Path(f"out/ioi_gpt2/circuit_{100 * f:g}pct.json").read_bytes()) for f in SIZES]
    sizes = [sum(edge["in_graph"] for edge in value["edges"].values()) for value in written]
    assert sizes == [len(stream.read(file, ()).records) for file in files]
    assert "make no submission" in refused(mi, "export", "mib", *files[:3], "--submission", "out", code=2)
    large = [*files[:8], files[8]]
    large[0] = files[7]
    assert "larger than its place allows" in refused(mi, "export", "mib", *large, "--submission", "out", code=2)


def test_what_no_submission_can_be(mi: Session) -> None:
    streams.write_scores("small.jsonl")
    assert "12 layers and 12 heads" in refused(
        mi, "export", "mib", "small.jsonl", "--submission", "o", "--cell", "ioi_gpt2"
    )
    assert not Path("o").exists()
    write_cell("arc.jsonl", "arc")
    assert "none of the benchmark's" in refused(mi, "export", "mib", "arc.jsonl", "--submission", "o", code=2)
    assert "is no cell of the benchmark" in refused(
        mi, "export", "mib", "arc.jsonl", "--submission", "o", "--cell", "x/y", code=2
    )
    assert "are of a submission" in refused(mi, "export", "mib", "arc.jsonl", "--nine", code=2)
    assert "give one of them" in refused(mi, "export", "mib", "arc.jsonl", "--submission", "o", "-o", "x", code=2)
    done = mi("export", "mib", "arc.jsonl", "--submission", "o", "--cell", "arc-easy_gpt2").ok()
    assert "no cell of the leaderboard" in done.err


def report(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"summary": "faithfulness", "mode": mode, "nominal": nominal, "size": index, "value": float(rng.random())}
        for mode in ("signed", "absolute")
        for index, nominal in enumerate(curve.PERCENTAGES)
    ]


def test_results_are_filled_from_reports(mi: Session) -> None:
    head = {"graph": GRAPH.head(), "task": {"name": "ioi"}, "model": {"id": "gpt2"}}
    stream.write("a.jsonl", {"kind": "report", **head}, report(0))
    folder = Path("runs/arithmetic-addition_llama3")
    folder.mkdir(parents=True)
    stream.write(str(folder / "report.jsonl"), {"kind": "report"}, report(1))
    words = ("--method-name", "EAP-IG", "--description", "a test", "-o", "results.json")
    mi("mib", "results", "a.jsonl", folder / "report.jsonl", *words).ok()
    value = json.loads(Path("results.json").read_text())
    assert list(value) == ["method_name", "description", "results"]
    assert [entry["model_id"] for entry in value["results"]] == ["gpt2", "llama3"]
    scores = value["results"][0]["scores"]["ioi"]
    assert scores["CPR"]["faithfulness"] == [r["value"] for r in report(0) if r["mode"] == "signed"]
    assert scores["CMD"]["faithfulness"] == [r["value"] for r in report(0) if r["mode"] == "absolute"]
    assert scores["CMD"]["edge_counts"] == [float(n) for n in range(10)]
    assert set(value["results"][1]["scores"]) == {"arithmetic_addition"}


def test_reports_that_make_no_results(mi: Session) -> None:
    stream.write("half.jsonl", {"kind": "report"}, report(0)[:15])
    assert "has no absolute curve" in refused(mi, "mib", "results", "half.jsonl", "--cell", "ioi_gpt2")
    stream.write("whole.jsonl", {"kind": "report"}, report(0))
    assert "name the cell with --cell" in refused(mi, "mib", "results", "whole.jsonl", code=2)
    assert "two reports of ioi_gpt2" in refused(
        mi, "mib", "results", "whole.jsonl", "whole.jsonl", "--cell", "ioi_gpt2", "--cell", "ioi_gpt2"
    )
    assert "1 cells for 2 reports" in refused(
        mi, "mib", "results", "whole.jsonl", "whole.jsonl", "--cell", "ioi_gpt2", code=2
    )
    rows = report(0)
    del rows[3]["value"]
    stream.write("vague.jsonl", {"kind": "report"}, [{**rows[3], "undetermined": "x"}, *rows[:3], *rows[4:]])
    assert "undetermined" in refused(mi, "mib", "results", "vague.jsonl", "--cell", "ioi_gpt2")
    assert "mi mib has run, results" in refused(mi, "mib", code=2)


def test_cells() -> None:
    assert len(CELLS) == 12
    for task, model in CELLS:
        assert parse(Cell(task, model).name) == Cell(task, model)
    assert parse("arithmetic_addition_llama3") == Cell("arithmetic-addition", "llama3")
    assert cell_of({"task": {"name": "mcqa"}, "model": {"id": "Qwen/Qwen2.5-0.5B"}}) == Cell("mcqa", "qwen2.5")
    with pytest.raises(MiError, match="none of the benchmark's"):
        cell_of({"task": {"name": "arc"}, "model": {"id": "gpt2"}})


def test_circuits_of_other_tools_become_streams(mi: Session) -> None:
    pairs = [["embeds", "a0.h1.q"], ["embeds", "m1"], ["a0.h1", "m1"], ["m1", "resid_post"]]
    Path("edges.json").write_text(json.dumps(pairs))
    mi("import", "edge-pruning", "edges.json", "--layers", "2", "--heads", "2", "-o", "circuit.jsonl").ok()
    records = stream.read("circuit.jsonl", ("circuit",)).records
    assert len(records) == 4
    assert "input->m1" in mi("view", "circuit.jsonl").ok().text
    rows = [(("blocks.1.hook_mlp_in", (None,), "hook_embed", (None,)), 0.5)]
    Path("edges.pkl").write_bytes(pickle.dumps(rows))
    words = ("import", "acdc", "edges.pkl", "--layers", "2", "--heads", "2")
    assert [json.loads(line) for line in mi(*words).ok().out.splitlines()[1:-1]] == [
        {"src": "input", "dst": "m1", "score": 0.5}
    ]
    mi(*words, "--scores", "-o", "scores.jsonl").ok()
    mi("prune", "scores.jsonl", "--top", "1", "-q").ok()
    err = refused(mi, "import", "edge-pruning", "edges.json", "-m", "default", "--layers", "3", code=2)
    assert "-m says how large the model is" in err
    assert "name it with -m" in refused(mi, "import", "acdc", "edges.pkl", code=2)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_a_sparse_feature_circuit_is_pruned_and_shown(mi: Session) -> None:
    torch.save(feature_file(), "circuit.pt")
    mi("import", "feature-circuits", "circuit.pt", "-o", "scores.jsonl").ok()
    assert "resid_1/f0->logits" in mi("view", "scores.jsonl").ok().text
    mi("prune", "scores.jsonl", "--top", "6", "-o", "circuit.jsonl").ok()
    kept = [f"{r['src']}->{r['dst']}" for r in stream.read("circuit.jsonl", ()).records]
    assert sorted(kept) == [
        "attn_0/f1->resid_0/f3", "embed/f2->attn_0/f1", "resid_0/f3->resid_1/f0", "resid_1/f0->logits",
    ]  # fmt: skip
    by_node = mi("import", "feature-circuits", "circuit.pt", "--level", "node").ok()
    assert json.loads(by_node.out.splitlines()[0])["attribution"]["level"] == "node"
    assert len(mi("import", "feature-circuits", "circuit.pt", "--circuit").ok().out.splitlines()) == 7 + 3
    assert "the benchmark has no graph such as this" in refused(mi, "export", "mib", "scores.jsonl")


def test_scores_of_autocircuit_become_a_stream(mi: Session) -> None:
    graph = transformer_graph(3, 2)
    values = np.random.default_rng(0).standard_normal(graph.n_edges).astype(np.float32)
    torch.save(modules(graph, values), "scores.pkl")
    mi("import", "autocircuit", "scores.pkl", "-o", "scores.jsonl").ok()
    assert "does not say d_model" in refused(mi, "export", "mib", "scores.jsonl", code=2)
    assert np.array_equal(load("scores.jsonl").numpy("edge"), values)

"""`mi.load` for notebooks: frames, graphs and tensors say what the streams say; and the notebook in examples/ runs."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pandas as pd
import pytest
import torch

import mi
from mi.errors import MiError
from mi.io import blobs, stream
from tests.cli import shell, streams
from tests.cli.conftest import Session
from tests.cli.conftest import mi as session  # noqa: F401  # a fixture
from tests.cli.streams import GRAPH
from tests.data_dir import CHECKOUT

NOTEBOOK = CHECKOUT / "examples" / "circuit.ipynb"


def test_scores_as_a_data_frame_and_a_graph(session: Session) -> None:  # noqa: F811
    values = streams.write_scores("scores.jsonl")
    loaded = mi.load("scores.jsonl")
    table = loaded.pandas()
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == ["src", "dst", "score", "se"]
    assert list(table.src + "->" + table.dst) == list(GRAPH.edge_names())
    assert np.array_equal(table.score.to_numpy(dtype=np.float32), values)
    assert (table.se > 0).all()
    graph = loaded.networkx()
    assert networkx.is_directed_acyclic_graph(graph)
    assert (graph.number_of_nodes(), graph.number_of_edges()) == (len(GRAPH.nodes), GRAPH.n_edges)
    assert graph.nodes["a1.h0"] == {"layer": 1, "head": 0}
    assert graph.nodes["m1"] == {"layer": 1}
    assert graph.nodes["input"] == {}
    said = graph.edges["a0.h1", "a1.h0", "k"]
    assert said["name"] == "a0.h1->a1.h0<k>"
    assert np.float32(said["score"]) == values[GRAPH.edge_index("a0.h1->a1.h0<k>")]


def test_circuits_nodes_and_neurons(session: Session) -> None:  # noqa: F811
    streams.write_scores("scores.jsonl")
    session("prune", "scores.jsonl", "--top", "12", "-o", "circuit.jsonl").ok()
    circuit = mi.load("circuit.jsonl")
    records = stream.read("circuit.jsonl", ()).records
    assert circuit.pandas()[["src", "dst"]].to_dict("records") == [{"src": r["src"], "dst": r["dst"]} for r in records]
    assert circuit.networkx().number_of_edges() == len(records)
    head = streams.head("scores", attribution={"level": "neuron"})
    values = np.arange(GRAPH.n_sources * 8, dtype=np.float32).reshape(GRAPH.n_sources, 8)
    values[0, 0] = np.nan
    stream.write("neurons.jsonl", head, [], {"scores": {"neuron": values}})
    table = mi.load("neurons.jsonl").pandas()
    assert np.array_equal(table.pivot(index="node", columns="unit", values="score").loc["m1"], values[-1])
    assert table.score.isna().sum() == 1


def test_reports_and_examples(session: Session) -> None:  # noqa: F811
    example = {"id": "x", "size": 3, "value": 1.0, "clean": 2.0, "corrupted": 0.0}
    summary = {"summary": "faithfulness", "size": 3, "value": 0.5, "low": 0.4, "high": 0.6, "n": 1}
    stream.write("report.jsonl", {"kind": "report"}, [example, summary])
    loaded = mi.load("report.jsonl")
    assert loaded.pandas().to_dict("records") == [summary]
    assert loaded.pandas("examples").to_dict("records") == [example]
    with pytest.raises(MiError, match="no part 'x'"):
        loaded.pandas("x")
    with pytest.raises(MiError, match="kind report is no graph"):
        loaded.networkx()
    row = {"id": "x", "clean": "a", "corrupted": "b", "baseline": {"clean": 1.0, "corrupted": 0.5}}
    stream.write("cache.jsonl", {"kind": "cache"}, [row])
    assert mi.load("cache.jsonl").pandas().loc[0, "baseline.corrupted"] == 0.5


def test_tensors_of_torch(session: Session) -> None:  # noqa: F811
    wide = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    tensors = {"sites": {"z": wide, "half": blobs.BF16.rounded(wide), "mask": wide > 0}}
    stream.write("acts.jsonl", {"kind": "cache"}, [], tensors)
    loaded = mi.load("acts.jsonl")
    assert torch.equal(loaded.torch("z"), torch.from_numpy(wide))
    assert torch.equal(loaded.torch("half"), torch.from_numpy(wide).bfloat16())
    assert loaded.torch("mask").dtype == torch.bool
    loaded.torch("z").zero_()
    assert np.array_equal(loaded.numpy("z"), wide)


def test_what_a_notebook_shows(session: Session) -> None:  # noqa: F811
    head = streams.head("circuit", "prune", "--top", "1<2", task={"name": "<script>", "metric": "logit-diff"})
    stream.write("circuit.jsonl", head, [{"src": "input", "dst": "a0.h0<q>", "score": 0.5}])
    page = mi.load("circuit.jsonl")._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "input-&gt;a0.h0&lt;q&gt;" in page
    assert "mi prune --top" in page
    assert page.count("<table>") == page.count("</table>") == 1
    streams.write_scores("scores.jsonl")
    assert mi.load("scores.jsonl")._repr_html_().count("<tr>") == 11
    assert repr(mi.load("scores.jsonl")).startswith("Loaded('scores.jsonl', scores")


@pytest.mark.parametrize("name", ["pandas", "networkx", "torch"])
def test_a_library_that_is_not_there(name: str, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    streams.write_scores("scores.jsonl")
    loaded = mi.load("scores.jsonl")
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MiError, match=f"{name} is not installed") as caught:
        loaded.torch("edge") if name == "torch" else getattr(loaded, name)()
    assert caught.value.hint == f"pip install {name}"


def run_cell(source: str, names: dict[str, Any], run: Session) -> Any:
    """A cell as a kernel runs it: lines of the shell, statements, and the value of a last expression."""
    commands = [line[1:] for line in source.splitlines() if line.startswith("!")]
    for line in commands:
        for _, done in shell.run(run, line):
            done.ok()
    tree = ast.parse("\n".join(line for line in source.splitlines() if not line.startswith("!")))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_the_notebook_runs(session: Session) -> None:  # noqa: F811
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") for cell in cells), "outputs are not kept"
    names: dict[str, Any] = {}
    shown = [run_cell("".join(c["source"]), names, session) for c in cells if c["cell_type"] == "code"]
    assert shown[1]._repr_html_()
    assert len(shown[2]) == 10
    assert shown[4][2].startswith("input -> ") and shown[4][2].endswith("-> logits")
    assert "faithfulness" in set(shown[5].summary)
    assert shown[6]["count"] == 20
    assert Path("report.jsonl").exists()

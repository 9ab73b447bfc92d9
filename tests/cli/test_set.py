"""`mi set`: circuits as Python's sets, sealed, with the chains of all that went in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi.circuit import reading
from mi.io import chain, stream
from tests.cli.conftest import Session
from tests.cli.reports import OTHER_GRAPH
from tests.cli.streams import GRAPH, head, write_scores
from tests.seeds import FRESH

EDGES = GRAPH.edge_names()


def write(path: str, edges: set[int], seed: int = 0, **change: Any) -> None:
    scores = np.random.default_rng(seed).normal(size=GRAPH.n_edges)
    records = []
    for edge in sorted(edges, key=lambda edge: -abs(scores[edge])):
        source, _, receiver = EDGES[edge].partition("->")
        records.append({"src": source, "dst": receiver, "score": float(scores[edge]), "of": path})
    selection = {"rule": "top", "level": "edge", "edges": GRAPH.n_edges}
    stream.write(path, head("circuit", "prune", **{"selection": selection, **change}), records)


def names(path: str) -> list[str]:
    return [f"{record['src']}->{record['dst']}" for record in stream.read(path, ("circuit",)).records]


@pytest.mark.parametrize(
    ("operation", "kept"),
    [
        ("union", lambda a, b, c: a | b | c),
        ("intersect", lambda a, b, c: a & b & c),
        ("subtract", lambda a, b, c: a - b - c),
    ],
)
def test_sets_of_edges(mi: Session, operation: str, kept: Any) -> None:
    rng = np.random.default_rng(1)
    parts = [set(rng.permutation(GRAPH.n_edges)[:n].tolist()) for n in (30, 25, 12)]
    for name, part in zip("abc", parts):
        write(f"{name}.jsonl", part, seed=ord(name))
    mi("set", operation, "a.jsonl", "b.jsonl", "c.jsonl", "-o", "out.jsonl").ok()
    assert set(names("out.jsonl")) == {EDGES[edge] for edge in kept(*parts)}
    read = stream.read("out.jsonl", ("circuit",))
    origin = {EDGES[edge]: f"{name}.jsonl" for name, part in reversed(list(zip("abc", parts))) for edge in part}
    assert {f"{r['src']}->{r['dst']}": r["of"] for r in read.records} == {n: origin[n] for n in names("out.jsonl")}
    said = read.head["selection"]
    assert (said["rule"], said["realised"], len(said["of"])) == (operation, len(read.records), 3)
    assert mi("verify", "-q", "out.jsonl").code == 0


def test_the_order_is_that_of_the_first(mi: Session) -> None:
    write("a.jsonl", set(range(20)), 1)
    write("b.jsonl", set(range(10, 30)), 2)
    mi("set", "intersect", "a.jsonl", "b.jsonl", "-o", "out.jsonl").ok()
    first = names("a.jsonl")
    assert names("out.jsonl") == [name for name in first if name in names("b.jsonl")]


def test_both_chains_are_there_and_shown(mi: Session) -> None:
    write("a.jsonl", {0, 1})
    write("b.jsonl", {1, 2})
    done = mi("set", "union", "-", "b.jsonl", stdin=Path("a.jsonl").read_bytes()).ok()
    Path("out.jsonl").write_bytes(done.out)
    read = stream.read("out.jsonl", ("circuit",))
    assert chain.broken(read.head) is None
    assert [link["argv"][0] for link in read.head["chain"]] == ["prune", "set"]
    assert read.head["merged"][0]["chain"] == stream.read("b.jsonl", ()).head["chain"]
    shown = mi("log", "out.jsonl").ok().text
    assert "mi set union - b.jsonl" in shown
    assert shown.count("mi prune") == 2
    mi("set", "subtract", "out.jsonl", "a.jsonl", "-o", "more.jsonl").ok()
    again = stream.read("more.jsonl", ()).head["merged"]
    assert [item["name"] for item in again] == ["b.jsonl", "a.jsonl"]


def test_files_and_pipes_give_the_same_records(mi: Session) -> None:
    write("a.jsonl", {0, 1, 5})
    write("b.jsonl", {1, 2})
    file = mi("set", "union", "a.jsonl", "b.jsonl").ok().out
    pipe = mi("set", "union", "-", "b.jsonl", stdin=Path("a.jsonl").read_bytes()).ok().out
    assert file.splitlines()[1:-1] == pipe.splitlines()[1:-1]
    assert mi("set", "union", "a.jsonl", "b.jsonl").ok().out == file


def test_what_lies_on_no_path_and_what_is_empty_is_said(mi: Session) -> None:
    write("a.jsonl", set(range(46)))
    write("b.jsonl", {edge for edge in range(46) if EDGES[edge].endswith("->logits")})
    assert "lie on no path" in mi("set", "subtract", "a.jsonl", "b.jsonl").ok().err
    assert "lie on no path" not in mi("set", "union", "a.jsonl", "b.jsonl").ok().err
    done = mi("set", "subtract", "b.jsonl", "a.jsonl", "-q").ok()
    assert "the circuit is EMPTY" in done.err
    write("c.jsonl", {0}, task={"name": "greater-than"})
    assert "c.jsonl is of the task greater-than" in mi("set", "union", "a.jsonl", "c.jsonl").ok().err


@pytest.mark.parametrize("level", ["node", "neuron"])
def test_sets_of_nodes_and_neurons(mi: Session, level: str) -> None:
    records = [{"node": "m0"}, {"node": "input"}, {"node": "a0.h1"}]
    if level == "neuron":
        records = [{"node": "m0", "unit": u} for u in (1, 2, 3)]
    selection = {"level": level, "width": 8} if level == "neuron" else {"level": level}
    for name, part in (("a", records[:2]), ("b", records[1:])):
        stream.write(f"{name}.jsonl", head("circuit", "prune", selection=selection), part)
    for operation, kept in (("union", records), ("intersect", records[1:2]), ("subtract", records[:1])):
        mi("set", operation, "a.jsonl", "b.jsonl", "-o", "out.jsonl").ok()
        read = stream.read("out.jsonl", ("circuit",))
        assert read.records == kept
        assert read.head["selection"]["level"] == level
        assert read.head["selection"].get("width") == selection.get("width")


def loops(found: list[Any], graph: Any, width: int) -> set[tuple[str, int]]:
    """What all circuits keep, as pairs of an edge and a dimension that it carries, on paths from input to logits."""
    pairs = {
        (graph.edge_name(edge), unit)
        for edge in range(graph.n_edges)
        for unit in range(width)
        if all(c.edges[edge] and (c.neurons is None or c.neurons[graph.source[edge], unit]) for c in found)
    }
    while True:
        ends = [name.split("<")[0].split("->") for name, _ in pairs]
        fed, read = {"input", *(to for _, to in ends)}, {"logits", *(source for source, _ in ends)}
        left = {(n, u) for n, u in pairs if n.split("->")[0] in fed and n.split("->")[1].split("<")[0] in read}
        if left == pairs:
            return pairs
        pairs = left


@pytest.mark.parametrize("seed", [0, FRESH])
def test_edges_nodes_and_neurons_have_an_intersection(mi: Session, seed: int) -> None:
    rng, width = np.random.default_rng(seed), 3
    write("edges.jsonl", {e for e in range(GRAPH.n_edges) if rng.random() < 0.8}, seed)
    sources = GRAPH.nodes[:-1]
    nodes = [{"node": node, "score": 1.0} for node in sources if node in ("input", "m1") or rng.random() < 0.8]
    stream.write("nodes.jsonl", head("circuit", "prune", selection={"level": "node"}), nodes)
    of_all = [{"node": node, "unit": u, "score": 2.0} for node in sources for u in range(width) if rng.random() < 0.7]
    selection = {"level": "neuron", "width": width}
    stream.write("neurons.jsonl", head("circuit", "prune", selection=selection), of_all)
    fewer = [record for record in of_all if rng.random() < 0.7]
    stream.write("fewer.jsonl", head("circuit", "prune", selection=selection), fewer)
    lists = ("edges neurons", "neurons edges", "nodes neurons", "edges nodes neurons", "neurons edges fewer")
    for parts in map(str.split, lists):
        paths = [f"{part}.jsonl" for part in parts]
        mi("set", "intersect", *paths, "-o", "out.jsonl").ok()
        made = stream.read("out.jsonl", ("circuit",))
        found = reading.circuit(made, GRAPH)
        given = [reading.circuit(stream.read(name, ("circuit",)), GRAPH) for name in paths]
        assert loops([found], GRAPH, width) == loops(given, GRAPH, width)
        assert len(loops([found], GRAPH, width)) == pytest.approx(width * found.weighted_edges)
        assert made.head["selection"]["level"] == "neuron" and made.head["selection"]["width"] == width
        scores = {record.get("score") for record in made.records if "unit" in record}
        assert scores <= {2.0}, "records are those of the circuits"
    mi("set", "intersect", "edges.jsonl", "nodes.jsonl", "-o", "out.jsonl").ok()
    assert stream.read("out.jsonl", ("circuit",)).head["selection"]["level"] == "edge"
    kept = {record["node"] for record in nodes}
    assert set(names("out.jsonl")) <= {n for n in names("edges.jsonl") if n.split("->")[0] in kept}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["union", "a.jsonl"], 2, "1 file to make the union of"),
        (["union", "-", "-"], 2, "standard input is named twice"),
        ([], 2, "the operation is not said; mi set has union, intersect, subtract"),
        (["xor", "a.jsonl", "b.jsonl"], 2, "got unexpected extra argument"),
        (["union", "a.jsonl", "nodes.jsonl"], 3, "nodes.jsonl: this is a circuit of nodes, a.jsonl one of edges"),
        (["union", "mixed.jsonl", "a.jsonl"], 3, "mixed.jsonl: a circuit of edges and nodes is no set of one kind"),
        (["union", "a.jsonl", "deep.jsonl"], 3, "deep.jsonl: the graph differs"),
        (["union", "a.jsonl", "s.jsonl"], 3, "a stream of kind 'scores'; needed: circuit"),
        (["union", "a.jsonl", "alien.jsonl"], 3, "m9->m10 is no edge of this graph"),
        (["union", "a.jsonl", "none.jsonl"], 3, "none.jsonl: no such file"),
    ],
)
def test_what_is_no_set(mi: Session, words: list[str], code: int, says: str) -> None:
    write("a.jsonl", {0, 1})
    write_scores("s.jsonl")
    stream.write("nodes.jsonl", head("circuit", "prune"), [{"node": "m0"}])
    stream.write("mixed.jsonl", head("circuit", "prune"), [{"node": "m0"}, {"src": "input", "dst": "m1"}])
    stream.write("deep.jsonl", head("circuit", "prune", graph=OTHER_GRAPH), [])
    stream.write("alien.jsonl", head("circuit", "prune"), [{"src": "m9", "dst": "m10"}])
    done = mi("set", *words)
    assert (done.code, done.text) == (code, "")
    assert says in done.err

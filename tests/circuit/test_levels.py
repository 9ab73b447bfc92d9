"""Nodes and neurons as units: what they keep, what pruning leaves of them, how they are ranked, written and read."""

import json

import numpy as np
import pytest

from mi.circuit import globs, reading, select
from mi.circuit.graph import explicit_graph
from mi.circuit.levels import Units
from mi.circuit.prune import connected
from mi.circuit.transformer import transformer_graph
from mi.errors import MiError, UsageError
from mi.io import stream
from mi.run import run
from tests.circuit.random_graphs import SEEDS, any_graph, generator, pairs_of, random_scores, roots_of
from tests.circuit.test_prune_command import head_of
from tests.data_dir import shared
from tests.oracle import selection as oracle

GRAPH = transformer_graph(2, 2, d_model=4)  # input, a0.h0, a0.h1, m0, a1.h0, a1.h1, m1


def write(path, level, values, graph=GRAPH, shards=None):
    values = np.asarray(values, dtype=np.float32)
    arrays = {level: values, "shard_n": np.array([1] if shards is None else [2] * len(shards))}
    arrays[f"{level}_shards"] = np.nan_to_num(values[None]).astype(np.float64) if shards is None else shards
    head = head_of(graph)
    head["attribution"] = {"method": "nap", "level": level}
    stream.write(str(path), head, [], {"scores": arrays})
    return path


def prune(file, *words):
    out = file.parent / "out.jsonl"
    assert run("prune", [str(file), *words, "-o", str(out)]) == 0
    return stream.read(str(out), ("circuit",))


def nodes_left(graph, kept, strict=False):
    """The names that are left of a set of nodes."""
    mask = np.array([name in kept for name in graph.nodes[:-1]])
    return {graph.nodes[i] for i in np.flatnonzero(Units(graph, "node").pruned(mask, strict))}


@pytest.mark.parametrize("seed", SEEDS)
def test_nodes_keep_their_edges_and_are_pruned_with_them(seed):
    rng = generator(seed)
    for _ in range(40):
        graph = any_graph(rng)
        kept = {name for name in graph.nodes[:-1] if rng.random() < 0.7}
        edges = pairs_of(graph)
        assert nodes_left(graph, kept) == oracle.prune_nodes(edges, kept, roots_of(graph))
        mask = np.array([name in kept for name in graph.nodes[:-1]])
        circuit = Units(graph, "node").circuit(mask)
        expected = oracle.prune(edges, oracle.edges_of_nodes(edges, kept), roots_of(graph))
        assert set(np.flatnonzero(circuit.edges).tolist()) == expected
        assert (circuit.n_edges, circuit.weighted_edges, circuit.neurons) == (len(expected), len(expected), None)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_is_there_while_one_of_its_neurons_is(seed):
    rng = generator(seed)
    for _ in range(30):
        graph, width = any_graph(rng), int(rng.integers(1, 5))
        units = Units(graph, "neuron", width)
        mask = rng.random(units.n) < rng.choice([0.2, 0.6])
        by_source = mask.reshape(units.shape)
        written = {graph.nodes[s] for s in range(graph.n_sources) if by_source[s].any()}
        edges = pairs_of(graph)
        left = oracle.prune_nodes(edges, written, roots_of(graph))
        circuit = units.circuit(mask)
        for s in range(graph.n_sources):
            expected = by_source[s] if graph.nodes[s] in left else np.zeros(width, dtype=bool)
            assert circuit.neurons[s].tolist() == expected.tolist()
        weighted = 0.0
        for e in oracle.prune(edges, oracle.edges_of_nodes(edges, written), roots_of(graph)):
            weighted += by_source[graph.source[e]].sum() / width
        assert circuit.weighted_edges == pytest.approx(weighted)


def test_a_whole_graph_of_nodes_counts_true_edges_only():
    """The reference counts whole rows of its dense mask: 69,865 cells, where GPT-2 small has 32,491 edges."""
    graph = transformer_graph(12, 12, d_model=768)
    circuit = Units(graph, "node").circuit(np.ones(graph.n_sources, dtype=bool))
    assert circuit.n_edges == 32_491
    half = np.zeros((graph.n_sources, 768), dtype=bool)
    half[:, :384] = True
    assert Units(graph, "neuron", 768).circuit(half.ravel()).weighted_edges == 32_491 / 2


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_rules_over_nodes_equal_the_loops(seed, absolute):
    rng = generator(seed)
    for _ in range(40):
        graph = any_graph(rng)
        units = Units(graph, "node")
        scores = random_scores(rng, units.n).astype(np.float64)
        unscored = rng.random(units.n) < 0.2
        plain = scores.tolist()
        scores[unscored] = np.nan
        left = np.flatnonzero(~unscored).tolist()
        n = int(rng.integers(0, len(left) + 1))
        free = {i for i in range(units.n) if unscored[i]}
        top = {left[place] for place in oracle.top([plain[i] for i in left], n, absolute)}
        assert set(np.flatnonzero(select.top(units, scores, n, absolute)).tolist()) == top | free
        over = {left[place] for place in oracle.threshold([plain[i] for i in left], 0.5, absolute)}
        assert set(np.flatnonzero(select.threshold(units, scores, 0.5, absolute)).tolist()) == over | free
        named = {graph.nodes[i]: None if unscored[i] else plain[i] for i in range(units.n)}
        grown = oracle.greedy_nodes(pairs_of(graph), named, n, absolute)
        found = np.flatnonzero(select.greedy(units, scores, n, absolute) & ~unscored)
        assert {graph.nodes[i] for i in found} == grown


@pytest.mark.parametrize("seed", SEEDS)
def test_greedy_over_neurons_with_one_neuron_each_is_greedy_over_nodes(seed):
    rng = generator(seed)
    for _ in range(30):
        graph = any_graph(rng)
        nodes, neurons = Units(graph, "node"), Units(graph, "neuron", 3)
        scores = random_scores(rng, nodes.n)
        n = int(rng.integers(0, nodes.n + 1))
        spread = np.zeros(neurons.shape, dtype=np.float32)
        spread[:, 1] = scores
        drop = np.ones(neurons.shape, dtype=bool)
        drop[:, 1] = False
        found = select.greedy(neurons, spread, n, drop=drop.ravel()).reshape(neurons.shape)
        assert found[:, 1].tolist() == select.greedy(nodes, scores, n).tolist()
        assert not found[:, [0, 2]].any()


@pytest.mark.parametrize("rule", ["top", "greedy"])
@pytest.mark.parametrize("seed", SEEDS)
def test_exact_size_over_nodes_is_the_best_of_all_sizes(seed, rule):
    rng = generator(seed)
    for _ in range(25):
        graph = any_graph(rng)
        units = Units(graph, "node")
        scores = random_scores(rng, units.n)
        scores[rng.random(units.n) < 0.2] = np.nan
        counts = ~np.isnan(scores)
        choose = getattr(select, rule)
        most = int(counts.sum())
        sizes = [np.count_nonzero(units.pruned(choose(units, scores, n))[counts]) for n in range(most + 1)]
        budget = int(rng.integers(0, most + 1))
        found = select.exact_size(units, scores, budget, rule=choose)
        realised = np.count_nonzero(found.mask[counts])
        assert realised == max(size for size in sizes if size <= budget)
        larger = [size for size in sizes if size > budget]
        assert found.above == (min(larger) if larger and realised < budget else None)
        with pytest.raises(UsageError, match=f"{most + 1} nodes were asked for, the graph has {most}"):
            choose(units, scores, most + 1)


def test_golden_node_masks_are_what_pruned_circuits_keep():
    """The reference marks the nodes of its pruned circuits; as a circuit of nodes they keep all legal edges between."""
    model = "gpt2-tiny"
    cfg = json.loads(shared("golden", model, "reference.json").read_text())["cfg"]
    graph = transformer_graph(cfg["n_layers"], cfg["n_heads"], cfg["parallel_attn_mlp"], cfg["d_model"])
    from safetensors.numpy import load_file

    arrays = load_file(shared("golden", model, "reference.safetensors"))
    for nodes, dense in zip(arrays["circuits.absolute.nodes"], arrays["circuits.absolute.mask"]):
        edges = dense[graph.edges[0], graph.edges[1]]
        circuit = Units(graph, "node").circuit(nodes.astype(bool))
        assert not (edges & ~circuit.edges).any()
        written = np.zeros(graph.n_sources, dtype=bool)
        written[graph.source[circuit.edges]] = True
        assert written.tolist() == nodes.astype(bool).tolist()


NODES = [9.0, 0.5, -3.0, 1.0, 0.25, 2.0, -4.0]  # input, a0.h0, a0.h1, m0, a1.h0, a1.h1, m1


def test_a_circuit_of_nodes_is_written_and_read(tmp_path):
    file = write(tmp_path / "nodes.jsonl", "node", NODES)
    circuit = prune(file, "--top", "4")
    assert circuit.records == [
        {"node": "input", "score": 9.0},
        {"node": "m1", "score": -4.0},
        {"node": "a0.h1", "score": -3.0},
        {"node": "a1.h1", "score": 2.0},
    ]
    found = reading.circuit(circuit, GRAPH)
    selection = circuit.head["selection"]
    assert (selection["level"], selection["units"], selection["realised"]) == ("node", 7, 4)
    # input: 3 into each head, m1, logits; a0.h1: 3 into a1.h1, m1, logits; a1.h1: m1, logits; m1: logits
    assert selection["realised_edges"] == found.n_edges == (6 + 2) + 5 + 2 + 1
    assert found.neurons is None and found.level == "node"
    assert (reading.circuit_of(circuit, GRAPH) == found.edges).all()
    assert (connected(GRAPH, found.edges) == found.edges).all()
    smaller = prune(tmp_path / "out.jsonl", "--top", "2")
    assert [record["node"] for record in smaller.records] == ["input", "m1"]


def test_a_percentage_is_of_what_was_scored_and_unscored_nodes_stay(tmp_path):
    values = [np.nan, 0.5, -3.0, 1.0, 0.25, 2.0, np.nan]
    file = write(tmp_path / "nodes.jsonl", "node", values)
    circuit = prune(file, "--percent", "40")
    assert circuit.records == [
        {"node": "a0.h1", "score": -3.0},
        {"node": "a1.h1", "score": 2.0},
        {"node": "input"},
        {"node": "m1"},
    ]
    selection = circuit.head["selection"]
    assert [selection[key] for key in ("units", "requested", "realised", "unscored")] == [5, 2, 2, 2]
    again = prune(tmp_path / "out.jsonl", "--top", "1")
    assert [record["node"] for record in again.records] == ["a0.h1", "input", "m1"]
    dropped = prune(file, "--percent", "40", "--drop", "m1")
    assert "m1" not in [record["node"] for record in dropped.records]


@pytest.mark.parametrize(
    ("by", "n", "stable"), [("sign", 5, ["a0.h1", "a1.h1", "a0.h0", "a1.h0"]), ("inclusion", 2, ["a0.h1", "a1.h1"])]
)
def test_stability_is_about_what_was_scored(tmp_path, by, n, stable):
    """Unscored nodes stay, and take no place among the best of a resample. m0 changes its sign."""
    values = np.array([np.nan, 0.5, -3.0, 1.0, 0.25, 2.0, np.nan])
    sums = np.nan_to_num(values, nan=9.0)[None] * np.array([[1.0], [3.0], [2.0]])
    sums[:, 3] = [0.4, -0.4, 0.2]
    file = write(tmp_path / "nodes.jsonl", "node", values, shards=sums)
    circuit = prune(file, "--top", str(n), "--stable", "0.9", "--stable-by", by)
    assert [record["node"] for record in circuit.records] == [*stable, "input", "m1"]
    assert circuit.head["selection"]["stability"]["stable"] == len(stable)


def test_a_circuit_of_neurons_is_written_and_read(tmp_path):
    values = np.zeros((7, 4), dtype=np.float32)
    values[0] = [5, 4, 0, 0]
    values[6] = [0, 0, 3, 0]
    values[2, 3] = -2
    file = write(tmp_path / "neurons.jsonl", "neuron", values)
    circuit = prune(file, "--top", "4")
    assert circuit.records == [
        {"node": "input", "unit": 0, "score": 5.0},
        {"node": "input", "unit": 1, "score": 4.0},
        {"node": "m1", "unit": 2, "score": 3.0},
        {"node": "a0.h1", "unit": 3, "score": -2.0},
    ]
    found = reading.circuit(circuit, GRAPH)
    expected = np.zeros((7, 4), dtype=bool)
    expected[0, :2] = expected[2, 3] = expected[6, 2] = True
    assert (found.neurons == expected).all()
    # input: 3 into a0.h1, m1, logits; a0.h1: m1, logits; m1: logits
    assert found.n_edges == 5 + 2 + 1
    assert found.weighted_edges == 5 * 2 / 4 + 2 / 4 + 1 / 4
    selection = circuit.head["selection"]
    assert selection["weighted_edges"] == found.weighted_edges
    assert (selection["level"], selection["width"], selection["units"]) == ("neuron", 4, 28)
    with pytest.raises(MiError, match="circuit of neurons"):
        reading.circuit_of(circuit, GRAPH)
    only = prune(file, "--percent", "100", "--drop", "a*", "--drop", "input/[13]")
    assert {(r["node"], r["unit"]) for r in only.records} >= {("input", 0), ("input", 2), ("m0", 3)}
    assert not {r["node"] for r in only.records} & {"a0.h1"}
    assert ("input", 1) not in {(r["node"], r["unit"]) for r in only.records}


def test_edges_and_neurons_may_be_mixed(tmp_path):
    """A stream that lists edges keeps these; neurons of a source limit what its edges carry."""
    records = [
        {"src": "input", "dst": "m0"},
        {"src": "m0", "dst": "logits"},
        {"src": "input", "dst": "m1"},
        {"node": "input", "unit": 1},
        {"node": "input", "unit": 3},
    ]
    stream.write(str(tmp_path / "mixed.jsonl"), head_of(GRAPH, "circuit"), records)
    found = reading.circuit(stream.read(str(tmp_path / "mixed.jsonl"), ("circuit",)), GRAPH)
    assert found.n_edges == 3
    assert found.neurons[0].tolist() == [False, True, False, True]
    assert found.neurons[GRAPH.node_index("m0")].all()
    assert found.neurons.sum() == 2 + 4
    assert found.weighted_edges == 0.5 + 0.5 + 1
    listed = {f"{record['src']}->{record['dst']}" for record in records[:3]}
    assert {GRAPH.edge_name(e) for e in np.flatnonzero(found.edges)} == listed  # not input->logits, not pruned
    assert run("prune", [str(tmp_path / "mixed.jsonl"), "-o", str(tmp_path / "no.jsonl")]) == 3


def test_nodes_and_neurons_may_be_mixed(tmp_path):
    records = [{"node": "input"}, {"node": "m1", "unit": 0}]
    stream.write(str(tmp_path / "mixed.jsonl"), head_of(GRAPH, "circuit"), records)
    found = reading.circuit(stream.read(str(tmp_path / "mixed.jsonl"), ("circuit",)), GRAPH)
    assert sorted(GRAPH.edge_name(e) for e in np.flatnonzero(found.edges)) == [
        "input->logits",
        "input->m1",
        "m1->logits",
    ]
    assert found.neurons[0].all() and found.neurons[6].tolist() == [True, False, False, False]


def test_an_empty_circuit_of_neurons_is_one_of_neurons(tmp_path, capsys):
    file = write(tmp_path / "neurons.jsonl", "neuron", np.ones((7, 4)))
    circuit = prune(file, "--top", "0")
    found = reading.circuit(circuit, GRAPH)
    assert (found.level, found.n_edges, found.neurons.shape, found.neurons.any()) == ("neuron", 0, (7, 4), False)
    assert "EMPTY: 0 of the graph's 28 neurons were asked for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([{"node": "m9"}], "m9 is no node of this graph"),
        ([{"node": "logits"}], "logits is no node of this graph"),
        ([{"node": "m0", "unit": 4}], "m0/4 is no neuron of this graph"),
        ([{"node": "m0", "unit": 1}, {"node": "m0", "unit": 1}], "m0/1 is listed twice"),
        ([{"node": "m0"}, {"node": "m0", "unit": 1}], "the record is of a neuron, those before it of a node"),
        ([{"src": "input", "dst": "logits", "score": 1.0}, {"node": "m0"}], "is of a node, those before it of an edge"),
    ],
)
def test_records_that_name_nothing_are_refused_with_their_line(tmp_path, capsys, records, says):
    file = tmp_path / "bad.jsonl"
    stream.write(str(file), head_of(GRAPH, "circuit"), records)
    assert run("prune", [str(file)]) == 3
    err = capsys.readouterr().err
    assert says in err and f"{file}:{1 + len(records)}: " in err


def test_scores_of_the_wrong_shape_or_without_number_are_refused(tmp_path, capsys):
    assert run("prune", [str(write(tmp_path / "short.jsonl", "node", np.ones(6)))]) == 3
    assert "6 scores for a graph of 7 nodes" in capsys.readouterr().err
    with pytest.raises(MiError, match=r"the score of a0\.h1 is inf"):
        select.check_scores(Units(GRAPH, "node"), np.array([1, np.nan, np.inf, 0, 0, 0, 0]))
    with pytest.raises(MiError, match=r"node\[2\] is not finite"):
        write(tmp_path / "inf.jsonl", "node", [1, np.nan, np.inf, 0, 0, 0, 0])
    assert run("prune", [str(write(tmp_path / "flat.jsonl", "neuron", np.ones(28)))]) == 3
    assert "neurons" in capsys.readouterr().err


def test_globs_over_nodes_and_neurons():
    nodes, neurons = Units(GRAPH, "node"), Units(GRAPH, "neuron", 12)
    assert np.flatnonzero(globs.matching(nodes, ["a?.h1", "m0"])).tolist() == [2, 3, 5]
    assert globs.matching(neurons, ["m0"]).sum() == 12
    assert np.flatnonzero(globs.matching(neurons, ["m0/1?"])).tolist() == [3 * 12 + 10, 3 * 12 + 11]
    for units, pattern in ((nodes, "m0->m1"), (nodes, "logits"), (nodes, "m0/1"), (neurons, "m0/12")):
        with pytest.raises(UsageError, match="matches no"):
            globs.matching(units, [pattern])


def test_names_of_units():
    assert Units(GRAPH, "neuron", 12).name(3 * 12 + 7) == "m0/7"
    assert Units(GRAPH, "node").name(4) == "a1.h0"
    with pytest.raises(MiError, match="no level"):
        Units(GRAPH, "layer")


def test_a_graph_of_features_has_nodes_with_units_in_their_names(tmp_path):
    graph = explicit_graph(["input", "m0/f7", "logits"], ["m0/f7", "logits"], [1, 2], np.array([[0, 1, 0], [0, 1, 1]]))
    assert np.flatnonzero(globs.matching(Units(graph, "node"), ["m0/*"])).tolist() == [1]
    assert np.flatnonzero(globs.matching(Units(graph, "neuron", 2), ["m0/f7/1"])).tolist() == [3]


def view(capsys, *words):
    capsys.readouterr()
    assert run("view", [str(word) for word in words]) == 0
    return capsys.readouterr().out


def rows(text):
    """The cells of a table, without its title, its head and its last line."""
    return [line.split() for line in text.splitlines()[2:-1]]


def test_nodes_are_shown_best_first_with_their_standard_errors(tmp_path, capsys):
    values = [np.nan, 0.5, -3.0, 1.0, 0.25, 2.0, 1.5]
    sums = np.nan_to_num(np.array(values))[None] * np.array([[1.0], [3.0]])
    file = write(tmp_path / "nodes.jsonl", "node", values, shards=sums)
    shown = view(capsys, file)
    table = rows(shown)
    assert [row[0] for row in table] == ["a0.h1", "a1.h1", "m1", "m0", "a0.h0", "a1.h0", "input"]
    # shards of 2 examples with means v/2 and 3v/2: sqrt((2 (v/2)^2 + 2 (v/2)^2) / 1 / 4) = v/2
    assert table[0][1:3] == ["-3", "1.5"]
    assert table[-1] == ["input", "unscored"]
    assert "7 nodes" in shown
    assert [row[0] for row in rows(view(capsys, file, "a1.*"))] == ["a1.h1", "a1.h0"]


def test_neurons_are_shown_by_name_and_spelled_as_records(tmp_path, capsys):
    values = np.arange(28.0).reshape(7, 4) - 3
    file = write(tmp_path / "neurons.jsonl", "neuron", values)
    shown = view(capsys, file, "--top", "2")
    assert [row[:2] for row in rows(shown)] == [["m1/3", "24"], ["m1/2", "23"]]
    assert "2 of 28 neurons" in shown
    spelled = view(capsys, "--json", file, "m0/*")
    (tmp_path / "spelled.jsonl").write_text(spelled)
    assert prune(tmp_path / "spelled.jsonl", "--percent", "100", "--keep", "m0").records == []  # they lie on no path
    whole = tmp_path / "whole.jsonl"
    whole.write_text(view(capsys, "--json", file))
    assert stream.read(str(whole), ("scores",)).records[0] == {"node": "input", "unit": 0, "score": -3.0}
    assert prune(whole, "--top", "28").records == prune(file, "--top", "28").records != []
    shown = view(capsys, whole.parent / "out.jsonl", "m1")
    assert {row[0] for row in rows(shown)} == {"m1/0", "m1/1", "m1/2", "m1/3"}


def test_unscored_nodes_survive_being_spelled_as_records(tmp_path, capsys):
    file = write(tmp_path / "nodes.jsonl", "node", [np.nan, 0.5, -3.0, 1.0, 0.25, 2.0, np.nan])
    spelled = tmp_path / "spelled.jsonl"
    spelled.write_text(view(capsys, "--json", file))
    assert stream.read(str(spelled), ("scores",)).records[0] == {"node": "input"}
    assert prune(spelled, "--top", "2").records == prune(file, "--top", "2").records
    assert "input" in view(capsys, spelled)


def test_a_mixed_circuit_is_shown(tmp_path, capsys):
    records = [{"src": "input", "dst": "a1.h0<q>", "score": 2.0}, {"node": "m1", "unit": 0}]
    stream.write(str(tmp_path / "mixed.jsonl"), head_of(GRAPH, "circuit"), records)
    shown = view(capsys, tmp_path / "mixed.jsonl")
    assert [row[0] for row in rows(shown)] == ["input->a1.h0<q>", "m1/0"]
    assert "2 records" in shown
    assert [row[0] for row in rows(view(capsys, tmp_path / "mixed.jsonl", "a1.h0", "nobody"))] == ["input->a1.h0<q>"]
    assert run("view", [str(tmp_path / "mixed.jsonl"), "nobody"]) == 2
    prune(write(tmp_path / "nodes.jsonl", "node", NODES), "--top", "0")
    assert run("view", [str(tmp_path / "out.jsonl"), "m1"]) == 2
    assert "nothing here is called m1" in capsys.readouterr().err

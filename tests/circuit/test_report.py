"""The circuits that a report runs, and what it says of their size, at every level."""

import numpy as np
import pytest

from mi.circuit import curve, report, select
from mi.circuit.levels import Units
from mi.circuit.prune import connected
from mi.circuit.transformer import transformer_graph
from mi.show.report import report_tables
from tests.circuit.random_graphs import SEEDS, any_graph, generator, random_scores

GRAPH = transformer_graph(3, 3)


@pytest.mark.parametrize("rule", ["top", "greedy"])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_curve_over_edges(seed, rule):
    rng = generator(seed)
    for _ in range(5):
        graph = any_graph(rng)
        scores = random_scores(rng, graph.n_edges)
        circuits = report.of_scores(graph, scores, rule)
        assert len(circuits.points) == 20 and circuits.neurons is None
        assert len({mask.tobytes() for mask in circuits.masks}) == len(circuits.masks)
        for point in circuits.points:
            n = select.nominal_size(graph.n_edges, point.nominal)
            mask = connected(graph, getattr(select, rule)(graph, scores, n, absolute=point.mode == "absolute"))
            assert (circuits.masks[point.row] == mask).all()
            assert (point.requested, point.size, point.finer) == (n, mask.sum(), {})


def test_the_curve_over_nodes_takes_shares_of_what_was_scored():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=GRAPH.n_sources)
    scores[[0, 3]] = np.nan
    units = Units(GRAPH, "node")
    circuits = report.of_scores(units, scores)
    assert [point.requested for point in circuits.points[:10]] == list(curve.sizes(GRAPH.n_sources - 2))
    for point in circuits.points:
        chosen = select.top(units, scores, point.requested, absolute=point.mode == "absolute")
        circuit = units.circuit(chosen)
        assert (circuits.masks[point.row] == circuit.edges).all()
        assert point.size == circuit.n_edges
        assert point.finer == {"nodes": int(units.pruned(chosen).sum())}
    assert circuits.points[9].size == GRAPH.n_edges


def test_the_curve_over_neurons_counts_weighted_edges():
    units = Units(GRAPH, "neuron", 5)
    scores = np.random.default_rng(2).normal(size=units.n)
    circuits = report.of_scores(units, scores)
    assert circuits.neurons.shape == (len(circuits.masks), GRAPH.n_sources, 5)
    for point in circuits.points:
        circuit = units.circuit(select.top(units, scores, point.requested, absolute=point.mode == "absolute"))
        assert (circuits.masks[point.row] == circuit.edges).all()
        assert (circuits.neurons[point.row] == circuit.neurons).all()
        weighted = sum(circuit.neurons[GRAPH.source[e]].sum() / 5 for e in np.flatnonzero(circuit.edges))
        assert point.finer == {"neurons": circuit.neurons.sum(), "weighted_edges": pytest.approx(weighted)}
    same_edges = {circuits.masks[point.row].tobytes() for point in circuits.points}
    assert len(same_edges) < len(circuits.masks)  # circuits that differ in neurons alone are two


@pytest.mark.parametrize("level", ["node", "neuron"])
def test_records_say_the_size_in_edges_and_in_units(level):
    units = Units(GRAPH, level, 4)
    circuit = units.circuit(np.ones(units.n, dtype=bool))
    circuits = report.single(circuit)
    assert (circuits.neurons is None) == (level == "node")
    n = 12
    clean, empty = np.linspace(3, 4, n), np.zeros(n)
    records = report.report(
        circuits, clean[None] / 2, clean, empty, [report.named(str(i), str(i), "") for i in range(n)]
    )
    finer = {"nodes": GRAPH.n_sources} if level == "node" else {"neurons": units.n, "weighted_edges": GRAPH.n_edges}
    faithful = next(record for record in records if record.get("summary") == "faithfulness")
    for record in (records[0], faithful):
        assert record["size"] == GRAPH.n_edges
        assert {key: record[key] for key in finer} == finer
    assert faithful["value"] == pytest.approx(0.5)
    plain = report.single(circuit.edges)
    assert (plain.points[0].size, plain.points[0].finer) == (GRAPH.n_edges, {})


@pytest.mark.parametrize("level", ["edge", "node", "neuron"])
def test_a_curve_says_what_its_shares_are_of(level):
    units = Units(GRAPH, level, 4)
    circuits = report.of_scores(units, np.random.default_rng(3).normal(size=units.n))
    n = 12
    value = np.tile(np.linspace(3, 4, n), (len(circuits.masks), 1))
    records = report.report(
        circuits, value, value[0], np.zeros(n), [report.named(str(i), str(i), "") for i in range(n)]
    )
    table = report_tables("", {}, records, 0)[1]
    assert [column.name for column in table.columns][1:3] == [f"of {level}s", "edges"]
    assert table.rows[9][2] == str(GRAPH.n_edges)


def test_an_example_is_named_by_id_digest_and_template():
    assert report.named("ab", "ab", "") == {"id": "ab"}
    assert report.named("mine", "ab", "t1") == {"id": "mine", "digest": "ab", "template": "t1"}


def test_examples_of_one_template_are_drawn_together():
    """Copies within a template are no new evidence; below ten templates, or where one has none, examples are drawn."""
    rng = np.random.default_rng(0)
    clean, empty = 4 + rng.normal(size=12), rng.normal(size=12)
    value = (0.8 * clean + rng.normal(size=12))[None]
    circuits = report.single(np.ones(GRAPH.n_edges, dtype=bool))

    def interval(copies, template):
        rows = np.repeat(np.arange(12), copies)
        each = [report.named(str(i), str(i), template(row)) for i, row in enumerate(rows)]
        records = report.report(circuits, value[:, rows], clean[rows], empty[rows], each)
        (found,) = [record for record in records if record.get("summary") == "faithfulness"]
        return found["high"] - found["low"]

    alone = interval(1, lambda row: "")
    assert interval(5, lambda row: f"t{row:02d}") == pytest.approx(alone)
    assert interval(5, lambda row: f"t{row % 9}") < 0.6 * alone
    assert interval(5, lambda row: f"t{row}" if row else "") < 0.6 * alone

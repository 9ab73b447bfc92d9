"""Tests of circuits on a model in which every edge adds a known amount: each record is then a sum by hand."""

import numpy as np
import pytest

from mi.circuit import curve, examine, examine_curve, knockouts
from mi.circuit.levels import Units
from mi.circuit.prune import connected
from mi.circuit.random_circuits import random_circuits
from mi.circuit.reading import Scored
from mi.circuit.transformer import transformer_graph
from mi.errors import MiError
from tests.circuit.random_graphs import SEEDS, any_graph, generator

GRAPH = transformer_graph(3, 2)
N = 30


class Additive:
    """m(C) = what the examples start from + the sum of the edges' amounts."""

    def __init__(self, rng, graph=GRAPH, size=25):
        self.graph, self.runs = graph, 0
        self.amount = rng.normal(1, 1, (graph.n_edges, N)) + rng.normal(0, 3, (graph.n_edges, 1))
        self.start = rng.normal(0, 1, N)
        self.circuit = next(iter(random_circuits(graph, size, 1, int(rng.integers(1000)))))

    def run(self, masks):
        self.runs += len(masks)
        return masks @ self.amount + self.start

    def subject(self, n_random=20):
        whole = np.ones((1, self.graph.n_edges), dtype=bool)
        clean, value = self.run(whole)[0], self.run(self.circuit[None])[0]
        return examine.Subject(self.graph, self.circuit, value, clean, self.start, n_random=n_random)

    def mean(self, edges):
        return float(self.amount[edges].sum(0).mean())

    def span(self):
        return self.mean(np.arange(self.graph.n_edges))


def made(seed):
    """A world in which the whole model and the empty circuit are far apart."""
    rng = generator(seed)
    while True:
        world = Additive(rng)
        if abs(world.span()) > 10:
            return world


def of(records, test):
    return [record for record in records if record["test"] == test]


@pytest.mark.parametrize("seed", SEEDS)
def test_complement_and_knock_outs_are_sums(seed):
    world = made(seed)
    records = examine.examine(world.subject(), world.run, ["complement", "completeness", "nodes"])
    (complement,) = of(records, "complement")
    assert complement["value"] == pytest.approx(world.mean(~world.circuit) / world.span())
    names = np.array(GRAPH.nodes)[GRAPH.source]
    gaps = []
    for record in of(records, "completeness")[1:]:
        # C without K less M without K: what is outside C and not written by K, taken off
        left = ~world.circuit & ~np.isin(names, record["knocked"])
        assert record["value"] == pytest.approx(-world.mean(left) / world.span())
        assert record["low"] <= record["value"] <= record["high"]
        gaps.append(abs(record["value"]))
    assert of(records, "completeness")[0]["value"] == pytest.approx(max(gaps))
    for record in of(records, "nodes"):
        mine = world.circuit & (names == record["node"])
        assert record["value"] == pytest.approx(world.mean(mine) / world.span())
        assert record["most"] == pytest.approx(record["value"])  # amounts add up: no K brings out more
        assert record["node"] not in record["knocked"]
    inside = set(names[world.circuit]) - {"input"}
    assert {record["node"] for record in of(records, "nodes")} == inside


@pytest.mark.parametrize("seed", SEEDS)
def test_the_greedy_set_is_the_best_first_one(seed):
    """By brute force: at each step the node whose knock-out sets circuit and model furthest apart."""
    world = made(seed)
    (greedy,) = [r for r in examine.examine(world.subject(), world.run, ["completeness"]) if "greedy" in r["summary"]]
    names = np.array(GRAPH.nodes)[GRAPH.source]
    nodes = [GRAPH.nodes[i] for i in knockouts.parts(GRAPH, world.circuit)]
    chosen, best = [], 0.0
    for _ in range(examine.GREEDY_STEPS):
        gaps = {n: abs(world.mean(~world.circuit & ~np.isin(names, [*chosen, n]))) for n in nodes if n not in chosen}
        if not gaps or (chosen and max(gaps.values()) <= best * (1 + 1e-6)):
            break
        chosen.append(max(gaps, key=gaps.get))
        best = gaps[chosen[-1]]
    assert greedy["knocked"] == chosen


@pytest.mark.parametrize("seed", SEEDS)
def test_minimality_finds_the_edges_that_add_nothing(seed):
    world = made(seed)
    edges = np.flatnonzero(world.circuit)
    idle = edges[::5]
    world.amount[idle] = 0.0
    harm = -100.0 * np.sign(world.span())  # of one edge, and much: the circuit would not be the same without it
    outside = np.flatnonzero(~world.circuit)[0]
    world.amount[[edges[1], outside]] += [[harm], [-harm]]
    records = of(examine.examine(world.subject(100), world.run, ["minimality"]), "minimality")
    whole, each = records[0], records[1:]
    assert [record["edge"] for record in each] == [GRAPH.edge_name(edge) for edge in edges]
    for edge, record in zip(edges, each, strict=True):
        assert record["value"] == pytest.approx(world.mean([edge]) / world.span())
    needless = {record["edge"] for record in each if record["p_holm"] < 0.05}
    assert {GRAPH.edge_name(edge) for edge in idle} <= needless
    assert GRAPH.edge_name(edges[1]) not in needless
    assert whole["value"] == len(needless) and whole["rejected"]


def test_of_a_circuit_with_all_edges_minimality_has_effects_and_no_verdict():
    world = made(5)
    world.circuit = np.ones(GRAPH.n_edges, dtype=bool)
    whole, *each = examine.examine(world.subject(), world.run, ["minimality"])
    assert "no edge can be added" in whole["undetermined"] and "value" not in whole
    assert [r["value"] for r in each] == pytest.approx([world.mean([e]) / world.span() for e in range(GRAPH.n_edges)])


def test_sufficiency_and_necessity_hold_the_best_circuit_and_the_worst_against_random_ones():
    world = made(0)
    size = int(world.circuit.sum())
    by_amount = np.argsort(-world.amount.mean(1) * np.sign(world.span()))
    for order, good in ((by_amount, True), (by_amount[::-1], False)):
        world.circuit = np.isin(np.arange(GRAPH.n_edges), order[:size])
        records = examine.examine(world.subject(60), world.run, ["sufficiency", "necessity", "random"])
        sufficiency, necessity, random = records
        assert sufficiency["rejected"] is good and necessity["rejected"] is good
        assert (sufficiency["value"], necessity["value"]) == ((1, 1) if good else (0, 0))
        assert necessity["damage"] == pytest.approx(world.mean(world.circuit) / world.span())
        f = [world.mean(mask) / world.span() for mask in random_circuits(GRAPH, size, 60, 0)]
        assert random["value"] == pytest.approx(np.mean(f))
        assert (random["low"], random["high"]) == tuple(pytest.approx(x) for x in np.percentile(f, [2.5, 97.5]))


def test_each_circuit_is_run_once():
    world = made(1)
    subject = world.subject(25)
    world.runs = 0
    examine.examine(subject, world.run, ["random", "sufficiency", "complement", "independence"])
    assert world.runs == 25 + 1


def test_no_more_circuits_are_run_than_was_said():
    world = made(2)
    nodes = len(knockouts.parts(GRAPH, world.circuit))
    for name in examine.TESTS:
        subject = world.subject(10)
        world.runs = 0
        examine.examine(subject, world.run, [name])
        assert world.runs <= examine.n_runs([name], int(world.circuit.sum()), nodes, 10), name


def test_where_model_and_nothing_are_alike_each_test_says_so():
    world = made(3)
    subject = world.subject()
    same = examine.Subject(GRAPH, world.circuit, subject.value, subject.clean, subject.clean)
    records = examine.examine(same, world.run, ["random", "complement"])
    assert [record["summary"] for record in records] == ["complement", "random"]
    assert all("standard error" in record["undetermined"] for record in records)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_inflated_circuit_has_its_extra_edge_on_a_path(seed):
    rng = generator(seed)
    for _ in range(120):
        graph = any_graph(rng)
        circuit = connected(graph, rng.random(graph.n_edges) < rng.choice([0.0, 0.2, 0.6, 1.0]))
        got = knockouts.inflated(graph, circuit, rng)
        if got is None:
            assert graph.builder == "explicit" or circuit.all()
            continue
        larger, extra = got
        assert not circuit[extra] and (larger & circuit == circuit).all()
        assert 1 <= (larger & ~circuit).sum() <= 3
        assert connected(graph, larger)[extra]
        alone = circuit.copy()
        alone[extra] = True
        if (connected(graph, alone) == alone).all():
            assert (larger == alone).all()  # no more than is needed


def test_random_subsets_are_different_and_classes_are_kinds_and_layers():
    rng = np.random.default_rng(0)
    nodes = np.array([1, 2, 3])
    assert len(knockouts.random_subsets(nodes, 20, rng)) == 7  # all that there are
    assert knockouts.random_subsets(np.array([], dtype=int), 3, rng) == []
    found = knockouts.classes(GRAPH, np.array([1, 2, 3, 4, 6]))
    named = {name: [GRAPH.nodes[i] for i in members] for name, members in found.items()}
    assert named == {
        "a": ["a0.h0", "a0.h1", "a1.h0"],
        "a0": ["a0.h0", "a0.h1"],
        "m": ["m0", "m1"],
        "m0": ["m0"],
        "a1": ["a1.h0"],
        "m1": ["m1"],
    }


def test_random_rankings_of_a_world_of_equal_edges_lie_on_the_diagonal():
    """Each edge adds the same: f is the share of edges kept, after pruning, so CPR is that of the realised sizes."""
    world = made(4)
    world.amount[:] = 1.0
    units = Units(GRAPH)
    clean = world.run(np.ones((1, GRAPH.n_edges), dtype=bool))[0]
    records = examine_curve.random_rankings(units, "top", clean, world.start, world.run, 5, 0)
    areas = []
    for number in range(5):
        scores = np.random.default_rng([0, number]).random(units.n).astype(np.float32)
        order = np.argsort(-scores)
        f = [connected(GRAPH, np.isin(np.arange(units.n), order[:n])).sum() / units.n for n in curve.sizes(units.n)]
        areas.append(float(curve.cpr(np.array(f))))
    assert records[0]["summary"] == "cpr of random rankings"
    assert records[0]["value"] == pytest.approx(np.mean(areas))


def test_stability_of_shards_that_agree_and_of_shards_of_noise():
    rng = np.random.default_rng(0)
    units, n = Units(GRAPH), np.full(16, 4)
    scores = rng.normal(size=units.n)
    same = Scored(units, scores, shards=np.repeat(4 * scores[None], 16, 0), shard_n=n)
    noise = Scored(units, scores, shards=rng.normal(size=(16, units.n)), shard_n=n)
    agreed, random = (examine_curve.stable(found, 50, 0) for found in (same, noise))
    assert [record["size"] for record in agreed] == list(curve.sizes(units.n))
    assert all(record["value"] == 1 and record["nearly_always"] == record["size"] for record in agreed)
    assert all(record["same_sign"] == 1 for record in agreed[3:])
    assert random[6]["value"] < 0.6 and random[6]["nearly_always"] < random[6]["size"]
    scores[:4] = np.nan  # nobody scored these: they do not compete, whatever the shards hold
    shards = np.repeat(np.where(np.isnan(scores), 1e6, scores)[None], 16, 0)
    partly = examine_curve.stable(Scored(units, scores, shards=shards, shard_n=n), 50, 0)
    assert [record["size"] for record in partly] == list(curve.sizes(units.n - 4))
    assert all(record["same_sign"] == 1 for record in partly if record["size"])
    with pytest.raises(MiError, match="no shards"):
        examine_curve.stable(Scored(units, scores), 50, 0)

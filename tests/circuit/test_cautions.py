"""What a reader is warned of: each caution is there when it should be, and not when it should not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mi.circuit import cautions, select
from mi.circuit.levels import Units
from mi.circuit.reading import Scored
from mi.circuit.transformer import transformer_graph
from tests.circuit.random_graphs import SEEDS, generator

FINE = {"summary": "faithfulness", "value": 0.9, "low": 0.88, "high": 0.92, "n": 100, "size": 12}
TESTED = [{"summary": name, "test": name, "value": 0.0} for name in cautions.TESTS]
HEAD = {"scoring": {"n": 100, "overlap": None}, "model": {"id": "toy"}}


def names(head: dict[str, Any], records: list[dict[str, Any]]) -> list[str]:
    return [caution.name for caution in cautions.of_report(head, records)]


def test_a_good_report_gives_no_caution() -> None:
    assert names(HEAD, [FINE, *TESTED]) == []
    assert names(HEAD, [{**FINE, "nominal": 0.1, "mode": "signed"}]) == []


@pytest.mark.parametrize(
    ("head", "change", "name"),
    [
        ({"scoring": {"overlap": "the scores were computed on all"}}, {}, "overlap"),
        ({}, {"n": 19}, "small n"),
        ({}, {"undetermined": "too close"}, "undetermined"),
        ({}, {"low": 0.7, "high": 0.91}, "wide interval"),
        ({}, {"low": 1.01, "value": 1.05, "high": 1.1}, "overshoot"),
        ({}, {"size": 0}, "empty"),
        ({"model": {"from": "ab" * 32, "to": "cd" * 32}}, {}, "model"),
    ],
)
def test_each_caution_is_there_for_its_reason(head: dict[str, Any], change: dict[str, Any], name: str) -> None:
    assert names({**HEAD, **head}, [{**FINE, **change}, *TESTED]) == [name]


@pytest.mark.parametrize(
    "change", [{"n": 20}, {"low": 0.8, "high": 1.0}, {"low": 1.0, "high": 1.2}, {"low": None, "high": None}]
)
def test_on_the_bar_nothing_is_said(change: dict[str, Any]) -> None:
    assert names(HEAD, [{**FINE, **change}, *TESTED]) == []


def test_few_templates_and_missing_tests_are_said() -> None:
    examples = [{"id": str(i), "value": 1.0, "template": f"t{i % 4}"} for i in range(40)]
    found = list(cautions.of_report(HEAD, [*examples, FINE]))
    assert [(c.name, c.is_warning) for c in found] == [("templates", True), ("untested", False)]
    assert "4 templates" in found[0].text
    assert all(name in found[1].text for name in cautions.TESTS)
    more = [{"id": str(i), "value": 1.0, "template": f"t{i}"} for i in range(5)]
    assert names(HEAD, [*more, FINE, *TESTED]) == []


def link(name: str, prev: str | None, verb: str = "prune", version: str = "1") -> dict[str, Any]:
    from mi.io.chain import digest

    body = {"prev": prev, "argv": [verb, name], "inputs": [], "version": version, "env": {}}
    return {"id": digest(body), **body}


def chained(*verbs: str, versions: str = "11111") -> list[dict[str, Any]]:
    links: list[dict[str, Any]] = []
    for verb, version in zip(verbs, versions):
        links.append(link("x", links[-1]["id"] if links else None, verb, version))
    return links


def test_a_history_that_cannot_be_told() -> None:
    assert list(cautions.of_chain({"chain": chained("cache", "attribute")})) == []
    forged = chained("cache", "attribute")
    forged[0]["argv"] = ["cache", "other"]
    assert [c.name for c in cautions.of_chain({"chain": forged})] == ["history"]
    assert [c.name for c in cautions.of_chain({"chain": chained("cache", "stamp")})] == ["edited"]
    assert [c.name for c in cautions.of_chain({"chain": chained("cache", "prune", versions="12")})] == ["versions"]


def test_a_report_of_another_circuit() -> None:
    graph = {"graph": {"digest": "d"}}
    chain = chained("attribute", "prune", "score")
    circuit = {**graph, "chain": chain[:2]}
    mine, curve = {**graph, "chain": chain}, {**graph, "chain": [chain[0], link("y", chain[0]["id"], "score")]}
    stranger = {**graph, "chain": chained("cache", "score")}
    assert list(cautions.of_pair(circuit, mine, False)) == []
    assert list(cautions.of_pair(circuit, curve, True)) == []
    assert [c.name for c in cautions.of_pair(circuit, curve, False)] == ["another circuit"]
    assert [c.name for c in cautions.of_pair(circuit, stranger, True)] == ["another circuit"]
    assert [c.name for c in cautions.of_pair(circuit, {**mine, "graph": {"digest": "e"}}, False)] == ["another graph"]


@pytest.mark.parametrize("seed", SEEDS)
def test_edges_that_other_examples_would_not_choose(seed: int | str) -> None:
    """Against draws of whole shards in plain loops: the shares agree as two estimates of 200 draws do."""
    rng = generator(seed)
    graph = transformer_graph(1, 2)
    sizes = rng.integers(1, 4, 8)
    means = rng.standard_normal(graph.n_edges) * 3
    sums = sizes[:, None] * means + rng.standard_normal((8, graph.n_edges)) * 4
    scores = sums.sum(axis=0) / sizes.sum()
    found = cautions.inclusion(Scored(Units(graph), scores, shards=sums, shard_n=sizes), 5, absolute=True)
    assert found is not None
    times = np.zeros(graph.n_edges)
    for _ in range(1000):
        drawn = rng.integers(0, 8, 8)
        mean = sum(sums[s] for s in drawn) / sum(sizes[s] for s in drawn)
        times[np.argsort(-np.abs(mean), kind="stable")[:5]] += 1
    assert np.abs(found - times / 1000).max() < 0.2
    assert found.sum() == pytest.approx(5)
    kept = select.top(Units(graph), scores, 5, True)
    unstable = int((kept & (found < 0.8)).sum())
    said = list(cautions.of_inclusion(found, kept, "edge"))
    assert len(said) == bool(unstable)
    assert not said or f"{unstable} of 5 edges" in said[0].text


def test_without_shards_stability_is_not_known() -> None:
    graph = transformer_graph(1, 2)
    assert cautions.inclusion(Scored(Units(graph), np.ones(graph.n_edges)), 5, True) is None
    one = Scored(Units(graph), np.ones(graph.n_edges), shards=np.ones((1, graph.n_edges)), shard_n=np.array([1]))
    assert cautions.inclusion(one, 5, True) is None

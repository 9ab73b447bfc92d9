"""Tests of one circuit beyond its faithfulness: a way to run circuits in, records of a report out.

`Run` takes masks [K, E] and gives the metric of each on every example, [K, N]. Effects are in units of faithfulness: a
difference of mean metrics divided by m(M) - m(0), with the interval of a paired bootstrap. C is the circuit, M the
whole model, K a set of nodes that is knocked out of both.

    complement    f(M \\ C): what is left of the behaviour without the circuit (Marks et al. 2024)
    completeness  m(C \\ K) - m(M \\ K) for random K, classes of nodes, and a K grown greedily (Wang et al. 2022)
    nodes         m(C) - m(C \\ v) for each node v, and with the K that brings out the most (minimality, ibid.)
    minimality    m(C) - m(C \\ e) for each edge e, held against one edge too many in random larger circuits
    equivalence, independence, sufficiency, necessity: the tests of Shi et al. 2024 (`hypotheses`)
    random        f of connected random circuits of the same size
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mi.circuit import hypotheses, knockouts, statistics
from mi.circuit.graph import Graph
from mi.circuit.random_circuits import random_circuits

Run = Callable[[Bool[np.ndarray, "circuit edge"]], Float[np.ndarray, "circuit example"]]
Record = dict[str, Any]

SUBSETS = 20  # random sets of nodes for completeness
GREEDY_STEPS = 5
NODE_SUBSETS = 5  # random sets with which a node's part is looked for
ALPHA = 0.05
ROUNDING = 1e-6  # a node whose knock-out changes less than this changes nothing


@dataclass(frozen=True)
class Subject:
    """The circuit under test and what is known of it."""

    graph: Graph
    mask: Bool[np.ndarray, " edge"]
    value: Float[np.ndarray, " example"]  # of the circuit
    clean: Float[np.ndarray, " example"]
    empty: Float[np.ndarray, " example"]
    clusters: Sequence[str] | None = None
    n_random: int = 100
    seed: int = 0

    @property
    def span(self) -> float:
        return float(self.clean.mean() - self.empty.mean())

    @property
    def all(self) -> Bool[np.ndarray, " edge"]:
        return np.ones(self.graph.n_edges, dtype=bool)

    def faithful(self, values: Float[np.ndarray, "circuit example"]) -> Float[np.ndarray, " circuit"]:
        """f of circuits, without intervals."""
        return np.asarray((values.mean(1) - self.empty.mean()) / self.span)

    def effects(self, differences: Float[np.ndarray, "row example"]) -> list[statistics.Estimate]:
        """Mean differences in units of faithfulness."""
        shifted = differences + self.empty  # f takes the empty circuit's metric off again
        return statistics.faithfulness(shifted, self.clean, self.empty, clusters=self.clusters)

    def rng(self, salt: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, salt])

    def random(self) -> Bool[np.ndarray, "circuit edge"]:
        """Connected random circuits of the circuit's own size."""
        return np.stack(list(random_circuits(self.graph, int(self.mask.sum()), self.n_random, self.seed)))


Test = Callable[[Subject, Run], list[Record]]


def examine(subject: Subject, run: Run, names: Iterable[str]) -> list[Record]:
    """The records of these tests, in the order of the table. Where faithfulness is undetermined they say so."""
    wanted = set(names)
    why = statistics.undetermined(subject.clean, subject.empty, subject.clusters)
    if why is not None:
        return [{"summary": name, "test": name, "undetermined": why} for name in TESTS if name in wanted]
    remembered = _remembering(run)
    return [record for name, test in TESTS.items() if name in wanted for record in test(subject, remembered)]


def _remembering(run: Run) -> Run:
    """Several tests ask for the same circuits; each is run once."""
    known: dict[bytes, np.ndarray] = {}

    def once(masks: np.ndarray) -> np.ndarray:
        keys = [mask.tobytes() for mask in masks]
        fresh = {key: row for row, key in enumerate(keys) if key not in known}
        if fresh:
            known.update(zip(fresh, run(masks[list(fresh.values())]), strict=True))
        return np.stack([known[key] for key in keys])

    return once


def _numbers(estimate: statistics.Estimate) -> Mapping[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _named(subject: Subject, nodes: np.ndarray) -> list[str]:
    return [subject.graph.nodes[node] for node in nodes.tolist()]


def _complement(subject: Subject, run: Run) -> list[Record]:
    value = run(~subject.mask[None])
    (estimate,) = statistics.faithfulness(value, subject.clean, subject.empty, clusters=subject.clusters)
    return [{"summary": "complement", "test": "complement", **_numbers(estimate), "n": value.shape[1]}]


def _knocked(subject: Subject, run: Run, sets: Sequence[np.ndarray]) -> np.ndarray:
    """m(C \\ K) - m(M \\ K) of each set, [set, example]."""
    graph = subject.graph
    circuits = [knockouts.without(graph, subject.mask, nodes) for nodes in sets]
    wholes = [knockouts.without(graph, subject.all, nodes) for nodes in sets]
    values = run(np.stack(circuits + wholes))
    return np.asarray(values[: len(sets)] - values[len(sets) :])


def _completeness(subject: Subject, run: Run) -> list[Record]:
    nodes = knockouts.parts(subject.graph, subject.mask)
    if not len(nodes):
        return []
    sets = {f"random {i}": drawn for i, drawn in enumerate(knockouts.random_subsets(nodes, SUBSETS, subject.rng(1)), 1)}
    sets |= {f"class {name}": members for name, members in knockouts.classes(subject.graph, nodes).items()}
    sets |= {"greedy": _greedy(subject, run, nodes)}
    estimates = subject.effects(_knocked(subject, run, list(sets.values())))
    records: list[Record] = [
        {
            "summary": f"completeness, {name}",
            "test": "completeness",
            **_numbers(estimate),
            "knocked": _named(subject, k),
        }
        for (name, k), estimate in zip(sets.items(), estimates, strict=True)
    ]
    worst = max(abs(estimate.value) for estimate in estimates)
    return [{"summary": "incompleteness", "test": "completeness", "value": worst, "sets": len(sets)}, *records]


def _greedy(subject: Subject, run: Run, nodes: np.ndarray) -> np.ndarray:
    """The set grown node by node so that circuit and model differ the most without it."""
    chosen: list[int] = []
    best = 0.0
    for _ in range(min(GREEDY_STEPS, len(nodes))):
        left = [node for node in nodes.tolist() if node not in chosen]
        gaps = np.abs(_knocked(subject, run, [np.array([*chosen, node]) for node in left]).mean(1))
        at = int(gaps.argmax())
        if chosen and gaps[at] <= best * (1 + ROUNDING):
            break
        best = float(gaps[at])
        chosen.append(left[at])
    return np.array(chosen)


def _nodes(subject: Subject, run: Run) -> list[Record]:
    nodes = knockouts.parts(subject.graph, subject.mask)
    records: list[Record] = []
    sets = [np.array([], dtype=np.int64), *knockouts.random_subsets(nodes, NODE_SUBSETS, subject.rng(2))]
    for node in nodes.tolist():
        others = [members[members != node] for members in sets]
        less = [knockouts.without(subject.graph, subject.mask, members) for members in others]
        values = run(np.stack(less + [knockouts.without(subject.graph, mask, np.array([node])) for mask in less]))
        effects = values[: len(sets)] - values[len(sets) :]
        most = int(np.abs(effects.mean(1)).argmax())
        alone, with_most = subject.effects(effects[[0, most]])
        name = subject.graph.nodes[node]
        records.append(
            {
                "summary": f"part of {name}",
                "test": "nodes",
                "node": name,
                **_numbers(alone),
                "most": with_most.value,
                "knocked": _named(subject, others[most]),
            }
        )
    return records


def _minimality(subject: Subject, run: Run) -> list[Record]:
    edges = np.flatnonzero(subject.mask)
    if not len(edges):
        return []
    masks = np.repeat(subject.mask[None], len(edges), 0)
    masks[np.arange(len(edges)), edges] = False
    differences = subject.value - run(masks)
    records: list[Record] = [
        {
            "summary": f"edge {(name := subject.graph.edge_name(edge))}",
            "test": "minimality",
            "edge": name,
            **_numbers(estimate),
        }
        for edge, estimate in zip(edges.tolist(), subject.effects(differences), strict=True)
    ]
    whole: Record = {"summary": "edges that are not needed", "test": "minimality", "edges": len(edges)}
    reference = _extra(subject, run)
    if not len(reference):
        return [
            {**whole, "undetermined": "no edge can be added to the circuit, so none is there to compare with"},
            *records,
        ]
    share, p = hypotheses.falls_short(np.abs(differences.mean(1)), reference)
    adjusted = hypotheses.holm(p)
    for row, record in enumerate(records):
        record |= {"share": float(share[row]), "p": float(p[row]), "p_holm": float(adjusted[row])}
    spare = int((adjusted < ALPHA).sum())
    whole |= {"value": spare, "p": float(adjusted.min()), "random": len(reference), "rejected": spare > 0}
    return [whole, *records]


def _extra(subject: Subject, run: Run) -> np.ndarray:
    """What one edge too many does in random larger circuits, as magnitudes of mean differences."""
    rng = subject.rng(3)
    made = [knockouts.inflated(subject.graph, subject.mask, rng) for _ in range(subject.n_random)]
    found = [pair for pair in made if pair is not None]
    if not found:
        return np.array([])
    larger = np.stack([mask for mask, _ in found])
    smaller = larger.copy()
    smaller[np.arange(len(found)), [edge for _, edge in found]] = False
    values = run(np.concatenate([larger, smaller]))
    return np.asarray(np.abs((values[: len(found)] - values[len(found) :]).mean(1)))


def _tested(name: str, value: float, p: float, **more: Any) -> Record:
    return {"summary": name, "test": name, "value": value, "p": p, "rejected": p < ALPHA, **more}


def _equivalence(subject: Subject, run: Run) -> list[Record]:
    rate, p = hypotheses.equivalence(subject.value, subject.clean)
    return [_tested("equivalence", rate, p, n=len(subject.value))]


def _independence(subject: Subject, run: Run) -> list[Record]:
    (complement,) = run(~subject.mask[None])
    hsic, p = hypotheses.independence(complement, subject.clean)
    return [_tested("independence", hsic, p, n=min(len(complement), hypotheses.MOST_KERNEL))]


def _sufficiency(subject: Subject, run: Run) -> list[Record]:
    random = subject.faithful(run(subject.random()))
    share, p = hypotheses.beats(float(subject.faithful(subject.value[None])[0]), random)
    return [_tested("sufficiency", share, p, random=len(random))]


def _necessity(subject: Subject, run: Run) -> list[Record]:
    """What knocking the circuit out of the model does, against knocking out random circuits of its size."""
    values = run(np.concatenate([~subject.mask[None], ~subject.random()]))
    damage = (subject.clean.mean() - values.mean(1)) / subject.span
    share, p = hypotheses.beats(float(damage[0]), damage[1:])
    return [_tested("necessity", share, p, random=len(damage) - 1, damage=float(damage[0]))]


def _random(subject: Subject, run: Run) -> list[Record]:
    random = subject.faithful(run(subject.random()))
    low, high = np.percentile(random, [2.5, 97.5])
    numbers = {"value": float(random.mean()), "low": float(low), "high": float(high)}
    return [{"summary": "random", "test": "random", **numbers, "random": len(random), "size": int(subject.mask.sum())}]


TESTS: dict[str, Test] = {
    "complement": _complement,
    "completeness": _completeness,
    "nodes": _nodes,
    "minimality": _minimality,
    "equivalence": _equivalence,
    "independence": _independence,
    "sufficiency": _sufficiency,
    "necessity": _necessity,
    "random": _random,
}


def n_runs(names: Iterable[str], n_edges: int, n_nodes: int, n_random: int) -> int:
    """How many circuits are run at most."""
    of = {
        "complement": 1,
        "completeness": 2 * (SUBSETS + GREEDY_STEPS * n_nodes + n_nodes),
        "nodes": 2 * (NODE_SUBSETS + 1) * n_nodes,
        "minimality": n_edges + 2 * n_random,
        "independence": 1,
        "sufficiency": n_random,
        "necessity": n_random + 1,
        "random": n_random,
    }
    return sum(of.get(name, 0) for name in names)

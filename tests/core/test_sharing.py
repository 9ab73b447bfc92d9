"""A set of examples shared by several jobs or processes: what they find together is what one finds alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from mi.circuit.levels import Units
from mi.circuit.sums import Sums, joined, whole
from mi.circuit.transformer import transformer_graph
from mi.core.attribute import Attribution, attribute
from mi.core.shards import deal
from mi.core.team import Found, Team
from tests.core.cases import Case, largest, random_case

ALL = [
    {"method": "eap-ig", "steps": 2},
    {"method": "eap-ig", "compat": "mib", "batch_size": 2},
    {"method": "eap", "ablation": "resample", "metric": "prob-diff"},
    {"method": "eap", "ablation": "mean"},
    {"method": "hisp", "normalise_layers": True},
    {"method": "eap-ig-activations", "level": "neuron", "steps": 2},
    {"method": "atp-star", "level": "node"},
    {"method": "ifr"},
    {"method": "exact", "only": np.array([0, 3, 7])},
]


def named(options: dict[str, Any]) -> str:
    return "-".join(str(value) for value in options.values() if not isinstance(value, np.ndarray))


def same(found: Attribution, alone: Attribution) -> None:
    """In float64, to the last digits: another batch adds in another order."""
    scale = largest(np.nan_to_num(alone.scores))
    assert np.isnan(found.scores).tolist() == np.isnan(alone.scores).tolist()
    np.testing.assert_allclose(found.scores, alone.scores, rtol=0, atol=1e-11 * scale)
    np.testing.assert_allclose(found.shards, alone.shards, rtol=0, atol=1e-10 * scale)
    assert found.shard_n.tolist() == alone.shard_n.tolist()
    np.testing.assert_allclose(found.clean, alone.clean, rtol=1e-11)
    for mine, wanted in ((found.loss_change, alone.loss_change), (found.attributed, alone.attributed)):
        assert mine == pytest.approx(wanted, rel=1e-9, nan_ok=True)


def a_case(seed: int) -> Case:
    return random_case("qwen2" if seed else "gpt2", seed, n=7, lengths=(5, 8, 6))


@dataclass
class Pretended(Team):
    """One of several processes that take turns in this one: each hears what those before and after it have said."""

    rank: int
    size: int
    said: dict[int, Any] = field(default_factory=dict)  # means, by rank: said in a first round, heard in the second
    sums: dict[int, Found] = field(default_factory=dict)

    def total(self, sums: list[torch.Tensor], count: int) -> tuple[list[torch.Tensor], int]:
        self.said[self.rank] = (sums, count)
        heard = [self.said[rank] for rank in sorted(self.said)]
        return [sum(column) for column in zip(*(each for each, _ in heard))], sum(n for _, n in heard)

    def found(self, mine: Found) -> Found:
        self.sums[self.rank] = mine
        if len(self.sums) < self.size:
            return mine
        every = [self.sums[rank] for rank in range(self.size)]
        return Found(joined(each.sums for each in every), [b for e in every for b in e.plan], 0)


@pytest.mark.parametrize("options", ALL, ids=named)
def test_a_team_finds_what_one_finds_alone(options: dict[str, Any], seed: int) -> None:
    case = a_case(seed)
    alone = attribute(case.model, case.encoded, **options)
    said: dict[int, Any] = {}
    for _ in range(2 if options.get("ablation") == "mean" else 1):
        sums: dict[int, Found] = {}
        for rank in reversed(range(3)):
            together = attribute(case.model, case.encoded, team=Pretended(rank, 3, said, sums), **options)
    same(together, alone)
    assert sorted(row for rows in together.plan for row in rows) == list(range(7))
    assert [len(each.sums.rows) for _, each in sorted(sums.items())] == [3, 2, 2]


@pytest.mark.parametrize("options", ALL, ids=named)
def test_parts_add_up_to_the_whole(options: dict[str, Any], seed: int) -> None:
    case = a_case(seed)
    alone = attribute(case.model, case.encoded, **options)
    lengths = [len(example.clean) for example in case.encoded]
    parts = [attribute(case.model, case.encoded, part=deal(lengths, i, 4), **options).sums for i in range(4)]
    found = joined(part for part in parts if part is not None)
    assert alone.sums is not None
    assert found.rows.tolist() == list(range(7))
    assert found.shard_n.tolist() == alone.sums.shard_n.tolist()
    scale = largest(alone.sums.by_shard)
    np.testing.assert_allclose(found.by_shard, alone.sums.by_shard, rtol=0, atol=1e-11 * scale)
    np.testing.assert_allclose(found.loss_change, alone.sums.loss_change, rtol=1e-9)


def test_means_are_those_of_all_examples_not_of_the_part() -> None:
    case = a_case(0)
    alone = attribute(case.model, case.encoded, method="eap", ablation="mean")
    of_part = attribute(case.model, case.encoded, method="eap", ablation="mean", part=np.array([2])).scores
    by_itself = attribute(case.model, [case.encoded[2]], method="eap", ablation="mean").scores
    assert np.abs(of_part - by_itself).max() > 1e-3 * largest(alone.scores)


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 9])
def test_examples_are_dealt_by_length(parts: int, seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(5, 9, size=40).tolist()
    dealt = [deal(lengths, part, parts).tolist() for part in range(parts)]
    assert sorted(row for part in dealt for row in part) == list(range(40))
    sizes = [len(part) for part in dealt]
    assert max(sizes) - min(sizes) <= 1
    for length in set(lengths):
        of_length = [sum(lengths[row] == length for row in part) for part in dealt]
        assert max(of_length) - min(of_length) <= 1


def test_sums_are_joined_as_plain_loops_would(seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = Units(transformer_graph(2, 2), "node")
    cut = [rng.permutation(10)[:4], rng.permutation(10)[:3]]
    parts = [
        Sums(units, rng.normal(size=(2, 7)), rng.integers(0, 3, 2), rows, rows * 2.0, rows * 3.0 + 1) for rows in cut
    ]
    found = joined(parts)
    for shard in range(2):
        for unit in range(7):
            assert found.by_shard[shard, unit] == parts[0].by_shard[shard, unit] + parts[1].by_shard[shard, unit]
        assert found.shard_n[shard] == parts[0].shard_n[shard] + parts[1].shard_n[shard]
    rows = sorted([*cut[0].tolist(), *cut[1].tolist()])
    assert found.rows.tolist() == rows
    assert found.clean.tolist() == [2.0 * row for row in rows]
    made = whole(found)
    for unit in range(7):
        assert made.scores[unit] == pytest.approx((found.by_shard[0, unit] + found.by_shard[1, unit]) / 7)
    assert made.attributed == pytest.approx(made.scores[0])
    assert made.loss_change == pytest.approx(sum(3.0 * row + 1 for row in rows) / 7)

"""Constants learned for each node: no other does less harm, and a search that was killed learns the same ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mi.core import replacement
from mi.core.circuits import run_circuits
from mi.core.outputs import Outputs
from mi.core.replacement import Given
from mi.core.search.checkpoint import Checkpoint
from mi.core.search.optimal import optimal
from mi.core.search.problem import problem
from tests.core.cases import Case, random_case


def without_each(case: Case) -> np.ndarray:
    """For every node the circuit of all edges that do not leave it."""
    sources = np.arange(case.model.graph.n_sources)
    return np.asarray(case.model.graph.edges[0][None] != sources[:, None])


def losses(case: Case, constants: Outputs) -> np.ndarray:
    """The mean loss with each node's constant in its place, by another way: as an ablation of circuits."""
    given = Given(constants.map(lambda t: t.detach().to(torch.float64)))
    found = run_circuits(case.model, case.encoded, without_each(case), metric="kl", ablation="optimal", given=given)
    return -found.value.mean(1)


@pytest.mark.parametrize("name", ["gpt2-scaled", "qwen2"])
def test_the_gap_is_what_the_constant_costs_and_less_than_the_mean_does(name: str, seed: int) -> None:
    case = random_case(name, seed, n=4, lengths=(4, 5))
    work = problem(case.model, case.encoded)
    got = optimal(work, steps=150, rate=0.03)
    np.testing.assert_allclose(got.gap, losses(case, got.constants), rtol=0, atol=1e-8)
    assert got.loss == pytest.approx(0, abs=1e-12)
    means = losses(case, replacement.means(case.model, work.executor, work.examples, work.plan, False))
    assert (got.gap <= means * 1.001).all()
    assert got.gap.sum() < 0.8 * means.sum()
    assert got.steps.max() <= 150


def test_nodes_side_by_side_learn_what_each_learns_alone() -> None:
    case = random_case("llama", 0, n=4, lengths=(4,))
    together = optimal(problem(case.model, case.encoded), steps=20, rate=0.05)
    work = problem(case.within(200_000), case.encoded, batch_size=4)  # room for the batch, and for one copy of it
    assert work.plan == [[0, 1, 2, 3]]
    alone = optimal(work, steps=20, rate=0.05)
    np.testing.assert_allclose(together.gap, alone.gap, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(together.steps, alone.steps)


def test_a_node_whose_loss_does_not_fall_is_done() -> None:
    case = random_case("llama", 0, n=2, lengths=(4,))
    got = optimal(problem(case.model, case.encoded), steps=200, rate=0.0)
    np.testing.assert_array_equal(got.steps, np.full(case.model.graph.n_sources, 40))  # a first check, and three more


class KilledError(Exception):
    """In the place of a kill."""


@pytest.mark.parametrize("budget", [40_000, 1 << 30])  # one node at a time, and all
def test_a_search_that_was_killed_ends_with_the_same_result(budget: int, tmp_path: Path, seed: int) -> None:
    case = random_case("gpt2-scaled", seed, n=3, lengths=(4, 5), double=False)
    model = case.within(budget)
    whole = optimal(problem(model, case.encoded, batch_size=3), steps=30, rate=0.05)
    calls, last = 0, int(case.rng.integers(8, 28)) * (1 if budget > 40_000 else 5)

    def killed(n: int) -> None:
        nonlocal calls
        calls += 1
        if calls > last:
            raise KilledError

    state = Checkpoint(str(tmp_path / "state"), every=3)
    with pytest.raises(KilledError):
        optimal(problem(model, case.encoded, batch_size=3), steps=30, rate=0.05, checkpoint=state, on_done=killed)
    done: list[int] = []
    again = problem(model, case.encoded, batch_size=3)
    found = optimal(again, steps=30, rate=0.05, checkpoint=state, on_done=done.append)
    np.testing.assert_array_equal(found.gap, whole.gap)
    np.testing.assert_array_equal(found.steps, whole.steps)
    np.testing.assert_array_equal(found.constants.z[0].detach(), whole.constants.z[0].detach())
    assert sum(done) == case.model.graph.n_sources

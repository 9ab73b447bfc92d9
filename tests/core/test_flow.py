"""Information flow routes against the oracle, and what its shares must satisfy."""

import numpy as np
import pytest
import torch

from mi.core import ifr
from mi.core.attribute import attribute
from tests.core.cases import ADAPTED, Case, random_case
from tests.oracle import flow

LENGTHS = (5, 8, 6)


def expected(case: Case) -> np.ndarray:
    return case.as_edges(flow.flow(case.weights, case.examples)).mean(-1)


@pytest.mark.parametrize("name", ADAPTED)
def test_shares_are_the_oracles(name: str, seed: int) -> None:
    case = random_case(name, seed, n=4, lengths=LENGTHS)
    found = attribute(case.model, case.encoded, method="ifr", batch_size=3)
    np.testing.assert_allclose(found.edge, expected(case), rtol=0, atol=1e-9)
    assert np.isnan(found.clean).all()


@pytest.mark.parametrize("executor", ["fast", "generic"])
@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
def test_shares_in_float32_through_both_executors(name: str, executor: str) -> None:
    case = random_case(name, 2, n=4, lengths=LENGTHS, double=False)
    found = attribute(case.model, case.encoded, method="ifr", executor=executor)
    np.testing.assert_allclose(found.edge, expected(case), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_shares_of_a_receiver_sum_to_one_and_are_the_same_for_q_k_and_v(name: str, seed: int) -> None:
    case = random_case(name, seed, lengths=LENGTHS)
    graph = case.model.graph
    found = attribute(case.model, case.encoded, method="ifr").edge
    assert (found >= 0).all()
    totals = np.bincount(graph.edges[1], found, minlength=len(graph.receivers))
    if name == "llama":  # its first layer's heads read the input and nothing else
        heads = [column for column, name in enumerate(graph.receivers) if name.startswith("a0.")]
        np.testing.assert_allclose(totals[heads], 1, rtol=0, atol=1e-9)
    assert (totals < 1 + 1e-9).all()
    share = dict(zip(graph.edge_names(), found.tolist(), strict=True))
    for edge, value in share.items():
        if edge.endswith("<q>"):
            assert share[edge[:-3] + "<k>"] == share[edge[:-3] + "<v>"] == value


def test_the_shares_at_one_position_sum_to_one_or_there_are_none(seed: int) -> None:
    """Sources that cancel each other are all farther from their sum than nothing is."""
    rng = torch.Generator().manual_seed(seed)
    sources = torch.randn(40, 3, 4, 5, generator=rng, dtype=torch.float64)
    sources[:, 0, 0] *= 9
    sources[:, 0, 1] = 0.1 * sources[:, 0, 1] - sources[:, 0, 0]
    sources[:, 0, 2:] *= 0.01
    totals = ifr._shares(sources.sum(2), sources).sum(-1)
    near = totals > 0.5
    assert near.any() and not near.all()
    np.testing.assert_allclose(totals.numpy(), near.numpy(), rtol=0, atol=1e-12)


def test_where_no_source_is_near_shares_are_zero() -> None:
    """GPT-2's position vector may outweigh the token's: the reference then divides 0 by 0."""
    case = random_case("gpt2", 0, n=2, lengths=(5,))
    with torch.no_grad():
        case.model.module.transformer.wpe.weight.mul_(100)
        case.model.module.transformer.wte.weight.mul_(-0.01)
        case.model.module.transformer.wpe.weight.copy_(case.model.module.transformer.wpe.weight.abs())
        case.model.module.transformer.wte.weight.copy_(-case.model.module.transformer.wte.weight.abs())
    found = attribute(case.model, case.encoded, method="ifr").edge
    assert np.isfinite(found).all()
    first = [case.model.graph.edge_index(f"input->a0.h{head}<q>") for head in range(4)]
    np.testing.assert_array_equal(found[first], 0)


def test_a_stream_of_one_part_by_hand() -> None:
    """y = (3, -1, 2), |y| = 6. x = (3, 0, 0): |y - x| = 3, near 3. x = (0, -1, 2): 3, near 3. x = (-3, 0, 0): 9, 0."""
    y = torch.tensor([[[3.0, -1.0, 2.0]]])
    sources = torch.tensor([[[[3.0, 0.0, 0.0], [0.0, -1.0, 2.0], [-3.0, 0.0, 0.0]]]])
    np.testing.assert_allclose(ifr._shares(y, sources)[0, 0].numpy(), [0.5, 0.5, 0])


def test_flow_needs_no_answers_no_metric_and_no_corrupted_prompt() -> None:
    from dataclasses import replace

    case = random_case("llama", 3, lengths=LENGTHS)
    whole = attribute(case.model, case.encoded, method="ifr").edge
    bare = [replace(example, answers=(), foils=(), corrupted=example.clean) for example in case.encoded]
    np.testing.assert_array_equal(attribute(case.model, bare, method="ifr").edge, whole)


def test_flow_in_parts(seed: int) -> None:
    case = random_case("mistral", seed, n=5, lengths=LENGTHS)
    whole = attribute(case.model, case.encoded, method="ifr")
    order = case.rng.permutation(5)
    parts = attribute(case.within(1), [case.encoded[place] for place in order], method="ifr", batch_size=2)
    np.testing.assert_allclose(parts.edge, whole.edge, rtol=0, atol=1e-12)
    np.testing.assert_allclose(parts.shards, whole.shards, rtol=0, atol=1e-12)

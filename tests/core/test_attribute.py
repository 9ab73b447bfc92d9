"""Attribution against the oracle on random models: every family, metric, ablation, method and rule, both executors."""

import numpy as np
import pytest
import torch

from mi.core.attribute import attribute
from mi.core.methods import RULES
from mi.core.model import wrap
from tests.core.cases import ADAPTED, Case, largest, random_case
from tests.oracle import attribution
from tests.oracle.batches import ABLATIONS
from tests.oracle.circuits import clean_and_corrupted

LENGTHS = (5, 8, 6)
SAME = 1e-9  # of the largest score, in float64
NOISE = 2e-5  # of the largest score, between two right answers in float32
METHODS = [
    *[{"method": "eap", "metric": metric, "ablation": a} for metric in ("logit-diff", "prob-diff") for a in ABLATIONS],
    *[{"method": "eap-ig", "metric": "prob-diff", "rule": rule, "steps": 3} for rule in RULES],
    *[{"method": "eap-ig", "metric": metric, "rule": "left", "steps": 2} for metric in ("logit-diff", "kl")],
    {"method": "eap-ig", "metric": "logit-diff", "rule": "left", "steps": 1},
    {"method": "eap-ig", "metric": "kl", "rule": "trapezoid", "steps": 3},
]


def expected(case: Case, options: dict[str, object]) -> np.ndarray:
    """[edge, example] from the oracle."""
    metric = options["metric"]
    if options["method"] == "eap":
        dense = attribution.eap(case.weights, case.examples, metric, options["ablation"])
    else:
        dense = attribution.eap_ig(case.weights, case.examples, metric, options["steps"], options["rule"])
    return case.as_edges(dense)


def lengths_for(options: dict[str, object]) -> tuple[int, ...]:
    return LENGTHS[:1] if options.get("ablation") == "mean-positional" else LENGTHS


@pytest.mark.parametrize("options", METHODS, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
def test_scores_are_the_oracles(name: str, options: dict[str, object]) -> None:
    """In float64 throughout, examples of several lengths with several answers, read anywhere."""
    compare(random_case(name, 0, lengths=lengths_for(options), n_answers=2), options)


@pytest.mark.parametrize("name", ADAPTED)
def test_scores_are_the_oracles_whatever_is_asked(name: str, seed: int) -> None:
    """A few methods drawn at random, over random examples in random batches."""
    draw = np.random.default_rng([seed, 1])
    for choice in draw.choice(len(METHODS), size=3, replace=False):
        options = METHODS[choice]
        answers = int(draw.integers(1, 4))
        case = random_case(name, seed, n=int(draw.integers(1, 9)), lengths=lengths_for(options), n_answers=answers)
        compare(case, options, batch_size=int(draw.integers(1, 5)))


def compare(case: Case, options: dict[str, object], **more: object) -> None:
    found = attribute(case.model, case.encoded, **options, **more)
    scores = expected(case, options).mean(1)
    np.testing.assert_allclose(found.edge, scores, rtol=0, atol=SAME * largest(scores), err_msg=str(options))


@pytest.mark.parametrize("executor", ["fast", "generic"])
@pytest.mark.parametrize("name", ADAPTED)
def test_scores_in_float32_through_both_executors(name: str, executor: str) -> None:
    case = random_case(name, 1, lengths=LENGTHS, double=False)
    for options in (METHODS[0], METHODS[-3]):
        found = attribute(case.model, case.encoded, executor=executor, **options)
        scores = expected(case, options).mean(1)
        np.testing.assert_allclose(found.edge, scores, rtol=0, atol=NOISE * largest(scores))


def test_the_metric_of_the_clean_run_is_kept(seed: int) -> None:
    case = random_case("llama", seed, lengths=LENGTHS)
    found = attribute(case.model, case.encoded, method="eap", metric="prob-diff")
    clean, _ = clean_and_corrupted(case.weights, case.examples, "prob-diff")
    np.testing.assert_allclose(found.clean, clean, rtol=0, atol=SAME)


@pytest.mark.parametrize("n", [1, 7, 40])
def test_sums_over_shards_are_the_totals(n: int) -> None:
    """Shards are disjoint sets of examples, chosen by what an example is and not by where it stands."""
    case = random_case("gpt2", 2, n=n, lengths=LENGTHS)
    found = attribute(case.model, case.encoded, method="eap", metric="logit-diff")
    assert found.shards.shape == (min(32, n), case.model.graph.n_edges)
    assert found.shards.dtype == found.edge.dtype == np.float64
    assert found.shard_n.sum() == n
    assert found.shard_n.min() >= 1
    np.testing.assert_allclose(found.shards.sum(0) / n, found.edge, rtol=1e-12, atol=0)
    each = expected(case, METHODS[0])  # every shard is a sum of whole examples, each in one shard
    if n <= 32:
        for sums in found.shards:
            assert np.isclose(sums[:, None], each, rtol=0, atol=1e-9).all(0).sum() == 1


def test_shards_follow_the_examples_and_not_their_order() -> None:
    case = random_case("gpt2", 4, n=40, lengths=LENGTHS)
    examples = case.encoded
    found = attribute(case.model, examples, method="eap")
    order = case.rng.permutation(len(examples))
    shuffled = attribute(case.model, [examples[place] for place in order], method="eap")
    np.testing.assert_array_equal(found.shard_n, shuffled.shard_n)
    np.testing.assert_allclose(found.shards, shuffled.shards, rtol=0, atol=SAME * largest(found.shards))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_half_precision_comes_close(name: str) -> None:
    """bfloat16 has three digits: enough for the large scores, and no more is asked of it."""
    case = random_case(name, 6, n=8, lengths=LENGTHS, double=False)
    exact = attribute(case.model, case.encoded, method="eap").edge
    half = attribute(wrap(case.model.module.to(torch.bfloat16)), case.encoded, method="eap").edge
    assert half.dtype == np.float64
    assert np.corrcoef(exact, half)[0, 1] > 0.98
    assert np.abs(half - exact).max() < 0.3 * largest(exact)

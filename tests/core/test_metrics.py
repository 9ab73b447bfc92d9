"""Metrics against loops in float64, their gradients against finite differences, and what each promises."""

import math

import numpy as np
import pytest
import torch

from mi.core import batches
from mi.core.metrics import METRICS, metric_named
from mi.errors import MiError
from mi.tasks.encode import Encoded
from tests.examples import encoded, random_examples
from tests.oracle import metrics as oracle

VOCABULARY = 23
SAME = 1e-12


def case(seed: int, n_answers: int = 1) -> tuple[list[Encoded], batches.Batch, torch.Tensor, torch.Tensor]:
    """Examples, their batch, and random logits of a run and of the clean run."""
    rng = np.random.default_rng(seed)
    examples = encoded(random_examples(rng, 6, VOCABULARY, n_answers=n_answers))
    batch = batches.make_batch(examples, range(len(examples)), torch.device("cpu"))
    run, clean = (torch.tensor(3 * rng.standard_normal((6, VOCABULARY))) for _ in range(2))
    return examples, batch, run, clean


def test_the_oracle_has_every_metric() -> None:
    assert set(oracle.NAMES) == set(METRICS)
    assert set(oracle.WITH_GRADIENT) == {name for name, metric in METRICS.items() if metric.differentiable}


@pytest.mark.parametrize("n_answers", [1, 4])
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_the_oracles(name: str, n_answers: int, seed: int) -> None:
    examples, batch, run, clean = case(seed, n_answers)
    found = METRICS[name].compute(run, batch, clean)
    expected = [float(oracle.metric(name, run[row], example, clean[row])) for row, example in enumerate(examples)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=SAME)


@pytest.mark.parametrize("name", oracle.WITH_GRADIENT)
def test_a_gradient_is_a_finite_difference(name: str, seed: int) -> None:
    _, batch, run, clean = case(seed, 2)
    metric = METRICS[name]
    logits = run.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(metric.compute(logits, batch, clean).sum(), logits)
    step = 1e-6
    for token in range(VOCABULARY):
        up, down = run.clone(), run.clone()
        up[:, token] += step
        down[:, token] -= step
        slope = (metric.compute(up, batch, clean) - metric.compute(down, batch, clean)) / (2 * step)
        np.testing.assert_allclose(gradient[:, token].numpy(), slope.numpy(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", oracle.WITH_GRADIENT)
def test_what_is_said_of_the_clean_run_holds(name: str, seed: int) -> None:
    """A metric that is largest where the run is the clean run has no gradient there, and no other one has none."""
    _, batch, _, clean = case(seed)
    logits = clean.clone().requires_grad_(True)
    value = METRICS[name].compute(logits, batch, clean)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert bool((gradient.abs() < 1e-12).all()) == METRICS[name].flat_at_clean
    if METRICS[name].flat_at_clean:
        np.testing.assert_allclose(value.detach().numpy(), 0, atol=SAME)


def test_js_is_symmetric_and_bounded(seed: int) -> None:
    """Between minus ln 2, where nothing is shared, and 0; unlike KL it does not mind which run comes first."""
    _, batch, run, clean = case(seed)
    js = METRICS["js"].compute
    np.testing.assert_allclose(js(run, batch, clean).numpy(), js(clean, batch, run).numpy(), rtol=0, atol=SAME)
    assert bool((js(run, batch, clean) < 0).all())
    apart = torch.full_like(clean, -1e4)
    other = apart.clone()
    apart[:, 0], other[:, 1] = 1e4, 1e4
    np.testing.assert_allclose(js(apart, batch, other).numpy(), -math.log(2), rtol=1e-9)


def test_top_k_grows_with_k_and_top_1_is_the_largest_logit(seed: int) -> None:
    examples, batch, run, clean = case(seed)
    first, five, ten = (METRICS[f"top-{k}"].compute(run, batch, clean) for k in (1, 5, 10))
    assert bool((first <= five).all()) and bool((five <= ten).all())
    largest = run.argmax(1).tolist()
    assert first.tolist() == [float(token in example.answers) for token, example in zip(largest, examples, strict=True)]


def test_greater_than_is_a_probability_difference_over_sets(seed: int) -> None:
    """sum p(yy > y) - sum p(yy <= y), the years being tokens."""
    run = torch.tensor(np.random.default_rng(seed).standard_normal((1, VOCABULARY)))
    years, start = list(range(3, 21)), 9
    record = {
        "clean": [1],
        "corrupted": [2],
        "answers": [yy for yy in years if yy > start],
        "foils": [yy for yy in years if yy <= start],
    }
    from mi.tasks.encode import encode

    batch = batches.make_batch(encode([record], None), [0], torch.device("cpu"))
    probability = [math.exp(value) / sum(math.exp(v) for v in run[0].tolist()) for value in run[0].tolist()]
    expected = sum(probability[yy] if yy > start else -probability[yy] for yy in years)
    assert METRICS["prob-diff"].compute(run, batch, None).item() == pytest.approx(expected, abs=SAME)


def test_a_normalised_logit_turns_round_where_logits_are_below_zero() -> None:
    """What its docstring warns of: here a worse answer has the larger value."""
    batch = case(0)[1]
    high, low = torch.full((6, VOCABULARY), -1.0), torch.full((6, VOCABULARY), -1.0)
    low[torch.arange(6), batch.answers[:, 0]] = -3.0
    metric = METRICS["normalised-logit"].compute
    assert bool((metric(low, batch, None) > metric(high, batch, None)).all())


def test_a_name_that_is_none_lists_the_names() -> None:
    with pytest.raises(MiError, match="perplexity") as caught:
        metric_named("perplexity")
    assert caught.value.code == 2
    assert "top-5" in str(caught.value.hint)

"""Metrics of a run: ``(logits at the read position, batch) -> [batch]``, larger is better; the loss is minus the
metric.

Definitions: ``spec D1`` of the MIB circuit track, with KL and JS as sums over the vocabulary (not the means that its
code takes, spec B0 row 10) and with answer and foil *sets*. Greater-than needs no metric of its own: it is the
probability difference between the set of years that come later and the set of those that do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mi.core.batches import Targets
from mi.errors import MiError

Logits = Float[Tensor, "batch vocab"]
PerExample = Float[Tensor, " batch"]


def _members(values: Logits, ids: Tensor) -> Tensor:
    return values.gather(1, ids)


def _mean(values: Logits, ids: Tensor, real: Tensor) -> PerExample:
    picked = _members(values, ids).masked_fill(~real, 0.0)
    return picked.sum(1) / real.sum(1).clamp(min=1)


def logit_diff(logits: Logits, batch: Targets, clean: Logits | None) -> PerExample:
    """Mean logit of the answers minus mean logit of the foils."""
    return _mean(logits, batch.answers, batch.answers_real) - _mean(logits, batch.foils, batch.foils_real)


def logit(logits: Logits, batch: Targets, clean: Logits | None) -> PerExample:
    """Mean logit of the answers: for outputs that compete with no other, such as a forecast."""
    return _mean(logits, batch.answers, batch.answers_real)


def prob_diff(logits: Logits, batch: Targets, clean: Logits | None) -> PerExample:
    """Probability of the set of answers minus probability of the set of foils."""
    probabilities = logits.softmax(-1)
    right = _members(probabilities, batch.answers).masked_fill(~batch.answers_real, 0.0).sum(1)
    wrong = _members(probabilities, batch.foils).masked_fill(~batch.foils_real, 0.0).sum(1)
    return right - wrong


def class_prob(logits: Logits, batch: Targets, clean: Logits | None) -> PerExample:
    """Probability of the set of answers; of classes as of tokens."""
    probabilities = _members(logits.softmax(-1), batch.answers)
    return probabilities.masked_fill(~batch.answers_real, 0.0).sum(1)


def class_logprob(logits: Logits, batch: Targets, clean: Logits | None) -> PerExample:
    """Log-probability of the set of answers: it does not flatten where the model is sure."""
    each = _members(logits.log_softmax(-1), batch.answers)
    return each.masked_fill(~batch.answers_real, float("-inf")).logsumexp(1)


def kl(logits: Logits, batch: Targets, clean: Logits | None) -> PerExample:
    """Minus KL(clean || run), summed over the vocabulary, in nats."""
    assert clean is not None
    reference = clean.log_softmax(-1)
    return -(reference.exp() * (reference - logits.log_softmax(-1))).sum(-1)


def js(logits: Logits, batch: Targets, clean: Logits | None) -> PerExample:
    """Minus JS(clean, run) = 1/2 KL(clean || m) + 1/2 KL(run || m) with m their mean, over the vocabulary, in nats."""
    assert clean is not None
    p, q = clean.log_softmax(-1), logits.log_softmax(-1)
    middle = torch.logaddexp(p, q) - math.log(2)
    return -0.5 * (p.exp() * (p - middle) + q.exp() * (q - middle)).sum(-1)


def normalised_logit(logits: Logits, batch: Targets, clean: Logits | None) -> PerExample:
    """Mean logit of the answers over the largest logit. Where that is below zero, a worse answer counts more, and
    near zero nothing can be read from it: logits have no zero of their own."""
    return _mean(logits, batch.answers, batch.answers_real) / logits.amax(1)


def top(k: int) -> Callable[[Logits, Targets, Logits | None], PerExample]:
    """1 where an answer is among the k largest logits (a tie with the k-th counts)."""

    def compute(logits: Logits, batch: Targets, clean: Logits | None) -> PerExample:
        best = _members(logits, batch.answers).masked_fill(~batch.answers_real, float("-inf")).amax(1)
        return ((logits > best.unsqueeze(1)).sum(1) < k).to(logits.dtype)

    return compute


def accuracy(logits: Logits, batch: Targets, clean: Logits | None) -> PerExample:
    """1 where the best answer beats the best foil (with no foils: where the top token is an answer)."""
    best = _members(logits, batch.answers).masked_fill(~batch.answers_real, float("-inf")).amax(1)
    rival = _members(logits, batch.foils).masked_fill(~batch.foils_real, float("-inf")).amax(1)
    no_foils = ~batch.foils_real.any(1)
    return torch.where(no_foils, best >= logits.amax(1), best > rival).to(logits.dtype)


@dataclass(frozen=True)
class Metric:
    """A metric with what callers must know of it."""

    name: str
    compute: Callable[[Logits, Targets, Logits | None], PerExample]
    differentiable: bool = True
    needs_clean: bool = False  # compares with the clean run's logits
    flat_at_clean: bool = False  # at its largest there: the gradient at the clean run is zero


METRICS = {
    metric.name: metric
    for metric in (
        Metric("logit-diff", logit_diff),
        Metric("prob-diff", prob_diff),
        Metric("logit", logit),
        Metric("class-prob", class_prob),
        Metric("class-logprob", class_logprob),
        Metric("normalised-logit", normalised_logit),
        Metric("kl", kl, needs_clean=True, flat_at_clean=True),
        Metric("js", js, needs_clean=True, flat_at_clean=True),
        Metric("accuracy", accuracy, differentiable=False),
        *(Metric(f"top-{k}", top(k), differentiable=False) for k in (1, 5, 10)),
    )
}


def metric_named(name: str) -> Metric:
    """The metric of that name, else a usage error that lists them."""
    try:
        return METRICS[name]
    except KeyError:
        raise MiError(f"no metric '{name}'", f"metrics are {', '.join(METRICS)}", code=2) from None

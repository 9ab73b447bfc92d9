"""Logits at the read position in, one number an example out, larger is better. The loss is its negative."""

from collections.abc import Sequence
from typing import Protocol

import torch

from tests.oracle.weights import Tensor

WITH_GRADIENT = ("logit-diff", "prob-diff", "logit", "class-prob", "class-logprob", "normalised-logit", "kl", "js")
NAMES = (*WITH_GRADIENT, "accuracy", "top-1", "top-5", "top-10")


class Example(Protocol):
    """What the oracle reads of an example; the encoded examples of the package have these fields too."""

    @property
    def clean(self) -> Sequence[int]: ...
    @property
    def corrupted(self) -> Sequence[int]: ...
    @property
    def answers(self) -> Sequence[int]: ...
    @property
    def foils(self) -> Sequence[int]: ...
    @property
    def read(self) -> int: ...


def metric(name: str, logits: Tensor, example: Example, clean_logits: Tensor) -> Tensor:
    """One metric of one example; logits and clean_logits are [vocabulary] at the position that the example reads."""
    answers, foils = sorted(set(example.answers)), sorted(set(example.foils))
    if name == "logit-diff":
        return _mean([logits[i] for i in answers]) - _mean([logits[i] for i in foils])
    if name == "prob-diff":
        p = torch.exp(logits) / torch.exp(logits).sum()
        zero = torch.zeros((), dtype=logits.dtype)
        return sum((p[i] for i in answers), zero) - sum((p[i] for i in foils), zero)
    if name == "logit":
        return _mean([logits[i] for i in answers])
    if name in ("class-prob", "class-logprob"):
        p = torch.exp(logits) / torch.exp(logits).sum()
        total = sum((p[i] for i in answers), torch.zeros((), dtype=logits.dtype))
        return total if name == "class-prob" else torch.log(total)
    if name == "kl":
        log_p, log_q = torch.log_softmax(clean_logits, 0), torch.log_softmax(logits, 0)
        return -(torch.exp(log_p) * (log_p - log_q)).sum()
    if name == "js":
        p, q = torch.softmax(clean_logits, 0), torch.softmax(logits, 0)
        total = torch.zeros((), dtype=logits.dtype)
        for token in range(len(logits)):
            middle = (p[token] + q[token]) / 2
            total = total + (p[token] * torch.log(p[token] / middle) + q[token] * torch.log(q[token] / middle)) / 2
        return -total
    if name == "normalised-logit":
        largest = logits[0]
        for value in logits:
            largest = max(largest, value)
        return _mean([logits[i] for i in answers]) / largest
    if name.startswith("top-"):  # fewer than k tokens beat the best answer
        best = max(float(logits[i]) for i in answers)
        better = sum(1 for value in logits if float(value) > best)
        return torch.tensor(float(better < int(name[4:])), dtype=logits.dtype)
    if name == "accuracy":  # the best answer beats every foil; without foils it must be the top token
        rivals = foils or [i for i in range(len(logits)) if i not in answers]
        right = max(float(logits[i]) for i in answers) > max(float(logits[i]) for i in rivals)
        return torch.tensor(float(right), dtype=logits.dtype)
    raise NotImplementedError(name)


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()

"""The metric of many patched copies of a batch, from the residual stream at the read position after the last block.

A metric that reads a few logits only is given those: the unembedding is the largest matrix of a small model.
"""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mi.core.batches import Batch
from mi.core.metrics import Metric
from mi.core.model import Model
from mi.errors import MiError

OF_TARGETS = ("logit-diff",)  # metrics that depend on the logits of answers and foils alone
SAME = {torch.float64: 1e-9, torch.float32: 1e-3}  # of the largest logit; half precision: 0.1


class Readout:
    """``clean`` are the clean run's logits, which some metrics compare with."""

    def __init__(self, model: Model, metric: Metric, batch: Batch, clean: Float[Tensor, "batch vocab"]) -> None:
        self._model, self._metric = model, metric
        self._reference = clean.to(model.compute_dtype)
        self._batch = batch
        self._columns: Int[Tensor, " token"] | None = None
        self._few, self._few_reference = batch, self._reference
        if metric.name in OF_TARGETS:
            self._columns, self._few = _targets(batch)
            self._few_reference = self._reference[:, self._columns]

    def of_logits(self, logits: Float[Tensor, "batch vocab"]) -> Float[Tensor, " batch"]:
        """The metric of a whole run."""
        return self._metric.compute(logits.to(self._model.compute_dtype), self._batch, self._reference)

    def of_stream(self, stream: Float[Tensor, "row d_model"]) -> Float[Tensor, "copy batch"]:
        """The metric of each copy; rows are ``[copy x batch]``."""
        copies = len(stream) // len(self._batch)
        logits = self._logits(stream).to(self._model.compute_dtype)
        metric = self._metric.compute(logits, _repeated(self._few, copies), self._few_reference.repeat(copies, 1))
        return metric.view(copies, -1)

    def check(self, stream: Float[Tensor, "batch d_model"], logits: Float[Tensor, "batch vocab"]) -> None:
        """
        Raises:
            MiError: the model's logits are not its unembedding of the normed stream.
        """
        adapter = self._model.adapter
        with torch.inference_mode():
            ours = adapter.logits(stream)
        same_logits(ours, logits, "exact patching does not know how to; use another method")

    def _logits(self, stream: Tensor) -> Float[Tensor, "row token"]:
        adapter = self._model.adapter
        if self._columns is None:
            return adapter.logits(stream)
        weight, bias = (adapter.placement.weight(adapter.unembed, n, self._columns) for n in ("weight", "bias"))
        assert weight is not None
        return adapter.capped(torch.nn.functional.linear(adapter.final_norm(stream), weight, bias))


def same_logits(ours: Float[Tensor, "row vocab"], logits: Float[Tensor, "row vocab"], hint: str) -> None:
    """
    Raises:
        MiError: what was unembedded here, without the model's own last step, is not what the model puts out.
    """
    error = float((ours - logits).abs().max() / logits.abs().max().clamp(min=1e-12))
    if error > SAME.get(logits.dtype, 0.1):
        fact = f"this model does more to its logits than unembed and cap them (they differ by {error:.1e})"
        raise MiError(fact, hint, place="-m")


def _targets(batch: Batch) -> tuple[Int[Tensor, " token"], Batch]:
    """The tokens that answers and foils are, and the batch with its ids counted among those."""
    ids = torch.cat([batch.answers.flatten(), batch.foils.flatten()]).unique()
    answers, foils = (torch.searchsorted(ids, targets) for targets in (batch.answers, batch.foils))
    return ids, replace(batch, answers=answers, foils=foils)


def _repeated(batch: Batch, copies: int) -> Batch:
    """The batch as rows ``[copy x batch]``."""
    tensors = {f.name: getattr(batch, f.name) for f in fields(batch) if f.name != "rows"}
    many = {name: value.repeat(copies, *[1] * (value.ndim - 1)) for name, value in tensors.items()}
    return replace(batch, rows=batch.rows * copies, **many)

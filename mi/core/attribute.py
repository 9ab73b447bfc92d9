"""Edge attribution patching, plain and with integrated gradients over the input.

    EAP     (Syed et al. 2023):  S(u->v) = mean_x <a'_u - a_u, dl/d i_v at the clean run>
    EAP-IG  (Hanna et al. 2024): the gradient averaged over runs whose token embedding is e' + alpha (e - e')

Flows in: a model and encoded examples. Flows out: :class:`Attribution`, scores in the graph's edge order, with their
sums over disjoint shards of the examples. A score is the rise of the loss when the edge is corrupted: positive means
it helps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mi.core import batches, replacement
from mi.core.contraction import contract
from mi.core.executor import Edit, Executor, Port
from mi.core.gradients import GradientRecorder, ReceiverGradients
from mi.core.memory import halving
from mi.core.metrics import Metric, metric_named
from mi.core.model import Model
from mi.core.outputs import Outputs, Recorder
from mi.core.receivers import ungroup_edits
from mi.core.replacement import Replacement
from mi.errors import MiError, RunError, UsageError
from mi.tasks.encode import Encoded

METHODS = ("eap", "eap-ig")
RULES = ("left", "midpoint", "trapezoid")
COMPAT = ("mib",)
MAX_SHARDS = 32


@dataclass(frozen=True)
class Attribution:
    """Scores of all edges.

    ``edge`` is the mean over examples; ``shards`` are sums over the examples of a shard, ``shard_n`` how many those
    are. ``loss_change`` and ``attributed`` are the two sides of completeness (spec I3): mean l(x') - l(x), and the sum
    of the input's edges; NaN where the method does not promise it.
    """

    edge: Float[np.ndarray, " edge"]
    shards: Float[np.ndarray, "shard edge"]
    shard_n: np.ndarray
    clean: Float[np.ndarray, " example"]
    loss_change: float
    attributed: float
    plan: list[list[int]] = field(repr=False)
    halved: int = 0


def steps_of(method: str, steps: int, rule: str) -> list[tuple[float, float]]:
    """(alpha, weight) of each gradient run; alpha 1 is clean, 0 corrupted."""
    if method == "eap":
        return [(1.0, 1.0)]
    if rule == "left":
        return [(k / steps, 1 / steps) for k in range(steps)]
    if rule == "midpoint":
        return [((k + 0.5) / steps, 1 / steps) for k in range(steps)]
    ends = {0: 0.5, steps: 0.5}
    return [(k / steps, ends.get(k, 1.0) / steps) for k in range(steps, -1, -1)]


def check(method: str, steps: int, rule: str, ablation: str, metric: Metric, compat: str | None) -> None:
    """Refuse what has no meaning, as usage errors."""
    if method not in METHODS:
        raise UsageError(f"no method '{method}'", f"methods are {', '.join(METHODS)}")
    if rule not in RULES:
        raise UsageError(f"no rule '{rule}'", f"rules are {', '.join(RULES)}")
    if compat is not None and compat not in COMPAT:
        raise UsageError(f"nothing to be compatible with is called '{compat}'", f"known are {', '.join(COMPAT)}")
    if steps < 1:
        raise UsageError(f"{steps} steps are too few", "use --steps 1 or more")
    if not metric.differentiable:
        raise UsageError(f"metric '{metric.name}' has no gradient", "use --metric logit-diff, prob-diff or kl")
    if method == "eap" and metric.name == "kl":
        raise UsageError("the gradient of KL to the clean run is zero at the clean run", "use --method eap-ig")
    if method == "eap-ig" and ablation != "counterfactual":
        raise UsageError(f"eap-ig interpolates towards the corrupted input, not to '{ablation}'", "use --method eap")


def shard_of(examples: Sequence[Encoded]) -> np.ndarray:
    """Each example's shard: the rank of its id's digest modulo the number of shards, whatever order they come in."""
    digests = [hashlib.sha256(example.id.encode()).hexdigest() for example in examples]
    rank = np.empty(len(examples), dtype=np.int64)
    rank[np.array(sorted(range(len(examples)), key=lambda row: (digests[row], row)))] = np.arange(len(examples))
    return rank % min(MAX_SHARDS, len(examples))


def attribute(
    model: Model,
    examples: Sequence[Encoded],
    *,
    method: str = "eap-ig",
    steps: int = 5,
    rule: str = "left",
    ablation: str = "counterfactual",
    metric: str = "logit-diff",
    batch_size: int | None = None,
    executor: str = "auto",
    compat: str | None = None,
    on_done: Callable[[int], None] = lambda n: None,
    on_halved: Callable[[int], None] = lambda n: None,
) -> Attribution:
    """Scores of every edge of the model's graph.

    Raises:
        UsageError: a combination that has no meaning (`check`).
        MiError: no examples, or an ablation that they do not allow.
        RunError: a metric or a score is not finite; names the example or the edge.
    """
    chosen = metric_named(metric)
    check(method, steps, rule, ablation, chosen, compat)
    if not examples:
        raise MiError("no examples to attribute", "the chosen split is empty")
    lengths = [len(example.clean) for example in examples]
    replacement.check(ablation, lengths)
    runner = model.executor(executor)
    rows = batches.plan_for(model.adapter, lengths, model.dtype.itemsize, batch_size)
    instead = replacement.make(ablation, model, runner, examples, rows, on_halved)
    job = _Job(model, runner, chosen, steps_of(method, steps, rule), instead, method == "eap-ig")
    sums = _Sums(model, examples, _reference_batches(len(examples), batch_size) if compat == "mib" else None)

    def work(part: Sequence[int]) -> None:
        batch = batches.make_batch(examples, part, model.device)
        sums.add(batch, job.run(batch, [examples[row].id for row in part]))
        on_done(len(part))

    halvings: list[int] = []

    def halved(size: int) -> None:
        halvings.append(size)
        on_halved(size)

    done = halving(rows, work, halved)
    return sums.attribution(done, len(halvings))


@dataclass(frozen=True)
class _Scored:
    """One batch's scores [batch, source, receiver] and losses (clean; corrupted where known)."""

    cells: Float[Tensor, "batch source receiver"]
    clean: Float[Tensor, " batch"]
    corrupted: Float[Tensor, " batch"] | None


@dataclass(frozen=True)
class _Job:
    model: Model
    executor: Executor
    metric: Metric
    steps: list[tuple[float, float]]
    instead: Replacement
    interpolates: bool

    def run(self, batch: batches.Batch, ids: list[str]) -> _Scored:
        """Score one batch. Runs at alpha 1 and 0 double as the clean and the corrupted run."""
        with torch.no_grad():
            clean_embed = self.model.adapter.embed(batch.clean)
            corrupted_embed = self.model.adapter.embed(batch.corrupted)
        alphas = [alpha for alpha, _ in self.steps]
        recorded: dict[float, tuple[Outputs, Tensor]] = {}
        for alpha, ids_of_run in ((1.0, batch.clean), (0.0, batch.corrupted)):
            if alpha not in alphas and (alpha == 1.0 or self.instead.from_corrupted):
                recorded[alpha] = replacement.record(self.model, self.executor, ids_of_run, batch.read)
        gradients: ReceiverGradients | None = None
        for alpha, weight in self.steps:
            embed = corrupted_embed + alpha * (clean_embed - corrupted_embed) if alpha not in (0.0, 1.0) else None
            start = embed if embed is not None else (clean_embed if alpha == 1.0 else corrupted_embed)
            reference = recorded[1.0][1] if 1.0 in recorded else None
            run = self._step(batch, start, reference, weight, gradients, keep=alpha in (0.0, 1.0))
            gradients = run[0]
            if run[1] is not None:
                recorded[alpha] = (run[1], run[2])
        assert gradients is not None
        clean, clean_logits = recorded[1.0]
        corrupted, corrupted_logits = recorded.get(0.0, (None, None))
        difference = _minus(replacement.values(self.instead, clean, corrupted), clean, self.model.compute_dtype)
        clean_metric = self._metric(clean_logits, batch, clean_logits)
        finite(clean_metric, ids, "clean")
        loss_corrupted = None
        if self.interpolates and corrupted_logits is not None:
            metric = self._metric(corrupted_logits, batch, clean_logits)
            finite(metric, ids, "corrupted")
            loss_corrupted = -metric
        return _Scored(contract(self.model, difference, gradients, batch.read), -clean_metric, loss_corrupted)

    def _metric(self, logits: Tensor, batch: batches.Batch, reference: Tensor) -> Tensor:
        return self.metric.compute(logits.to(self.model.compute_dtype), batch, reference.to(self.model.compute_dtype))

    def _step(
        self,
        batch: batches.Batch,
        embed: Tensor,
        reference: Tensor | None,
        weight: float,
        total: ReceiverGradients | None,
        keep: bool,
    ) -> tuple[ReceiverGradients, Outputs | None, Tensor]:
        """One forward and backward from ``embed``; the gradients are added to ``total``."""
        adapter = self.model.adapter
        recorder = GradientRecorder(adapter, self.model.compute_dtype)
        outputs = Recorder(adapter)
        start = Edit(Port(adapter.roles.embed, "out"), lambda _: embed.detach().requires_grad_(True))
        edits = [start, *ungroup_edits(adapter), *recorder.edits(), *(outputs.edits() if keep else [])]
        with torch.enable_grad():
            logits = self.executor.run(batch.clean, edits, batch.read)
            metric = self._metric(logits, batch, logits.detach() if reference is None else reference)
            gradients = recorder.pull(-metric, batch.read, weight, total)
        return gradients, outputs.outputs() if keep else None, logits.detach()


def _minus(instead: Outputs, clean: Outputs, dtype: torch.dtype) -> Outputs:
    """instead - clean, in the dtype of contractions and the shape of ``clean``."""

    def minus(a: Tensor, b: Tensor) -> Tensor:
        return a.to(dtype) - b.to(dtype)

    return Outputs(
        minus(instead.embed, clean.embed),
        [minus(a, b) for a, b in zip(instead.z, clean.z, strict=True)],
        [minus(a, b) for a, b in zip(instead.mlp, clean.mlp, strict=True)],
    )


def finite(metric: Tensor, ids: list[str], run: str) -> None:
    bad = (~torch.isfinite(metric)).nonzero().flatten().tolist()
    if bad:
        raise RunError(
            f"the metric of the {run} run is {metric[bad[0]].item()} for example {ids[bad[0]]}",
            "look for NaN or Inf in the weights, or use --dtype float32",
        )


def _reference_batches(n: int, batch_size: int | None) -> np.ndarray:
    """The size of the batch that the reference would put each example in: consecutive ones, the last perhaps smaller.

    Its scores are averaged over that batch and then divided by the number of examples again (spec B0 row 1).
    """
    size = min(batch_size or n, n)
    row = np.arange(n)
    return np.minimum(size, n - row // size * size).astype(np.float64)


class _Sums:
    """Running float64 sums of edge scores over shards of the examples."""

    def __init__(self, model: Model, examples: Sequence[Encoded], divisor: np.ndarray | None) -> None:
        self._graph, self._divisor = model.graph, divisor
        self._shard = shard_of(examples)
        n_shards = int(self._shard.max()) + 1
        self._edges = torch.as_tensor(model.graph.edges.astype(np.int64), device=model.device)
        self._sums = np.zeros((n_shards, model.graph.n_edges))
        self._clean = np.zeros(len(examples))
        self._loss_change = 0.0
        self._known_loss_change = True
        self._input_edges = model.graph.edges[0] == model.layout.input

    def add(self, batch: batches.Batch, scored: _Scored) -> None:
        values = scored.cells[:, self._edges[0], self._edges[1]].cpu().numpy()  # [batch, edge]
        rows = np.array(batch.rows)
        if self._divisor is not None:
            values = values / self._divisor[rows, None]
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            raise RunError(
                f"the score of {self._graph.edge_name(int(bad[0, 1]))} is {values[tuple(bad[0])]}",
                "look for NaN or Inf in the weights, or use --dtype float32",
            )
        np.add.at(self._sums, self._shard[rows], values)
        self._clean[rows] = -scored.clean.double().cpu().numpy()
        if scored.corrupted is None:
            self._known_loss_change = False
        else:
            self._loss_change += float((scored.corrupted - scored.clean).double().sum())

    def attribution(self, plan: list[list[int]], halved: int) -> Attribution:
        n = len(self._clean)
        mean = self._sums.sum(0) / n
        known = self._known_loss_change and self._divisor is None
        return Attribution(
            edge=mean,
            shards=self._sums,
            shard_n=np.bincount(self._shard, minlength=len(self._sums)),
            clean=self._clean,
            loss_change=self._loss_change / n if known else float("nan"),
            attributed=float(mean[self._input_edges].sum()) if known else float("nan"),
            plan=plan,
            halved=halved,
        )

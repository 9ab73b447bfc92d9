"""Measure the embedded default model and write its card: `python -m mi.embedded.card`.

In: the shipped weights and the tasks' own examples. Out: docs/embedded-model.md, all numbers in it measured anew.
Accuracies are on validation prompts; circuits are found on train prompts and scored on validation prompts.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mi.circuit import random_circuits, statistics
from mi.circuit.prune import connected
from mi.circuit.select import percent_size, top
from mi.circuit.statistics import Estimate
from mi.io.atomic import file as atomic_file
from mi.tasks import task as tasks
from mi.tasks.encode import Encoded, encode

if TYPE_CHECKING:
    from mi.core.model import Model

TASKS = ("ioi", "greater-than", "pronoun", "induction")
PERCENTS = (5, 10, 20)
EXAMPLES = 1000  # validation prompts for the accuracies
CIRCUIT_EXAMPLES = 200  # train prompts to find a circuit, validation prompts to score it
RANDOM = 100
CARD = Path(__file__).parents[2] / "docs" / "embedded-model.md"


@dataclass(frozen=True)
class Accuracy:
    """How well the model does a task. `right` counts the validation prompts whose metric is above zero."""

    task: str
    metric: str
    n: int
    right: int
    mean: Estimate
    corrupted: Estimate
    logit_diff: Estimate

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval, which is right near 100 % too."""
        z, n, p = 1.959964, self.n, self.right / self.n
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return middle - half, min(1.0, middle + half)


@dataclass(frozen=True)
class Faithfulness:
    """A circuit of EAP-IG's best edges, and random connected circuits of the same size."""

    task: str
    percent: float
    edges: int
    value: Estimate
    random_median: float
    random_low: float
    random_high: float
    random_best: float


def examples(model: Model, task: str, n: int) -> dict[str, list[Encoded]]:
    """The first `n` examples of each split that the task's generator makes with seed 0."""
    records, _ = tasks.make(task, n, 0, None, model.tokenizer)
    encoded = encode(records, model.tokenizer, vocab_size=model.adapter.vocab_size)
    return {split: [example for example in encoded if example.split == split] for split in ("train", "validation")}


def accuracy(model: Model, task: str, n: int = EXAMPLES) -> Accuracy:
    from mi.core.baseline import baselines

    chosen = examples(model, task, n)["validation"]
    metric = tasks.get(task).metric
    own = baselines(model, chosen, metric=metric)
    logits = own if metric == "logit-diff" else baselines(model, chosen, metric="logit-diff")
    columns = {"mean": own.clean, "corrupted": own.corrupted, "logit_diff": logits.clean}
    return Accuracy(task, metric, len(chosen), int(np.sum(own.clean > 0)), **statistics.means(columns))


def faithfulness(
    model: Model, task: str, percents: Sequence[float] = PERCENTS, n: int = CIRCUIT_EXAMPLES, random: int = RANDOM
) -> list[Faithfulness]:
    """EAP-IG with 5 steps, absolute ranking, pruned, in each size."""
    from mi.core.attribute import attribute
    from mi.core.circuits import run_circuits

    chosen = examples(model, task, n)
    metric, graph = tasks.get(task).metric, model.graph
    scores = attribute(model, chosen["train"], metric=metric).edge
    masks, sizes = [], []
    for percent in percents:
        mask = connected(graph, top(graph, scores, percent_size(graph.n_edges, percent)))
        masks.append(mask)
        sizes.append(int(mask.sum()))
        masks.extend(random_circuits.random_circuits(graph, sizes[-1], random, seed=0))
    runs = run_circuits(model, chosen["validation"], np.stack(masks), metric=metric)
    estimates = statistics.faithfulness(runs.value, runs.clean, runs.corrupted)
    rows = []
    for index, (percent, size) in enumerate(zip(percents, sizes, strict=True)):
        own, *others = estimates[index * (random + 1) : (index + 1) * (random + 1)]
        values = [other.value for other in others] or [math.nan]
        low, median, high = np.percentile(values, (2.5, 50, 97.5))
        rows.append(Faithfulness(task, percent, size, own, float(median), float(low), float(high), max(values)))
    return rows


def render(model: Model, accuracies: Sequence[Accuracy], circuits: Sequence[Faithfulness]) -> str:
    config: Any = model.module.config
    text = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    return text.format(
        layers=config.n_layer,
        heads=config.n_head,
        width=config.n_embd,
        positions=config.n_positions,
        vocabulary=config.vocab_size,
        parameters=f"{sum(p.numel() for p in model.module.parameters()):,}",
        edges=model.graph.n_edges,
        weights=model.identity["weights"],
        n=accuracies[0].n,
        circuit_n=CIRCUIT_EXAMPLES,
        random=RANDOM,
        accuracies="\n".join(map(_accuracy_row, accuracies)),
        circuits="\n".join(map(_circuit_row, circuits)),
    )


def _accuracy_row(row: Accuracy) -> str:
    low, high = row.interval
    return (
        f"| {row.task} | {row.metric} | {100 * row.right / row.n:.1f} % | {100 * low:.1f} to {100 * high:.1f} % "
        f"| {_estimate(row.mean)} | {_estimate(row.corrupted)} | {_estimate(row.logit_diff)} |"
    )


def _circuit_row(row: Faithfulness) -> str:
    spread = f"{row.random_median:.2f} ({row.random_low:.2f} to {row.random_high:.2f})"
    return (
        f"| {row.task} | {row.percent:g} % | {row.edges} | {_estimate(row.value)} | {spread} | {row.random_best:.2f} |"
    )


def _estimate(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def main() -> None:
    from mi.core.model import load

    parser = argparse.ArgumentParser(prog="python -m mi.embedded.card", description="Measure the embedded model anew.")
    parser.add_argument("-m", "--model", default="default", help="model folder or embedded name (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, default=CARD, help="the card to write (%(default)s)")
    arguments = parser.parse_args()
    model = load(arguments.model, device="cpu")
    accuracies = [accuracy(model, task) for task in TASKS]
    circuits = [row for task in TASKS for row in faithfulness(model, task)]
    with atomic_file(arguments.output) as handle:
        handle.write(render(model, accuracies, circuits).encode())


if __name__ == "__main__":
    main()

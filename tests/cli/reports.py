"""Reports for tests of commands that read them: of one circuit or of a curve, with known faithfulness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mi.circuit import report
from mi.circuit.transformer import transformer_graph
from mi.io import stream
from tests.cli.streams import GRAPH, head

OTHER_GRAPH = transformer_graph(3, 2, d_model=8)


def examples(n: int, templates: int = 0) -> list[dict[str, Any]]:
    return [report.named(f"{i:012x}", f"{i:012x}", f"t{i % templates}" if templates else "") for i in range(n)]


def metrics(n: int, share: float | np.ndarray, seed: int = 0, noise: float = 0.05) -> tuple[np.ndarray, ...]:
    """Values of circuits [K, n] that do `share` of what the model does, of the model and of the empty circuit. The
    model's are the same for all seeds."""
    fixed, rng = np.random.default_rng(99), np.random.default_rng(seed)
    empty = -3 + fixed.normal(size=n)
    clean = 4 + fixed.normal(size=n)
    share = np.atleast_1d(share)[:, None]
    return share * clean + (1 - share) * empty + noise * rng.normal(size=(len(share), n)), clean, empty


def write_report(
    path: str | Path,
    share: float = 0.9,
    n: int = 60,
    seed: int = 0,
    noise: float = 0.05,
    templates: int = 0,
    **change: Any,
) -> None:
    """A report of one circuit. `change` replaces parts of the head."""
    mask = np.arange(GRAPH.n_edges) < change.pop("size", 20)
    each = change.pop("examples_", None) or examples(n, templates)
    records = report.report(report.single(mask), *metrics(n, share, seed, noise), each)
    stream.write(str(path), a_head(**change), records)


def write_curve(path: str | Path, n: int = 40, seed: int = 0, power: float = 0.5) -> None:
    """A report of a curve whose faithfulness is the size to a power."""
    circuits = report.of_scores(GRAPH, np.random.default_rng(5).normal(size=GRAPH.n_edges))
    share = np.zeros(len(circuits.masks))
    for point in circuits.points:
        share[point.row] = point.nominal**power
    stream.write(str(path), a_head(), report.report(circuits, *metrics(n, share, seed), examples(n)))


def a_head(**change: Any) -> dict[str, Any]:
    scoring = {"metric": "logit-diff", "ablation": "counterfactual", "split": "validation", "plan": [[60, 1]]}
    return head("report", "score", **{"scoring": {**scoring, **change.pop("scoring", {})}, **change})

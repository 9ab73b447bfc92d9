"""Examples and kept edges in, the metric of the circuit for each example out; exact patching, faithfulness, areas."""

from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np
import torch

from tests.oracle.batches import edited, groups, replacements
from tests.oracle.metrics import Example
from tests.oracle.transformer import Edit, edge_cells, n_receivers, n_sources
from tests.oracle.weights import Weights


def circuits(
    weights: Weights,
    examples: Sequence[Example],
    keeps: Iterable[np.ndarray],
    metric: str,
    ablation: str,
    neurons: Iterable[np.ndarray] | None = None,
) -> np.ndarray:
    """[circuit, example]: kept edges carry what the source computes in this run, all others its replacement.

    Each of keeps is bool [source, receiver]; each of neurons bool [source, d], the dimensions that kept edges carry.
    """
    every = groups(weights, examples)
    replaced = [replacements(ablation, every, group) for group in every]
    values = []
    parts = repeat(None) if neurons is None else neurons
    for keep, part in zip(keeps, parts):
        carried = None if part is None else torch.as_tensor(np.array(part, dtype=np.float64))
        value = np.zeros(len(examples))
        gates = torch.as_tensor(np.array(keep, dtype=np.float64))
        for group, replacement in zip(every, replaced, strict=True):
            with torch.no_grad():
                found = edited(weights, group, Edit(gates=gates, replacement=replacement, neurons=carried))
            value[group.places] = group.metric(metric, found.logits).numpy()
        values.append(value)
    return np.stack(values)


def clean_and_corrupted(weights: Weights, examples: Sequence[Example], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """[example] each: the metric of the untouched model on the clean and on the corrupted prompt."""
    clean, corrupted = np.zeros(len(examples)), np.zeros(len(examples))
    for group in groups(weights, examples):
        clean[group.places] = group.metric(metric, group.clean_run.logits).numpy()
        corrupted[group.places] = group.metric(metric, group.corrupted_run.logits).numpy()
    return clean, corrupted


def exact(
    weights: Weights,
    examples: Sequence[Example],
    metric: str,
    ablation: str,
    cells: Sequence[tuple[int, int]] | None = None,
) -> np.ndarray:
    """[source, receiver, example]: the rise of the loss when this one edge carries the replacement.

    For every edge, or for those in cells; 0 elsewhere.
    """
    full = np.ones((n_sources(weights), n_receivers(weights)), dtype=bool)
    chosen = edge_cells(weights) if cells is None else cells

    def without_each() -> Iterable[np.ndarray]:
        yield full
        for cell in chosen:
            keep = full.copy()
            keep[cell] = False
            yield keep

    whole, *rest = circuits(weights, examples, without_each(), metric, ablation)
    scores = np.zeros((*full.shape, len(examples)))
    for cell, value in zip(chosen, rest, strict=True):
        scores[cell] = whole - value
    return scores


def as_matrix(weights: Weights, edges: np.ndarray) -> np.ndarray:
    """A choice of edges, bool [edge] in interchange order, as bool [source, receiver]."""
    keep = np.zeros((n_sources(weights), n_receivers(weights)), dtype=bool)
    for chosen, (source, receiver) in zip(edges, edge_cells(weights), strict=True):
        keep[source, receiver] = chosen
    return keep


def faithfulness(value: np.ndarray, clean: np.ndarray, corrupted: np.ndarray) -> float:
    """Ratio of means over examples."""
    return float((value.mean() - corrupted.mean()) / (clean.mean() - corrupted.mean()))


FRACTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def areas(faithfulnesses: Sequence[float], log_scale: bool = False) -> tuple[float, float]:
    """(CPR, CMD): trapezoids under f and under |1 - f| over the nominal sizes."""
    x = [float(np.log(fraction)) for fraction in FRACTIONS] if log_scale else list(FRACTIONS)
    under = from_one = 0.0
    for i in range(len(x) - 1):
        width = x[i + 1] - x[i]
        under += width * (faithfulnesses[i] + faithfulnesses[i + 1]) / 2
        from_one += width * (abs(1 - faithfulnesses[i]) + abs(1 - faithfulnesses[i + 1])) / 2
    return under, from_one

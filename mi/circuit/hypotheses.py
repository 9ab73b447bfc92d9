"""Hypothesis tests of circuits (Shi et al. 2024; spec D6): metric values in, p-values out.

SciPy has the binomial distribution and is imported when one is asked for.
"""

from __future__ import annotations

import numpy as np

EPSILON = 0.1  # how far from a half the rate of wins may be for circuit and model to count as equivalent
QUANTILE = 0.9  # of the random circuits that a circuit, or an edge, is held against
PERMUTATIONS = 1000
MOST_KERNEL = 1000  # examples of which kernels are made: they are [N, N]
_SEED = 20240229


def equivalence(circuit: np.ndarray, model: np.ndarray, epsilon: float = EPSILON) -> tuple[float, float]:
    """Share of examples on which the circuit scores higher than the model, and p of H0: that share is within
    ``epsilon`` of a half. A small p says that they are not equivalent. Equal scores count half.

    p sums Binom(n, k) (1/2 + eps)^k (1/2 - eps)^(n - k) over the k at least as far from n/2 as was seen. The reference
    takes the distance from the mean difference of the scores; the rate of wins is what the hypothesis is about.
    """
    from scipy.stats import binom

    n = len(circuit)
    rate = float(np.mean((circuit > model) + 0.5 * (circuit == model)))
    k = np.arange(n + 1)
    as_far = np.abs(k / n - 0.5) >= abs(rate - 0.5) - 1e-12
    return rate, min(1.0, float(binom.pmf(k[as_far], n, 0.5 + epsilon).sum()))


def independence(complement: np.ndarray, model: np.ndarray, permutations: int = PERMUTATIONS) -> tuple[float, float]:
    """HSIC of two columns of scores (Gaussian kernels, median bandwidth), and p of H0: they are independent.

    A small p says that what is left without the circuit still follows the model. Of more than `MOST_KERNEL` examples
    the first are taken.
    """
    x, y = (_kernel(np.asarray(column[:MOST_KERNEL], dtype=np.float64)) for column in (complement, model))
    n = len(x)
    centred = x - x.mean(0) - x.mean(1, keepdims=True) + x.mean()
    observed = float((centred * y).sum()) / n**2
    rng = np.random.default_rng(_SEED)
    as_high = 1
    for _ in range(permutations):
        order = rng.permutation(n)
        as_high += float((centred * y[np.ix_(order, order)]).sum()) / n**2 >= observed - 1e-15
    return observed, as_high / (permutations + 1)


def _kernel(values: np.ndarray) -> np.ndarray:
    distance = np.abs(values[:, None] - values[None, :])
    apart = distance[np.triu_indices(len(values), 1)]
    width = float(np.median(apart)) if len(apart) else 0.0
    if width == 0:
        width = 1.0
    return np.exp(-(distance**2) / (2 * width**2))


def beats(value: float, random: np.ndarray, quantile: float = QUANTILE) -> tuple[float, float]:
    """Share of the random values that ``value`` exceeds, and p of H0: it exceeds no more than ``quantile`` of all such.
    A small p says that it beats them. Equal values count as not exceeded."""
    from scipy.stats import binom

    below = int((random < value).sum())
    return below / len(random), float(binom.sf(below - 1, len(random), quantile))


def falls_short(values: np.ndarray, random: np.ndarray, quantile: float = QUANTILE) -> tuple[np.ndarray, np.ndarray]:
    """For each value the share of random ones that it exceeds, and p of H0: it exceeds at least ``quantile`` of all
    such. A small p says that it is nothing beside them. Equal values count as exceeded."""
    from scipy.stats import binom

    below = np.searchsorted(np.sort(random), values, side="right")
    return below / len(random), binom.cdf(below, len(random), quantile)


def holm(p: np.ndarray) -> np.ndarray:
    """p-values adjusted for their number (Bonferroni-Holm): reject where this is below the level."""
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    out = np.empty(len(p))
    out[order] = np.minimum(adjusted, 1.0)
    return out

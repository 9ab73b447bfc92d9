"""The curve over circuit sizes: faithfulness at the ten MIB sizes in, areas out.

Every area takes faithfulness [..., sizes] and gives [...], so one call serves a curve and all its resamples. The areas
are those of the MIB track: a plain trapezoid on the nominal sizes, no point at 0, no normalisation; |1 - f| is taken at
the sizes, before interpolation. A perfect curve has CPR 0.999 and CMD 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mi.circuit.select import nominal_size

PERCENTAGES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # as fractions of the edges


def sizes(n_edges: int, fractions: Sequence[float] = PERCENTAGES) -> tuple[int, ...]:
    """The number of edges asked for at each point of the curve."""
    return tuple(nominal_size(n_edges, fraction) for fraction in fractions)


def cpr(faithfulness: np.ndarray, x: Sequence[float] = PERCENTAGES) -> np.ndarray:
    """Area under the curve: high when small circuits do the job. It has no ceiling and rewards overshooting."""
    return _area(np.asarray(faithfulness), np.asarray(x))


def cmd(faithfulness: np.ndarray, x: Sequence[float] = PERCENTAGES) -> np.ndarray:
    """Area between the curve and 1: low when small circuits match the model."""
    return _area(np.abs(1 - np.asarray(faithfulness)), np.asarray(x))


def cpr_log(faithfulness: np.ndarray, x: Sequence[float] = PERCENTAGES) -> np.ndarray:
    """CPR over the logarithm of the size: small circuits weigh as much as large ones."""
    return _area(np.asarray(faithfulness), np.log(x))


def cmd_log(faithfulness: np.ndarray, x: Sequence[float] = PERCENTAGES) -> np.ndarray:
    """CMD over the logarithm of the size."""
    return _area(np.abs(1 - np.asarray(faithfulness)), np.log(x))


def cpr_capped(faithfulness: np.ndarray, x: Sequence[float] = PERCENTAGES) -> np.ndarray:
    """CPR of the curve clipped to [0, 1]: overshooting earns nothing."""
    return _area(np.clip(faithfulness, 0, 1), np.asarray(x))


def average(faithfulness: np.ndarray, _: Sequence[float] = PERCENTAGES) -> np.ndarray:
    """The plain mean over the sizes, wherever they lie."""
    return np.asarray(faithfulness).mean(axis=-1)


# Which selection each area belongs to: True ranks by signed score, False by magnitude.
AREAS: dict[str, tuple[Callable[..., np.ndarray], bool]] = {
    "cpr": (cpr, True),
    "cmd": (cmd, False),
    "cpr-log": (cpr_log, True),
    "cmd-log": (cmd_log, False),
    "cpr-capped": (cpr_capped, True),
    "average": (average, True),
}


def _area(height: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Trapezoid over the last axis."""
    return ((x[1:] - x[:-1]) * (height[..., 1:] + height[..., :-1]) / 2).sum(axis=-1)

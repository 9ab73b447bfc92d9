"""Head importance scores: attribution patching of heads and MLPs, in absolute value for each example (Michel et al.
2019, with the corrupted run as the place to go; "HISP" and "16 heads" in the ACDC code; spec B10).

    S(u) = mean_x |<a_u - a'_u, dF/d a_u>|

Flows in: a job and a batch. Flows out: its scores. Nothing cancels over examples, so no score is negative.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from mi.core import inputs
from mi.core.batches import Batch
from mi.core.job import Job, Scored


def run(job: Job, batch: Batch) -> Scored:
    """Score one batch."""
    scored = inputs.run(job, batch)
    return replace(scored, scores=scored.scores.abs())


def scale(job: Job, mean: Float[np.ndarray, " source"]) -> Float[np.ndarray, " source"]:
    """What each node's score is multiplied by: NaN for the input, which is neither head nor MLP and so stays; with
    ``normalise_layers`` one over the L2 norm of the scores of its layer.
    """
    factor = np.ones(len(mean))
    places = job.model.layout
    factor[places.input] = np.nan
    if job.config.normalise_layers:
        for rows in places.layers:
            of_layer = [*rows.heads, rows.mlp]
            norm = float(np.sqrt(np.square(mean[of_layer]).sum()))
            factor[of_layer] = 1 / norm if norm else 1.0
    return factor

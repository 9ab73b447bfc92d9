"""Head importance scores: attribution patching of heads and MLPs, in absolute value for each example (Michel et al.
2019, with the corrupted run as the place to go; "HISP" and "16 heads" in the ACDC code; spec B10).

    S(u) = mean_x |<a_u - a'_u, dF/d a_u>|

Flows in: a job and a batch. Flows out: its scores. Nothing cancels over examples, so no score is negative.
"""

from __future__ import annotations

from dataclasses import replace

from mi.core import inputs
from mi.core.batches import Batch
from mi.core.job import Job, Scored


def run(job: Job, batch: Batch) -> Scored:
    """Score one batch."""
    scored = inputs.run(job, batch)
    return replace(scored, scores=scored.scores.abs())

"""RelP (Rezaei Jafari et al. 2025): attribution patching with relevance in the place of the gradient.

    S(u->v) = mean_x <a'_u - a_u, rho_v at the clean run>

where rho is the coefficient of layer-wise relevance propagation: what a backward pass under the rules of `rules` brings
to the receiver. All the rest is EAP's, in form and in cost; at the level of nodes S(u) is the sum over its edges.

Flows in: a job and a batch. Flows out: its scores, and the loss of the clean run.
"""

from __future__ import annotations

from dataclasses import replace

from mi.core import inputs, rules
from mi.core.batches import Batch
from mi.core.job import Job, Scored
from mi.core.rules import Ruled


def run(job: Job, batch: Batch) -> Scored:
    """Score one batch."""
    rules.check(job.model.adapter, job.config.backward)
    ruled = Ruled(job.executor, job.model.adapter, job.config.backward)
    return inputs.run(replace(job, executor=ruled), batch)

"""One search from flags to result: what `mi search` calls.

Flows in: a model, encoded examples, :class:`Settings`. Flows out: :class:`Searched`, a circuit or a ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mi.circuit.prune import connected
from mi.core import replacement
from mi.core.means import as_arrays
from mi.core.metrics import metric_named
from mi.core.model import Model
from mi.core.replacement import NOTHING, Given
from mi.core.search import acdc, masks
from mi.core.search.checkpoint import NOWHERE, Checkpoint
from mi.core.search.edge_pruning import EdgePruning
from mi.core.search.methods import METHODS, Settings
from mi.core.search.optimal import optimal
from mi.core.search.problem import Problem, problem
from mi.core.search.subnetwork import SubnetworkProbing
from mi.core.search.ugs import Ugs
from mi.errors import UsageError
from mi.tasks.encode import Encoded

CONSTANTS_RATE = 0.01  # of constants that are learned with a mask


@dataclass(frozen=True)
class Searched:
    """``kept`` is None for a ranking. ``said``: what the head should say of how it went."""

    level: str  # of the scores: edge, node
    scores: Float[np.ndarray, " unit"]
    kept: Bool[np.ndarray, " edge"] | None
    said: dict[str, Any]
    plan: list[list[int]] = field(repr=False)
    selected: int = 0  # edges before those on no path were dropped
    constants: dict[str, np.ndarray] | None = None
    halved: int = 0  # how often a batch did not fit


def search(
    model: Model,
    examples: Sequence[Encoded],
    settings: Settings,
    *,
    ablation: str = "counterfactual",
    given: Given = NOTHING,
    metric: str = "kl",
    batch_size: int | None = None,
    executor: str = "auto",
    checkpoint: Checkpoint = NOWHERE,
    on_done: Callable[[int], None] = lambda n: None,
    on_halved: Callable[[int], None] = lambda n: None,
) -> Searched:
    """Search with the method of ``settings``. ``on_done`` counts edges tried, steps, or nodes: see `total`."""
    if settings.method != "acdc" and not metric_named(metric).differentiable:
        raise UsageError(f"metric '{metric}' has no gradient", "use --metric kl, js, logit-diff or prob-diff")
    size = batch_size or METHODS[settings.method].batch
    work = problem(
        model,
        examples,
        ablation=ablation,
        metric=metric,
        batch_size=size,
        executor=executor,
        given=given,
        on_halved=on_halved,
    )
    ways = {"acdc": _acdc, "optimal": _optimal}
    found = ways.get(settings.method, _learn)(work, settings, checkpoint, on_done)
    return replace(found, halved=work.halved)


def total(settings: Settings, model: Model) -> int:
    """How much there is for ``on_done`` to count."""
    if settings.method == "acdc":
        return len(settings["tau"]) * model.graph.n_edges
    return model.graph.n_sources if settings.method == "optimal" else int(settings["steps"])


def _acdc(work: Problem, settings: Settings, checkpoint: Checkpoint, on_done: Callable[[int], None]) -> Searched:
    graph, losses, taus = work.model.graph, acdc.losses_of(work), settings["tau"]
    found = []
    for number, tau in enumerate(taus):
        several = checkpoint.path is not None and len(taus) > 1
        state = replace(checkpoint, path=f"{checkpoint.path}.{number}") if several else checkpoint
        found.append(
            acdc.acdc(
                graph,
                losses,
                tau=tau,
                order=settings["order"],
                seed=settings.seed,
                absolute=settings["abs"],
                apart=work.model.adapter.roles.heads_apart,
                checkpoint=state,
                on_done=on_done,
            )
        )
    said = {"runs": sum(one.runs for one in found), "loss": [one.loss for one in found]}
    said["full_loss"] = found[0].full_loss
    chosen = [connected(graph, one.kept) if settings["remove-redundant"] else one.kept for one in found]
    if settings.ranking:
        said["edges"] = [int(kept.sum()) for kept in chosen]
        return Searched("edge", acdc.ranking(taus, np.stack(chosen)), None, said, work.plan)
    said["loss"] = found[0].loss
    return Searched("edge", found[0].delta, chosen[0], said, work.plan, int(found[0].kept.sum()))


def _learner(work: Problem, settings: Settings) -> masks.Learner:
    model = work.model
    if settings.method == "subnetwork-probing":
        return SubnetworkProbing(model, settings["level"], settings["penalty"], settings["lr"])
    if settings.method == "edge-pruning":
        targets = settings["target"], settings["node-target"]
        return EdgePruning(model, targets[0], settings["steps"], settings["lr"], settings.seed, targets[1])
    return Ugs(model, settings["penalty"], settings["lr"], settings["masks"])


def _learn(work: Problem, settings: Settings, checkpoint: Checkpoint, on_done: Callable[[int], None]) -> Searched:
    learner, constants = _learner(work, settings), None
    if settings["learn-constants"]:
        start = work.instead.means
        if start is None:
            start = replacement.means(work.model, work.executor, work.examples, work.plan, False)
        constants = masks.Constants(start, CONSTANTS_RATE)
    got = masks.learn(
        work,
        learner,
        steps=settings["steps"],
        seed=settings.seed,
        patience=settings["patience"],
        constants=constants,
        checkpoint=checkpoint,
        on_done=on_done,
    )
    said: dict[str, Any] = {"steps_done": got.steps, "loss": got.loss}
    if got.stopped:
        said["stopped"] = got.stopped
    kept = learner.kept()
    arrays = as_arrays(got.constants) if got.constants else None
    circuit = None if settings.ranking else connected(work.model.graph, kept)
    return Searched("edge", learner.scores(), circuit, said, work.plan, int(kept.sum()), arrays)


def _optimal(work: Problem, settings: Settings, checkpoint: Checkpoint, on_done: Callable[[int], None]) -> Searched:
    got = optimal(
        work,
        steps=settings["steps"],
        rate=settings["lr"],
        seed=settings.seed,
        checkpoint=checkpoint,
        on_done=on_done,
    )
    names = work.model.graph.nodes[: len(got.steps)]
    early = {name: int(n) for name, n in zip(names, got.steps, strict=True) if n < settings["steps"]}
    said: dict[str, Any] = {"full_loss": got.loss}
    if early:
        said["stopped"] = {"why": "the loss did not fall for 3 checks of 10 steps", "steps": early}
    return Searched("node", got.gap, None, said, work.plan, constants=as_arrays(got.constants))

"""The table of attribution methods, and what may be asked of each.

Flows in: a method's name and the flags that the user gave. Flows out: a :class:`Config`, checked and with defaults
filled in, and what it will cost. No torch: `mi info` and `--dry-run` read this table too. Adding a method is one entry
here and one function ``run(job, batch) -> Scored`` elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mi.errors import UsageError
from mi.tasks import footprint
from mi.tasks.plan import Footprint, gradients

if TYPE_CHECKING:
    import numpy as np

    from mi.circuit.levels import Units
    from mi.core.batches import Batch
    from mi.core.job import Job, Scored

LEVELS = ("edge", "node", "neuron")
OF_NODES = ("node", "neuron")
RULES = ("left", "right", "midpoint", "trapezoid")
COMPAT = ("mib",)
OF_A_RUN = ("counterfactual", "resample")  # ablations that run other prompts (`replacement`)
DIRECTIONS = ("noising", "denoising")
BACKWARD = ("ln", "identity", "half", "pattern")  # the rules of `rules`
RELP = BACKWARD[:3]
STEPS = 5
# Of AtP*, for each source, in forwards: the queries, then the keys, of the layers after it (half of them on average)
# are projected and mixed, about a tenth of a layer each.
MIXED_AGAIN = 0.1


@dataclass(frozen=True)
class Config:
    """What was asked for, complete."""

    method: str
    level: str
    steps: int  # 1 where the method takes no steps
    rule: str  # of the quadrature; "" where the method takes none
    ablation: str
    compat: str | None = None
    normalise_layers: bool = False
    direction: str = ""  # of the methods that patch: noising or denoising
    backward: tuple[str, ...] = ()  # the rules by which gradients go back, where they are not the chain rule's


Cost = Callable[[Config, int], tuple[float, float]]


@dataclass(frozen=True)
class Method:
    """One way to score. ``cost(config, n_layers)`` counts the forwards and backwards of each example, in units of
    whole ones: a run that starts halfway up the model is half a run.
    """

    name: str
    summary: str
    levels: tuple[str, ...]  # the first is the default
    cost: Cost
    run: Callable[[Job, Batch], Scored]
    ablations: tuple[str, ...] | None = None  # None: all that there are; (): the method replaces nothing
    needs_metric: bool = True
    needs_gradient: bool = True
    only_at_clean: bool = False  # the gradient is that of the clean run alone
    rule: str = ""  # the default where --rule means something
    flags: tuple[str, ...] = ()  # which of steps, rule, normalise-layers, direction, on, backward it takes
    compat: tuple[str, ...] = ()  # levels at which --compat means something
    scale: Callable[[Config, Units, np.ndarray], np.ndarray] | None = (
        None  # of each unit, given all scores; NaN: not scored
    )
    selector: str = ""  # how `mi prune` should choose by default
    complete: bool = False  # the input's scores should sum to the change of the loss (spec I3)


def alphas(config: Config) -> list[tuple[float, float]]:
    """(alpha, weight) of each run between corrupted (0) and clean (1): the quadrature of the path integral."""
    m = config.steps
    if config.rule == "":
        return [(1.0, 1.0)]
    if config.rule == "left":
        return [(k / m, 1 / m) for k in range(m)]
    if config.rule == "right":
        return [(k / m, 1 / m) for k in range(m, 0, -1)]
    if config.rule == "midpoint":
        return [((k + 0.5) / m, 1 / m) for k in range(m)]
    ends = {0: 0.5, m: 0.5}
    return [(k / m, ends.get(k, 1.0) / m) for k in range(m, -1, -1)]


def _input_cost(config: Config, n_layers: int) -> tuple[float, float]:
    """A run and its gradient for each step; the clean and the corrupted run where they are no steps themselves."""
    at = [alpha for alpha, _ in alphas(config)]
    corrupted = config.ablation in OF_A_RUN and 0.0 not in at
    return len(at) + (1.0 not in at) + corrupted, len(at)


def _activations_cost(config: Config, n_layers: int) -> tuple[float, float]:
    """Each of 2L + 1 groups of sources has its own steps, on average half a model long; they share the clean one."""
    at = [alpha for alpha, _ in alphas(config)]
    corrupted, groups = config.ablation in OF_A_RUN, 2 * n_layers + 1
    if config.compat:
        return 1 + corrupted + groups * len(at), groups * len(at)
    steps = groups / 2 * sum(alpha != 1.0 for alpha in at)
    return 1 + corrupted + steps, steps + (1.0 in at)


def _patching_cost(config: Config, n_layers: int) -> tuple[float, float]:
    """What all patches share: the clean run, once more to go on from it, and the corrupted one."""
    return 2 + (config.ablation in OF_A_RUN), 0


def _drop_cost(config: Config, n_layers: int) -> tuple[float, float]:
    """A backward from each layer down; what the queries' and keys' attention takes comes on top."""
    return 1 + (config.ablation == "counterfactual"), 1 + (n_layers - 1) / 2


def _flow_cost(config: Config, n_layers: int) -> tuple[float, float]:
    return 1, 0


def _inputs(job: Job, batch: Batch) -> Scored:
    from mi.core.inputs import run

    return run(job, batch)


def _activations(job: Job, batch: Batch) -> Scored:
    from mi.core.activations import run

    return run(job, batch)


def _hisp(job: Job, batch: Batch) -> Scored:
    from mi.core.hisp import run

    return run(job, batch)


def _hisp_scale(config: Config, units: Units, mean: np.ndarray) -> np.ndarray:
    from mi.circuit.sums import of_heads

    return of_heads(units, mean, config.normalise_layers)


def _relp(job: Job, batch: Batch) -> Scored:
    from mi.core.relp import run

    return run(job, batch)


def _atp_star(job: Job, batch: Batch) -> Scored:
    from mi.core.atp_star import run

    return run(job, batch)


def _flow(job: Job, batch: Batch) -> Scored:
    from mi.core.ifr import run

    return run(job, batch)


def _patching(job: Job, batch: Batch) -> Scored:
    from mi.core.patching import run

    return run(job, batch)


def _exact(job: Job, batch: Batch) -> Scored:
    from mi.core.patching import run

    return run(job, batch)


def _exact_cost(config: Config, n_layers: int) -> tuple[float, float]:
    """The two runs. Each patch is a part of a forward more, which the command adds: it knows how many there are."""
    return 2, 0


_EAP = Method(
    "eap",
    "gradient at the clean run",
    levels=LEVELS,
    cost=_input_cost,
    run=_inputs,
    only_at_clean=True,
    compat=LEVELS,
)
_EAP_IG = Method(
    "eap-ig",
    "gradient averaged over inputs between corrupted and clean",
    levels=LEVELS,
    cost=_input_cost,
    run=_inputs,
    ablations=OF_A_RUN,
    rule="left",
    flags=("steps", "rule"),
    compat=LEVELS,
    complete=True,
)
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        _EAP,
        _EAP_IG,
        Method(
            "eap-ig-activations",
            "gradient averaged over each source's own output between corrupted and clean",
            levels=LEVELS,
            cost=_activations_cost,
            run=_activations,
            rule="right",
            flags=("steps", "rule"),
            compat=("edge",),
            complete=True,
        ),
        Method(
            "clean-corrupted",
            "mean of the gradients at the clean and at the corrupted run",
            levels=LEVELS,
            cost=_input_cost,
            run=_inputs,
            ablations=OF_A_RUN,
            rule="trapezoid",  # with one step
            compat=("edge",),
        ),
        replace(_EAP, name="nap", summary="eap of nodes (attribution patching, AtP)", levels=OF_NODES, compat=OF_NODES),
        replace(_EAP_IG, name="nap-ig", summary="eap-ig of nodes", levels=OF_NODES, compat=OF_NODES),
        Method(
            "relp",
            "eap with relevance (layer-wise relevance propagation) in the place of the gradient",
            levels=LEVELS,
            cost=_input_cost,
            run=_relp,
            only_at_clean=True,
            flags=("backward",),
        ),
        Method(
            "atp-star",
            "eap with exact attention and one layer's gradients dropped in turn (AtP*), in absolute value",
            levels=("edge", "node"),
            cost=_drop_cost,
            run=_atp_star,
            only_at_clean=True,
        ),
        Method(
            "hisp",
            "eap of heads and MLPs, in absolute value for each example (head importance)",
            levels=("node",),
            cost=_input_cost,
            run=_hisp,
            only_at_clean=True,
            flags=("normalise-layers",),
            scale=_hisp_scale,
        ),
        Method(
            "ifr",
            "how near each source comes to what a receiver reads (information flow routes); no gradient",
            levels=("edge",),
            cost=_flow_cost,
            run=_flow,
            ablations=(),
            needs_metric=False,
            needs_gradient=False,
            selector="greedy",
        ),
        Method(
            "exact",
            "rise of the loss when one alone is replaced (activation patching)",
            levels=LEVELS,
            cost=_patching_cost,
            run=_patching,
            needs_gradient=False,
            flags=("direction", "on"),
        ),
    )
}


def method_named(name: str) -> Method:
    try:
        return METHODS[name]
    except KeyError:
        raise UsageError(f"no method '{name}'", f"methods are {', '.join(METHODS)}") from None


def settle(
    name: str,
    *,
    level: str | None = None,
    steps: int | None = None,
    rule: str | None = None,
    ablation: str = "counterfactual",
    compat: str | None = None,
    normalise_layers: bool = False,
    direction: str | None = None,
    backward: Sequence[str] | None = None,
) -> Config:
    """The whole configuration of a method.

    Raises:
        UsageError: a name that does not exist, or something that means nothing to the method; says what is possible.
    """
    method = method_named(name)
    for flag, there in (
        ("steps", steps is not None),
        ("rule", rule is not None),
        ("normalise-layers", normalise_layers),
        ("backward", backward is not None),
        ("direction", direction is not None),
    ):
        if there and flag not in method.flags:
            takers = ", ".join(m.name for m in METHODS.values() if flag in m.flags)
            raise UsageError(f"--{flag} means nothing to {name}", f"it does to {takers}")
    if rule is not None and rule not in RULES:
        raise UsageError(f"no rule '{rule}'", f"rules are {', '.join(RULES)}")
    if direction is not None and direction not in DIRECTIONS:
        raise UsageError(f"no direction '{direction}'", f"directions are {', '.join(DIRECTIONS)}")
    if steps is not None and steps < 1:
        raise UsageError(f"{steps} steps are too few", "use --steps 1 or more")
    wanted = level or method.levels[0]
    if wanted not in method.levels:
        able = ", ".join(m.name for m in METHODS.values() if wanted in m.levels)
        if not able:
            raise UsageError(f"no level '{wanted}'", f"levels are {', '.join(LEVELS)}")
        raise UsageError(
            f"{name} scores {'s, '.join(method.levels)}s, no {wanted}s",
            f"use --level {method.levels[0]}, or a method that scores {wanted}s: {able}",
        )
    _check_ablation(method, ablation)
    _check_compat(method, wanted, compat)
    # The reference's code for nodes takes the clean end and leaves the corrupted one out (spec B0 row 9).
    default = "right" if compat and wanted != "edge" and "rule" in method.flags else method.rule
    return Config(
        method=name,
        level=wanted,
        steps=(steps or STEPS) if "steps" in method.flags else 1,
        rule=rule or default,
        ablation=ablation,
        compat=compat,
        normalise_layers=normalise_layers,
        direction=direction or DIRECTIONS[0] if "direction" in method.flags else "",
        backward=_backward_rules(backward) if "backward" in method.flags else (),
    )


def _backward_rules(asked: Sequence[str] | None) -> tuple[str, ...]:
    if asked is None:
        return RELP
    for rule in asked:
        if rule not in BACKWARD:
            raise UsageError(f"no backward rule '{rule}'", f"they are {', '.join(BACKWARD)}")
    return tuple(rule for rule in BACKWARD if rule in asked)


def _check_ablation(method: Method, ablation: str) -> None:
    if method.ablations is None or ablation in (method.ablations or ("counterfactual",)):
        return
    able = ", ".join(m.name for m in METHODS.values() if m.ablations is None)
    if not method.ablations:
        raise UsageError(f"{method.name} replaces nothing, so --ablation means nothing to it", f"it does to {able}")
    raise UsageError(
        f"{method.name} interpolates towards the corrupted input, not to '{ablation}'",
        f"use --ablation {' or '.join(method.ablations)}, or one of {able}",
    )


def _check_compat(method: Method, level: str, compat: str | None) -> None:
    if compat is None:
        return
    if compat not in COMPAT:
        raise UsageError(f"nothing to be compatible with is called '{compat}'", f"known are {', '.join(COMPAT)}")
    if level not in method.compat:
        able = ", ".join(m.name for m in METHODS.values() if level in m.compat)
        raise UsageError(f"--compat means nothing to {method.name} of {level}s", f"it does to {able}")


def memory(config: Config) -> Footprint:
    """What one batch takes, as `mi.tasks.footprint` has it."""
    if config.method == "ifr":
        return footprint.flow
    if config.method == "exact":
        return footprint.patches
    if config.method == "atp-star":
        return lambda shape, item, batch, budget: footprint.drops(shape, item, batch, budget, config.level)
    return gradients(config.steps, config.level, config.method == "eap-ig-activations")


def planned(config: Config) -> Footprint | None:
    """What the batch plan counts of an example, of the methods that keep more than gradients at a few inputs."""
    return memory(config) if config.method in ("atp-star", "eap-ig-activations") else None


def cost(config: Config, n_layers: int, n_sources: int = 0) -> tuple[float, float]:
    """Forwards and backwards of each example, those that make a mean included; of AtP* what it takes to let the heads
    mix again after each source, too, if their number is given.
    """
    forwards, backwards = METHODS[config.method].cost(config, n_layers)
    if config.method == "atp-star":
        forwards += math.ceil(MIXED_AGAIN * n_sources)
    return forwards + config.ablation.startswith("mean"), backwards

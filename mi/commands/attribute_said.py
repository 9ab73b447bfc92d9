"""What `mi attribute` says beside its scores: how they were made, what was not looked at, and what to be warned of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mi.core import methods
from mi.errors import UsageError

if TYPE_CHECKING:
    from mi.core.attribute import Attribution
    from mi.core.model import Model
    from mi.io.stream import Stream

SHORT_OF_COMPLETE = 0.25  # of the loss change: more steps are advised beyond it


def said_of(
    config: methods.Config, got: Attribution, n: int, which: str, ablation: str, measure: str
) -> dict[str, Any]:
    """What the head says about how the scores were made."""
    from mi import work

    entry = methods.METHODS[config.method]
    said: dict[str, Any] = {
        "method": config.method,
        "level": config.level,
        "split": which,
        "n": n,
        "plan": work.plan_summary(got.plan),
        "halved": got.halved,
        **work.together(),
    }
    if entry.ablations != ():
        said["ablation"] = ablation
    if entry.needs_metric:
        said["metric"] = measure
    if "rule" in entry.flags:
        said |= {"steps": config.steps, "rule": config.rule}
    if config.normalise_layers:
        said["normalise_layers"] = True
    if config.direction:
        said["direction"] = config.direction
    if config.backward:
        said["backward"] = list(config.backward)
    if config.compat:
        said["compat"] = config.compat
    if entry.selector:
        said["selector"] = entry.selector
    if _is_complete(got):
        said["completeness"] = {"loss_change": got.loss_change, "attributed": got.attributed}
    return said


def kv_of(config: methods.Config, kv: str | None, ranked: Stream | None) -> str | None:
    """Which receivers of keys and values are meant: what --kv says, or what the scores have that are to be looked at.

    Raises:
        UsageError: what is asked for knows no shared receivers.
        MiError: the scores have the others.
    """
    from mi.circuit.transformer import shares_receivers
    from mi.errors import MiError

    if kv == "grouped" and config.level != "edge":
        raise UsageError(f"--kv means nothing to scores of {config.level}s: only edges have receivers", "leave it away")
    if kv == "grouped" and config.compat:
        raise UsageError(
            "MIB has a key and a value receiver for each query head, so --kv grouped has no numbers of its",
            "leave --kv or --compat away",
        )
    if ranked is None or config.level != "edge":
        return kv
    own = "grouped" if shares_receivers(ranked.head["graph"]) else "query"
    if kv not in (None, own):
        raise MiError(
            f"the scores to look at were made with --kv {own}, not with --kv {kv}",
            "edges of one are no edges of the other: leave --kv away, or score again",
            place=ranked.origin,
        )
    return own


def check_same_graph(ready: Model, ranked: Stream) -> None:
    """Refuse scores to look at whose edges are not those of the model."""
    from mi.errors import MiError

    if ranked.head["graph"]["digest"] != ready.graph.digest:
        raise MiError(
            f"the scores to look at are of another graph than the model's ({ready.graph.describe()})",
            "score the same model",
            place=ranked.origin,
        )


def check_missed(config: methods.Config, ranked: Stream | None) -> None:
    if ranked is None:
        raise UsageError(
            "--missed-bound is of what --on leaves out, and nothing is left out", "name scores with --on SCORES"
        )
    if config.level == "neuron":
        raise UsageError("--missed-bound is of edges and nodes, not of neurons", "leave it away, or use --level node")
    if config.direction != "noising":
        raise UsageError("--missed-bound is of corrupting units, not of restoring them", "use --direction noising")


def missed_of(
    ready: Model, encoded: Sequence[Any], config: methods.Config, only: Any, samples: int, **options: Any
) -> dict[str, Any]:
    """What the head says about the units that were not looked at."""
    import numpy as np

    from mi.circuit.levels import Units
    from mi.core.missed import missed

    units = Units(ready.graph, config.level)
    found = missed(ready, encoded, config.level, np.setdiff1d(np.arange(units.n), only), samples, **options)
    return {**asdict(found), "unit": units.name(found.unit)}


def _is_complete(got: Attribution) -> bool:
    return got.loss_change == got.loss_change and got.attributed == got.attributed  # neither is NaN


def warnings(head: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was missed; and completeness: the input's scores should sum to the change of the loss (spec I3)."""
    missed = head["attribution"].get("missed")
    if missed:
        return [
            (
                f"of the {missed['n']:,} {head['attribution']['level']}s not looked at none does more than "
                f"{missed['largest']:.3g}, at {100 * missed['confidence']:.0f} % confidence; "
                f"all of them together do {missed['all_together']:.3g}"
            )
        ]
    found = head["attribution"].get("completeness")
    if not found:
        return []
    change, attributed = found["loss_change"], found["attributed"]
    if abs(attributed - change) <= SHORT_OF_COMPLETE * abs(change):
        return []
    return [
        (
            f"the input's scores sum to {attributed:.3g} and the loss changes by {change:.3g}: "
            "more --steps would bring them together"
        )
    ]

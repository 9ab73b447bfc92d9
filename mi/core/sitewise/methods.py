"""The attribution methods that score sites, and what each costs. No torch: `--dry-run` and `mi info` read this too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mi.core import methods
from mi.core.methods import Config
from mi.errors import UsageError

LEVEL = "site"
AT_CLEAN = ("eap", "nap")
OVER_INPUTS = ("eap-ig", "nap-ig")
OVER_ACTIVATIONS = "eap-ig-activations"
EXACT = "exact"
METHODS = (*AT_CLEAN, *OVER_INPUTS, OVER_ACTIVATIONS, EXACT)


def settle(
    name: str,
    *,
    steps: int | None,
    rule: str | None,
    direction: str | None,
    ablation: str,
    others: Sequence[str] = (),
) -> Config:
    """The configuration of a method that scores sites. ``others``: flags that were given and mean nothing to them.

    Raises:
        UsageError: the method does not score sites, or a flag means nothing to it.
    """
    if name not in METHODS:
        methods.method_named(name)
        raise UsageError(f"{name} scores no sites", f"these do: {', '.join(METHODS)}")
    if ablation != "counterfactual":
        raise UsageError(f"sites are replaced by what the corrupted run has there, not by '{ablation}'",
                         "leave --ablation away")  # fmt: skip
    if others:
        one = len(others) == 1
        raise UsageError(f"sites take no {' and no '.join(others)}", f"leave {'it' if one else 'them'} away")
    config = methods.settle(name, steps=steps, rule=rule, direction=direction)
    return replace(config, level=LEVEL)


def cost(config: Config, n_sites: int) -> tuple[float, float]:
    """Forwards and backwards of each example."""
    if config.method == EXACT:
        return 2 + n_sites, 0
    runs = len(methods.alphas(config))
    if config.method == OVER_ACTIVATIONS:
        return 2 + n_sites * runs, n_sites * runs
    return 2 + runs, runs

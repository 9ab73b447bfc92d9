"""Names of sites to sites: ``encoder.layer.3:output``, ``blocks.3.resid_post``, and shell patterns over both.

`*` stands for what is between two dots, `**` for anything: ``encoder.layer.*:output`` are the outputs of the layers,
``encoder.layer.0.**:output`` all outputs inside the first.
"""

from __future__ import annotations

from collections.abc import Sequence

from mi.core.sites import glob
from mi.core.sitewise.reach import Site
from mi.errors import UsageError

EVERY = "**:output"


def chosen(sites: Sequence[Site], again: Sequence[str], patterns: Sequence[str]) -> list[Site]:
    """The sites that at least one name or pattern means, in the order of a run.

    Raises:
        UsageError: one of them means none; says why where that is known.
    """
    found: set[Site] = set()
    for pattern in patterns:
        match = glob(pattern).fullmatch
        means = {site for site in sites if any(match(name) for name in (site.name, *site.aliases))}
        if not means:
            raise UsageError(f"no site is called '{pattern}'", _why(pattern, again, sites), place="--site")
        found |= means
    return [site for site in sites if site in found]


def _why(pattern: str, again: Sequence[str], sites: Sequence[Site]) -> str:
    path = pattern.rpartition(":")[0]
    if path in again:
        return "that module runs several times in one run of the model, so its name means no one place"
    example = sites[len(sites) // 2].name if sites else "layers.0:output"
    return f"mi info -m MODEL lists the sites, such as {example}; put patterns in quotes"

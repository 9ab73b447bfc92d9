"""What an ablation takes from elsewhere: a file of constants (`--means`) and a seed (`--seed`). No torch.

In: the flags, and the model that was chosen. Out: :class:`Constants`, for the core (`means.given`), for the chain and
for the head of the stream that is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mi.errors import MiError, UsageError
from mi.io import blobs, chain, stream
from mi.io.digests import file_digest
from mi.tasks.subject import Chosen

BLOB = "means"
USERS = ("mean", "mean-positional", "optimal")  # ablations that can use constants of a file


@dataclass(frozen=True)
class Constants:
    """``arrays``: embed, z0, mlp0, z1, ... as float32 or float64 numpy arrays, where a file was given."""

    ablation: str
    seed: int = 0
    arrays: Mapping[str, Any] | None = field(default=None, repr=False)
    inputs: tuple[Mapping[str, Any], ...] = ()
    origin: str = ""

    @property
    def digests(self) -> list[str]:
        """For the memo's key."""
        return [str(item["sha256"]) for item in self.inputs]

    def said(self) -> dict[str, Any]:
        """What a head says of it."""
        if self.ablation == "resample":
            return {"resampled": {"seed": self.seed}}
        return {"means": {"sha256": self.digests[0]}} if self.inputs else {}


def constants(file: str | None, ablation: str, seed: int, chosen: Chosen) -> Constants:
    """The constants of a file made by `mi cache --means` or by a learner, checked against the model.

    Raises:
        UsageError: a file that the ablation does not use, or none where it needs one.
        MiError: the file holds other constants, or those of another model.
    """
    if file is None:
        if ablation == "optimal":
            raise UsageError("--ablation optimal needs constants that were learned", "name their file with --means")
        return Constants(ablation, seed)
    if ablation not in USERS:
        raise UsageError(f"--means means nothing to --ablation {ablation}", f"it does to {', '.join(USERS)}")
    if file == "-":
        raise UsageError("--means - would read the stream that is piped in", "give it a file")
    found = stream.read(file, ())
    if BLOB not in found.blobs:
        raise MiError(f"a {found.kind} stream without constants", "made by `mi cache --means`", place=file)
    held = (found.head.get("means") or {}).get("ablation")
    if held is not None and held != ablation:
        raise MiError(f"the constants are of --ablation {held}, not {ablation}", "choose that ablation", place=file)
    weights = (found.head.get("model") or {}).get("weights")
    if weights != chosen.weights:
        raise MiError(
            f"the constants are of other weights than those of {chosen.located.id}: {str(weights)[:12]}, not "
            f"{chosen.weights[:12]}",
            f"make them again: {chain.pipeline(found.head)}",
            place=file,
        )
    arrays = {
        key: value.float32() if isinstance(value, blobs.BF16) else value
        for key, value in blobs.load(found, BLOB).items()
    }
    return Constants(ablation, seed, arrays, (chain.given(file, file_digest(file)),), file)

"""`mi attribute --shard`: what it asks for, the examples that it takes, and what its stream holds instead of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mi.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from mi.circuit.partial import Shard
    from mi.core.attribute import Attribution


def shard_asked(shard: str | None, missed_bound: int | None) -> Shard | None:
    """What --shard says."""
    from mi.circuit import partial
    from mi.core.team import current

    if shard and missed_bound:
        raise UsageError("--missed-bound needs all examples, and --shard takes some", "leave one of them away")
    if missed_bound and current().size > 1:
        raise UsageError("--missed-bound needs all examples in one process", "start it without torchrun")
    return partial.parse(shard) if shard else None


def rows_taken(cut: Shard | None, encoded: Sequence[Any]) -> np.ndarray:
    """The places of the examples to score: all, or those of the shard."""
    import numpy as np

    from mi.circuit import partial
    from mi.core.shards import deal

    if cut is None or not encoded:
        return np.arange(len(encoded))
    partial.check_size(cut, len(encoded))
    return deal([len(example.clean) for example in encoded], cut.index - 1, cut.of)


def set_and_part(
    records: Sequence[Mapping[str, Any]], rows: Sequence[int], taken: np.ndarray
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the whole set and the shard's part of it are: how many examples, and their digest."""
    from mi.io.examples import examples_digest

    def said(chosen: Sequence[int]) -> dict[str, Any]:
        return {"n": len(chosen), "sha256": examples_digest(records[row] for row in chosen)}

    return said(rows), said([rows[place] for place in taken])


def as_shard(
    head: dict[str, Any], cut: Shard, got: Attribution, sets: tuple[Any, Any], only: np.ndarray | None
) -> dict[str, Any]:
    """Make the head that of a shard; its tensors."""
    from mi.circuit import partial
    from mi.io import canonical

    assert got.sums is not None
    head["attribution"].pop("completeness", None)  # it is of a whole set
    looked_at = None if only is None else canonical.sha256(only.astype("<i8").tobytes())
    head["partial"] = partial.head(cut, *sets, looked_at)
    return {partial.BLOB: partial.tensors(got.sums)}


def tensors_of(got: Attribution) -> dict[str, Any]:
    import numpy as np

    vectors = {got.level: got.scores.astype(np.float32), f"{got.level}_shards": got.shards, "shard_n": got.shard_n}
    return {"scores": vectors}

"""`mi merge --sum`: the shards of one run in, the scores of its whole set out.

The shards are added in their own order, so it does not matter in which order they are named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mi.circuit import partial
from mi.errors import MiError

if TYPE_CHECKING:
    from mi.circuit.levels import Units
    from mi.circuit.partial import Shard
    from mi.circuit.sums import Whole
    from mi.commands.merge import Given

OF_A_SHARD = (
    "n",
    "plan",
    "halved",
    "ranks",
    "tensor_parallel",
)  # of an attribution: what differs from shard to shard of one run


def in_order(inputs: Sequence[Given]) -> list[Given]:
    """The inputs by shard.

    Raises:
        MiError: one is no shard, or is of another run; one is missing, or there twice.
    """
    shards: dict[int, Given] = {}
    for each in inputs:
        shard = _shard_of(each)
        _check_same_run(inputs[0], each)
        if shard.index in shards:
            first = shards[shard.index].stream.origin
            raise MiError(f"{shard} is there twice", f"it is in {first} too", place=each.stream.origin)
        shards[shard.index] = each
    of = _shard_of(inputs[0]).of
    missing = [index for index in range(1, of + 1) if index not in shards]
    if missing:
        listed = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
        raise MiError(
            f"shard{'s' * (len(missing) > 1)} {listed} of {of} {'are' if len(missing) > 1 else 'is'} missing",
            f"`mi attribute --shard {missing[0]}/{of}` makes {'the first' if len(missing) > 1 else 'it'}",
        )
    return [shards[index] for index in sorted(shards)]


def _shard_of(given: Given) -> Shard:
    shard = partial.shard_of(given.stream.head, given.stream.origin)
    if shard is None:
        raise MiError(
            "these are whole scores, no shard of them",
            "--sum joins what `mi attribute --shard` wrote; --mean merges scores",
            place=given.stream.origin,
        )
    return shard


def _check_same_run(base: Given, other: Given) -> None:
    for what, ours, theirs in _compared(base.stream.head, other.stream.head):
        if ours != theirs:
            raise MiError(
                f"a shard of another run: {what} {_spelled(theirs)} here, {_spelled(ours)} in {base.stream.origin}",
                "join the shards of one run only",
                place=other.stream.origin,
            )


def _compared(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """What all shards of a run say alike, as a user would name it."""
    yield "number of shards", ours["partial"]["of"], theirs["partial"]["of"]
    entries = [dict(head.get("attribution") or {}) for head in (ours, theirs)]
    yield from _differing("", *({k: v for k, v in entry.items() if k not in OF_A_SHARD} for entry in entries))
    for part, keys in (
        ("model", ("weights", "dtype", "bos")),
        ("graph", ("digest",)),
        ("task", ("name", "counterfactual", "answers")),
        ("examples", ("sha256",)),
    ):
        chosen = [{key: (head.get(part) or {}).get(key) for key in keys} for head in (ours, theirs)]
        yield from _differing(f"{part} ", *chosen)
    yield from _differing(
        "examples of the split ", ours["partial"].get("set") or {}, theirs["partial"].get("set") or {}
    )
    yield "what was looked at", ours["partial"].get("only"), theirs["partial"].get("only")


def _differing(prefix: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in sorted({*ours, *theirs}):
        yield f"{prefix}{key}", ours.get(key), theirs.get(key)


def _spelled(value: Any) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text  # a digest


def whole(inputs: Sequence[Given], units: Units) -> tuple[Whole, Any]:
    """The scores of the whole set, and how many examples each shard of their standard errors has.

    Raises:
        MiError: an example is in no shard, or in two.
    """
    import numpy as np

    from mi.circuit.sums import joined
    from mi.circuit.sums import whole as scores_of
    from mi.core.methods import METHODS, settle

    found = joined(partial.read(each.stream, units) for each in inputs)
    n = int((inputs[0].stream.head["partial"].get("set") or {}).get("n", found.n))
    if not np.array_equal(found.rows, np.arange(n)):
        raise MiError(f"the shards hold {found.n} examples, which are not the {n} of the set", "run their jobs again")
    said = inputs[0].attribution
    method = METHODS.get(str(said.get("method")))
    if method is None:
        raise MiError(f"the method {said.get('method')!r} is not one that this mi knows", place=inputs[0].stream.origin)
    scale = None
    if method.scale is not None:
        config = settle(method.name, level=units.level, normalise_layers=bool(said.get("normalise_layers")))

        def scale(of: Units, mean: Any, rule: Any = method.scale) -> Any:
            return rule(config, of, mean)

    return scores_of(found, scale), found.shard_n


def attribution(inputs: Sequence[Given], made: Whole) -> dict[str, Any]:
    """What the head says of the whole run: what each shard says, and all their batches."""
    said = dict(inputs[0].attribution)
    said["n"] = sum(int(each.attribution.get("n", 0)) for each in inputs)
    said["plan"] = [batch for each in inputs for batch in each.attribution.get("plan") or []]
    said["halved"] = sum(int(each.attribution.get("halved", 0)) for each in inputs)
    if made.loss_change == made.loss_change and made.attributed == made.attributed:  # neither is NaN
        said["completeness"] = {"loss_change": made.loss_change, "attributed": made.attributed}
    return said


def unlike(inputs: Sequence[Given]) -> str | None:
    """What to say of shards that ran on different things: their numbers may differ more than those of one machine."""
    links = [(each.stream.head.get("chain") or [{}])[-1] for each in inputs]
    ran = [{"mi": link.get("version"), **(link.get("env") or {})} for link in links]
    keys = sorted({key for one in ran for key in one if any(other.get(key) != one[key] for other in ran)})
    if not keys:
        return None
    told = [f"{key} {', '.join(sorted({str(one.get(key)) for one in ran}))}" for key in keys]
    return f"the shards did not all run alike: {'; '.join(told)}"

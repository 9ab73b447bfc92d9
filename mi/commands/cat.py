"""`mi cat`: several sets of examples in, one out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from mi.errors import MiError
from mi.options import UNRECORDED, Argument, Json, Output, Quiet

if TYPE_CHECKING:
    from mi.io.parents import Parent


def cat(
    files: Annotated[
        list[str] | None,
        UNRECORDED,  # the chain names the files by their digests
        Argument(metavar="[FILE]...", show_default=False, help="Streams of examples; one may be -, standard input."),
    ] = None,
    output: Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Join several sets of examples into one.

    All must have one metric, and those of `mi cache` one model. An example that is there twice is taken once. Tasks may
    differ, which the name of the new task says.

    Examples:

        mi cat ioi.jsonl ioi-abc.jsonl -o both.jsonl

        mi data ioi -n 50 --seed 1 | mi cat - more.jsonl | mi cache
    """
    from mi.io import parents, parts
    from mi.run import invocation
    from mi.show.notes import note
    from mi.show.numbers import count
    from mi.show.output import emit

    given = parents.read(parents.names(files, 1, "join"), parts.KINDS)
    base = parents.base(given)
    for other in given:
        parts.check(other.stream)
        _check_same(base, other)
    records, again = parts.joined([each.stream for each in given])
    if again:
        note(f"{count(again, 'example')} {'is' if again == 1 else 'are'} there more than once, and taken once")
    head = parts.renamed({**base.stream.head, **_task(given)}, records)
    if error := parts.keep(records):
        note(f"nothing is kept for another time: {error.fact}; $MI_STORE names the folder")
    emit(parents.record(head, given, invocation()), records, output=output, json=json)


def _check_same(base: Parent, other: Parent) -> None:
    """Refuse what would not be one set."""
    ours, theirs = other.stream, base.stream
    for what, here, there in (
        ("kind", ours.kind, theirs.kind),
        ("metric", *(str((each.head.get("task") or {}).get("metric")) for each in (ours, theirs))),
        ("model", *(_weights(each.head) for each in (ours, theirs))),
    ):
        if here != there:
            raise MiError(
                f"the {what} differs: {here} here, {there} in {theirs.origin}",
                "only examples of one kind, metric and model are joined",
                place=ours.origin,
            )


def _weights(head: Any) -> str:
    model = head.get("model") or {}
    return f"{model['id']} (weights {str(model.get('weights'))[:12]})" if model else "none"


def _task(given: Sequence[Parent]) -> dict[str, Any]:
    """The task of all: what they agree on, and their names joined."""
    tasks = [each.stream.head.get("task") or {} for each in given]
    if all(task == tasks[0] for task in tasks):
        return {}
    names = dict.fromkeys(str(task["name"]) for task in tasks if "name" in task)
    common = {key: value for key, value in tasks[0].items() if all(task.get(key) == value for task in tasks)}
    return {"task": {**common, "name": "+".join(names), "counterfactual": common.get("counterfactual")}}

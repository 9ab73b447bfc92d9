"""What the commands that run a model share: where examples come from, the model held while it computes, replay from
the store.

In: flags, a stream, and the one function that computes. Out: the result, written. torch is imported only where there is
something to compute.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mi.errors import MiError
from mi.io import chain, channel, memo, source, store
from mi.run import invocation
from mi.show.notes import note
from mi.show.output import emit, wants_table

if TYPE_CHECKING:
    from mi.show.table import Table
    from mi.tasks.subject import Chosen, Loading


@dataclass(frozen=True)
class Result:
    """What a command made: a head without its new link, records, tensors by blob; ``tables`` are for terminals."""

    head: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]
    tensors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tables: Sequence[Table] = ()


def has_stream(file: str | None, task: str | None, data: str | None) -> bool:
    """Whether examples come as a stream.

    Flags start a pipe and never read stdin; so does a stdin that nobody writes to (a terminal, a closed descriptor, a
    device).
    """
    from mi.errors import UsageError

    if task and data:
        raise UsageError("--task and --data both name examples", "give one of them")
    if task or data:
        if file:
            raise UsageError(f"{file} and {'--task' if task else '--data'} both name examples", "give one of them")
        return False
    handed = channel.current()
    return bool(file) or (handed is not None and handed.input is not None) or source.has_upstream()


def import_libraries() -> None:
    """What every command with a model needs, whichever model it is: most of the time of a short run.

    The collector would look at all that is imported again and again, and find nothing: it is told not to.
    """
    if "mi.core.session" in sys.modules:
        return
    gc.disable()
    for name in ("mi.core.session", "transformers.models.auto.modeling_auto", "transformers.models.gpt2.modeling_gpt2"):
        import_module(name)
    gc.freeze()
    gc.enable()


def produce(
    compute: Callable[[Any], Result],
    *,
    chosen: Chosen,
    loading: Loading,
    head: Mapping[str, Any],
    inputs: Iterable[Mapping[str, Any]],
    depends_on: Sequence[Any],
    output: str | None,
    json: bool,
    fresh: bool,
    warnings: Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]]], Sequence[str]] = lambda head, records: (),
    own_tables: bool = False,
) -> None:
    """Compute with the model, or take the same result from the store; then write it.

    ``head`` is that of the stream that came in ({} where none did); ``depends_on`` all that the result depends on
    beside the command line, the model's weights and the versions of everything. ``warnings`` are what a user should be
    told about a result, computed or replayed. ``own_tables``: a terminal is shown what only a run knows.
    """
    from mi.core.team import current

    call, team = invocation(), current()
    shared: list[Any] = [team.size, team.parts] if team.size > 1 else []
    shared += [] if loading.device_map is None else [loading.device_map.digest]
    key = memo.key(
        call.command,
        call.argv,
        dict(head),
        loading.device,
        loading.dtype,
        *depends_on,
        *shared,
        inputs=[chosen.identity],
    )
    must_run = fresh or (own_tables and wants_table(output, json))
    found = memo.lookup(key) if team.leads and not must_run else None
    if team.first(lambda: found is not None):
        if found is None:
            return
        made, records, blobs = found
        _warn(warnings(made, records))
        emit(made, records, blobs, output=output, json=json)
        return
    import_libraries()
    from mi.core.session import opened

    with opened(chosen, head.get("graph"), loading, on_wait=note) as model:
        result = compute(model)
        kind = loading.remote if loading.remote == "ndif" else model.device.type
        model_head = chosen.head(model.identity["dtype"], result.head["model"]["bos"])
    if not team.leads:
        return
    made = {**result.head, "model": model_head, "chain": head.get("chain", [])}
    made = chain.record(made, invocation(), [*inputs, *chosen.inputs(), *loading.inputs()], kind)
    _warn(warnings(made, result.records))
    say_unkept(memo.remember(key, made, result.records, result.tensors))
    emit(made, result.records, result.tensors, output=output, json=json, own=result.tables)


def together() -> dict[str, int]:
    """What a head says of the processes that made a result, if there were several."""
    from mi.core.team import current

    team = current()
    if team.parts > 1:
        return {"tensor_parallel": team.parts}
    return {"ranks": team.size} if team.size > 1 else {}


def keep_examples(records: Iterable[Mapping[str, Any]]) -> MiError | None:
    """Keep examples in the store, where later commands find them. A store that cannot be written is no reason to fail:
    `--data` names the examples just as well.
    """
    from mi.core.team import current

    if not current().leads:
        return None
    try:
        store.put_examples(records)
    except MiError as error:
        return error
    return None


def say_unkept(error: MiError | None) -> None:
    """What to say of a store that cannot be written, if it is one: once in a command."""
    if error is not None:
        note(f"nothing is kept for another time: {error.fact}; $MI_STORE names the folder")


def _warn(texts: Iterable[str]) -> None:
    for text in texts:
        note(text)


def plan_summary(plan: Sequence[Sequence[int]]) -> list[list[int]]:
    """A batch plan as [size, how many batches of it in a row]."""
    runs: list[list[int]] = []
    for rows in plan:
        if runs and runs[-1][0] == len(rows):
            runs[-1][1] += 1
        else:
            runs.append([len(rows), 1])
    return runs


def say_halved() -> Callable[[int], None]:
    """What to say when memory runs out: once, whatever happens after it."""
    said: list[int] = []

    def halved(size: int) -> None:
        if not said:
            note(f"out of memory: batches of {size} or fewer from here on, the result is the same")
        said.append(size)

    return halved

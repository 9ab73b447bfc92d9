"""`mi data filter`: keep the examples that a model gets right, and say how many that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mi import options

if TYPE_CHECKING:
    from mi.tasks.encode import Encoded
    from mi.tasks.subject import Chosen, Loading


def data_filter(
    file: options.Input = None,
    model: options.Model = None,
    revision: options.Revision = None,
    bos: options.Bos = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    tf32: options.Tf32 = False,
    batch_size: options.BatchSize = None,
    memory_budget: options.MemoryBudget = "1GB",
    executor: options.Executor = "auto",
    device_map: options.DeviceMap = None,
    trust_remote_code: options.TrustRemoteCode = False,
    allow_pickle: options.AllowPickle = False,
    adapter: options.Adapter = None,
    output: options.Output = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    dry_run: options.DryRun = False,
) -> None:
    """Keep the examples that a model gets right, and say how many that is.

    Right means that after the clean prompt the best of the answers beats the best of the foils; where an example has no
    foils, that an answer is the most likely token of all.

    Examples:

        mi data ioi -m gpt2 | mi data filter -m gpt2 -o known.jsonl
    """
    from mi import work
    from mi.commands.remote import spread_over
    from mi.core.sitewise.which import need_graph
    from mi.errors import MiError
    from mi.io import chain, stream
    from mi.io.examples import examples_digest, split_counts
    from mi.run import invocation
    from mi.show.notes import note
    from mi.show.output import emit
    from mi.tasks import subject
    from mi.tasks.budget import parse
    from mi.tasks.plan import cost

    room, apart = parse(memory_budget), spread_over(device_map, device)
    came = stream.read(file, ("examples", "cache"), work.import_libraries)
    chosen = subject.choose_model(model, revision, came.head, allow_pickle=allow_pickle, adapter=adapter)
    need_graph(*chosen.kind)
    examples = subject.from_stream(came)
    for index, record in enumerate(examples.records):
        if not record.get("answers"):
            raise MiError("no answers, so nothing to get right", place=came.place(index))
    encoded = subject.encoded(examples, range(len(examples.records)), chosen, bos, need_answers=False)
    loading = subject.Loading(device, dtype, tf32, trust_remote_code, allow_pickle, budget=room, device_map=apart)
    if dry_run:
        lengths = [len(example.clean) for example in encoded]
        note(cost(lengths, chosen.located.config(), dtype, batch_size, 2, budget=room).text())
        return
    right, halved, kind = which_are_right(encoded, chosen, loading, batch_size, executor)
    plain = [{key: value for key, value in record.items() if key != "baseline"} for record in examples.records]
    kept = [record for record, is_right in zip(plain, right, strict=True) if is_right]
    name = chosen.located.id
    if not kept:
        hint = "`mi cache` shows what it says instead"
        raise MiError(f"{name} gets none of the {len(plain)} examples right", hint, place=came.origin)
    note(f"{name} is right on {how_many(plain, kept)}; the rest is left out")
    work.say_unkept(work.keep_examples(kept))  # no generator and no file holds this selection
    made = {
        "kind": "examples",
        "task": came.head["task"],
        "chain": came.head.get("chain", []),
        "examples": {
            "sha256": examples_digest(kept),
            "n": split_counts(kept),
            "source": {
                "filter": {"model": name, "weights": chosen.weights, "halved": halved},
                "of": came.head.get("examples", {}).get("source", {}),
            },
        },
    }
    made = chain.record(made, invocation(), [*examples.inputs, *chosen.inputs(), *loading.inputs()], kind)
    emit(made, kept, output=output, json=json)


def which_are_right(
    encoded: Sequence[Encoded], chosen: Chosen, loading: Loading, batch_size: int | None, executor: str
) -> tuple[list[bool], int, str]:
    """For each example whether the model is right; how often a batch did not fit; and the kind of device."""
    from mi import work
    from mi.core.baseline import baselines
    from mi.core.session import opened
    from mi.show.notes import note
    from mi.show.progress import progress

    with opened(chosen, None, loading, on_wait=note) as model, progress(len(encoded), "data filter") as bar:
        got = baselines(
            model,
            encoded,
            metric="accuracy",
            batch_size=batch_size,
            executor=executor,
            on_done=bar.advance,
            on_halved=work.say_halved(),
        )
        return [bool(is_right) for is_right in got.right], got.halved, model.device.type


def how_many(every: Sequence[Mapping[str, Any]], kept: Sequence[Mapping[str, Any]]) -> str:
    """`93 of 100 train and 88 of 100 validation examples`."""
    from mi.io.examples import UNSPLIT, split_counts

    before, after = split_counts(every), split_counts(kept)
    parts = [f"{after.get(name, 0)} of {n}{'' if name == UNSPLIT else f' {name}'}" for name, n in before.items()]
    return f"{' and '.join(parts)} examples"

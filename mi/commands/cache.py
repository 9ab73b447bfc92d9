"""`mi cache`: run the model on clean and corrupted inputs and keep what later stages need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mi import options
from mi.options import Option

if TYPE_CHECKING:
    from mi.core.baseline import Baselines
    from mi.core.model import Model
    from mi.io.stream import Stream
    from mi.show.table import Table
    from mi.tasks.encode import Encoded
    from mi.tasks.subject import Chosen
    from mi.work import Result

TOO_OFTEN_WRONG = 0.75  # MIB keeps a task and model only above this accuracy
MADE = 100  # examples of each split
SHOWN = 5  # examples whose top tokens the table shows


def cache(
    file: options.Input = None,
    model: options.Model = None,
    revision: options.Revision = None,
    task: options.Task = None,
    data: options.Data = None,
    number: options.N = None,
    seed: options.Seed = 0,
    counterfactual: options.Counterfactual = None,
    limit: options.Limit = None,
    bos: options.Bos = "auto",
    answers: options.Answers = "single",
    metric: options.Metric = None,
    site: Annotated[
        list[str] | None,
        Option(
            "--site",
            metavar="SITE",
            show_default=False,
            help="Keep this activation too, or all that a pattern means (repeatable); 'mi info -m' lists them.",
        ),
    ] = None,
    positions: Annotated[
        Literal["all", "read"] | None,
        Option(
            "--positions",
            show_default=False,
            help="Keep sites at every position (if not given), or where the metric reads.",
        ),
    ] = None,
    runs: Annotated[
        Literal["clean", "corrupted", "both"] | None,
        Option(
            "--runs", show_default=False, help="Keep sites of the clean run (if not given), the corrupted, or both."
        ),
    ] = None,
    means: Annotated[
        bool, Option("--means", help="Write the mean of what each node writes instead, for --ablation mean.")
    ] = False,
    by_position: Annotated[
        bool, Option("--by-position", help="With --means: a mean for each position, for --ablation mean-positional.")
    ] = False,
    text: Annotated[
        str | None,
        Option("--text", metavar="FILE", show_default=False, help="With --means: average over this text; - is stdin."),
    ] = None,
    window: Annotated[
        int | None,
        Option("--window", metavar="N", min=1, show_default=False, help="With --text: tokens of a window (128)."),
    ] = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    tf32: options.Tf32 = False,
    tensor_parallel: options.TensorParallel = False,
    batch_size: options.BatchSize = None,
    memory_budget: options.MemoryBudget = "1GB",
    executor: options.Executor = "auto",
    remote: options.Remote = None,
    device_map: options.DeviceMap = None,
    trust_remote_code: options.TrustRemoteCode = False,
    allow_pickle: options.AllowPickle = False,
    adapter: options.Adapter = None,
    output: options.Output = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    dry_run: options.DryRun = False,
    fresh: options.Fresh = False,
) -> None:
    """Run a model on clean and corrupted inputs: the first stage of the main line.

    Reads examples, or makes them (--task, --data, or the default task when nothing is piped in), and writes each with
    its baseline: the metric of the clean and of the corrupted run. Activations named by --site go into a blob beside
    the stream. What nodes write in the corrupted run is not stored: computing it again costs less than reading it.

    With --means it writes one constant for every node instead: its mean output over the clean prompts, or over windows
    of any text (plain, or JSON lines with a field "text"; lines such as <|end|> part documents).

    Examples:

        mi cache </dev/null | mi attribute | mi prune | mi score

        mi data greater-than -n 200 | mi cache -o years.jsonl

        mi cache --task ioi --site blocks.3.attn.z --positions read -o z.jsonl

        mi cache --means --text stories.txt -o means.jsonl

        mi cache -m vit/ --data images.safetensors --site 'vit.layers.*:output' -o acts.jsonl
    """
    from mi import work
    from mi.commands.cache_flags import check_made, check_means, check_sites
    from mi.commands.cache_means import Request, of_examples, of_text
    from mi.commands.cache_sites import Request as Wanted
    from mi.commands.cache_sites import examples_of, of_sites
    from mi.commands.patch_sites import check_executor
    from mi.commands.remote import check, spread_over, weights_here
    from mi.core.sitewise.which import sites_only, unknown
    from mi.core.team import current
    from mi.show.notes import note
    from mi.tasks import subject
    from mi.tasks.budget import parse
    from mi.tasks.encode import needs
    from mi.tasks.plan import cost

    room = parse(memory_budget)
    check_means(means, by_position, text, window, file or task or data)
    check_sites(means, {"--site": site, "--positions": positions, "--runs": runs, "--metric": metric})
    positions, runs = positions or "all", runs or "clean"
    apart = spread_over(device_map, device, remote)
    loading = subject.Loading(device, dtype, tf32, trust_remote_code, allow_pickle, budget=room, device_map=apart)
    asked = Request(by_position, limit, bos, batch_size, executor, output, json, dry_run, fresh)
    if text:
        of_text(
            asked,
            text,
            window,
            subject.choose_model(model, revision, {}, allow_pickle=allow_pickle, adapter=adapter),
            loading,
        )
        return
    piped = current().first(lambda: _upstream(file, task, data))
    check_made(piped.origin if piped else data, number, counterfactual if piped else None)
    head: dict[str, Any] = dict(piped.head) if piped else {}
    check(remote, model, head)
    here = weights_here(remote)
    chosen = subject.choose_model(model, revision, head, allow_pickle=allow_pickle, adapter=adapter, weights=here)
    wanted = Wanted(metric, site or (), positions, runs, limit, bos, batch_size, output, json, dry_run, fresh)
    elsewhere = replace(loading, sites_only=True, remote=remote)
    if sites_only(*chosen.kind):
        check_executor(executor)
        check_made(data, None, counterfactual)
        of_sites(wanted, examples_of(piped, data, chosen), head, chosen, elsewhere)
        return
    if piped:
        examples = subject.from_stream(piped)
    elif data:
        examples = subject.from_file(data, chosen, counterfactual, answers)
    else:
        examples = subject.from_task(
            task or subject.DEFAULT_TASK, number or MADE, seed, counterfactual, chosen.tokenizer
        )
    for line in examples.notes:
        note(line)
    examples = subject.limited(examples, limit)
    if means:
        of_examples(asked, examples, head, chosen, loading)
        return
    examples = subject.answered(examples, answers)
    if remote or (site and unknown(*chosen.kind)):
        check_executor(executor)
        of_sites(wanted, examples, head, chosen, elsewhere)
        return
    measure = metric or str(examples.head["task"]["metric"])
    encoded = subject.encoded(examples, range(len(examples.records)), chosen, bos, **needs(measure))
    if dry_run:
        lengths = [len(example.clean) for example in encoded]
        note(cost(lengths, chosen.located.config(), dtype, batch_size, 2, budget=room).text())
        return

    def compute(ready: Model) -> Result:
        from mi.core.baseline import RUNS, baselines
        from mi.core.baseline import Wanted as Kept
        from mi.core.sites import matching
        from mi.show.progress import progress

        sites = matching(ready.adapter, site or ())
        kept = Kept(sites, RUNS if runs == "both" else (runs,), positions == "read")
        with progress(len(encoded), "cache") as bar:
            got = baselines(
                ready,
                encoded,
                metric=measure,
                wanted=kept,
                batch_size=batch_size,
                executor=executor,
                on_done=bar.advance,
                on_halved=work.say_halved(),
            )
        caching: dict[str, Any] = {
            "metric": measure,
            "accuracy": float(got.right.mean()),
            "plan": work.plan_summary(got.plan),
            "halved": got.halved,
            "memory_budget": room.bytes,
            **work.together(),
        }
        if site:
            caching |= {"sites": [each.name for each in sites], "positions": positions, "runs": runs}
        return work.Result(
            head={
                **examples.head,
                "kind": "cache",
                "model": {"bos": bos},
                "graph": ready.graph.head(),
                "task": {**examples.head["task"], "metric": measure},
                "caching": caching,
            },
            records=[
                {**record, "baseline": {"clean": float(clean), "corrupted": float(corrupted)}}
                for record, clean, corrupted in zip(examples.records, got.clean, got.corrupted, strict=True)
            ],
            tensors={run: {**kept, "length": got.lengths} for run, kept in got.activations.items()},
            tables=_tables(encoded, got, chosen, measure),
        )

    work.produce(
        compute,
        chosen=chosen,
        loading=loading,
        head=head,
        inputs=examples.inputs,
        depends_on=[examples.head],
        output=output,
        json=json,
        fresh=fresh,
        warnings=_warnings,
        own_tables=True,
    )


def _upstream(file: str | None, task: str | None, data: str | None) -> Stream | None:
    from mi import work
    from mi.io import stream

    return stream.read(file, ("examples",), work.import_libraries) if work.has_stream(file, task, data) else None


def _warnings(head: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[str]:
    accuracy = head["caching"]["accuracy"]
    if accuracy >= TOO_OFTEN_WRONG:
        return []
    return [
        (
            f"the model is right on {accuracy:.0%} of the examples: a circuit for what it cannot do means little; "
            "`mi data filter` keeps those that it gets right"
        )
    ]


def _tables(encoded: Sequence[Encoded], got: Baselines, chosen: Chosen, metric: str) -> list[Table]:
    """How well the model does, and what it would say on a few examples."""
    from mi.show.table import Column, Table

    def text(ids: Sequence[int]) -> str:
        if chosen.tokenizer is None:
            return " ".join(map(str, ids))
        return chosen.tokenizer.decode(list(ids))

    rows = [
        [
            text(e.clean[e.offset :]),
            text(e.answers[:1]),
            ", ".join(f"{text([token])} {p:.2f}" for token, p in top),
            f"{value:.2f}",
        ]
        for e, top, value in list(zip(encoded, got.top, got.clean, strict=True))[:SHOWN]
    ]
    about = (
        f"{len(encoded)} examples, accuracy {got.right.mean():.1%}, mean {metric} clean {got.clean.mean():.3f}, "
        f"corrupted {got.corrupted.mean():.3f}"
    )
    columns = [Column("clean", wide=True), Column("answer"), Column("most likely"), Column(metric, right=True)]
    return [Table(columns, rows, title=about)]

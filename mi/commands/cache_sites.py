"""`mi cache` of a model that has sites and no graph: an encoder, a vision or time series transformer, any module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mi.core.sitewise.baseline import SiteBaselines
    from mi.core.sitewise.load import Module
    from mi.io.stream import Stream
    from mi.show.table import Table
    from mi.tasks.arguments import Arguments
    from mi.tasks.subject import Chosen, Examples, Loading
    from mi.work import Result

SHOWN = 5  # examples whose classes the table shows


@dataclass(frozen=True)
class Request:
    """The flags of `mi cache` that apply."""

    metric: str | None
    sites: Sequence[str]
    positions: str
    runs: str
    limit: int | None
    bos: str
    batch_size: int | None
    output: str | None
    json: bool
    dry_run: bool
    fresh: bool


def examples_of(piped: Stream | None, data: str | None, chosen: Chosen) -> Examples:
    """The examples of a model that is no language model: no task makes them."""
    from mi.core.sitewise.which import described
    from mi.errors import UsageError
    from mi.tasks import subject

    if piped is None and data is None:
        raise UsageError(
            f"{described(chosen.located)}, and the tasks are for language models",
            "bring examples with --data FILE, such as a safetensors file of clean and corrupted inputs",
        )
    return subject.from_stream(piped) if piped else subject.for_sites(str(data))


def of_sites(asked: Request, examples: Examples, head: Mapping[str, Any], chosen: Chosen, loading: Loading) -> None:
    """Run the model on clean and corrupted inputs; keep its metric and the activations that were asked for. ``head`` is
    that of the stream that came in."""
    from mi import work
    from mi.commands.patch_sites import given_to, metric_of
    from mi.show.notes import note
    from mi.tasks import subject
    from mi.tasks.budget import OF_SITES

    for line in examples.notes:
        note(line)
    examples = subject.limited(examples, asked.limit)
    measure = asked.metric or metric_of(examples, chosen)
    given = given_to(examples, range(len(examples.records)), chosen, measure, asked.bos)
    if asked.dry_run:
        note(f"would run 2 forward passes over {len(given)} examples{OF_SITES}")
        return

    def compute(ready: Module) -> Result:
        from mi.core.sitewise.baseline import RUNS, baselines
        from mi.show.progress import progress

        with progress(len(given), "cache") as bar:
            got = baselines(
                ready,
                given,
                metric=measure,
                sites=asked.sites,
                runs=RUNS if asked.runs == "both" else (asked.runs,),
                at_read=asked.positions == "read",
                batch_size=asked.batch_size,
                on_done=bar.advance,
                on_halved=work.say_halved(),
            )
        caching: dict[str, Any] = {
            "metric": measure,
            "accuracy": float(got.right.mean()),
            "plan": work.plan_summary(got.plan),
            "halved": got.halved,
            "memory_budget": loading.budget.bytes,
        }
        if asked.sites:
            caching |= {"sites": got.sites, "positions": asked.positions, "runs": asked.runs}
        return work.Result(
            head={
                **examples.head,
                "kind": "cache",
                "model": {"bos": asked.bos},
                "task": {**examples.head["task"], "metric": measure},
                "caching": caching,
            },
            records=[
                {**record, "baseline": {"clean": float(clean), "corrupted": float(corrupted)}}
                for record, clean, corrupted in zip(examples.records, got.clean, got.corrupted, strict=True)
            ],
            tensors={**examples.tensors, **got.activations},
            tables=_tables(given, got, measure),
        )

    work.produce(
        compute,
        chosen=chosen,
        loading=loading,
        head=head,
        inputs=examples.inputs,
        depends_on=[examples.head],
        output=asked.output,
        json=asked.json,
        fresh=asked.fresh,
        own_tables=True,
    )


def _tables(given: Sequence[Arguments], got: SiteBaselines, metric: str) -> list[Table]:
    """How well the model does, and what it says of a few examples."""
    from mi.show.table import Column, Table

    rows = [
        [e.id, _inputs(e.clean), " ".join(map(str, e.answers)), ", ".join(f"{c} {p:.2f}" for c, p in top), f"{v:.3f}"]
        for e, top, v in list(zip(given, got.top, got.clean, strict=True))[:SHOWN]
    ]
    about = (
        f"{len(given)} examples, accuracy {got.right.mean():.1%}, mean {metric} clean {got.clean.mean():.3f}, "
        f"corrupted {got.corrupted.mean():.3f}"
    )
    columns = [Column("id"), Column("clean", wide=True), Column("answer"), Column("most likely"), Column(metric, True)]
    return [Table(columns, rows, title=about)]


def _inputs(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {list(value.shape)}" for name, value in arguments.items())

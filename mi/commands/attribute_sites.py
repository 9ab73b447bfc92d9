"""`mi attribute --level site`: score the inputs and outputs of any model's modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mi.core.methods import Config
    from mi.core.sitewise.load import Module
    from mi.io.stream import Stream
    from mi.tasks.subject import Chosen, Loading
    from mi.work import Result


@dataclass(frozen=True)
class Request:
    """The flags of `mi attribute`, for a command that does not know yet whether it is about sites. ``others``: the
    values of flags that mean nothing to sites, by their names."""

    method: str
    level: str | None
    sites: Sequence[str]
    steps: int | None
    rule: str | None
    direction: str | None
    ablation: str
    others: Mapping[str, object]
    metric: str | None
    split: str
    limit: int | None
    bos: str
    batch_size: int | None
    apart: str | None  # the server that the model is on
    output: str | None
    json: bool
    dry_run: bool
    fresh: bool

    @property
    def by_site(self) -> bool:
        """Whether somebody asked for sites, whatever the model."""
        return self.level == "site" or bool(self.sites) or self.apart is not None

    @property
    def level_of_graph(self) -> str | None:
        """The level, as the methods of graphs know it."""
        return None if self.by_site else self.level

    def check(self) -> None:
        """Refuse early what sites cannot be asked, where they are asked for."""
        from mi.errors import UsageError

        if self.sites and self.level not in (None, "site"):
            raise UsageError(f"--site names sites, and --level asks for {self.level}s", "leave one of them away")
        if self.apart and self.level not in (None, "site"):
            raise UsageError(
                f"scores of {self.level}s need the weights here, and not --remote",
                "use --level site",
            )
        if self.by_site:
            self.config()

    def apply_to(self, chosen: Chosen) -> bool:
        """Whether it is sites that are scored: asked for, or all that the model has."""
        from mi.core.sitewise.which import sites_only

        return self.by_site or (self.level is None and sites_only(*chosen.kind))

    def config(self) -> Config:
        from mi.core.sitewise.methods import settle

        return settle(
            self.method,
            steps=self.steps,
            rule=self.rule,
            direction=self.direction,
            ablation=self.ablation,
            others=[f"--{flag}" for flag, given in self.others.items() if given],
        )


def of_sites(asked: Request, piped: Stream, chosen: Chosen, loading: Loading) -> None:
    """Score every site that was asked for, by default the output of every module."""
    from mi import work
    from mi.circuit import effects
    from mi.commands.patch_sites import bos_of, given_to, kept, metric_of, of_modules
    from mi.core.sitewise.methods import LEVEL
    from mi.core.sitewise.names import EVERY
    from mi.core.team import current
    from mi.errors import UsageError
    from mi.io import canonical
    from mi.show.notes import note
    from mi.tasks import subject

    if current().size > 1:
        raise UsageError("sites are scored by one process", "torchrun shares out examples for edges, nodes and neurons")
    config, patterns = asked.config(), list(asked.sites) or (of_modules(()) if asked.apart else [EVERY])
    examples = subject.from_stream(piped)
    rows, text = subject.select(examples, asked.split, asked.limit)
    if text:
        note(text)
    measure = asked.metric or metric_of(examples, chosen)
    begin = bos_of(piped.head, asked.bos)
    given = given_to(examples, rows, chosen, measure, begin)
    if asked.dry_run:
        note(_dry(config, len(given)))
        return

    def compute(ready: Module) -> Result:
        from mi.core.sitewise.attribute import attribute_sites
        from mi.show.progress import progress

        with progress(len(given), "attribute") as bar:
            got = attribute_sites(
                ready,
                given,
                config,
                sites=patterns,
                metric=measure,
                batch_size=asked.batch_size,
                on_done=bar.advance,
                on_halved=work.say_halved(),
            )
        names = [site.name for site in got.sites]
        # The scores stand where the metric of a patched run would: corrupting the site takes them away.
        places, patched = [{"site": name} for name in names], got.clean - got.value
        estimates = effects.records(places, patched, got.clean, got.corrupted, "noising")
        said = {
            "method": config.method,
            "level": LEVEL,
            "sites": patterns,
            "metric": measure,
            "ablation": "counterfactual",
            "split": asked.split,
            "n": len(given),
            "executor": "generic",
            "plan": work.plan_summary(got.plan),
            "halved": got.halved,
            "memory_budget": loading.budget.bytes,
            **_flags(config),
        }
        digest = canonical.sha256("\n".join(names).encode())
        return work.Result(
            head={
                **kept(piped.head),
                "kind": "scores",
                "model": {"bos": begin},
                "graph": {"builder": "sites", "params": {"n_sites": len(names)}, "digest": digest},
                "attribution": said,
            },
            records=[{"score": record.pop("effect"), **record} for record in estimates],
        )

    work.produce(
        compute,
        chosen=chosen,
        loading=loading,
        head=piped.head,
        inputs=examples.inputs,
        depends_on=[piped.sha256],
        output=asked.output,
        json=asked.json,
        fresh=asked.fresh,
    )


def _flags(config: Config) -> dict[str, Any]:
    made: dict[str, Any] = {"steps": config.steps, "rule": config.rule} if config.rule else {}
    return {**made, "direction": config.direction} if config.direction else made


def _dry(config: Config, n: int) -> str:
    """What a run would take; how many sites there are is known once the model has run."""
    from mi.core.sitewise.methods import EXACT, OVER_ACTIVATIONS, cost
    from mi.tasks.budget import OF_SITES

    fixed, each = cost(config, 0), cost(config, 1)
    text = f"would run {fixed[0]:g} forward" + (f" and {fixed[1]:g} backward" if fixed[1] else "") + " passes"
    if config.method in (EXACT, OVER_ACTIVATIONS):
        more = f"{each[0] - fixed[0]:g} forward" + (f" and {each[1]:g} backward" if each[1] else "")
        text += f", and {more} for each site,"
    return f"{text} over {n} examples{OF_SITES}"

"""`mi patch` by site: of a model that has no graph, or at any module's input or output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mi.core.sitewise.load import Module
    from mi.io.stream import Stream
    from mi.tasks.arguments import Arguments
    from mi.tasks.subject import Chosen, Examples, Loading
    from mi.work import Result

AXES = ("site", "site,position")


@dataclass(frozen=True)
class Request:
    """The flags of `mi patch` that apply."""

    sites: Sequence[str]
    by: str | None
    direction: str
    template: str | None
    length: int | None
    metric: str | None
    split: str
    limit: int | None
    bos: str
    batch_size: int | None
    output: str | None
    json: bool
    dry_run: bool
    fresh: bool


def of_sites(asked: Request, piped: Stream, chosen: Chosen, loading: Loading) -> None:
    """Patch one site (or one position of it) at a time."""
    from mi import work
    from mi.circuit import effects
    from mi.core.sitewise.names import EVERY
    from mi.errors import UsageError
    from mi.show.notes import note
    from mi.tasks import subject
    from mi.tasks.budget import OF_SITES

    by = asked.by or AXES[0]
    if by not in AXES:
        raise UsageError(f"--by {by} is of layers and heads, which sites are not", f"use --by {' or --by '.join(AXES)}")
    patterns = list(asked.sites) or [EVERY]
    examples = subject.from_stream(piped)
    rows, text = subject.select(examples, asked.split)
    if text:
        note(text)
    measure = asked.metric or metric_of(examples, chosen)
    begin = bos_of(piped.head, asked.bos)
    given = narrowed(given_to(examples, rows, chosen, measure, begin), asked.template, asked.length)[: asked.limit]
    if asked.dry_run:
        note(f"would run 2 forward passes, and one for each place, over {len(given)} examples{OF_SITES}")
        return

    def compute(ready: Module) -> Result:
        from mi.core.sitewise.patch import patch_sites
        from mi.show.progress import progress

        with progress(len(given), "patch") as bar:
            got = patch_sites(
                ready,
                given,
                sites=patterns,
                by=by,
                direction=asked.direction,
                metric=measure,
                batch_size=asked.batch_size,
                on_done=bar.advance,
                on_halved=work.say_halved(),
            )
        said: dict[str, Any] = {
            "site": " ".join(patterns),
            "by": by,
            "direction": asked.direction,
            "metric": measure,
            "split": asked.split,
            "n": len(given),
            "executor": "generic",
            "plan": work.plan_summary(got.plan),
            "halved": got.halved,
            "memory_budget": loading.budget.bytes,
            "clean": float(got.clean.mean()),
            "corrupted": float(got.corrupted.mean()),
        }
        if why := effects.undetermined(got.clean, got.corrupted):
            said["undetermined"] = why
        places = [
            {"site": place.site.name, **({} if place.position is None else {"position": place.position})}
            for place in got.places
        ]
        return work.Result(
            head={**kept(piped.head), "kind": "effects", "model": {"bos": begin}, "patching": said},
            records=effects.records(places, got.value, got.clean, got.corrupted, asked.direction),
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
        warnings=_warnings,
    )


def of_modules(everywhere: Sequence[str]) -> list[str]:
    """A site of every layer by the names that any stack of blocks has; what each block puts out, if none is named."""
    from mi.errors import UsageError

    site = everywhere[0] if everywhere else "resid_post"
    if site not in ("resid_pre", "resid_post"):
        raise UsageError(
            f"--site {site} is found by an adapter, which needs the weights here",
            "name modules, such as --site 'model.layers.*.mlp:output'",
        )
    return [f"blocks.*.{site}"]


def check_executor(executor: str) -> None:
    """Modules are run by nnsight's traces alone."""
    from mi.errors import UsageError

    if executor == "fast":
        raise UsageError("sites of modules are run by nnsight's traces", "leave --executor fast away")


def bos_of(head: Mapping[str, Any], bos: str) -> str:
    """What was typed, else what the stream was made with."""
    return str((head.get("model") or {}).get("bos", bos)) if bos == "auto" else bos


def metric_of(examples: Examples, chosen: Chosen) -> str:
    """The task's own metric. Where answers are classes and no foils are given, it is the probability of the answers:
    an examples file cannot say that, for without a model its answers might be tokens. What a cache holds is decided.
    """
    from mi.core.sitewise.which import sites_only

    named = str(examples.head["task"]["metric"])
    bare = all(record.get("answers") and "baseline" not in record for record in examples.records)
    return "class-prob" if named == "kl" and bare and sites_only(*chosen.kind) else named


def given_to(examples: Examples, rows: Sequence[int], chosen: Chosen, metric: str, bos: str) -> list[Arguments]:
    """What the model is called with: prompts of a language model, else tensors, ids or text with classes."""
    from mi.core.sitewise.which import sites_only
    from mi.tasks import subject
    from mi.tasks.arguments import arguments, of_encoded
    from mi.tasks.encode import needs

    if sites_only(*chosen.kind):
        return arguments(examples, rows, chosen, **needs(metric))
    return of_encoded(subject.encoded(examples, rows, chosen, bos, **needs(metric)))


def narrowed(given: Sequence[Arguments], template: str | None, length: int | None) -> list[Arguments]:
    """The examples of one template and of one number of tokens."""
    from mi.errors import MiError
    from mi.tasks.arguments import TOKENS

    found = [e for e in given if template in (None, e.template)]
    if given and not found:
        raise MiError(f"no example has the template {template!r}", "leave --template away")
    if length is None:
        return found
    lengths = Counter(len(e.clean[TOKENS]) for e in found if TOKENS in e.clean)
    if length not in lengths:
        common = ", ".join(f"{tokens}: {n}" for tokens, n in sorted(lengths.items())) or "none with tokens"
        raise MiError(f"no example has {length} tokens", f"there are {common}")
    return [e for e in found if TOKENS in e.clean and len(e.clean[TOKENS]) == length]


def kept(head: Mapping[str, Any]) -> dict[str, Any]:
    """What of a head goes on: not the kind, the chain, or what is said of the cache."""
    return {key: value for key, value in head.items() if key not in ("mi", "v", "kind", "chain", "caching", "graph")}


def _warnings(head: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[str]:
    why = head["patching"].get("undetermined")
    return [f"no effect is given as a share of the difference: {why}"] if why else []

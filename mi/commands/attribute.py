"""`mi attribute`: score every edge, node or neuron of the model's graph."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mi import options
from mi.core import methods
from mi.errors import UsageError
from mi.options import Option

if TYPE_CHECKING:
    import numpy as np

    from mi.circuit.partial import Shard
    from mi.core.attribute import Attribution
    from mi.core.model import Model
    from mi.io.stream import Stream
    from mi.work import Result

    MethodName = str
else:
    MethodName = Literal[tuple(methods.METHODS)]

TOP = 500
PART = 1 / 3  # of a forward that a patch takes on average: it goes on from the block that it touches
SHORT_OF_COMPLETE = 0.25  # of the loss change: more steps are advised beyond it


def attribute(
    file: options.Input = None,
    method: Annotated[
        MethodName, Option("--method", help="How to score; 'mi info' says what each method is.")
    ] = "eap-ig",
    level: Annotated[
        Literal["edge", "node", "neuron", "site"] | None,
        Option("--level", show_default=False, help="What to score; the default is the method's own, mostly edge."),
    ] = None,
    site: Annotated[
        list[str] | None,
        Option(
            "--site",
            metavar="SITE",
            show_default=False,
            help="Of the level site: score this module's input or output, or all that a pattern means (repeatable; "
            "**:output).",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        Option("--steps", metavar="N", min=1, show_default=False, help="Steps of a method that interpolates (5)."),
    ] = None,
    rule: Annotated[
        Literal["left", "right", "midpoint", "trapezoid"] | None,
        Option("--rule", show_default=False, help="Where it takes its steps; the default is the reference's."),
    ] = None,
    direction: Annotated[
        Literal["noising", "denoising"] | None,
        Option("--direction", show_default=False, help="Of exact: corrupt one in the clean run, or restore one."),
    ] = None,
    backward: Annotated[
        str | None,
        Option(
            "--backward",
            metavar="RULES",
            show_default=False,
            help="Of relp: its rules, of ln, identity, half and pattern (ln,identity,half).",
        ),
    ] = None,
    on: Annotated[
        str | None,
        Option("--on", metavar="SCORES", show_default=False, help="Of exact: look only at what these rank highest."),
    ] = None,
    top: Annotated[
        int | None,
        Option("--top", metavar="K", min=1, show_default=False, help="How many of SCORES to look at (500)."),
    ] = None,
    missed_bound: Annotated[
        int | None,
        Option(
            "--missed-bound",
            metavar="N",
            min=20,
            show_default=False,
            help="Of exact: bound the effects of all others too, from N random subsets of them.",
        ),
    ] = None,
    normalise_layers: Annotated[
        bool, Option("--normalise-layers", help="Of hisp: divide the scores of each layer by their L2 norm.")
    ] = False,
    ablation: options.Ablation = "counterfactual",
    means: options.Means = None,
    seed: options.Seed = 0,
    metric: options.Metric = None,
    shard: Annotated[
        str | None,
        Option(
            "--shard",
            metavar="I/N",
            show_default=False,
            help="Score only the I-th of N parts of the examples; 'mi merge --sum' joins them.",
        ),
    ] = None,
    compat: Annotated[
        Literal["mib"] | None,
        Option("--compat", show_default=False, help="Give the numbers of the MIB code, mistakes included."),
    ] = None,
    split: options.Split = None,
    limit: options.Limit = None,
    model: options.Model = None,
    revision: options.Revision = None,
    bos: options.Bos = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    tf32: options.Tf32 = False,
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
    """Score every edge, node or neuron of the model: how much the loss rises when it is corrupted.

    Reads a cache or examples and uses the train split. A positive score means that the edge helps the task. The
    default is EAP-IG (edge attribution patching with integrated gradients over the input, Hanna et al. 2024).

    A set that is too large for one job is cut up with --shard: each job writes what its part adds up to, with counts,
    and `mi merge --sum` makes of all parts what one job would have written. Started by torchrun (`-m mi attribute`),
    its processes share the examples, a GPU each.

    A model that is no decoder (an encoder, a vision or time series transformer, any torch module) has no edges: its
    sites are scored, the inputs and outputs of its modules (--level site; any other model's too).

    The method exact also reads scores: it then looks only at the units that they rank highest, and scores all others 0.

    Examples:

        mi cache --task ioi | mi attribute -o scores.jsonl

        mi data ioi | mi attribute --method eap --ablation zero | mi view --top 10

        mi attribute cache.jsonl --level node --method eap-ig --steps 10 --rule midpoint

        mi attribute cache.jsonl | mi attribute --method exact --top 500 -o checked.jsonl

        mi attribute cache.jsonl --shard 2/5 -o part-2.jsonl

        mi attribute images.jsonl -m vit/ --method nap-ig --site 'vit.layers.*:output' --metric class-prob
    """
    from mi import work
    from mi.circuit.ranked import highest
    from mi.commands.attribute_sites import Request, of_sites
    from mi.commands.patch_sites import check_executor
    from mi.commands.remote import check, weights_here
    from mi.core.sitewise.which import need_graph
    from mi.core.team import current
    from mi.io import stream
    from mi.show.notes import note
    from mi.tasks import find, subject
    from mi.tasks.budget import parse
    from mi.tasks.constants import constants
    from mi.tasks.encode import needs
    from mi.tasks.plan import cost, shape_of

    sites = Request(
        method,
        level,
        site or (),
        steps,
        rule,
        direction,
        ablation,
        any((compat, means, on, top, missed_bound, normalise_layers, backward, shard)),
        metric,
        split or "train",
        limit,
        bos,
        batch_size,
        remote or device_map,
        output,
        json,
        dry_run,
        fresh,
    )
    sites.check()
    room = parse(memory_budget)
    rules = None if backward is None else [part.strip() for part in backward.split(",") if part.strip()]
    config = methods.settle(
        method,
        level=sites.level_of_graph,
        steps=steps,
        rule=rule,
        ablation=ablation,
        compat=compat,
        normalise_layers=normalise_layers,
        direction=direction,
        backward=rules,
    )
    entry = methods.METHODS[method]
    patches = "on" in entry.flags
    _check_patching(method, patches, {"on": on, "top": top, "missed-bound": missed_bound})
    if metric and not entry.needs_metric:
        raise UsageError(f"{method} measures nothing, so --metric means nothing to it", "leave --metric away")
    cut, team = _cut(shard, missed_bound), current()
    kinds = ("examples", "cache", *(["scores"] if patches else []))
    piped = team.first(lambda: stream.read(file, kinds, work.import_libraries))
    head = piped.head
    ranked = _ranked(piped, on, top)
    if missed_bound:
        _check_missed(config, ranked)
    check(remote, model, head, device_map, device)
    here = weights_here(remote)
    chosen = subject.choose_model(model, revision, head, allow_pickle=allow_pickle, adapter=adapter, weights=here)
    if chosen.is_regression:
        note(f"running on {chosen.located.id}, whose weights are not those that the stream was made with")
    which = split or "train"
    loading = subject.Loading(device, dtype, tf32, trust_remote_code, allow_pickle, budget=room)
    if sites.apply_to(chosen):
        check_executor(executor)
        of_sites(sites, piped, chosen, replace(loading, sites_only=True, remote=remote, device_map=device_map))
        return
    need_graph(*chosen.kind)
    examples = find.examples(head, None, None, chosen) if ranked is piped else subject.from_stream(piped)
    only = highest(ranked, config.level, top or TOP, head) if ranked else None
    rows, text = subject.select(examples, which, limit)
    if text:
        note(text)
    replaced = constants(means, ablation, seed, chosen)
    measure = metric or str(head["task"]["metric"])
    begin = str(head.get("model", {}).get("bos", bos)) if bos == "auto" else bos
    read = needs(measure) if entry.needs_metric else dict.fromkeys(needs(measure), False)
    encoded = subject.encoded(examples, rows, chosen, begin, **read)
    taken = _taken(cut, encoded)
    if dry_run:
        located = chosen.located.config()
        forwards, backwards = methods.cost(config, (shape := shape_of(located)).n_layers, shape.n_sources)
        if patches:
            forwards += math.ceil(PART * (len(only) if only is not None else _n_units(located, config.level)))
            forwards += missed_bound or 0
        lengths = [len(encoded[row].clean) for row in taken]
        needed = cost(
            lengths,
            located,
            dtype,
            batch_size,
            forwards,
            backwards,
            memory=methods.memory(config),
            budget=room,
            steps=config.steps,
            units=_n_units(located, config.level),
        )
        note(needed.text())
        return
    work.keep_examples(examples.records)

    def compute(ready: Model) -> Result:
        from mi.core.attribute import attribute as score
        from mi.core.means import given
        from mi.show.progress import progress

        with progress(len(taken), "attribute") as bar:
            got = score(
                ready,
                encoded,
                method=method,
                level=level,
                steps=steps,
                rule=rule,
                ablation=ablation,
                given=given(replaced, ready),
                metric=measure,
                batch_size=batch_size,
                executor=executor,
                compat=compat,
                normalise_layers=normalise_layers,
                direction=direction,
                backward=rules,
                only=only,
                part=taken,
                team=team,
                on_done=team.counting(bar.advance),
                on_halved=work.say_halved(),
            )
        said = _said(config, got, len(taken), which, ablation, measure)
        said["memory_budget"] = room.bytes
        said |= replaced.said()
        said["executor"] = ready.executor(executor).name
        if only is not None and ranked is not None:
            said["only"] = {"n": len(only), "ranked_by": ranked.head["attribution"]["method"]}
        if missed_bound and only is not None:
            with progress(len(encoded), "what was missed") as bar:
                said["missed"] = _missed(
                    ready,
                    encoded,
                    config,
                    only,
                    missed_bound,
                    seed=seed,
                    ablation=ablation,
                    given=given(replaced, ready),
                    metric=measure,
                    batch_size=batch_size,
                    executor=executor,
                    on_done=bar.advance,
                    on_halved=work.say_halved(),
                )
        kept = {key: value for key, value in head.items() if key not in ("mi", "v", "kind", "chain", "caching")}
        made = {**kept, "kind": "scores", "model": {"bos": begin}, "graph": ready.graph.head(), "attribution": said}
        tensors = _as_shard(made, cut, got, _sets(examples.records, rows, taken), only) if cut else _tensors(got)
        return work.Result(head=made, records=[], tensors=tensors)

    work.produce(
        compute,
        chosen=chosen,
        loading=loading,
        head=head,
        inputs=[
            *examples.inputs,
            *replaced.inputs,
            *([{"name": "ranking", "sha256": ranked.sha256}] if on and ranked else []),
        ],
        depends_on=[piped.sha256, *replaced.digests, *([ranked.sha256] if ranked else [])],
        output=output,
        json=json,
        fresh=fresh,
        warnings=warnings,
    )


def _check_patching(method: str, patches: bool, flags: Mapping[str, object]) -> None:
    for flag, given in flags.items():
        if given and not patches:
            raise UsageError(f"--{flag} means nothing to {method}", "it is a flag of exact")


def _ranked(piped: Stream, on: str | None, top: int | None) -> Stream | None:
    """The scores that say what to look at: what came in, or what --on names."""
    from mi.io import stream

    if piped.kind == "scores":
        if on:
            raise UsageError("--on and the input both name scores", "give --on the scores, and the input the examples")
        return piped
    if top and not on:
        raise UsageError("--top is of scores, and there are none", "name them with --on SCORES, or pipe them in")
    return stream.read(on, ("scores",)) if on else None


def _said(config: methods.Config, got: Attribution, n: int, which: str, ablation: str, measure: str) -> dict[str, Any]:
    """What the head says about how the scores were made."""
    from mi import work
    from mi.core.team import current

    entry = methods.METHODS[config.method]
    said: dict[str, Any] = {
        "method": config.method,
        "level": config.level,
        "split": which,
        "n": n,
        "plan": work.plan_summary(got.plan),
        "halved": got.halved,
    }
    if current().size > 1:
        said["ranks"] = current().size
    if entry.ablations != ():
        said["ablation"] = ablation
    if entry.needs_metric:
        said["metric"] = measure
    if "rule" in entry.flags:
        said |= {"steps": config.steps, "rule": config.rule}
    if config.normalise_layers:
        said["normalise_layers"] = True
    if config.direction:
        said["direction"] = config.direction
    if config.backward:
        said["backward"] = list(config.backward)
    if config.compat:
        said["compat"] = config.compat
    if entry.selector:
        said["selector"] = entry.selector
    if _is_complete(got):
        said["completeness"] = {"loss_change": got.loss_change, "attributed": got.attributed}
    return said


def _cut(shard: str | None, missed_bound: int | None) -> Shard | None:
    """What --shard says."""
    from mi.circuit import partial
    from mi.core.team import current

    if shard and missed_bound:
        raise UsageError("--missed-bound needs all examples, and --shard takes some", "leave one of them away")
    if missed_bound and current().size > 1:
        raise UsageError("--missed-bound needs all examples in one process", "start it without torchrun")
    return partial.parse(shard) if shard else None


def _taken(cut: Shard | None, encoded: Sequence[Any]) -> np.ndarray:
    """The places of the examples to score: all, or those of the shard."""
    import numpy as np

    from mi.circuit import partial
    from mi.core.shards import deal

    if cut is None or not encoded:
        return np.arange(len(encoded))
    partial.check_size(cut, len(encoded))
    return deal([len(example.clean) for example in encoded], cut.index - 1, cut.of)


def _sets(
    records: Sequence[Mapping[str, Any]], rows: Sequence[int], taken: np.ndarray
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the whole set and the shard's part of it are: how many examples, and their digest."""
    from mi.io.examples import examples_digest

    def said(chosen: Sequence[int]) -> dict[str, Any]:
        return {"n": len(chosen), "sha256": examples_digest(records[row] for row in chosen)}

    return said(rows), said([rows[place] for place in taken])


def _as_shard(
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


def _check_missed(config: methods.Config, ranked: Stream | None) -> None:
    if ranked is None:
        raise UsageError(
            "--missed-bound is of what --on leaves out, and nothing is left out", "name scores with --on SCORES"
        )
    if config.level == "neuron":
        raise UsageError("--missed-bound is of edges and nodes, not of neurons", "leave it away, or use --level node")
    if config.direction != "noising":
        raise UsageError("--missed-bound is of corrupting units, not of restoring them", "use --direction noising")


def _missed(
    ready: Model, encoded: Sequence[Any], config: methods.Config, only: Any, samples: int, **options: Any
) -> dict[str, Any]:
    """What the head says about the units that were not looked at."""
    import numpy as np

    from mi.circuit.levels import Units
    from mi.core.missed import missed

    units = Units(ready.graph, config.level)
    found = missed(ready, encoded, config.level, np.setdiff1d(np.arange(units.n), only), samples, **options)
    return {**asdict(found), "unit": units.name(found.unit)}


def _n_units(config: Mapping[str, Any], level: str) -> int:
    """How many edges, nodes or neurons a model of this configuration has."""
    from mi.circuit.importers.edges import side_by_side
    from mi.circuit.levels import Units
    from mi.circuit.transformer import transformer_graph
    from mi.tasks.plan import shape_of

    shape = shape_of(config)
    graph = transformer_graph(shape.n_layers, shape.n_heads, side_by_side(config), shape.d_model)
    return Units(graph, level, shape.d_model if level == "neuron" else 0).n


def _tensors(got: Attribution) -> dict[str, Any]:
    import numpy as np

    vectors = {got.level: got.scores.astype(np.float32), f"{got.level}_shards": got.shards, "shard_n": got.shard_n}
    return {"scores": vectors}


def _is_complete(got: Attribution) -> bool:
    return got.loss_change == got.loss_change and got.attributed == got.attributed  # neither is NaN


def warnings(head: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was missed; and completeness: the input's scores should sum to the change of the loss (spec I3)."""
    missed = head["attribution"].get("missed")
    if missed:
        return [
            (
                f"of the {missed['n']:,} {head['attribution']['level']}s not looked at none does more than "
                f"{missed['largest']:.3g}, at {100 * missed['confidence']:.0f} % confidence; "
                f"all of them together do {missed['all_together']:.3g}"
            )
        ]
    found = head["attribution"].get("completeness")
    if not found:
        return []
    change, attributed = found["loss_change"], found["attributed"]
    if abs(attributed - change) <= SHORT_OF_COMPLETE * abs(change):
        return []
    return [
        (
            f"the input's scores sum to {attributed:.3g} and the loss changes by {change:.3g}: "
            "more --steps would bring them together"
        )
    ]

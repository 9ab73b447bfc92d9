"""`mi attribute`: score every edge, node or neuron of the model's graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mi import options
from mi.commands.attribute_said import check_missed, check_same_graph, kv_of, missed_of, said_of, warnings
from mi.commands.attribute_shard import as_shard, rows_taken, set_and_part, shard_asked, tensors_of
from mi.core import methods
from mi.errors import UsageError
from mi.options import Option

if TYPE_CHECKING:
    from mi.core.model import Model
    from mi.io.stream import Stream
    from mi.work import Result

    MethodName = str
else:
    MethodName = Literal[tuple(methods.METHODS)]

TOP = 500
PART = 1 / 3  # of a forward that a patch takes on average: it goes on from the block that it touches


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
    kv: options.Kv = None,
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

        mi cache -m Qwen/Qwen2.5-0.5B --task ioi | mi attribute --kv grouped | mi prune | mi score

        mi attribute cache.jsonl --shard 2/5 -o part-2.jsonl

        mi attribute images.jsonl -m vit/ --method nap-ig --site 'vit.layers.*:output' --metric class-prob
    """
    from mi import work
    from mi.circuit.ranked import highest
    from mi.commands.attribute_sites import Request, of_sites
    from mi.commands.patch_sites import check_executor
    from mi.commands.remote import check, spread_over, weights_here
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
        {
            "compat": compat,
            "means": means,
            "on": on,
            "top": top,
            "missed-bound": missed_bound,
            "normalise-layers": normalise_layers,
            "backward": backward,
            "shard": shard,
            "kv": kv,
        },
        metric,
        split or "train",
        limit,
        bos,
        batch_size,
        remote,
        output,
        json,
        dry_run,
        fresh,
    )
    sites.check()
    apart = spread_over(device_map, device, remote)
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
    cut, team = shard_asked(shard, missed_bound), current()
    kinds = ("examples", "cache", *(["scores"] if patches else []))
    piped = team.first(lambda: stream.read(file, kinds, work.import_libraries))
    head = piped.head
    ranked = _ranked(piped, on, top)
    receivers = kv_of(config, kv, ranked)
    if missed_bound:
        check_missed(config, ranked)
    check(remote, model, head)
    here = weights_here(remote)
    chosen = subject.choose_model(model, revision, head, allow_pickle=allow_pickle, adapter=adapter, weights=here)
    if chosen.is_regression:
        note(f"running on {chosen.located.id}, whose weights are not those that the stream was made with")
    which = split or "train"
    loading = subject.Loading(
        device, dtype, tf32, trust_remote_code, allow_pickle, budget=room, device_map=apart, kv=receivers
    )
    if sites.apply_to(chosen):
        check_executor(executor)
        of_sites(sites, piped, chosen, replace(loading, sites_only=True, remote=remote))
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
    taken = rows_taken(cut, encoded)
    if dry_run:
        located = chosen.located.config()
        forwards, backwards = methods.cost(config, (shape := shape_of(located)).n_layers, shape.n_sources)
        if patches:
            forwards += math.ceil(
                PART * (len(only) if only is not None else _n_units(located, config.level, receivers))
            )
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
            units=_n_units(located, config.level, receivers),
            planned=methods.planned(config),
        )
        note(needed.text())
        return
    work.keep_examples(examples.records)

    def compute(ready: Model) -> Result:
        from mi.core.attribute import attribute as score
        from mi.core.means import given
        from mi.show.progress import progress

        if ranked is not None:
            check_same_graph(ready, ranked)
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
        said = said_of(config, got, len(taken), which, ablation, measure)
        said["memory_budget"] = room.bytes
        said |= replaced.said()
        said["executor"] = ready.executor(executor).name
        if only is not None and ranked is not None:
            said["only"] = {"n": len(only), "ranked_by": ranked.head["attribution"]["method"]}
        if missed_bound and only is not None:
            with progress(len(encoded), "what was missed") as bar:
                said["missed"] = missed_of(
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
        tensors = (
            as_shard(made, cut, got, set_and_part(examples.records, rows, taken), only) if cut else tensors_of(got)
        )
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


def _n_units(config: Mapping[str, Any], level: str, kv: str | None) -> int:
    """How many edges, nodes or neurons a model of this configuration has."""
    from mi.circuit.levels import Units
    from mi.tasks.shape import graph_of, shape_of

    return Units(graph_of(config, kv == "grouped"), level, shape_of(config).d_model if level == "neuron" else 0).n

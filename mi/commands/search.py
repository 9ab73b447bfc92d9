"""`mi search`: find a circuit by trying edges one by one, or by learning a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mi import options
from mi.options import UNRECORDED, Option

if TYPE_CHECKING:
    from mi.core.model import Model
    from mi.core.search.methods import Settings
    from mi.core.search.run import Searched
    from mi.work import Result


def search(
    file: options.Input = None,
    method: Annotated[
        Literal["acdc", "subnetwork-probing", "edge-pruning", "ugs", "optimal"],
        Option("--method", help="Try every edge once; learn a mask in one of three ways; or learn constants."),
    ] = "acdc",
    ranking: Annotated[
        bool, Option("--ranking", help="Write scores of all edges, not a circuit; of acdc, over several taus.")
    ] = False,
    tau: Annotated[
        list[float] | None,
        Option(
            "--tau",
            metavar="T",
            show_default=False,
            help="Of acdc: keep an edge if the loss rises by T or more without it (0.001). Repeated: a ranking.",
        ),
    ] = None,
    order: Annotated[
        Literal["reverse", "normal", "random"] | None,
        Option("--order", show_default=False, help="Of acdc: the order of the edges into one receiver (reverse)."),
    ] = None,
    absolute: Annotated[
        bool, Option("--abs", help="Of acdc: compare the change of the loss without its sign.")
    ] = False,
    remove_redundant: Annotated[
        bool, Option("--remove-redundant", help="Of acdc: drop what lies on no path from the input to the logits.")
    ] = False,
    level: Annotated[
        Literal["node", "edge"] | None,
        Option("--level", show_default=False, help="Of subnetwork-probing: what a mask is on (node)."),
    ] = None,
    penalty: Annotated[
        float | None,
        Option(
            "--penalty",
            metavar="P",
            min=0,
            show_default=False,
            help="Of subnetwork-probing: the price of all masks (1). Of ugs: of one edge (0.001). Larger is sparser.",
        ),
    ] = None,
    target: Annotated[
        float | None,
        Option(
            "--target",
            metavar="S",
            min=0,
            max=1,
            show_default=False,
            help="Of edge-pruning: the share of edges to remove (0.9).",
        ),
    ] = None,
    node_target: Annotated[
        float | None,
        Option(
            "--node-target",
            metavar="S",
            min=0,
            max=1,
            show_default=False,
            help="Of edge-pruning: the share of heads and MLPs to remove; each then has a mask of its own.",
        ),
    ] = None,
    drawn: Annotated[
        int | None,
        Option("--masks", metavar="N", min=1, show_default=False, help="Of ugs: masks drawn for each example (12)."),
    ] = None,
    steps: Annotated[
        int | None,
        Option(
            "--steps",
            metavar="N",
            min=1,
            show_default=False,
            help="Steps of gradient descent, at most (300; edge-pruning 600; optimal 200).",
        ),
    ] = None,
    lr: Annotated[
        float | None,
        Option(
            "--lr",
            metavar="R",
            min=0,
            show_default=False,
            help="Its rate (subnetwork-probing 0.1, edge-pruning 0.2, ugs 0.05, optimal 0.01).",
        ),
    ] = None,
    patience: Annotated[
        int | None,
        Option(
            "--patience",
            metavar="N",
            min=0,
            show_default=False,
            help="Stop when the circuit has not changed for N steps (100); 0 never stops early.",
        ),
    ] = None,
    learn_constants: Annotated[
        bool,
        Option("--learn-constants", help="Learn with the mask what removed edges carry, beginning at the mean."),
    ] = False,
    checkpoint: Annotated[
        str | None,
        UNRECORDED,
        Option(
            "--checkpoint",
            metavar="FILE",
            show_default=False,
            help="Keep the state in FILE; if it is there, go on from it.",
        ),
    ] = None,
    every: Annotated[
        int, UNRECORDED, Option("--every", metavar="N", min=1, help="Steps, or edges tried, between two checkpoints.")
    ] = 50,
    kv: options.Kv = None,
    ablation: options.Ablation = "counterfactual",
    means: options.Means = None,
    seed: options.Seed = 0,
    metric: Annotated[
        Literal["kl", "js", "logit-diff", "prob-diff", "normalised-logit", "accuracy", "top-1", "top-5", "top-10"],
        Option("--metric", help="What is measured; the loss is minus that. kl and js compare with the whole model."),
    ] = "kl",
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
    """Find a circuit by search: by trying edges, or by learning a mask.

    Reads a cache or examples and uses the train split. Writes a circuit, for `mi score`: its edges, each with what the
    method knows of it. With --ranking it writes a score for every edge instead, for `mi prune` and the curve of
    `mi score`. The method optimal writes scores of nodes, and the constants, for --ablation optimal.

    Searches are long: --dry-run says how long, and one with a --checkpoint that is stopped goes on where it was and
    ends with the same result.

    Examples:

        mi cache --task ioi | mi search | mi score

        mi search cache.jsonl --method edge-pruning --target 0.95 --checkpoint state.safetensors -o circuit.jsonl

        mi search cache.jsonl --method acdc --tau 0.001 --tau 0.01 --tau 0.1 | mi prune --top 50

        mi search cache.jsonl --method optimal -o constants.jsonl
    """
    from mi import work
    from mi.commands.remote import spread_over
    from mi.core.search.methods import memory, passes, settle
    from mi.core.sitewise.which import need_graph
    from mi.core.team import current
    from mi.errors import UsageError
    from mi.io import canonical, stream
    from mi.show.notes import note
    from mi.tasks import subject
    from mi.tasks.budget import parse
    from mi.tasks.constants import constants
    from mi.tasks.encode import needs
    from mi.tasks.plan import cost

    room, apart = parse(memory_budget), spread_over(device_map, device)
    flags = {
        "tau": tau or None,
        "order": order,
        "abs": absolute,
        "remove-redundant": remove_redundant,
        "level": level,
        "penalty": penalty,
        "target": target,
        "node-target": node_target,
        "masks": drawn,
        "steps": steps,
        "lr": lr,
        "patience": patience,
        "learn-constants": learn_constants,
    }
    settings = settle(method, flags, ranking, seed)
    if method == "optimal" and (ablation != "counterfactual" or means):
        raise UsageError("--ablation means nothing to optimal", "it learns what takes a node's place")
    if method == "optimal" and kv == "grouped":
        raise UsageError("--kv means nothing to optimal: it learns for nodes, and only edges have receivers")
    if learn_constants and ablation not in ("counterfactual", "mean", "optimal"):
        raise UsageError(f"--learn-constants does not begin at --ablation {ablation}", "leave --ablation away")
    replaces = "mean" if learn_constants and ablation == "counterfactual" else ablation
    piped = current().first(lambda: stream.read(file, ("examples", "cache"), work.import_libraries))
    head = piped.head
    chosen = subject.choose_model(model, revision, head, allow_pickle=allow_pickle, adapter=adapter)
    need_graph(*chosen.kind)
    if chosen.is_regression:
        note(f"running on {chosen.located.id}, whose weights are not those that the stream was made with")
    examples = subject.from_stream(piped)
    which = split or "train"
    rows, text = subject.select(examples, which, limit)
    if text:
        note(text)
    replaced = constants(means, replaces, seed, chosen)
    begin = str(head.get("model", {}).get("bos", bos)) if bos == "auto" else bos
    encoded = subject.encoded(examples, rows, chosen, begin, **needs(metric))
    if dry_run:
        located = chosen.located.config()
        lengths = [len(example.clean) for example in encoded]
        forwards, backwards = passes(settings, len(encoded), *_size(located, kv), batch_size)
        size, need = batch_size or _batch(method), memory(settings)
        needed = cost(lengths, located, dtype, size, forwards, backwards, memory=need, budget=room, table=room.gated)
        note(needed.text())
        return
    work.keep_examples(examples.records)

    def compute(ready: Model) -> Result:
        from mi.core.means import given
        from mi.core.search.checkpoint import Checkpoint
        from mi.core.search.run import search as find
        from mi.core.search.run import total
        from mi.io.memo import source_digest
        from mi.show.progress import progress

        depends: list[Any] = [settings.said(), method, settings.ranking, seed, replaces, metric, batch_size, executor]
        depends += [piped.sha256, which, limit, begin, *replaced.digests, chosen.identity, ready.identity["dtype"]]
        depends += [ready.device.type, ready.graph.digest, source_digest()]
        state = Checkpoint(
            checkpoint,
            every,
            canonical.sha256(canonical.dumps(depends)),
            lambda step: note(f"going on from {checkpoint}, after {step} steps"),
        )
        with progress(total(settings, ready), "search") as bar:
            got = find(
                ready,
                encoded,
                settings,
                ablation=replaces,
                given=given(replaced, ready),
                metric=metric,
                batch_size=batch_size,
                executor=executor,
                checkpoint=state,
                on_done=bar.advance,
                on_halved=work.say_halved(),
            )
        said = {
            "method": method,
            "level": got.level,
            "split": which,
            "n": len(encoded),
            "ablation": "optimal" if got.constants else replaces,
            "metric": metric,
            "seed": seed,
            "plan": work.plan_summary(got.plan),
            "halved": got.halved,
            "memory_budget": room.bytes,
            **work.together(),
            "executor": ready.executor(executor).name,
            "search": {**settings.said(), **got.said},
            **replaced.said(),
        }
        kept = {key: value for key, value in head.items() if key not in ("mi", "v", "kind", "chain", "caching")}
        parts = {**kept, "model": {"bos": begin}, "graph": ready.graph.head(), "attribution": said}
        return _result(ready, settings, got, parts)

    work.produce(
        compute,
        chosen=chosen,
        loading=subject.Loading(
            device, dtype, tf32, trust_remote_code, allow_pickle, budget=room, device_map=apart, kv=kv
        ),
        head=head,
        inputs=[*examples.inputs, *replaced.inputs],
        depends_on=[piped.sha256, *replaced.digests],
        output=output,
        json=json,
        fresh=fresh,
        warnings=_warnings,
    )


def _result(ready: Model, settings: Settings, got: Searched, parts: Mapping[str, Any]) -> Result:
    import numpy as np

    from mi.circuit.levels import Units
    from mi.circuit.select import ranked
    from mi.work import Result

    tensors: dict[str, dict[str, Any]] = {}
    if got.constants is not None:
        parts = {**parts, "means": {"ablation": "optimal", "positions": 1}}
        tensors["means"] = got.constants
    if got.kept is None:
        tensors["scores"] = {got.level: got.scores.astype(np.float32)}
        return Result({**parts, "kind": "scores"}, [], tensors)
    selection = {
        "level": "edge",
        "rule": settings.method,
        "selected": got.selected,
        "edges": int(got.kept.sum()),
        "units": ready.graph.n_edges,
    }
    order = ranked(got.scores, got.kept, absolute=False)
    records = Units(ready.graph).records(order, got.scores)
    return Result({**parts, "kind": "circuit", "selection": selection}, records, tensors)


def _size(config: Mapping[str, Any], kv: str | None) -> tuple[int, int]:
    """How many edges and sources a model of this configuration has."""
    from mi.tasks.shape import graph_of

    graph = graph_of(config, kv == "grouped")
    return graph.n_edges, graph.n_sources


def _batch(method: str) -> int | None:
    from mi.core.search.methods import METHODS

    return METHODS[method].batch


def _warnings(head: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[str]:
    """That a search ended early, and that it found nothing."""
    said: dict[str, Any] = head["attribution"]["search"]
    texts = []
    if isinstance(said.get("stopped"), str):
        texts.append(f"stopped after {said['steps_done']} of {said['steps']} steps: {said['stopped']}")
    if head["kind"] == "circuit" and not records:
        texts.append("warning: the circuit is EMPTY: use a smaller --tau, --penalty or --target")
    return texts

"""`mi score`: how faithful a circuit is, or how faithfulness grows with size along a ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mi import options
from mi.commands.score_tests import Asked
from mi.errors import UsageError

if TYPE_CHECKING:
    from mi.core.model import Model
    from mi.work import Result


def score(
    file: options.Input = None,
    ablation: options.Ablation = "counterfactual",
    means: options.Means = None,
    seed: options.Seed = 0,
    metric: options.Metric = None,
    selector: Annotated[
        Literal["top", "greedy"] | None,
        options.Option(
            "--selector",
            show_default=False,
            help="How a curve's circuits are chosen; the default is what the scores ask for, mostly top.",
        ),
    ] = None,
    tests: Annotated[
        list[str] | None,
        options.Option(
            "--test",
            metavar="NAME",
            show_default=False,
            help="Test more than faithfulness, see above; repeat it for several.",
        ),
    ] = None,
    n_random: Annotated[
        int | None,
        options.Option(
            "--random",
            metavar="N",
            min=2,
            show_default=False,
            help="Random circuits that tests hold this one against (100), or random rankings (10).",
        ),
    ] = None,
    task: options.Task = None,
    data: options.Data = None,
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
    """Run a circuit and say how faithful it is; given scores, how faithfulness grows with size.

    A circuit's kept edges carry what the circuit computes, dropped ones their replacement. Where only some neurons of a
    node are kept, its edges carry the replacement in the other dimensions. Faithfulness is (circuit - empty) / (model -
    empty) of the mean metric on the validation split, with a 95 % interval over examples or, where there are ten or
    more, over their templates. Sizes are true numbers of edges, at the other levels beside those of nodes or neurons.

    Scores give the curve over the ten sizes of the MIB benchmark, CPR (signed ranking) and CMD (absolute ranking). The
    sizes are shares of the edges, or of the nodes or neurons that were scored. --selector greedy grows each circuit
    from the logits, which scores of information flow routes ask for in their head.

    --test adds to the report, for a circuit of edges or nodes: complement (what is left without it), completeness (does
    it break as the model does when nodes are knocked out of both: random ones, classes, a set grown greedily), nodes
    and minimality (what each node and edge adds, edges with p-values), the hypothesis tests equivalence, independence,
    sufficiency and necessity, random (circuits of its size) and gap (how much better it looks on the examples that
    chose it). For scores: random (rankings), gap and stability (of the choice, by the stored shards).
    docs/circuit-tests.md says what each means.

    Examples:

        mi prune --top 100 scores.jsonl | mi score

        mi score circuit.jsonl -m new-checkpoint/ -o new.jsonl

        mi score scores.jsonl --ablation mean

        mi attribute cache.jsonl --level neuron | mi score --selector greedy

        mi score circuit.jsonl --test sufficiency --test necessity --random 20
    """
    from mi import work
    from mi.circuit.reading import selector_of
    from mi.commands.remote import spread_over
    from mi.core.sitewise.which import need_graph
    from mi.core.team import current
    from mi.io import blobs, stream
    from mi.show.notes import note
    from mi.tasks import find, footprint, subject
    from mi.tasks.budget import parse
    from mi.tasks.constants import constants
    from mi.tasks.encode import needs
    from mi.tasks.plan import cost

    room, apart = parse(memory_budget), spread_over(device_map, device)
    piped = current().first(lambda: stream.read(file, ("circuit", "scores"), work.import_libraries))
    head = piped.head
    if selector and piped.kind == "circuit":
        raise UsageError("--selector is of a curve over scores, and this is a circuit", "leave it away")
    rule = selector or selector_of(piped)
    chosen = subject.choose_model(model, revision, head, allow_pickle=allow_pickle, adapter=adapter)
    need_graph(*chosen.kind)
    if chosen.is_regression:
        note(f"running on {chosen.located.id}, whose weights are not those that the {piped.kind} was made with")
    for blob in piped.blobs.values():
        blobs.check(blob)
    examples = find.examples(head, task, data, chosen)
    for text in examples.notes:
        note(text)
    which = split or "validation"
    rows, text = subject.select(examples, which, limit)
    if text:
        note(text)
    replaced = constants(means, ablation, seed, chosen)
    measure = metric or str(examples.head["task"]["metric"])
    begin = str(head.get("model", {}).get("bos", bos)) if bos == "auto" else bos
    encoded = subject.encoded(examples, rows, chosen, begin, **needs(measure))
    overlap = _overlap(head, examples.head, which)
    asked = Asked(tuple(dict.fromkeys(tests or ())), n_random or (100 if piped.kind == "circuit" else 10), seed)
    asked.check(piped)
    used, others = asked.chose(examples, head, which, limit) if "gap" in asked.names else ("", [])
    chose = subject.encoded(examples, others, chosen, begin, **needs(measure))
    n_circuits = (1 if piped.kind == "circuit" else 20) + asked.n_runs(piped)
    if dry_run:
        lengths = [len(example.clean) for example in encoded]
        needed = cost(
            lengths,
            chosen.located.config(),
            dtype,
            batch_size,
            2 + n_circuits,
            memory=footprint.circuits,
            budget=room,
            table=room.table,
        )
        note(needed.text())
        return

    def compute(ready: Model) -> Result:
        from mi.circuit.reading import circuit, scored
        from mi.circuit.report import named, of_scores, report, single
        from mi.core.circuits import run_circuits
        from mi.core.means import given
        from mi.show.progress import progress
        from mi.tasks.task import record_id

        graph = ready.graph
        if piped.kind == "circuit":
            circuits = single(circuit(piped, graph))
        else:
            found = scored(piped, graph)
            circuits = of_scores(found.units, found.scores, rule)
        how: dict[str, Any] = {
            "ablation": ablation,
            "given": given(replaced, ready),
            "metric": measure,
            "batch_size": batch_size,
            "executor": executor,
            "on_halved": work.say_halved(),
        }
        with progress(len(encoded), "score") as bar:
            got = run_circuits(ready, encoded, circuits.masks, neurons=circuits.neurons, on_done=bar.advance, **how)
        tested = asked.records(piped, ready, encoded, (used, chose), how, circuits, got, rule)
        said = {
            "ablation": ablation,
            "metric": measure,
            "split": which,
            "n": len(encoded),
            "executor": ready.executor(executor).name,
            "plan": work.plan_summary(got.plan),
            "halved": got.halved,
            "memory_budget": room.bytes,
            **work.together(),
            "overlap": overlap,
            **replaced.said(),
        }
        if piped.kind == "scores":
            said["selector"] = rule
        if tested:
            said["tests"] = {"names": list(asked.names), "random": asked.n_random, "seed": seed}
        each = [named(e.id, record_id(e.record), e.template) for e in encoded]
        kept = {key: value for key, value in head.items() if key not in ("mi", "v", "kind", "chain", "model")}
        parts = {key: examples.head[key] for key in ("task", "examples")}
        return work.Result(
            head={
                **kept,
                **parts,
                "kind": "report",
                "model": {"bos": begin},
                "graph": ready.graph.head(),
                "scoring": said,
            },
            records=report(circuits, got.value, got.clean, got.corrupted, each) + tested,
        )

    work.produce(
        compute,
        chosen=chosen,
        loading=subject.Loading(device, dtype, tf32, trust_remote_code, allow_pickle, budget=room, device_map=apart),
        head=head,
        inputs=[*examples.inputs, *replaced.inputs],
        depends_on=[piped.sha256, examples.head, *replaced.digests],
        output=output,
        json=json,
        fresh=fresh,
        warnings=_warnings,
    )


def _overlap(head: Mapping[str, Any], examples: Mapping[str, Any], split: str) -> str | None:
    """Why these examples are not new to the circuit, or None."""
    used = head.get("attribution", {}).get("split")
    same = head.get("examples", {}).get("sha256") == examples.get("examples", {}).get("sha256")
    if not used or not same or (used != split and "all" not in (used, split)):
        return None
    return f"the scores were computed on {'all' if used == 'all' else f'the {used} split'} of the same examples"


def _warnings(head: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader of the numbers must know."""
    overlap = head["scoring"].get("overlap")
    return (
        [f"scored on examples that chose the circuit: {overlap}; expect it to look better than it is"]
        if overlap
        else []
    )

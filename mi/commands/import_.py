"""`mi import`: the files of other tools in, a stream of scores or a circuit out. Nothing of a file is ever executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mi.errors import MiError, UsageError
from mi.options import UNRECORDED, Argument, Json, Model, Option, Output, Quiet, Revision

if TYPE_CHECKING:
    from mi.circuit.importers.acdc_results import Results
    from mi.circuit.importers.edges import Shape
    from mi.circuit.mib import ScoredGraph
    from mi.io.models import Located

File = Annotated[str, Argument(metavar="FILE", show_default=False, help="The file to read; - is standard input.")]
AsCircuit = Annotated[
    bool, Option("--circuit", help="Write the circuit that the file marks, not the scores that it holds.")
]
Task = Annotated[
    str | None, Option("--about", metavar="TASK", show_default=False, help="The task that the file is about.")
]
Layers = Annotated[
    int | None,
    Option("--layers", metavar="N", min=1, show_default=False, help="Layers of the model, where -m does not say it."),
]
Heads = Annotated[
    int | None,
    Option("--heads", metavar="N", min=1, show_default=False, help="Query heads of a layer, likewise."),
]
Parallel = Annotated[
    bool, Option("--parallel", help="In a block of the model attention and MLP read side by side (Pythia, GPT-J).")
]


def import_mib(
    file: File,
    circuit: AsCircuit = False,
    level: Annotated[
        Literal["edge", "node", "neuron"] | None,
        Option("--level", show_default=False, help="Which scores count, where the file has several; else the finest."),
    ] = None,
    task: Task = None,
    model: Model = None,
    revision: Revision = None,
    output: Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read a graph of EAP-IG or the MIB benchmark: JSON, or .pt.

    Scores of edges, nodes or neurons become a stream of scores. Which edges the file puts into its circuit is kept
    beside them, so that `mi export mib` writes the same bytes again; --circuit makes a stream of that circuit.

    A .pt file is read without torch, and what it holds is never executed.

    Examples:

        mi import mib importances.json -m gpt2 -o scores.jsonl

        mi import mib graph.pt --circuit | mi view --top 20

        mi import mib importances.json | mi prune --top 200 | mi score --task ioi -m gpt2
    """
    from mi.circuit.mib import config
    from mi.circuit.mib_json import from_json
    from mi.circuit.mib_pt import from_pt

    data, place = _read(file)
    made = from_json(data, place) if data.lstrip()[:1] == b"{" else from_pt(data, place)
    located = _located(model, revision)
    if located is not None:
        _compare(config(made.graph), _shape(located, None, None, False), place)
    _write("mib", file, data, made, circuit, level, task, located, output, json)


def import_acdc(
    file: File,
    scores: Annotated[
        bool, Option("--scores", help="Write a stream of scores (effects, or 1 and 0), not the circuit.")
    ] = False,
    task: Task = None,
    model: Model = None,
    revision: Revision = None,
    layers: Layers = None,
    heads: Heads = None,
    output: Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read a circuit of ACDC: the .pth of its subgraph, or a list of edges with their effects (pickle or JSON).

    Of the edges that only ACDC has, from a receiver to its own query, key or value, one that was cut takes the edges
    into that receiver with it. Nothing in the file is executed.

    The JSON of a sweep over thresholds, as ACDC publishes its results, becomes a report: the shares of true and false
    edges and nodes that each threshold kept, and ACDC's area under each curve. `mi plot` draws it beside your own.

    Examples:

        mi import acdc subgraph.pth -o circuit.jsonl

        mi import acdc edges.pkl --layers 12 --heads 12 | mi score --task ioi -m gpt2

        mi import acdc acdc-ioi-kl_div-False-0.json -o published.jsonl && mi plot published.jsonl -o roc.svg
    """
    from mi.circuit.importers import acdc, acdc_results

    data, place = _read(file)
    if acdc_results.are_results(data):
        if scores or layers or heads:
            raise UsageError("results of a sweep hold no edges", "leave --scores, --layers and --heads away")
        _write_results(file, data, acdc_results.read(data, place), task, _located(model, revision), output, json)
        return
    located = _located(model, revision)
    made = acdc.read(data, _shape(located, layers, heads, False), place)
    _write("acdc", file, data, made, not scores, "edge", task, located, output, json)


def import_autocircuit(
    file: File,
    key: Annotated[
        str | None,
        Option("--key", metavar="NAME", show_default=False, help="Which scores, of a file that holds several."),
    ] = None,
    task: Task = None,
    model: Model = None,
    revision: Revision = None,
    parallel: Parallel = False,
    output: Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read scores of AutoCircuit: a dictionary of tensors, one for each module, saved by torch.

    Token positions are summed by magnitude; a module that reads for query, key and value at once gives its score to
    all three. Nothing in the file is executed.

    Examples:

        mi import autocircuit prune_scores.pkl -o scores.jsonl

        mi import autocircuit cache.pkl --key 'IOI/Edge Attribution Patching' | mi prune --top 200
    """
    from mi.circuit.importers import autocircuit

    data, place = _read(file)
    located = _located(model, revision)
    made = autocircuit.read(data, _shape(located, None, None, parallel), place, key)
    _write("autocircuit", file, data, made, False, "edge", task, located, output, json)


def import_edge_pruning(
    file: File,
    task: Task = None,
    model: Model = None,
    revision: Revision = None,
    layers: Layers = None,
    heads: Heads = None,
    output: Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read a circuit of Edge-Pruning: the list of pairs in its edges.json.

    The file does not say how large the model is: name it with -m, or give --layers and --heads.

    Examples:

        mi import edge-pruning edges.json --layers 12 --heads 12 -o circuit.jsonl

        mi import edge-pruning edges.json -m gpt2 | mi score --task ioi
    """
    from mi.circuit.importers import edge_pruning

    data, place = _read(file)
    located = _located(model, revision)
    made = edge_pruning.read(data, _shape(located, layers, heads, False), place)
    _write("edge-pruning", file, data, made, True, "edge", task, located, output, json)


def import_feature_circuits(
    file: File,
    circuit: AsCircuit = False,
    level: Annotated[
        Literal["edge", "node"], Option("--level", help="Which scores count: weights of edges, or effects of features.")
    ] = "edge",
    task: Task = None,
    output: Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read a sparse feature circuit: features of dictionaries, their effects, and the weights of edges between them.

    The graph has a node for each feature (`mlp_3/f1021`), for each error (`mlp_3/error`), with token positions where
    the file has them (`mlp_3@5/f1021`). `mi view`, `mi prune` and `mi diff` work on it; running it needs the
    dictionaries, which are not in the file. Nothing in the file is executed.

    Examples:

        mi import feature-circuits simple_train.pt -o scores.jsonl

        mi import feature-circuits simple_train.pt --level node | mi view --top 20
    """
    from mi.circuit.importers import feature_circuits

    data, place = _read(file)
    made = feature_circuits.read(data, place)
    _write("feature-circuits", file, data, made, circuit, level, task, None, output, json)


SUBCOMMANDS = {
    "mib": import_mib,
    "acdc": import_acdc,
    "autocircuit": import_autocircuit,
    "edge-pruning": import_edge_pruning,
    "feature-circuits": import_feature_circuits,
}


def import_(
    what: Annotated[
        str | None, UNRECORDED, Argument(metavar="FORMAT", show_default=False, help="The tool that wrote the file.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Read scores and circuits that other tools wrote.

    `mi import mib` reads graphs of EAP-IG and the MIB benchmark; acdc, autocircuit, edge-pruning and feature-circuits
    the files of the tools of these names. Files with pickled Python in them are read as data: nothing is executed.

    Examples:

        mi import mib importances.json -o scores.jsonl
    """
    fact = "the format is not said" if what is None else f"no format is called {what!r}"
    raise UsageError(fact, f"mi import has {', '.join(SUBCOMMANDS)}")


def _read(file: str) -> tuple[bytes, str]:
    """The bytes of a file, and its name for errors."""
    from mi.io import source, stream

    if file == "-":
        with source.stdin() as f:
            data, place = f.read(), "stdin"
    else:
        with stream.open_file(file) as f:
            try:
                data, place = f.read(), file
            except OSError as error:
                raise MiError(f"cannot be read: {error.strerror}", place=file) from error
    if not data:
        raise MiError("it is empty", "what should have written it failed", place=place)
    return data, place


def _located(model: str | None, revision: str | None) -> Located | None:
    from mi.io.models import locate

    return None if model is None else locate(model, revision, weights=False)


def _shape(located: Located | None, layers: int | None, heads: int | None, parallel: bool) -> Shape:
    """What the model, or flags, say of the graph."""
    from mi.circuit.importers.edges import Shape, of_config

    if located is None:
        return Shape(layers, heads, parallel)
    if layers or heads or parallel:
        raise UsageError("-m says how large the model is", "leave --layers, --heads and --parallel away")
    return of_config(located.config(), located.id)


def _compare(cfg: dict[str, Any], shape: Shape, place: str) -> None:
    ours = {"n_layers": shape.n_layers, "n_heads": shape.n_heads, "parallel_attn_mlp": shape.parallel}
    for name, value in ({**ours, "d_model": shape.d_model}).items():
        if cfg[name] != value:
            raise MiError(f"its {name} is {cfg[name]}, and the model's {value}", "is it of this model?", place=place)


def _write(
    form: str,
    file: str,
    data: bytes,
    made: ScoredGraph,
    as_circuit: bool,
    level: str | None,
    task: str | None,
    located: Located | None,
    output: str | None,
    json: bool,
) -> None:
    """The stream: scores with the membership in a blob of its own, or the circuit as records."""
    from mi.circuit import exchange

    parts: dict[str, Any] = {"graph": made.graph.head()}
    if task is not None:
        parts["task"] = {"name": task}
    if as_circuit:
        head, records, tensors = exchange.circuit_stream(made, form, file)
    else:
        head, records, tensors = exchange.scores_stream(made, form, level, file)
    _emit(file, data, located, {**parts, **head}, records, tensors, output, json)


def _write_results(
    file: str, data: bytes, made: Results, task: str | None, located: Located | None, output: str | None, json: bool
) -> None:
    """A report of what somebody else measured: without a graph, and without examples."""
    about = {key: value for key, value in made.about.items() if key != "task"}
    head: dict[str, Any] = {"kind": "report", "attribution": {**about, "source": "acdc"}}
    if name := task or made.about.get("task"):
        head["task"] = {"name": name}
    _emit(file, data, located, head, made.records, {}, output, json)


def _emit(
    file: str,
    data: bytes,
    located: Located | None,
    head: dict[str, Any],
    records: Sequence[Mapping[str, Any]],
    tensors: Mapping[str, Any],
    output: str | None,
    json: bool,
) -> None:
    """The stream, with the file and the model that it is about as what went in."""
    from mi.commands.data import model_inputs
    from mi.io import canonical, chain
    from mi.run import invocation
    from mi.show.output import emit

    named = []
    if located is not None:
        head, named = {**head, "model": _model(located)}, model_inputs(located.id, located.revision)
    given = chain.given(file, canonical.sha256(data))
    emit(chain.record(head, invocation(), [given, *named]), records, tensors, output=output, json=json)


def _model(located: Located) -> dict[str, Any]:
    """What a head says of the model; its weights only where they lie here."""
    from mi.io.digests import model_files, weights_digest

    made = {"id": located.id, "revision": located.revision}
    made["architecture"] = str(located.config().get("model_type", "")) or None
    if any(name.endswith(".safetensors") for name in model_files(located.folder)):
        made["weights"] = weights_digest(located.folder)
    return {key: value for key, value in made.items() if value is not None or key == "revision"}

"""The flags that commands share: one Annotated type each, so that the same flag is the same thing everywhere.

A command writes `def prune(file: Input = None, top: Annotated[int | None, Option("--top", help="...")] = None, ...)`.
The order in which a value is looked for: flag, environment (MI_DEVICE, ...), [tool.mi] in pyproject.toml, default.

A parameter marked UNRECORDED does not enter the chain of the stream that the command writes: it says where output goes
or how loud it is, and the result does not depend on it. Only this file and `mi/run.py` know that the parser is typer.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

import typer

Option = typer.Option
Argument = typer.Argument


class Mark(Enum):
    """What a parameter's annotation says beside its flag."""

    UNRECORDED = "not part of the chain"


UNRECORDED = Mark.UNRECORDED


Input = Annotated[
    str | None,
    UNRECORDED,  # the stream names its own past
    typer.Argument(metavar="[FILE]", show_default=False, help="Stream to read; none, or -, is standard input."),
]
Files = Annotated[
    list[str] | None,
    UNRECORDED,
    typer.Argument(metavar="[FILE]...", show_default=False, help="Streams to read; none, or -, is standard input."),
]
Output = Annotated[
    str | None,
    UNRECORDED,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        show_default=False,
        help="Write to FILE, whole or not at all; tensors lie beside it.",
    ),
]
Json = Annotated[
    bool, UNRECORDED, typer.Option("--json", help="Write the stream itself on a terminal too, not a table.")
]
Quiet = Annotated[bool, UNRECORDED, typer.Option("--quiet", "-q", help="No notes and no progress on stderr.")]
Fresh = Annotated[bool, UNRECORDED, typer.Option("--fresh", help="Do the work even if its result is in the store.")]
DryRun = Annotated[bool, UNRECORDED, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]

Seed = Annotated[int, typer.Option("--seed", envvar="MI_SEED", metavar="N", help="Seed of everything random.")]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", metavar="N", min=1, show_default=False, help="Use the first N examples of each split only."
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--split", metavar="NAME", show_default=False, help="Examples to use: train, validation, test or all."
    ),
]

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        envvar="MI_MODEL",
        metavar="MODEL",
        show_default=False,
        help="A folder, a hub identifier, or the name of an embedded model.",
    ),
]
Revision = Annotated[
    str | None,
    typer.Option("--revision", metavar="REV", show_default=False, help="Commit, tag or branch of a hub model."),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run code that comes with the model; needs a pinned --revision."),
]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Accept weights that are not safetensors, tensors only.")
]
Adapter = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        envvar="MI_ADAPTER",
        metavar="FILE",
        show_default=False,
        help="Roles of an architecture that mi does not know ('mi adapter probe' writes them).",
    ),
]
Kv = Annotated[
    Literal["query", "grouped"] | None,
    typer.Option(
        "--kv",
        show_default=False,
        help="Where heads share keys and values: receivers of each query head (query), or one for all that share.",
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", envvar="MI_DEVICE", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps."),
]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16", "float16", "float64"],
    typer.Option("--dtype", envvar="MI_DTYPE", help="Number format of weights and activations."),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size", envvar="MI_BATCH_SIZE", metavar="N", min=1, show_default=False, help="Examples run at once."
    ),
]
MemoryBudget = Annotated[
    str,
    typer.Option(
        "--memory-budget",
        envvar="MI_MEMORY_BUDGET",
        metavar="SIZE",
        help="Memory over the weights to work in: batches and what is made wide at once are cut to it.",
    ),
]
Executor = Annotated[
    Literal["auto", "fast", "generic"],
    typer.Option("--executor", envvar="MI_EXECUTOR", help="How the model is run: plain hooks, or nnsight's traces."),
]
Remote = Annotated[
    str | None,
    typer.Option(
        "--remote",
        metavar="[local]",
        show_default=False,
        help="Run the model on NDIF, and only its sites; 'local' rehearses that here.",
    ),
]
DeviceMap = Annotated[
    str | None,
    typer.Option(
        "--device-map",
        metavar="MAP",
        show_default=False,
        help="Spread the model over devices and a disk: auto, balanced, balanced_low_0, sequential, or a JSON file.",
    ),
]
TensorParallel = Annotated[
    bool,
    UNRECORDED,  # as how many processes share the work: the result does not depend on it
    typer.Option(
        "--tensor-parallel", help="Cut the model up among the processes that torchrun started: all hold it together."
    ),
]
Tf32 = Annotated[bool, typer.Option("--tf32", envvar="MI_TF32", help="Allow TF32 in matrix products on a GPU.")]

Task = Annotated[
    str | None,
    typer.Option(
        "--task", metavar="TASK", show_default=False, help="Make examples of this task ('mi info' lists them)."
    ),
]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="FILE", show_default=False, help="Take the examples from FILE."),
]
N = Annotated[
    int | None,
    typer.Option(
        "--number",
        "-n",
        metavar="N",
        min=1,
        show_default=False,
        help="Examples to make for each split; the default is 100.",
    ),
]
Counterfactual = Annotated[
    str | None,
    typer.Option("--counterfactual", metavar="NAME", show_default=False, help="How the clean prompt is corrupted."),
]
Bos = Annotated[
    Literal["auto", "never"],
    typer.Option("--bos", help="Put the tokenizer's beginning-of-sequence token before text, or never."),
]
Answers = Annotated[
    Literal["single", "first-token"],
    typer.Option("--answers", help="Refuse answers of several tokens, or count the first token of each."),
]
Metric = Annotated[
    Literal[
        "logit-diff",
        "prob-diff",
        "logit",
        "class-prob",
        "class-logprob",
        "normalised-logit",
        "kl",
        "js",
        "accuracy",
        "top-1",
        "top-5",
        "top-10",
    ]
    | None,
    typer.Option("--metric", show_default=False, help="What is measured at the answer; the default is the task's own."),
]
Ablation = Annotated[
    Literal["counterfactual", "resample", "zero", "mean", "mean-positional", "optimal"],
    typer.Option("--ablation", help="What takes the place of a removed edge."),
]
Means = Annotated[
    str | None,
    typer.Option(
        "--means",
        metavar="FILE",
        show_default=False,
        help="Replace by the constants in FILE (from 'mi cache --means', or learned).",
    ),
]

"""`mi mib run`: one cell of the benchmark, from its data set to CPR and CMD; or the Makefile of all of them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mi import options
from mi.errors import MiError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from mi.circuit.benchmark import Cell

MAKEFILE = """\
# The cells of the MIB benchmark's circuit track. Written by: mi mib run --matrix
# make DATA=FOLDER runs them on data sets that lie here; without it they come from the hub.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

OUT ?= mib
DATA ?=
METHOD ?= eap-ig
FLAGS ?=
CELLS := {cells}

.PHONY: all
all: $(OUT)/results.json

$(OUT)/results.json: $(CELLS:%=$(OUT)/%/importances.json)
\tmi mib results $(CELLS:%=$(OUT)/%/report.jsonl) --method-name $(METHOD) -o $@

RUN = mi mib run --method $(METHOD) $(if $(DATA),--data $(DATA)) $(FLAGS) -o $(OUT)
"""
RULE = """
$(OUT)/{cell}/importances.json:
\t$(RUN) --model {model} --task {task}
"""


def mib_run(
    model: options.Model = None,
    task: Annotated[
        str | None,
        options.Option("--task", metavar="TASK", show_default=False, help="A task of the benchmark, as ioi."),
    ] = None,
    data: Annotated[
        str | None,
        options.Option(
            "--data", metavar="FOLDER", show_default=False, help="Where the data sets lie; if not given, on the hub."
        ),
    ] = None,
    method: Annotated[
        str, options.Option("--method", metavar="METHOD", help="How to score; 'mi info' lists them.")
    ] = "eap-ig",
    level: Annotated[
        str | None,
        options.Option("--level", metavar="LEVEL", show_default=False, help="What to score: edge, node or neuron."),
    ] = None,
    number: Annotated[
        int | None,
        options.Option(
            "--number",
            "-n",
            metavar="N",
            min=1,
            show_default=False,
            help="Training examples to score on; the default is the benchmark's own number.",
        ),
    ] = None,
    validation: Annotated[
        int | None,
        options.Option(
            "--validation", metavar="N", min=1, show_default=False, help="Validation examples; if not given, all."
        ),
    ] = None,
    compat: Annotated[
        Literal["mib"] | None,
        options.Option("--compat", show_default=False, help="Give the scores of the MIB code, mistakes included."),
    ] = None,
    revision: options.Revision = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    batch_size: options.BatchSize = None,
    memory_budget: options.MemoryBudget = "1GB",
    matrix: Annotated[
        bool, options.Option("--matrix", help="Write the Makefile of all cells, or those of --model and --task.")
    ] = False,
    into: Annotated[
        str | None,
        options.UNRECORDED,
        options.Option("--output", "-o", metavar="FOLDER", show_default=False, help="Write to FOLDER/CELL/ (mib)."),
    ] = None,
    quiet: options.Quiet = False,
) -> int | None:
    """Run a cell of the MIB benchmark: scores on the training split, circuits on the validation split.

    MODEL is one of the benchmark's names (gpt2, qwen2.5, gemma2, llama3), a hub identifier or a folder. The data set is
    that of the hub, or lies in --data: a folder as the hub has it, or one that holds several under their names.
    FOLDER/CELL then has scores.jsonl, importances.json for the leaderboard, and report.jsonl with CPR, from circuits by
    signed score, and CMD, by magnitude.

    --matrix writes a Makefile that runs every cell and collects the results.

    Examples:

        mi mib run --model gpt2 --task ioi -o runs

        mi mib run --model gpt2 --task ioi --data datasets --method eap -n 100 --validation 200

        mi mib run --matrix -o Makefile.mib && make -f Makefile.mib DATA=datasets
    """
    from mi.circuit import benchmark

    if matrix:
        _matrix(model, task, into)
        return None
    if task not in benchmark.TASKS:
        fact = "which task is not said" if task is None else f"the benchmark has no task {task!r}"
        raise UsageError(fact, f"its tasks are {', '.join(benchmark.TASKS)}")
    if model is None:
        raise UsageError("which model is not said", f"give --model; the benchmark has {', '.join(benchmark.MODELS)}")
    ref = benchmark.MODELS.get(model, model) if not os.path.isdir(model) else model
    cell = benchmark.Cell(task, model if model in benchmark.MODELS else benchmark.model_name(ref))
    folder = _folder(into or "mib", cell)
    limit = number or benchmark.EXAMPLES.get(task, benchmark.OTHER_EXAMPLES)
    shared = _words({"--device": device if device != "auto" else None, "--dtype": dtype if dtype != "auto" else None,
                     "--batch-size": batch_size,
                     "--memory-budget": memory_budget if memory_budget != "1GB" else None})  # fmt: skip
    which = _words({"-m": ref, "--revision": revision})
    stages = [
        ["data", "--from", str(_data(task, data)), *which, "--skip"],
        ["attribute", *which, "--method", method, *_words({"--level": level, "--limit": limit, "--compat": compat}),
         *shared, "--tee", str(folder / "scores.jsonl")],
        ["score", *_words({"--limit": validation}), *shared],
    ]  # fmt: skip
    return _run(stages, folder, cell, quiet)


def _words(flags: dict[str, Any]) -> list[str]:
    return [word for flag, value in flags.items() if value is not None for word in (flag, str(value))]


def _folder(output: str, cell: Cell) -> Path:
    from pathlib import Path

    from mi.io import atomic

    folder = Path(output) / cell.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise atomic.failure(folder, error) from error
    return folder


def _run(stages: Sequence[Sequence[str]], folder: Path, cell: Cell, quiet: bool) -> int | None:
    """The stages in one process; then the leaderboard's file, and what came out for eyes."""
    from mi.circuit import exchange
    from mi.circuit.mib_json import to_json
    from mi.commands.pipe import pipe
    from mi.io import atomic, stream
    from mi.show.table import write

    code = pipe(" ! ".join(map(shlex.join, stages)), str(folder / "report.jsonl"), quiet=quiet)
    if code:
        return code
    made = to_json(exchange.of_stream(stream.read(str(folder / "scores.jsonl"), ("scores",))))
    with atomic.file(folder / "importances.json") as f:
        f.write(made)
    write([_table(cell, stream.read(str(folder / "report.jsonl"), ("report",)).records)])
    return None


def _table(cell: Cell, records: Sequence[dict[str, Any]]) -> Any:
    from mi.show.numbers import number
    from mi.show.table import Column, Table

    rows = []
    for record in records:
        if record.get("summary") in ("cpr", "cmd"):
            interval = f"{number(record['low'])} to {number(record['high'])}" if "low" in record else ""
            rows.append((record["summary"].upper(), number(record["value"]), interval))
    if not rows:
        why = next((r["undetermined"] for r in records if "undetermined" in r), "no curve")
        raise MiError(f"CPR and CMD of {cell.name} are undetermined: {why}", "the model does not do the task")
    return Table((Column("area"), Column("value", right=True), Column("95 % interval")), rows, cell.name)


def _data(task: str, data: str | None) -> Path:
    """The folder of the task's data set, here or in the hub's cache."""
    from pathlib import Path

    from mi.circuit import benchmark
    from mi.tasks.readers.folder import data_files

    name, part = benchmark.TASKS[task]
    if data is None:
        from mi.io.hub import snapshot

        folder = snapshot(name, kind="dataset", hint="give --data FOLDER where the data sets lie")
        return folder / part if part and (folder / part).is_dir() else folder
    if not os.path.isdir(data):
        raise UsageError(f"there is no folder {data}", "--data is where the data sets lie", place="--data")
    here = Path(data)
    named = [here / other for other in dict.fromkeys((name.rpartition("/")[2], task))]
    for folder in [*named, here]:
        for inner in [folder / part, folder] if part else [folder]:
            if inner.is_dir() and _has_data(inner, data_files):
                return inner
    wanted = " or ".join(str(folder) for folder in named)
    hint = f"looked for {wanted}, and for its files there"
    raise MiError(f"no data set of {task} lies in {data}", hint, place="--data")


def _has_data(folder: Path, files: Any) -> bool:
    try:
        return bool(files(str(folder)))
    except MiError:
        return False


def _matrix(model: str | None, task: str | None, output: str | None) -> None:
    from mi.circuit import benchmark
    from mi.io import atomic

    wanted = [
        benchmark.Cell(a_task, a_model)
        for a_task, a_model in benchmark.CELLS
        if model in (None, a_model) and task in (None, a_task)
    ]
    if not wanted:
        cells = ", ".join(benchmark.Cell(*each).name for each in benchmark.CELLS)
        raise UsageError(f"the benchmark has no cell of {' and '.join(filter(None, (model, task)))}", f"it has {cells}")
    text = MAKEFILE.format(cells=" ".join(cell.name for cell in wanted))
    rules = [RULE.format(cell=cell.name, model=cell.model, task=cell.task) for cell in wanted]
    atomic.text(output, text + "".join(rules))

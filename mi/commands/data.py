"""`mi data`: make examples of a task, or read those that another tool wrote; `mi data filter`: keep what a model does.

Out: an `examples` stream. Tokenizers only; torch is loaded by `filter` alone, in `mi.commands.data_filter`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from mi import options
from mi.commands.data_circuit import data_circuit
from mi.commands.data_filter import data_filter
from mi.options import UNRECORDED, Argument, Option

if TYPE_CHECKING:
    from mi.io.models import Located
    from mi.show.table import Table
    from mi.tasks.tokenizer import Tokenizer

SUBCOMMANDS = {"filter": data_filter, "circuit": data_circuit}
DEFAULT_N = 100

TaskName = Annotated[
    str | None, Argument(metavar="[TASK]", show_default=False, help="Make examples of this task; --list shows all.")
]
From = Annotated[
    list[str] | None,
    Option(
        "--from",
        metavar="FILE",
        show_default=False,
        help="Read examples that another tool wrote; the format is found by content. PEAP needs two files.",
    ),
]
N = Annotated[
    int | None,
    Option(
        "--number",
        "-n",
        metavar="N",
        min=1,
        show_default=False,
        help=f"Examples of each split: to make ({DEFAULT_N} if not given), or the first N of a file.",
    ),
]
Split = Annotated[
    str | None,
    Option(
        "--split",
        metavar="NAME",
        show_default=False,
        help="train, validation, test, or all. A task makes train and validation, a file gives all it has.",
    ),
]
Skip = Annotated[bool, Option("--skip", help="Leave out rows of a file that cannot be used, and say how many.")]
List = Annotated[bool, UNRECORDED, Option("--list", help="List the tasks and the file formats.")]


def data(
    task: TaskName = None,
    source: From = None,
    number: N = None,
    seed: options.Seed = 0,
    counterfactual: options.Counterfactual = None,
    split: Split = None,
    model: options.Model = None,
    revision: options.Revision = None,
    skip: Skip = False,
    list_all: List = False,
    output: options.Output = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make examples of a task, or read those that another tool wrote.

    An example is a minimal pair: a clean prompt, a corrupted one of as many tokens, and the tokens that are right and
    wrong after the clean one. With -m, words are chosen so that answers are single tokens of that model.

    `mi data filter -m MODEL` keeps the examples that a model gets right.

    Examples:

        mi data ioi -n 500 -o ioi.jsonl

        mi data ioi -m gpt2 | mi data filter -m gpt2 | mi cache -m gpt2

        mi data --from pairs.csv -m gpt2 --split validation

        mi data --from images.safetensors -o images.jsonl
    """
    from mi.errors import UsageError
    from mi.show import table
    from mi.tasks.readers.tensors import is_tensors

    if list_all:
        table.write([task_table(), format_table()])
        return
    if task and source:
        raise UsageError("a task and --from both name examples", "give one of them")
    if skip and not source:
        raise UsageError("--skip leaves out rows of a file, and there is none", "name it with --from")
    tensors: dict[str, Any] = {}
    if source and any(map(is_tensors, source)):
        head, records, inputs, tensors = from_tensors(source, number, counterfactual, split)
    elif source:
        head, records, inputs = from_files(source, number, counterfactual, split, model, revision, skip)
    elif task:
        head, records, inputs = from_task(task, number or DEFAULT_N, seed, counterfactual, split, model, revision)
    else:
        from mi.tasks.task import TASKS

        raise UsageError(f"name a task ({', '.join(TASKS)}) or give --from FILE", "mi data --list explains them")
    write(head, records, [*inputs, *model_inputs(model, revision)], output, json, tensors)


Made = tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]


def from_task(
    name: str,
    number: int,
    seed: int,
    counterfactual: str | None,
    split: str | None,
    model: str | None,
    revision: str | None,
) -> Made:
    """Head parts, records and the inputs of the chain's link."""
    from mi.tasks import task

    tokenizer = tokenizer_of(located(model, revision), needed=True)
    splits = {None: ("train", "validation"), "all": task.SPLITS}.get(split, (split or "",))
    records, head = task.make(name, number, seed, counterfactual, tokenizer, splits)
    if split:
        head["examples"]["source"]["splits"] = list(splits)
    return head, records, []


def from_files(
    paths: Sequence[str],
    number: int | None,
    counterfactual: str | None,
    split: str | None,
    model: str | None,
    revision: str | None,
    skip: bool,
) -> Made:
    """The same, of files. Without -m nothing is known of the model, and only the form of the rows is checked."""
    from mi.show.notes import note
    from mi.tasks.again import first_of_each_split
    from mi.tasks.readers import read
    from mi.tasks.split import ALL, assign

    place = located(model, revision) if model else None
    size = place.config().get("vocab_size") if place else None
    reading = read(paths, tokenizer=tokenizer_of(place), vocab_size=size, counterfactual=counterfactual, skip=skip)
    chosen, remark = assign(reading.records, split or ALL)
    for text in filter(None, (*reading.notes, remark)):
        note(text)
    # What `mi.tasks.again` needs to choose the same records from the file.
    choices = {"split": split, "limit": number}
    source = {**reading.source, **{name: value for name, value in choices.items() if value is not None}}
    head = {"task": reading.task, "examples": {"source": source}}
    return head, first_of_each_split(chosen, number), reading.inputs


def from_tensors(
    paths: Sequence[str], number: int | None, counterfactual: str | None, split: str | None
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """The same, of a safetensors file, and the blob that the records name."""
    from mi.errors import UsageError
    from mi.show.notes import note
    from mi.tasks.again import first_of_each_split
    from mi.tasks.readers.tensors import INPUTS, read
    from mi.tasks.split import ALL, assign

    if len(paths) > 1 or counterfactual:
        raise UsageError("a safetensors file of inputs is read alone, with the corrupted inputs that it holds")
    found = read(paths[0])
    chosen, remark = assign(found.records, split or ALL)
    if remark:
        note(remark)
    return (
        {"task": found.task, "examples": {"source": found.source}},
        first_of_each_split(chosen, number),
        found.inputs,
        {INPUTS: found.tensors},
    )


def located(model: str | None, revision: str | None) -> Located:
    from mi.io.models import locate

    return locate(model, revision, weights=False)


def model_inputs(model: str | None, revision: str | None) -> list[dict[str, Any]]:
    """The model of -m as an input of the chain's link. Of a folder the digest is that of the whole, as `mi cache`
    records it, so that one variable of a script stands for the model of both; of a hub model that of what was fetched:
    config and tokenizer, whose names are listed.
    """
    from mi.io.digests import folder_digest, model_files

    if not model:
        return []
    place = located(model, revision)
    files = model_files(place.folder, weights=place.revision is None)
    return [{"name": place.id, "sha256": folder_digest(place.folder, files), "files": files}]


def tokenizer_of(place: Located | None, needed: bool = False) -> Tokenizer | None:
    """The model's tokenizer. Some models have none: then only ids can be read, and no text made."""
    from mi.tasks import tokenizer

    if place is None:
        return None
    found = any((place.folder / name).is_file() for name in ("tokenizer.json", "vocab.json"))
    return tokenizer.load(place.folder, place.id) if found or needed else None


def write(
    head: dict[str, Any],
    records: list[dict[str, Any]],
    inputs: list[dict[str, Any]],
    output: str | None,
    json: bool,
    tensors: Mapping[str, Any],
) -> None:
    from mi.io import chain
    from mi.io.examples import examples_digest, split_counts
    from mi.run import invocation
    from mi.show.output import emit

    examples = {**head["examples"], "sha256": examples_digest(records), "n": split_counts(records)}
    whole = chain.record({**head, "kind": "examples", "examples": examples}, invocation(), inputs)
    emit(whole, records, tensors, output=output, json=json)


def task_table() -> Table:
    from mi.show.table import Column, Table
    from mi.tasks.task import TASKS

    columns = (Column("task"), Column("what the model does", wide=True), Column("metric"), Column("counterfactuals"))
    rows = [(task.name, task.summary, task.metric, " ".join(task.counterfactuals)) for task in TASKS.values()]
    return Table(columns, rows, "Tasks", ["the first counterfactual is the default"])


def format_table() -> Table:
    from mi.show.table import Column, Table
    from mi.tasks.readers import FORMATS

    rows = [(form.title, form.columns) for form in reversed(FORMATS)]
    return Table((Column("--from FILE"), Column("columns or fields", wide=True)), rows, "Files that --from reads")

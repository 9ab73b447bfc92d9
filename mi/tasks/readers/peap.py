"""PEAP's CSV files: one of clean prompts, one of counterfactual prompts, row by row, with a column for each span.

A span's column holds the position of its first token, counted with the BOS; a span ends where the next begins, the
last one at `length`. The splits are called circuit and eval there, train and validation here.
"""

from __future__ import annotations

import re

from mi.tasks.readers.format import Context, Format, Record, greater, text_of, two_digits
from mi.tasks.readers.rows import Row, Table

OTHER_COLUMNS = {
    *("prompt", "prompt_id", "length", "label", "split", "correct_token", "wrong_token", "S1_token", "S2_token"),
    *("IO_token", "top_answer", "top_answer_prob", "correct_prob", "wrong_prob"),
}
SPLITS = {"circuit": "train", "eval": "validation"}


def _matches(table: Table) -> bool:
    return {"prompt", "length"} <= table.columns


def _convert(row: Row, context: Context) -> Record:
    other = context.beside
    assert other is not None, "the format asks for two files"
    clean, corrupted = text_of(row, "prompt"), text_of(other, "prompt")
    if row.value["length"] != other.value.get("length"):
        fact = f"length is {row.value['length']} here and {other.value.get('length')} at {other.place}"
        raise row.error(fact, "both files must list the same prompts in the same order")
    record: Record = {"clean": clean, "corrupted": corrupted, "spans": _spans(row)}
    if {"correct_token", "wrong_token"} <= context.table.columns:
        record["answers"] = [text_of(row, "correct_token")]
        record["foils"] = [text_of(row, "wrong_token")]
    else:
        record["answers"], record["foils"] = greater(row, two_digits(row, "label"), clean)
    if row.value.get("prompt_id"):
        record["template"] = row.value["prompt_id"]
    if row.value.get("split"):
        record["split"] = SPLITS.get(row.value["split"], row.value["split"])
    return record


def _spans(row: Row) -> dict[str, list[int]]:
    """`{name: [start, end]}` without the BOS."""
    cells = {name: cell for name, cell in row.value.items() if name not in OTHER_COLUMNS}
    wrong = next((name for name, cell in {**cells, "length": row.value["length"]}.items() if not _whole(cell)), None)
    if wrong is not None:
        raise row.error(f"{wrong!r} is {row.value[wrong][:60]!r}, not a token position")
    length = int(row.value["length"])
    starts = {name: int(cell) for name, cell in cells.items()}
    outside = next((name for name, start in starts.items() if not 1 <= start < length), None)
    if outside is not None:
        raise row.error(f"{outside!r} begins at {starts[outside]}, outside the prompt of {length} tokens")
    ends = sorted({*starts.values(), length})
    return {name: [start - 1, ends[ends.index(start) + 1] - 1] for name, start in starts.items()}


def _whole(cell: str) -> bool:
    return re.fullmatch(r"\d{1,6}", cell.strip()) is not None


def _task(table: Table) -> tuple[str | None, str]:
    return ("ioi", "logit-diff") if "correct_token" in table.columns else ("greater-than", "prob-diff")


FORMAT = Format(
    name="peap",
    title="PEAP CSV (two files)",
    columns="prompt, length, label and one column a span",
    matches=_matches,
    convert=_convert,
    task=_task,
    files=2,
)

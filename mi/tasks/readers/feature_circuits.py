"""The JSON lines of sparse feature circuits: `clean_prefix, patch_prefix, clean_answer, patch_answer, case`."""

from __future__ import annotations

from mi.tasks.readers.format import Context, Format, Record, text_of
from mi.tasks.readers.rows import Row, Table

FIELDS = ("clean_prefix", "patch_prefix", "clean_answer", "patch_answer")


def _matches(table: Table) -> bool:
    return {"clean_prefix", "patch_prefix"} <= table.columns


def _convert(row: Row, context: Context) -> Record:
    clean, corrupted, answer, foil = (text_of(row, name) for name in FIELDS)
    record: Record = {"clean": clean, "corrupted": corrupted, "answers": [answer], "foils": [foil]}
    if isinstance(row.value.get("case"), str):
        record["template"] = row.value["case"]
    variables = {name: value for name, value in row.value.items() if name not in (*FIELDS, "case")}
    return {**record, "variables": variables} if variables else record


def _task(table: Table) -> tuple[str | None, str]:
    return None, "logit-diff"


FORMAT = Format(
    name="feature-circuits",
    title="sparse feature circuits JSON lines",
    columns=", ".join((*FIELDS, "case")),
    matches=_matches,
    convert=_convert,
    task=_task,
)

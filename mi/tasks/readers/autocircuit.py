"""AutoCircuit's JSON: `{"prompts": [{clean, corrupt, answers, wrong_answers}], "seq_labels", "word_idxs"}`.

Prompts are text, or token ids for models without a tokenizer. `word_idxs` names token positions, counted without a
BOS, as `spans` does.
"""

from __future__ import annotations

from typing import Any

from mi.tasks.readers.format import Context, Format, Record
from mi.tasks.readers.rows import Row, Table


def _matches(table: Table) -> bool:
    return {"clean", "corrupt"} <= table.columns


def _convert(row: Row, context: Context) -> Record:
    record: Record = {
        "clean": _input(row, "clean"),
        "corrupted": _input(row, "corrupt"),
        "answers": _targets(row, "answers"),
        "foils": _targets(row, "wrong_answers"),
    }
    # The published IOI and docstring files list every name that is not the answer, some of them twice.
    record["foils"] = list(dict.fromkeys(record["foils"]))
    spans = context.table.outer.get("word_idxs")
    if isinstance(spans, dict) and all(isinstance(at, int) and not isinstance(at, bool) for at in spans.values()):
        record["spans"] = {name: [at, at + 1] for name, at in spans.items()}
    return record


def _input(row: Row, name: str) -> str | list[int]:
    value = row.value.get(name)
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, list) and value and all(isinstance(item, int) and item >= 0 for item in value):
        return value
    raise row.error(f"no {name!r}" if not value else f"{name!r} is neither text nor token ids")


def _targets(row: Row, name: str) -> list[Any]:
    value = row.value.get(name)
    if value is None:
        return []
    items = value if isinstance(value, list) else [value]
    for item in items:
        if isinstance(item, (list, float)):
            fact = f"{name!r} holds outputs of every position, not tokens"
            raise row.error(fact, "only answers that are tokens can be read")
        if not isinstance(item, (str, int)) or isinstance(item, bool) or item == "":
            raise row.error(f"{name!r} holds {item!r}", "it must be a list of strings or token ids")
    if not items and name == "answers":
        raise row.error("no answer", "every prompt needs at least one")
    return items


def _task(table: Table) -> tuple[str | None, str]:
    return None, "logit-diff" if any(row.value.get("wrong_answers") for row in table.rows) else "kl"


FORMAT = Format(
    name="autocircuit",
    title="AutoCircuit JSON",
    columns='{"prompts": [{clean, corrupt, answers, wrong_answers}]}',
    matches=_matches,
    convert=_convert,
    task=_task,
)

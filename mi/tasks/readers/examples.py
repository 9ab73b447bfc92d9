"""Plain JSON lines of example records (the fields of `mi schema examples`), with no head or end around them."""

from __future__ import annotations

from typing import Any

from mi.tasks.readers.format import Context, Format, Record
from mi.tasks.readers.rows import Row, Table

# These names begin the lines that hold a stream together; a record with one of them could not be written.
RESERVED = ("mi", "blob")


def _matches(table: Table) -> bool:
    # A CSV without answers is more likely one with a misspelt column than one that wants none.
    needed = {"clean", "corrupted"} if table.kind == "json" else {"clean", "corrupted", "answers", "foils"}
    return needed <= table.columns


def _convert(row: Row, context: Context) -> Record:
    record = dict(row.value)
    for name in RESERVED:
        if name in record:
            raise row.error(f"the field name {name!r} is reserved", "rename it")
    for name in ("clean", "corrupted"):
        _check_input(row, name, record.get(name))
    for name in ("answers", "foils"):
        if record.get(name) is None:
            record.pop(name, None)
        else:
            record[name] = _targets(row, name, record[name])
    for name in ("id", "split", "template"):
        if name in record and not isinstance(record[name], str):
            raise row.error(f"{name!r} is a {type(record[name]).__name__}, not text")
    if "counterfactuals" in record and not isinstance(record["counterfactuals"], dict):
        raise row.error("'counterfactuals' is not an object", 'it holds inputs by name: {"NAME": "…"}')
    if row.split:
        record.setdefault("split", row.split)
    return record


def _check_input(row: Row, name: str, value: Any) -> None:
    if value is None:
        raise row.error(f"no {name!r}", "an example has clean, corrupted, answers and foils")
    if isinstance(value, dict) and "$tensor" in value:
        return
    if not isinstance(value, (str, list)):
        raise row.error(f"{name!r} is a {type(value).__name__}", "it must be text or a list of token ids")
    if not value or (isinstance(value, str) and not value.strip()):
        raise row.error(f"{name!r} is empty")
    if isinstance(value, list) and not all(_is_id(item) for item in value):
        wrong = next(item for item in value if not _is_id(item))
        raise row.error(f"{name!r} holds {wrong!r}", "ids are whole numbers from 0")


def _targets(row: Row, name: str, value: Any) -> list[Any]:
    """A list of strings or ids; one alone may stand without a list."""
    items = [value] if isinstance(value, (str, int)) and not isinstance(value, bool) else value
    if not isinstance(items, list):
        raise row.error(f"{name!r} is a {type(value).__name__}", "it must be a list of strings or token ids")
    for item in items:
        if not (isinstance(item, str) and item) and not _is_id(item):
            raise row.error(f"{name!r} holds {item!r}", "it must be a list of strings or token ids")
    return items


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _task(table: Table) -> tuple[str | None, str]:
    task = table.outer.get("head", {}).get("task", {})
    if "metric" in task:
        return task.get("name"), str(task["metric"])
    # Without foils there is nothing to subtract: the metric that needs none.
    return None, "logit-diff" if any(row.value.get("foils") for row in table.rows) else "kl"


def _counterfactual(table: Table) -> str:
    """What the stream says of itself; of other files nothing is known but the field's name."""
    named = table.outer.get("head", {}).get("task", {}).get("counterfactual")
    return str(named) if named else "corrupted"


FORMAT = Format(
    name="examples",
    title="example records, JSON lines",
    columns="clean, corrupted, answers, foils",
    matches=_matches,
    convert=_convert,
    task=_task,
    counterfactual=_counterfactual,
)

"""Rows of the MIB data sets, with that benchmark's own filters, answers and default counterfactuals.

IOI keeps rows whose three names have equally many tokens; MCQA and ARC those whose right and wrong labels have;
arithmetic those of one operator with labels of one token; greater-than those with prompts of equal length. The filters
need a tokenizer. Names of several tokens are represented by their first, as the benchmark does.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from mi.errors import UsageError
from mi.tasks.readers.format import (
    Context,
    Drop,
    Format,
    Options,
    Record,
    first_tokens,
    greater,
    object_of,
    plain_name,
    text_of,
)
from mi.tasks.readers.rows import Row, Table

SUFFIX = "_counterfactual"
DEFAULTS = {
    "ioi": "s2_io_flip_counterfactual",
    "mcqa": "symbol_counterfactual",
    "arc": "symbol_counterfactual",
    "arithmetic": "random_counterfactual",
}


def _matches(table: Table) -> bool:
    return bool(_kind(table))


def _kind(table: Table) -> str:
    columns = table.columns
    if {"year", "clean", "corrupted"} <= columns:
        return "greater-than"
    if "prompt" not in columns or not any(name.endswith(SUFFIX) for name in columns):
        return ""
    if "metadata" in columns:
        return "ioi"
    if "operator" in columns:
        return "arithmetic"
    if "choices" in columns:
        return "arc" if "arc_id" in columns else "mcqa"
    return ""


def _convert(row: Row, context: Context) -> Record | Drop:
    kind = _kind(context.table)
    if kind == "greater-than":
        return _greater_than(row, context)
    chosen = _chosen(context.table, kind, context.options.counterfactual)
    other = row.value.get(chosen)
    if not isinstance(other, dict) or not isinstance(other.get("prompt"), str):
        return Drop(f"no {plain_name(chosen)} counterfactual")
    pair = _PAIRS[kind](row, other, context)
    if isinstance(pair, Drop):
        return pair
    if pair[0] == pair[1]:
        return Drop("the counterfactual has the same answer")
    targets = first_tokens(context.tokenizer, pair)
    if targets is None:
        return Drop("both answers begin with the same token")
    record: Record = {
        "clean": text_of(row, "prompt"),
        "corrupted": other["prompt"],
        "answers": [targets[0]],
        "foils": [targets[1]],
        "counterfactuals": _counterfactuals(row),
    }
    for name in ("template", "split"):
        if isinstance(row.value.get(name), str):
            record[name] = row.value[name]
    if row.split:
        record["split"] = row.split
    variables = _variables(row, kind)
    return {**record, "variables": variables} if variables else record


def _chosen(table: Table, kind: str, wanted: str | None) -> str:
    """The column of the counterfactual that was asked for, by either spelling of its name."""
    if wanted is None:
        return DEFAULTS[kind]
    columns = sorted(name for name in table.columns if name.endswith(SUFFIX))
    found = next((name for name in columns if plain_name(name) == plain_name(wanted)), None)
    if found is None:
        raise UsageError(
            f"no counterfactual {wanted!r} in {table.name}", f"it has {', '.join(map(plain_name, columns))}"
        )
    return found


def _ioi(row: Row, other: dict[str, Any], context: Context) -> tuple[str, str] | Drop:
    metadata = object_of(row, "metadata")
    names = [metadata.get(name) for name in ("indirect_object", "subject", "random_c")]
    if not all(isinstance(name, str) and name for name in names[:2]):
        raise row.error("'metadata' has no indirect_object or no subject")
    if context.tokenizer:
        lengths = {len(context.tokenizer.encode(f" {name}")) for name in names if name}
        if len(lengths) > 1:
            return Drop("names of different token length")
    return f" {names[0]}", f" {names[1]}"


def _choice(row: Row, other: dict[str, Any], context: Context) -> tuple[str, str] | Drop:
    right = _label(row, row.value, "the row")
    wrong = _label(row, other, "the counterfactual")
    if context.tokenizer and len(context.tokenizer.encode(right)) != len(context.tokenizer.encode(wrong)):
        return Drop("labels of different token length")
    return right, wrong


def _label(row: Row, value: dict[str, Any], what: str) -> str:
    """The letter of the right choice. Symbol counterfactuals have integers for letters."""
    choices, key = value.get("choices"), value.get("answerKey")
    labels = choices.get("label") if isinstance(choices, dict) else choices
    if not isinstance(labels, list) or not isinstance(key, int) or isinstance(key, bool):
        raise row.error(f"{what} has no 'choices' with a list of labels and no whole number 'answerKey'")
    if not 0 <= key < len(labels):
        raise row.error(f"'answerKey' of {what} is {key}, but there are {len(labels)} choices")
    return str(labels[key])


def _arithmetic(row: Row, other: dict[str, Any], context: Context) -> tuple[str, str] | Drop:
    if row.value.get("operator") != context.facts:
        return Drop(f"another operator than {context.facts}")
    pair = str(row.value.get("label", "")), str(other.get("label", ""))
    if not all(pair):
        raise row.error("no 'label' in the row or in its counterfactual")
    if context.tokenizer and not all(len(context.tokenizer.encode(label)) == 1 for label in pair):
        return Drop("labels of several tokens")
    return pair


def _operator(table: Table) -> str:
    """A set is addition or subtraction; where both occur, the one of most rows counts."""
    counts = Counter(str(row.value.get("operator")) for row in table.rows)
    return max(counts, key=lambda operator: (counts[operator], operator))


def _greater_than(row: Row, context: Context) -> Record | Drop:
    clean, corrupted = text_of(row, "clean"), text_of(row, "corrupted")
    tokenizer = context.tokenizer
    if tokenizer and len(tokenizer.encode(clean)) != len(tokenizer.encode(corrupted)):
        return Drop("prompts of different token length")
    year = str(row.value.get("year", ""))
    if not re.fullmatch(r"\d{4}", year):
        raise row.error(f"'year' is {year!r}, not four digits")
    answers, foils = greater(row, int(year[2:]), clean)
    record: Record = {"clean": clean, "corrupted": corrupted, "answers": answers, "foils": foils}
    if re.search(r"\d{4}\D*$", clean):
        record["read"] = -2  # the prompt ends with a whole year: its last two digits are what is predicted
    if row.split:
        record["split"] = row.split
    return record


def _counterfactuals(row: Row) -> dict[str, str]:
    found = {name: value.get("prompt") for name, value in row.value.items() if _is_counterfactual(name, value)}
    return {plain_name(name): prompt for name, prompt in found.items() if isinstance(prompt, str)}


def _is_counterfactual(name: str, value: Any) -> bool:
    return name.endswith(SUFFIX) and isinstance(value, dict)


def _variables(row: Row, kind: str) -> dict[str, Any]:
    if kind == "ioi":
        return dict(object_of(row, "metadata"))
    names = {"arithmetic": ("operand1", "operand2", "operator"), "arc": ("arc_id",)}.get(kind, ())
    return {name: row.value[name] for name in names if row.value.get(name) is not None}


_PAIRS = {"ioi": _ioi, "mcqa": _choice, "arc": _choice, "arithmetic": _arithmetic}


def _task(table: Table) -> tuple[str | None, str]:
    kind = _kind(table)
    if kind == "arithmetic":
        return "arithmetic-subtraction" if _operator(table) == "-" else "arithmetic-addition", "logit-diff"
    return kind, "prob-diff" if kind == "greater-than" else "logit-diff"


def _counterfactual(table: Table) -> str:
    return plain_name(DEFAULTS.get(_kind(table), "corrupted"))


def _note(table: Table, options: Options) -> str:
    if options.tokenizer:
        return ""
    return "the filters by token length need a tokenizer and were not applied; give -m MODEL"


FORMAT = Format(
    name="mib",
    title="MIB rows",
    columns="prompt, …_counterfactual and metadata, choices or operator (or year, clean, corrupted)",
    matches=_matches,
    convert=_convert,
    task=_task,
    prepare=_operator,
    counterfactual=_counterfactual,
    note=_note,
    chooses=True,
)

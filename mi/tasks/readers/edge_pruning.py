"""Edge-Pruning's JSON lines: `{clean, corrupted}`, with `<predict>…</predict>` in clean around what is predicted.

The model is causal, so what follows the marked span cannot change its prediction: both prompts are cut in front of
it, and the answer is the span. The published metric is the KL divergence at the span.
"""

from __future__ import annotations

from mi.tasks.readers.format import Context, Format, Record, text_of
from mi.tasks.readers.rows import Row, Table

OPEN, CLOSE = "<predict>", "</predict>"


def _matches(table: Table) -> bool:
    clean = table.rows[0].value.get("clean")
    return {"clean", "corrupted"} <= table.columns and isinstance(clean, str) and OPEN in clean


def _convert(row: Row, context: Context) -> Record:
    before, span, after = _parts(row, "clean", text_of(row, "clean"))
    corrupted = text_of(row, "corrupted")
    if OPEN in corrupted:
        corrupted = _parts(row, "corrupted", corrupted)[0]
    elif (span + after) and corrupted.endswith(span + after):
        corrupted = corrupted.removesuffix(span + after)
    elif after and corrupted.endswith(after):
        raise row.error("clean and corrupted differ in the marked span", f"mark the span in corrupted too: {OPEN}")
    # A tokenizer of today puts the space in front of the word that follows.
    trailing = before[len(before.rstrip(" ")) :]
    record: Record = {
        "clean": before.rstrip(" "),
        "corrupted": corrupted.rstrip(" "),
        "answers": [trailing + span],
        "foils": [],
    }
    if not record["clean"] or not record["corrupted"]:
        raise row.error("nothing stands in front of the marked span", "there is no position to predict it from")
    known = {"clean", "corrupted"}
    if isinstance(row.value.get("split"), str):
        record["split"] = row.value["split"]
        known.add("split")
    variables = {name: value for name, value in row.value.items() if name not in known}
    return {**record, "variables": variables} if variables else record


def _parts(row: Row, name: str, text: str) -> tuple[str, str, str]:
    """What stands before, in and after the mark."""
    if text.count(OPEN) != 1 or text.count(CLOSE) != 1 or text.index(CLOSE) < text.index(OPEN):
        raise row.error(f"{name!r} needs one {OPEN} and one {CLOSE} after it")
    before, rest = text.split(OPEN)
    span, after = rest.split(CLOSE)
    if not span.strip():
        raise row.error(f"the marked span of {name!r} is empty")
    return before, span, after


def _task(table: Table) -> tuple[str | None, str]:
    return None, "kl"


FORMAT = Format(
    name="edge-pruning",
    title="Edge-Pruning JSON lines",
    columns=f"clean with {OPEN}…{CLOSE}, corrupted",
    matches=_matches,
    convert=_convert,
    task=_task,
)

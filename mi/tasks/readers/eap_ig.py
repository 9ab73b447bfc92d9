"""EAP-IG's CSV files: `clean,corrupted,correct_idx,incorrect_idx`, and what its published tasks call these columns.

The ids belong to the tokenizer that the file was made with, which the file does not name. With a tokenizer at hand
they are compared with whatever text the row shows; without one they are taken as they are, and that is said.
"""

from __future__ import annotations

import re

from mi.tasks.readers.format import Context, Format, Options, Record, greater, ids_of, text_of, two_digits
from mi.tasks.readers.rows import Row, Table
from mi.tasks.tokenizer import Tokenizer

# Columns of ids: right, wrong. The published files of this family use all of these.
ID_COLUMNS = (
    ("correct_idx", "incorrect_idx"),
    ("answers_idx", "corrupted_answers_idx"),
    ("country_idx", "corrupted_country_idx"),
    ("capital_idx", "corrupted_capital_idx"),
    ("clean_answer_idx", "corrupted_answer_idx"),
    ("answer_idx", "corrupted_idx"),
    ("clean_idx", "corrupted_idx"),
)
TEXT_COLUMNS = ("correct", "incorrect")
# Other corruptions that a file may hold; each can be asked for by its name.
COUNTERFACTUALS = ("corrupted_hard",)
OTHER_TOKENIZER = "the ids belong to another tokenizer: give -m the model that they were made for"


def _matches(table: Table) -> bool:
    if not {"clean", "corrupted"} <= table.columns or (table.kind == "json" and "answers" in table.columns):
        return False
    return bool(_ids(table) or _label(table) or set(TEXT_COLUMNS) <= table.columns)


def _ids(table: Table) -> tuple[str, str] | None:
    return next((pair for pair in ID_COLUMNS if set(pair) <= table.columns), None)


def _label(table: Table) -> str | None:
    """The column of greater-than's year: `label`; or `correct_idx` alone, where the prompt shows that very year."""
    if _ids(table):
        return None
    if "label" in table.columns:
        return "label"
    first = table.rows[0].value
    alone = "correct_idx" in table.columns and re.fullmatch(r"\d{1,2}", str(first["correct_idx"]))
    shown = re.search(r"\d\d(\d\d)", str(first.get("clean")))
    return "correct_idx" if alone and shown and int(shown[1]) == int(first["correct_idx"]) else None


def _convert(row: Row, context: Context) -> Record:
    table = context.table
    record: Record = {name: text_of(row, name) for name in ("clean", "corrupted")}
    pair, label = _ids(table), _label(table)
    if pair:
        record["answers"], record["foils"] = ids_of(row, pair[0]), ids_of(row, pair[1])
        if context.tokenizer:
            _verify(row, pair, context.tokenizer, "corrupted_hard" in table.columns)
    elif label and not set(TEXT_COLUMNS) <= table.columns:
        record["answers"], record["foils"] = greater(row, two_digits(row, label), record["clean"])
    else:
        record["answers"], record["foils"] = ([_plain(text_of(row, name))] for name in TEXT_COLUMNS)
    others = {name: text_of(row, name) for name in COUNTERFACTUALS if name in table.columns}
    if others:
        record["counterfactuals"] = {"corrupted": record["corrupted"], **others}
    for name in ("id", "template", "split"):
        if row.value.get(name):
            record[name] = row.value[name]
    used = {"id", "clean", "corrupted", "template", "split", label, *(pair or ()), *others}
    variables = {name: cell for name, cell in row.value.items() if name not in used}
    return {**record, "variables": variables} if variables else record


def _verify(row: Row, pair: tuple[str, str], tokenizer: Tokenizer, in_prompt: bool) -> None:
    """Compare what the tokenizer calls each id with the text beside it; for IOI, with the names in the prompt."""
    for column, text_column in zip(pair, TEXT_COLUMNS, strict=True):
        shown = row.value.get(column.removesuffix("_idx")) or row.value.get(text_column)
        for index in ids_of(row, column):
            if index >= tokenizer.vocab_size:
                fact = f"{column} is {index}, but tokenizer {tokenizer.id_name!r} has {tokenizer.vocab_size} tokens"
                raise row.error(fact, OTHER_TOKENIZER)
            piece = _piece(tokenizer, index)
            if shown and not shown.startswith("[") and not _agree(piece, shown):
                fact = f"{column} {index} is {piece!r} in tokenizer {tokenizer.id_name!r}, but the row says {shown!r}"
                raise row.error(fact, OTHER_TOKENIZER)
            if in_prompt and not shown and not _word_in(piece, row.value["clean"]):
                fact = f"{column} {index} is {piece!r} in tokenizer {tokenizer.id_name!r}, and no word of the prompt"
                raise row.error(f"{fact} begins so", OTHER_TOKENIZER)


def _piece(tokenizer: Tokenizer, index: int) -> str:
    """An id as text. A SentencePiece decoder strips the space in front, so the raw entry is looked at too."""
    raw = tokenizer.token(index) or ""
    return _plain(raw) if raw.startswith("▁") else tokenizer.decode([index])


def _plain(text: str) -> str:
    """Vocabulary spelling to text: `▁Tim` and `ĠTim` are " Tim"."""
    return " " + text[1:] if text[:1] in ("▁", "Ġ") else text


def _agree(piece: str, shown: str) -> bool:
    """The same text, or the first token of a longer answer. A missing space in front is forgiven: pandas strips it."""
    piece, shown = piece.strip(), _plain(shown).strip()
    return bool(piece) and shown.startswith(piece)


def _word_in(piece: str, prompt: str) -> bool:
    piece = piece.strip()
    return bool(piece) and re.search(r"(?<!\w)" + re.escape(piece), prompt) is not None


def _task(table: Table) -> tuple[str | None, str]:
    if _label(table) and not set(TEXT_COLUMNS) <= table.columns:
        return "greater-than", "prob-diff"
    # Sets of answers are compared by their probability, as the published hypernymy task does.
    return None, "prob-diff" if _ids(table) == ID_COLUMNS[1] else "logit-diff"


def _note(table: Table, options: Options) -> str:
    """Ids that nothing in the file explains are marked: only the user can see that they mean what they should."""
    pair = _ids(table)
    if pair is None:
        return ""
    if options.tokenizer is None:
        return "answers are token ids and were not checked; give -m MODEL to compare them with its tokenizer"
    if set(TEXT_COLUMNS) <= table.columns or "corrupted_hard" in table.columns:
        return ""
    pieces = (_piece(options.tokenizer, index) for row in table.rows[:20] for index in ids_of(row, pair[0]))
    shown = ", ".join(map(repr, list(dict.fromkeys(pieces))[:4]))
    return f"the file shows no text for its token ids; in tokenizer {options.tokenizer.id_name!r} they are {shown}"


FORMAT = Format(
    name="eap-ig",
    title="EAP-IG CSV",
    columns="clean, corrupted, correct_idx, incorrect_idx (or label, or correct, incorrect)",
    matches=_matches,
    convert=_convert,
    task=_task,
    note=_note,
)

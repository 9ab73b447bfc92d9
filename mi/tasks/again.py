"""Examples made or read once more, from what a stream's head says of where they came from.

In: `head["examples"]["source"]` as `mi data` writes it, and the tokenizer of the model at hand. Out: the records, or an
error that says why they cannot be had; whether they are the same is for the caller to see by their digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mi import embedded
from mi.errors import MiError
from mi.tasks import task as tasks
from mi.tasks.readers import read
from mi.tasks.split import ALL, assign, first_of_each
from mi.tasks.tokenizer import Tokenizer, load

Record = dict[str, Any]
DEFAULT_SPLITS = ("train", "validation")


def generate(origin: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> list[Record]:
    """The records of a generator: same task, version, seed, number, counterfactual, tokenizer and splits."""
    task = tasks.get(str(origin["generator"]))
    if origin.get("version") != task.version:
        raise MiError(f"made by version {origin.get('version')} of task {task.name}, and this is {task.version}")
    made_with = _tokenizer(origin, tokenizer)
    splits = origin.get("splits", DEFAULT_SPLITS)
    seed, counterfactual = int(origin.get("seed", 0)), origin.get("counterfactual")
    records, _ = tasks.make(task, int(origin["n"]), seed, counterfactual, made_with, splits)
    return first_of_each_split(records, origin.get("limit"))


def read_file(
    origin: Mapping[str, Any], tokenizer: Tokenizer | None = None, vocab_size: int | None = None
) -> list[Record]:
    """The records of a data file, read with the same choices. The path is relative to the working directory."""
    checked = origin.get("tokenizer") is not None
    reading = read(
        [str(origin["path"]), *map(str, origin.get("also", ()))],
        tokenizer=_tokenizer(origin, tokenizer) if checked else None,
        vocab_size=vocab_size,
        counterfactual=origin.get("counterfactual"),
        skip=bool(origin.get("skip")),
        answers=str(origin.get("answers", "single")),
    )
    chosen, _ = assign(reading.records, str(origin.get("split", ALL)))
    return first_of_each_split(chosen, origin.get("limit"))


def first_of_each_split(records: Sequence[Record], number: int | None) -> list[Record]:
    """The first records of each split, in their order."""
    return [records[row] for row in first_of_each(records, number)]


def _tokenizer(origin: Mapping[str, Any], tokenizer: Tokenizer | None) -> Tokenizer:
    """The tokenizer that the examples were made with: that of the model at hand, or of the embedded default."""
    wanted = origin.get("tokenizer") or {}
    if tokenizer is not None and tokenizer.digest == wanted.get("sha256"):
        return tokenizer
    default = load(embedded.path(embedded.NAMES[0]), embedded.NAMES[0])
    if default.digest == wanted.get("sha256"):
        return default
    raise MiError(f"made with the tokenizer of {wanted.get('id')}, which is not at hand")

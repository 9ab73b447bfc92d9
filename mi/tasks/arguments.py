"""Example records to a model's own arguments, for models that have sites and no graph: encoders, vision, time series.

In: example records whose inputs are tensors of a blob, token ids or text. Out: one `Arguments` a record, arrays by the
name of the argument, or a MiError that names the record. Text gets the special tokens of the tokenizer's own rule
([CLS] and [SEP]); answers are classes, by index or by the name that the model's config gives them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mi.errors import MiError
from mi.io import blobs
from mi.io.blobs import Blob
from mi.io.tensors import BF16, Array
from mi.tasks.encode import Encoded
from mi.tasks.readers.tensors import RUNS, arguments_at, row_digest
from mi.tasks.subject import Chosen, Examples, place_of

if TYPE_CHECKING:
    import numpy as np

TOKENS = "input_ids"  # the argument that ids and text are given as


@dataclass(frozen=True)
class Arguments:
    """One example: what the model is called with in both runs, without an axis of examples. ``read`` is the position
    that is read where the model's output has positions."""

    id: str
    clean: Mapping[str, np.ndarray]
    corrupted: Mapping[str, np.ndarray]
    answers: tuple[int, ...]
    foils: tuple[int, ...]
    read: int = -1
    template: str = ""
    record: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def form(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        """What examples must share to be run side by side: names, types and shapes."""
        return tuple((name, value.dtype.str, value.shape) for name, value in sorted(self.clean.items()))


def arguments(
    examples: Examples, rows: Sequence[int], model: Chosen, *, need_answers: bool, need_foils: bool | None = None
) -> list[Arguments]:
    """The chosen records.

    Raises:
        MiError: names the record that cannot be used.
    """
    reader = _Reader(examples.tensors, model, need_answers, need_answers if need_foils is None else need_foils)
    return [reader.read(examples.records[row], place_of(examples.place, row)) for row in rows]


def of_encoded(encoded: Sequence[Encoded]) -> list[Arguments]:
    """Prompts of a language model, whose answers are tokens, as arguments."""
    import numpy as np

    return [
        Arguments(
            e.id,
            {TOKENS: np.array(e.clean, dtype=np.int64)},
            {TOKENS: np.array(e.corrupted, dtype=np.int64)},
            e.answers,
            e.foils,
            e.read,
            e.template,
            e.record,
        )
        for e in encoded
    ]


class _Reader:
    def __init__(self, tensors: Mapping[str, Any], model: Chosen, need_answers: bool, need_foils: bool) -> None:
        self._held: dict[str, Mapping[str, Array]] = {}
        self._tensors, self._model = tensors, model
        self._need = {"answers": need_answers, "foils": need_foils}
        config = model.located.config()
        self._classes = {str(name): int(index) for name, index in (config.get("label2id") or {}).items()}

    def read(self, record: Mapping[str, Any], place: str) -> Arguments:
        clean, corrupted = (self._input(record.get(run), run, place) for run in RUNS)
        for name in sorted({*clean, *corrupted}):
            shapes = [list(run[name].shape) if name in run else None for run in (clean, corrupted)]
            if shapes[0] != shapes[1]:
                raise MiError(
                    f"clean and corrupted differ in the shape of {name}: {shapes[0]} and {shapes[1]}",
                    "patching compares place with place: make both equally long",
                    place=place,
                )
        answers, foils = (self._classes_of(record, name, place) for name in ("answers", "foils"))
        if shared := set(answers) & set(foils):
            raise MiError(f"answers and foils share class {min(shared)}", place=place)
        read = record.get("read")
        return Arguments(
            str(record.get("id", "")),
            clean,
            corrupted,
            answers,
            foils,
            -1 if read is None else int(read),
            str(record.get("template") or ""),
            record,
        )

    def _input(self, value: Any, run: str, place: str) -> dict[str, np.ndarray]:
        import numpy as np

        if isinstance(value, dict) and "$tensor" in value:
            return self._of_blob(value, place)
        if isinstance(value, str) and value:
            return {TOKENS: np.array(self._tokens(value, run, place), dtype=np.int64)}
        if isinstance(value, list) and value and all(type(item) is int and item >= 0 for item in value):
            return {TOKENS: np.array(value, dtype=np.int64)}
        raise MiError(f"{run!r} is no tensor, no text and no list of token ids", place=place)

    def _tokens(self, text: str, run: str, place: str) -> list[int]:
        tokenizer = self._model.tokenizer
        if tokenizer is None:
            raise MiError(
                f"{run!r} is text, and the model has no tokenizer", "give token ids or tensors instead", place=place
            )
        return list(tokenizer.backend.encode(text).ids)

    def _of_blob(self, value: Mapping[str, Any], place: str) -> dict[str, np.ndarray]:
        name, _, run = str(value["$tensor"]).partition("/")
        if name not in self._tensors:
            raise MiError(f"the input is a tensor of the blob {name}, which the stream lacks", place=place)
        if name not in self._held:
            held = self._tensors[name]
            self._held[name] = blobs.arrays(held) if isinstance(held, Blob) else held
        row = value.get("row")
        rows = {len(v.bits if isinstance(v, BF16) else v) for v in self._held[name].values()}
        if type(row) is not int or not 0 <= row < min(rows, default=0):
            raise MiError(f"row {row} of the blob {name} is not there", place=place)
        found = arguments_at(self._held[name], run, row)
        if not found:
            raise MiError(f"the blob {name} holds no {run}.NAME", place=place)
        if value.get("sha256") != row_digest(found):
            raise MiError(f"row {row} of the blob {name} is not what the record says", "make it again", place=place)
        return {key: item.float32() if isinstance(item, BF16) else item for key, item in found.items()}

    def _classes_of(self, record: Mapping[str, Any], name: str, place: str) -> tuple[int, ...]:
        value = record.get(name)
        items = [] if value is None else [value] if isinstance(value, (str, int)) else list(value)
        if not items and self._need[name]:
            raise MiError(f"no {name}", f"the metric reads {name}: give the index of a class", place=place)
        return tuple(dict.fromkeys(self._class(item, name, place) for item in items))

    def _class(self, item: Any, name: str, place: str) -> int:
        if type(item) is int and item >= 0:
            return item
        if item in self._classes:
            return self._classes[item]
        known = f"the model's classes are {', '.join(list(self._classes)[:5])}" if self._classes else "give its index"
        raise MiError(f"{name} holds {item!r}, which is no class of the model", known, place=place)

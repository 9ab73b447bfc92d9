"""Example records to token ids.

In: example records (text or ids), a tokenizer, the model's vocabulary size. Out: one `Encoded` a record, or a MiError
that names the record's line. Text gets exactly one BOS if the tokenizer has one; ids are taken as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from mi.errors import MiError
from mi.tasks.tokenizer import Tokenizer

Place = str | Callable[[int], str]
RULES = ("single", "first-token")  # what an answer of several tokens is: refused, or its first token


class Needs(TypedDict):
    """Arguments of `encode` that depend on the metric."""

    need_answers: bool
    need_foils: bool


def needs(metric: str) -> Needs:
    """What of an example a metric reads: divergences read no token, others no foil."""
    return {
        "need_answers": metric not in ("kl", "js"),
        "need_foils": metric in ("logit-diff", "prob-diff", "accuracy"),
    }


@dataclass(frozen=True)
class Encoded:
    """A minimal pair in ids. `read` is an index into `clean`; `offset` says how many BOS tokens stand in front of text,
    so that token positions in the record (`spans`) can be moved by it."""

    id: str
    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    answers: tuple[int, ...]
    foils: tuple[int, ...]
    read: int
    split: str = ""
    template: str = ""
    record: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    offset: int = 0


def encode(
    records: Iterable[Mapping[str, Any]],
    tokenizer: Tokenizer | None,
    bos: str = "auto",
    vocab_size: int | None = None,
    place: Place = "",
    *,
    need_answers: bool = True,
    need_foils: bool | None = None,
    rule: str = "single",
) -> list[Encoded]:
    """Encode every record, or raise at the first that cannot be used.

    `place` is the name of an examples stream (record 0 is its line 2), or a function from the record's index to its
    place. `vocab_size` is the model's; by default the tokenizer's. `need_answers=False` is for metrics such as KL;
    foils are needed where answers are, unless `need_foils` says otherwise (`needs`). `rule` is one of `RULES`.
    """
    limit = vocab_size if vocab_size is not None else (tokenizer.vocab_size if tokenizer else None)
    if rule not in RULES:
        raise MiError(f"no rule for answers is called {rule!r}", f"rules are {', '.join(RULES)}", code=2)
    context = _Context(tokenizer, bos, limit, need_answers, need_answers if need_foils is None else need_foils, rule)
    return [context.encode(record, _place(place, index)) for index, record in enumerate(records)]


def _place(place: Place, index: int) -> str:
    if callable(place):
        return place(index)
    return f"{place}:{index + 2}" if place else f"record {index + 1}"


@dataclass(frozen=True)
class _Context:
    tokenizer: Tokenizer | None
    bos: str
    limit: int | None
    need_answers: bool
    need_foils: bool
    rule: str

    def encode(self, record: Mapping[str, Any], place: str) -> Encoded:
        clean, offset = self.sequence(record, "clean", place)
        corrupted, other = self.sequence(record, "corrupted", place)
        if len(clean) - offset != len(corrupted) - other:
            raise MiError(
                f"clean has {_tokens(len(clean) - offset)} and corrupted has {len(corrupted) - other}: "
                f"{_quote(record['clean'])} and {_quote(record['corrupted'])}",
                "patching compares position with position: make both equally long",
                place=place,
            )
        if offset != other:
            raise MiError(
                "one of clean and corrupted is text and the other ids, so only one gets a BOS",
                "give both as text or both as ids, or use --bos never",
                place=place,
            )
        answers, foils = (self.targets(record, name, place) for name in ("answers", "foils"))
        self.check_targets(record, answers, foils, place)
        return Encoded(
            id=str(record.get("id", "")),
            clean=tuple(clean),
            corrupted=tuple(corrupted),
            answers=answers,
            foils=foils,
            read=_read(record, len(clean), offset, place),
            split=str(record.get("split") or ""),
            template=str(record.get("template") or ""),
            record=record,
            offset=offset,
        )

    def sequence(self, record: Mapping[str, Any], name: str, place: str) -> tuple[list[int], int]:
        """The ids of one input and how many BOS tokens were put in front."""
        value = record.get(name)
        if isinstance(value, str):
            return self.text(value, name, place)
        if not isinstance(value, Sequence) or isinstance(value, (bytes, bytearray)):
            found = "missing" if value is None else f"a {type(value).__name__}"
            raise MiError(f"{name!r} is {found}", "it must be text or a list of token ids", place=place)
        if not value:
            raise MiError(f"{name!r} is empty", place=place)
        ids = [self.check(index, name, place) for index in value]
        return ids, 0

    def text(self, text: str, name: str, place: str) -> tuple[list[int], int]:
        tokenizer = self.need_tokenizer(f"{name!r} is text", place)
        ids = tokenizer.encode(text)
        unknown = tokenizer.unknown(text)
        if unknown:
            raise MiError(
                f"tokenizer {tokenizer.id_name!r} lacks {', '.join(map(repr, unknown))} in {_quote(text)}",
                "use other words, or a model whose tokenizer knows them",
                place=place,
            )
        offset = 0
        if self.bos != "never" and tokenizer.bos_id is not None:
            while ids[:1] == [tokenizer.bos_id]:  # the text may name the BOS itself
                ids = ids[1:]
            offset = 1
        if not ids:
            raise MiError(f"{name!r} has no token: {_quote(text)}", place=place)
        start = [] if tokenizer.bos_id is None or not offset else [tokenizer.bos_id]
        return [*start, *(self.check(index, name, place) for index in ids)], offset

    def targets(self, record: Mapping[str, Any], name: str, place: str) -> tuple[int, ...]:
        """The ids of `answers` or `foils`, each once, in the record's order."""
        value = record.get(name)
        if value is None:
            return ()
        if isinstance(value, (str, int)):
            value = [value]
        if not isinstance(value, Sequence):
            raise MiError(
                f"{name!r} is a {type(value).__name__}", "it must be a list of strings or token ids", place=place
            )
        return tuple(dict.fromkeys(self.target(item, name, place) for item in value))

    def target(self, item: Any, name: str, place: str) -> int:
        if not isinstance(item, str):
            return self.check(item, name, place)
        tokenizer = self.need_tokenizer(f"{name!r} has text", place)
        index = tokenizer.single(item)
        if index is not None:
            return self.check(index, name, place)
        unknown = tokenizer.unknown(item)
        if self.rule == "first-token" and item and not unknown:
            return self.check(tokenizer.first(item), name, place)
        fact = "is not in its vocabulary" if unknown else f"is {_tokens(len(tokenizer.encode(item)))}"
        raise MiError(
            f"{name} must be single tokens, but {item!r} {fact} (tokenizer {tokenizer.id_name!r})",
            f"did you mean {' ' + item!r}?" if tokenizer.single(" " + item) is not None else _OTHER_WORD,
            place=place,
        )

    def check_targets(
        self, record: Mapping[str, Any], answers: tuple[int, ...], foils: tuple[int, ...], place: str
    ) -> None:
        for name, needed, found in (("answers", self.need_answers, answers), ("foils", self.need_foils, foils)):
            if needed and not found:
                what = "compares answers with foils" if self.need_foils else "reads answers"
                raise MiError(f"no {name}", f"the metric {what}: give {name!r}", place=place)
        shared = [index for index in answers if index in set(foils)]
        if shared:
            raise MiError(
                f"answers and foils share {self.show(shared[0])}: "
                f"answers {_quote(record['answers'])}, foils {_quote(record['foils'])}",
                place=place,
            )

    def check(self, index: Any, name: str, place: str) -> int:
        if isinstance(index, bool) or not hasattr(index, "__index__"):
            raise MiError(f"{name!r} holds {index!r}", "ids are whole numbers, words are strings", place=place)
        index = index.__index__()
        if index < 0 or (self.limit is not None and index >= self.limit):
            raise MiError(
                f"{name!r} holds id {index}, but the vocabulary has {self.limit} tokens",
                "the ids belong to another tokenizer: give text, or the model that they were made for",
                place=place,
            )
        return int(index)

    def need_tokenizer(self, what: str, place: str) -> Tokenizer:
        if self.tokenizer is None:
            raise MiError(
                f"{what}, and the model has no tokenizer", "give token ids, or a model folder with one", place=place
            )
        return self.tokenizer

    def show(self, index: int) -> str:
        return f"{self.tokenizer.decode([index])!r} (id {index})" if self.tokenizer else f"id {index}"


def _read(record: Mapping[str, Any], length: int, offset: int, place: str) -> int:
    """The position that the metric reads. It counts the record's own tokens, without the BOS; negative from the end."""
    read = record.get("read", -1)
    read = -1 if read is None else read
    own = length - offset
    if isinstance(read, bool) or not isinstance(read, int) or not -own <= read < own:
        raise MiError(
            f"'read' is {read!r}, but the prompt has {_tokens(own)}",
            "count from 0, or from the end with -1",
            place=place,
        )
    return read + offset if read >= 0 else length + read


_OTHER_WORD = "choose another word, or mi cache --answers first-token to count only the first token of each"


def _tokens(count: int) -> str:
    return f"{count} token" if count == 1 else f"{count} tokens"


def _quote(value: Any, width: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= width else text[: width - 4] + " …" + text[-1]

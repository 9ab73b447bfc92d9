"""Plain text as prompts: a file or standard input in, windows of tokens out.

A file whose every line is a JSON object is a document a line, its field "text". Anything else is one document, or
several that lines such as <|end|> part. A document is cut into windows, each with the BOS that a prompt gets.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mi.errors import MiError
from mi.io import chain, source
from mi.tasks.encode import Encoded
from mi.tasks.tokenizer import Tokenizer

BETWEEN = re.compile(r"^<\|[^|\n]*\|>[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Text:
    """``prompts`` have no answers and no counterfactual: their corrupted prompt is the clean one."""

    prompts: list[Encoded]
    sha256: str
    input: dict[str, Any]
    notes: tuple[str, ...] = ()


def read(path: str, tokenizer: Tokenizer | None, bos: str, window: int, limit: int | None, whole: bool = False) -> Text:
    """The first ``limit`` windows of a text. ``whole``: only windows that are full, so that all have one length."""
    if tokenizer is None:
        raise MiError("the model has no tokenizer, so it cannot read text", "give examples as token ids", place=path)
    data = _bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MiError(f"not UTF-8 at byte {error.start}", "save it as UTF-8", place=path) from None
    begin = [tokenizer.bos_id] if bos != "never" and tokenizer.bos_id is not None else []
    room = window - len(begin)
    if room < 1:
        raise MiError(f"a window of {window} tokens has no room for text", "use a larger --window", code=2)
    prompts: list[Encoded] = []
    unknown = total = 0
    for document in _documents(text, path):
        ids = tokenizer.encode(document)
        if limit is not None and len(prompts) >= limit:
            break
        for start in range(0, len(ids), room):
            part = ids[start : start + room]
            if (whole and len(part) < room) or (limit is not None and len(prompts) >= limit):
                continue
            total += len(part)
            unknown += sum(token == tokenizer.unk_id for token in part)
            tokens = (*begin, *part)
            name = f"window-{len(prompts) + 1}"
            prompts.append(Encoded(name, tokens, tokens, (), (), len(tokens) - 1))
    if not prompts:
        raise MiError(
            f"no window of {window} tokens" if whole else "no text in it",
            "use a smaller --window or more text",
            place=path,
        )
    said = (f"{unknown / total:.1%} of the tokens are words that the tokenizer does not know",) if unknown else ()
    sha = hashlib.sha256(data).hexdigest()
    return Text(prompts, sha, chain.given(path, sha), said)


def _bytes(path: str) -> bytes:
    if path == "-":
        with source.stdin() as f:
            data = f.read()
        if not data:
            raise source.dead_upstream()
        return data
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as error:
        raise MiError(f"cannot be read: {error.strerror}", place=path) from error


def _documents(text: str, path: str) -> Iterator[str]:
    lines = text.splitlines()
    if lines and lines[0].lstrip().startswith("{"):
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _field(line, f"{path}:{number}")
        return
    for part in BETWEEN.split(text):
        if part.strip():
            yield part.strip()


def _field(line: str, place: str) -> str:
    try:
        value = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError):
        value = None
    if not isinstance(value, str):
        raise MiError('no object with a field "text"', "a JSON lines file has one a line", place=place)
    return value

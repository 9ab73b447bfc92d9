"""The three tokenizers that every generator is tested with, and one small enough to reason about."""

from __future__ import annotations

from functools import cache

import tokenizers as library

from mi import embedded
from mi.tasks import tokenizer
from mi.tasks.tokenizer import Tokenizer
from tests.data_dir import shared

NAMES = ("default", "gpt2", "stories260K")


@cache
def _load(name: str) -> Tokenizer:
    if name == "default":
        return tokenizer.load(embedded.path("default"), "default")
    return tokenizer.load(shared("data", "gpt2_tokenizer" if name == "gpt2" else name), name)


def load(name: str) -> Tokenizer:
    """By name; skips where the test data is absent (a skip is not remembered)."""
    return _load(name)


def of_words(*words: str, bos: str | None = None) -> Tokenizer:
    """Whole words, cut at spaces: "Mary" and " Mary" are the same token."""
    entries = dict.fromkeys(["<unk>", *([bos] if bos else []), *words])
    model = library.models.WordLevel({word: index for index, word in enumerate(entries)}, unk_token="<unk>")
    backend = library.Tokenizer(model)
    backend.pre_tokenizer = library.pre_tokenizers.Whitespace()
    backend.add_special_tokens(["<unk>", *([bos] if bos else [])])
    return tokenizer.from_backend(backend, "words", bos)

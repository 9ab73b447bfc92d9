"""Words by how many tokens they take inside a text, so that one can stand for another without moving the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mi.tasks.tokenizer import Tokenizer


def length(text: str, tokenizer: Tokenizer) -> int:
    """How many tokens `text` takes behind another word."""
    return len(tokenizer.encode(f"a {text}")) - len(tokenizer.encode("a"))


def by_length(words: Iterable[str], tokenizer: Tokenizer) -> dict[int, tuple[str, ...]]:
    """The words that the tokenizer can write, grouped by length, in the order given."""
    groups: dict[int, list[str]] = {}
    for word in dict.fromkeys(words):
        if not tokenizer.unknown(" " + word):
            groups.setdefault(length(word, tokenizer), []).append(word)
    return {size: tuple(group) for size, group in groups.items()}


def with_partner(words: Sequence[str], others: Sequence[str], tokenizer: Tokenizer) -> dict[str, tuple[str, ...]]:
    """For each word the `others` of its length; words without any are left out."""
    groups = by_length(others, tokenizer)
    found = {
        word: tuple(other for other in groups.get(length(word, tokenizer), ()) if other != word)
        for word in dict.fromkeys(words)
        if not tokenizer.unknown(" " + word)
    }
    return {word: partners for word, partners in found.items() if partners}

"""Which words of a list a tokenizer holds as one token. In: words, a tokenizer. Out: those words, or a clear error."""

from __future__ import annotations

from collections.abc import Iterable

from mi.tasks.task import cannot_express
from mi.tasks.tokenizer import Tokenizer


def single_words(words: Iterable[str], tokenizer: Tokenizer, prefix: str = " ") -> tuple[str, ...]:
    """The words that are one token behind `prefix` (a space, as words occur inside a text), each once, in order."""
    return tuple(dict.fromkeys(word for word in words if tokenizer.single(prefix + word) is not None))


def known_words(words: Iterable[str], tokenizer: Tokenizer) -> tuple[str, ...]:
    """The words that the tokenizer can write at all, in any number of tokens."""
    return tuple(dict.fromkeys(word for word in words if not tokenizer.unknown(" " + word)))


def known_templates(templates: Iterable[str], tokenizer: Tokenizer) -> tuple[str, ...]:
    """The templates whose own words, without the `{slots}`, the tokenizer can write."""
    return tuple(template for template in templates if not tokenizer.unknown(fixed_text(template)))


def fixed_text(template: str) -> str:
    """A template without its slots: "When {a} and {b} went" is "When and went"."""
    parts = [part.partition("}")[2] if index else part for index, part in enumerate(template.split("{"))]
    return " ".join("".join(parts).split())


def need(found: tuple[str, ...], least: int, what: str, task: str, tokenizer: Tokenizer) -> tuple[str, ...]:
    """`found`, if it has enough entries; else the error that the task cannot be expressed."""
    if len(found) < least:
        have = f"it has {', '.join(found)}" if found else "it has none"
        raise cannot_express(task, tokenizer, f"needs at least {least} {what}; {have}")
    return found

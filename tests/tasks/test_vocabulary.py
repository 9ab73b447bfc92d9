"""Choosing words that a tokenizer holds."""

from __future__ import annotations

import pytest

from mi.errors import MiError
from mi.tasks.vocabulary import fixed_text, known_templates, known_words, need, single_words
from tests.tasks import tokenizers
from tests.tasks.tokenizers import of_words

WORDS = of_words("Mary", "went", "to", "the", "store", ",", "17")


def test_single_words_are_one_token_behind_their_prefix_each_once_in_order() -> None:
    assert single_words(["store", "Zork", "Mary", "store", "the store"], WORDS) == ("store", "Mary")
    gpt2 = tokenizers.load("gpt2")
    assert single_words(["Rebecca", "Mary", "Xylophone"], gpt2) == ("Rebecca", "Mary")
    assert single_words(["Rebecca", "Mary", "Xylophone"], gpt2, prefix="") == ("Mary",)


def test_known_words_may_take_several_tokens() -> None:
    assert known_words(["the store", "Zork", "Mary", "Mary"], WORDS) == ("the store", "Mary")
    assert known_words(["Xylophone"], tokenizers.load("gpt2")) == ("Xylophone",)


def test_a_template_counts_by_its_own_words() -> None:
    assert fixed_text("When {x} and {y} went to the {place}, {s2} gave") == "When and went to the , gave"
    assert fixed_text("{x}") == fixed_text("") == ""
    assert fixed_text("{a}{b} to") == "to"
    templates = ("{x} went to the {place}", "When {x} went", "to the store, {x}")
    assert known_templates(templates, WORDS) == (templates[0], templates[2])


def test_need_passes_enough_on_and_says_what_there_is() -> None:
    assert need(("Mary", "John"), 2, "names", "ioi", WORDS) == ("Mary", "John")
    with pytest.raises(MiError, match="'words' cannot express task ioi: needs at least 3 names; it has Mary, John"):
        need(("Mary", "John"), 3, "names", "ioi", WORDS)
    with pytest.raises(MiError, match="needs at least 1 names; it has none"):
        need((), 1, "names", "ioi", WORDS)

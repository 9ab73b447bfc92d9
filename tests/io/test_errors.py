"""The one kind of error: its parts, its codes, and that it cannot harm the terminal that shows it."""

from __future__ import annotations

from mi.errors import BAD_INPUT, BROKEN_PIPE, FAILED, FOUND, INTERRUPTED, OK, USAGE, MiError, RunError, UsageError


def test_an_error_says_place_fact_and_next_step() -> None:
    error = MiError("no end line", "run it again", place="s.jsonl:17")
    assert (error.fact, error.hint, error.place) == ("no end line", "run it again", "s.jsonl:17")
    assert str(error) == "s.jsonl:17: no end line; run it again"
    assert str(MiError("no end line")) == "no end line"


def test_each_class_has_its_exit_code() -> None:
    assert [MiError("x").code, UsageError("x").code, RunError("x").code] == [BAD_INPUT, USAGE, FAILED] == [3, 2, 4]
    assert MiError("x", code=130).code == 130
    assert [OK, FOUND, INTERRUPTED, BROKEN_PIPE] == [0, 1, 130, 141]


def test_control_characters_of_a_quoted_file_are_spelled_out() -> None:
    error = MiError("kind \x1b[31mred\x07", "line\nline", place="a\rb\u202e:1")
    assert error.fact == "kind \\x1b[31mred\\x07"
    assert error.hint == "line\nline"
    assert error.place == "a\\rb\\u202e:1"
    assert MiError("ü 字 →").fact == "ü 字 →"
    assert MiError("ü 字 →\x07").fact == "ü 字 →\\x07"

"""Numbers, tables and progress, for eyes."""

from __future__ import annotations

import io
import re
import sys

import pytest

from mi.show import numbers, progress, table
from mi.show.notes import Voice, voice
from mi.show.records import Shown, tables
from mi.show.table import Column, Table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (12, "12"),
        (32491, "32,491"),
        (0.123456, "0.1235"),
        (-2.0, "-2"),
        (1e-9, "1e-09"),
        (123456.7, "1.235e+05"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert numbers.number(value) == text


def test_amounts() -> None:
    assert [numbers.size(n) for n in (0, 999, 1000, 2_500_000, 10**10, 3 * 10**15)] == [
        "0 B",
        "999 B",
        "1 kB",
        "2.5 MB",
        "10 GB",
        "3e+03 TB",
    ]
    assert [numbers.percent(p) for p in (None, 0.001, 0.1, 1.0)] == ["", "0.1 %", "10 %", "100 %"]
    assert numbers.interval(0.5, 0.25) == "0.5 to 0.25"
    assert numbers.interval(None, 1) == ""


def test_bars_are_as_long_as_their_value() -> None:
    assert numbers.bar(0, 8, cells=8) == ""
    assert numbers.bar(8, 8, cells=8) == "█" * 8
    assert numbers.bar(-8, 8, cells=8) == "█" * 8
    assert numbers.bar(3.5, 8, cells=8) == "███▌"
    assert numbers.bar(100, 8, cells=8) == "█" * 8
    assert numbers.bar(1, 0) == ""


TABLE = Table(
    (Column("name"), Column("score", right=True), Column("")),
    [("a", "1.5", "x"), ("bcdef", "-12", "")],
    "Title",
    ["note"],
)


def test_a_plain_table_is_aligned_and_has_no_trailing_blanks() -> None:
    assert table.plain(TABLE) == "Title\nname   score\na        1.5  x\nbcdef    -12\nnote\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_what_a_stream_says_cannot_move_the_cursor_or_colour_the_terminal(terminal: bool) -> None:
    evil = "a\x1b[31mred\x1b]0;title\x07\x9b2J"
    hostile = Table((Column("name", wide=True), Column(evil)), [(evil, "1")], evil, [evil])
    out = Terminal() if terminal else io.StringIO()
    table.write([hostile], out)
    shown = out.getvalue()
    assert "\\x1b[31mred" in shown
    for sign in ("\x1b[31m", "\x1b]", "\x07", "\x9b"):
        assert sign not in shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_the_same_cells_in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Terminal()
    table.write([TABLE], out)
    shown = out.getvalue()
    assert "\x1b[" in shown
    for cell in ("Title", "name", "score", "bcdef", "-12", "note"):
        assert cell in shown


def test_a_narrow_terminal_cuts_wide_columns_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = Terminal()
    wide = Table((Column("text", wide=True), Column("score", right=True)), [("word " * 30, "0.123456789")])
    table.write([wide], out)
    assert "0.123456789" in out.getvalue()
    assert "…" in out.getvalue()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress.time, "monotonic", made)
    return made


def work(clock: Clock, steps: int, seconds: float) -> None:
    token = voice.set(Voice("score"))
    try:
        with progress.progress(steps, "score") as bar:
            for _ in range(steps):
                clock.now += seconds
                bar.advance()
    finally:
        voice.reset(token)


def test_without_a_terminal_a_line_every_half_minute(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    work(clock, 100, 1.0)
    lines = err.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0] == "mi score: score 30/100, 0:30 gone, 1:10 left"
    work(clock, 100, 0.1)
    assert err.getvalue().splitlines() == lines, "quick work says nothing"


def test_on_a_terminal_a_bar_that_leaves_a_clean_line(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    work(clock, 4, 1.0)
    shown = err.getvalue()
    assert "[######..................] 1/4" in shown
    assert "\n" not in shown
    assert shown.endswith("\r\x1b[K")


def test_quiet_work_is_quiet(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    token = voice.set(Voice("score", quiet=True))
    try:
        with progress.progress(None, "score") as bar:
            clock.now += 100
            bar.advance()
    finally:
        voice.reset(token)
    assert err.getvalue() == ""


def test_work_without_a_known_end(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    with progress.progress(None, "reading") as bar:
        clock.now += 3700
        bar.advance(5)
    assert err.getvalue() == "mi: reading 5 in 1:01:40\n"


@pytest.mark.parametrize("width", [60, 72, 80, 120])
def test_examples_on_a_narrow_terminal_keep_their_answers(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """The prompts are cut instead, and no line is longer than the terminal is wide."""
    monkeypatch.setenv("COLUMNS", str(width))
    record = {
        "split": "validation",
        "clean": "Then, Mary and John went to the store together, and John gave a drink to",
        "corrupted": "Then, Mary and John went to the store together, and Mary gave a drink to",
        "answers": [" Mary"],
        "foils": [" John"],
    }
    years = {**record, "answers": [f"{year}" for year in range(49, 99)]}
    screen = Terminal()
    table.write(tables(Shown({"kind": "examples"}, [record, record], lambda name: {})), screen)
    assert screen.getvalue().count('" Mary"') == 2
    assert screen.getvalue().count('" John"') == 2
    table.write(tables(Shown({"kind": "examples"}, [years], lambda name: {})), screen)
    assert '" John"' in screen.getvalue().rpartition("split")[2], "a long set of answers leaves the foils alone"
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in screen.getvalue().splitlines()) <= width


@pytest.mark.parametrize(("width", "bars"), [(24, 0), (46, 0), (47, 2), (80, 2)])
def test_bars_give_way_before_a_line_is_too_long(monkeypatch: pytest.MonkeyPatch, width: int, bars: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    screen = Terminal()
    columns = (Column("edge"), Column("score", right=True), Column(""))
    rows = [("a10.h11->logits", f"{0.12345678 * n}"[:10], "█" * 8 * n) for n in (1, 2)]
    table.write([Table(columns, rows)], screen)
    text = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert sum("█" in line for line in text.splitlines()) == bars
    assert "0.12345678" in text and "0.24691356" in text
    assert width < 30 or max(len(line) for line in text.splitlines()) <= width


@pytest.mark.parametrize(("width", "columns"), [(80, 5), (52, 4), (40, 3), (25, 2)])
def test_columns_without_room_are_left_out_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, width: int, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    screen = Terminal()
    names = ("edge", "score", "interval", "p (Holm)", "largest")
    row = ("input->a0.h1", "0.12345678", "0.1 to 0.2", "0.00001", "input->a0.h2<v>")
    table.write([Table([Column(name, right=name == "score") for name in names], [row, row])], screen)
    text = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert [cell in text for cell in row] == [place < columns for place in range(5)]
    left = 5 - columns
    assert ("no room" in text) == bool(left)
    assert (f"the last {left} columns have" if left > 1 else "the last column has") in text or not left
    assert max(map(len, text.splitlines())) <= width


def test_a_terminal_too_narrow_for_the_least_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    screen = Terminal()
    table.write([Table((Column("edge"), Column("score", right=True)), [("a10.h11->a11.h11<q>", "0.123456")])], screen)
    assert "a10.h11->a11.h11<q>" in screen.getvalue()
    assert "0.123456" in screen.getvalue()

"""The documentation tells the truth: its commands run, its links lead somewhere, the messages that it quotes exist."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from completions.commands import commands
from mi import embedded
from tests.cli import shell
from tests.cli.conftest import Session
from tests.cli.reports import write_report
from tests.data_dir import CHECKOUT

PAGES = [CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (CHECKOUT / "docs").glob("*.md")
)
SCRIPT = re.compile(r"^```python\n(.*?save_file.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text())


def name_of(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix()


def lines_of_mi(page: Path) -> list[str]:
    """The lines that can be run here: not those of make, pip or git."""
    return [line for block in blocks(page) for line in shell.lines(block) if line.split()[0] in ("mi", "jq", "bash")]


def runnable() -> Iterator[Path]:
    yield from (page for page in PAGES if lines_of_mi(page))


@pytest.mark.parametrize("page", runnable(), ids=name_of)
def test_every_command_of_a_page_runs(page: Path, mi: Session) -> None:
    if not (embedded.path("default") / "model.safetensors").is_file():
        pytest.skip("the embedded model has no weights")
    if shutil.which("jq") is None and "jq" in page.read_text():
        pytest.skip("jq is not installed")
    if page.name != "tour.md":  # the other pages speak of files that the tour makes
        small = "cache --task ioi -n 20 ! attribute --tee scores.jsonl ! prune --tee circuit.jsonl ! score"
        mi("pipe", small, "-o", "report.jsonl").ok()
    for script in SCRIPT.findall(page.read_text()):  # what makes the files that the page goes on with
        exec(script, {})
    for line in lines_of_mi(page):
        for _, done in shell.run(mi, line):
            assert done.code == 0, f"{name_of(page)}: {line}\n{done.err}"


CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def words(text: str) -> list[str]:
    """The words of an output without its bars."""
    return [word.strip("(),") for word in text.split() if not set(word) <= set("█▏▎▍▌▋▊▉")]


def same(seen: str, shown: str) -> bool:
    """Equal, or numbers that differ by less than a hundredth: another processor rounds otherwise."""
    try:
        return float(seen.replace(",", "")) == pytest.approx(float(shown.replace(",", "")), rel=0.01)
    except ValueError:
        return seen == shown


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_shows_is_what_one_sees(page: Path, mi: Session) -> None:
    for block in CONSOLE.findall(page.read_text()):
        command, _, shown = block.partition("\n")
        line = command.removeprefix("$ ")
        line += "" if "mi view" in line else " | mi view"  # what a terminal gets
        (_, done), *_ = shell.run(mi, line)
        seen, expected = words(done.ok().text), words(shown)
        assert len(seen) == len(expected)
        assert [pair for pair in zip(seen, expected) if not same(*pair)] == []


def test_make_has_every_target_that_is_named() -> None:
    targets = set(re.findall(r"^([a-z]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    named = {
        word for page in PAGES for block in blocks(page) for word in re.findall(r"^make ([a-z]+)", block, re.MULTILINE)
    }
    assert {"demo", "test", "lint", "bench"} <= targets
    assert named
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{name_of(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_and_flag_that_is_named_exists(page: Path) -> None:
    known = {
        name: c
        for command in commands()
        for name, c in [(command.name, command), *((i.name, i) for i in command.inner)]
    }
    flags = {name for command in known.values() for flag in command.flags for name in flag.names}
    text = re.sub(r"```(toml|text|json)\n.*?```", "", page.read_text(), flags=re.DOTALL)
    for verb in re.findall(r"`mi ([a-z]+)", text):
        assert verb in {*known, "help"}, f"{name_of(page)}: mi {verb}"
    others = {
        "--tee",
        "--help",
        "--version",
        "--verbose",
        "--modules",
        "--check",
    }  # of mi pipe's stages, of mi, of scripts
    for flag in re.findall(r"`(--[a-z][a-z0-9-]+)", text):
        assert flag in flags | others, f"{name_of(page)}: {flag}"


def source() -> str:
    return "\n".join(path.read_text() for path in sorted((CHECKOUT / "mi").rglob("*.py")))


def test_the_messages_that_the_manual_explains_exist() -> None:
    text = (CHECKOUT / "docs" / "errors.md").read_text()
    table = text.split("| it says |")[1].split("\n\n")[0]
    quoted = [row.split("|")[1].strip() for row in table.splitlines()[2:]]
    assert len(quoted) > 8
    code = re.sub(r'"\s*\n\s*f?"', "", source())
    for message in quoted:
        for part in re.split(r"\s*…\s*", message):
            assert part in code, f"no message says {part!r}"


def test_the_variables_of_the_manual_are_those_of_the_program() -> None:
    manual = set(re.findall(r"`(MI_[A-Z0-9_]+)", (CHECKOUT / "docs" / "errors.md").read_text()))
    program = set(re.findall(r'"(MI_[A-Z0-9_]+)"', source()))
    assert manual == program


def test_the_tree_in_the_readme_is_the_tree() -> None:
    """Every module under mi/ has a phrase, and every phrase a file."""
    tree = re.search(r"```text\n(mi/\n.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    assert tree is not None
    named: set[str] = set()
    folder: list[str] = []
    for line in tree.group(1).splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        entry, _, phrase = line.strip().partition(" ")
        assert phrase.strip() or entry == "mi/", f"{entry} has no phrase"
        folder[depth:] = [entry]
        named |= {"".join([*folder[:depth], one]) for one in entry.split(",")}
        assert (CHECKOUT / "".join(folder[: depth + 1])).exists(), f"{''.join(folder)} is not there"
    package = {
        path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "mi").rglob("*.py") if path.name != "__init__.py"
    }
    assert {path for path in package if not path.startswith(("mi/io/schemas/", "mi/tasks/readers/"))} - named == set()


def test_the_page_on_statistics_computes_what_the_report_says(mi: Session) -> None:
    """Faithfulness, again by hand: the last two lines of the first block print one number."""
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    write_report("report.jsonl", 0.9)
    by_hand = [line for line in shell.lines(blocks(CHECKOUT / "docs" / "statistics.md")[0]) if line.startswith("jq")]
    (_, said), (_, again) = shell.run(mi, "\n".join(by_hand))
    assert float(again.ok().text) == pytest.approx(float(said.ok().text), abs=1e-12)

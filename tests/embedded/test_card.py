"""The shipped weights do what their card says."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import pytest

from mi import embedded
from mi.embedded import card
from mi.errors import MiError

pytest.importorskip("torch")

HEADINGS = {"accuracies": "## What it can do", "circuits": "## How sparse its circuits are"}


@lru_cache(maxsize=1)
def model():  # type: ignore[no-untyped-def]
    from mi.core.model import load

    return load("default", device="cpu")


def table(heading: str) -> list[list[str]]:
    """The rows of the table below a heading of the card."""
    section = card.CARD.read_text(encoding="utf-8").split(HEADINGS[heading])[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return rows[2:]


def first_number(cell: str) -> float:
    return float(cell.split()[0])


@pytest.mark.parametrize("task", card.TASKS)
def test_accuracy_and_means_are_those_of_the_card(task: str) -> None:
    row = next(row for row in table("accuracies") if row[0] == task)
    found = card.accuracy(model(), task)
    assert found.n == card.EXAMPLES
    assert found.right >= 0.99 * found.n
    assert 0 < found.logit_diff.value < 10
    assert first_number(row[2]) == pytest.approx(100 * found.right / found.n, abs=0.11)
    assert row[1] == found.metric
    assert first_number(row[4]) == pytest.approx(found.mean.value, abs=0.011)
    assert first_number(row[5]) == pytest.approx(found.corrupted.value, abs=0.011)
    assert first_number(row[6]) == pytest.approx(found.logit_diff.value, abs=0.011)


@pytest.mark.parametrize("task", card.TASKS)
def test_circuits_are_as_sparse_as_the_card_says(task: str) -> None:
    rows = {row[1]: row for row in table("circuits") if row[0] == task}
    assert set(rows) == {f"{percent:g} %" for percent in card.PERCENTS}
    for found in card.faithfulness(model(), task, random=5):
        row = rows[f"{found.percent:g} %"]
        assert int(row[2]) == found.edges <= found.percent / 100 * model().graph.n_edges
        assert first_number(row[3]) == pytest.approx(found.value.value, abs=0.02)
        assert first_number(row[3]) >= {5: 0.0, 10: 0.6, 20: 0.85}[found.percent]
        assert found.value.value > found.random_best


def test_the_card_names_the_weights_and_the_sizes() -> None:
    text = card.CARD.read_text(encoding="utf-8")
    config = model().module.config
    assert model().identity["weights"] in text
    assert f"{config.n_layer} layers of {config.n_head} heads, d_model {config.n_embd}" in text
    assert f"graph has {model().graph.n_edges} edges" in text
    assert (embedded.path("default") / "model.safetensors").stat().st_size <= 3_000_000
    assert "{" not in text


def test_the_card_reads_as_it_is_rendered() -> None:
    rows = {heading: table(heading) for heading in HEADINGS}
    assert [row[0] for row in rows["accuracies"]] == list(card.TASKS)
    assert len(rows["circuits"]) == len(card.TASKS) * len(card.PERCENTS)
    for row in rows["accuracies"] + rows["circuits"]:
        assert all(re.search(r"\S", cell) for cell in row)


def test_the_card_says_what_its_template_says() -> None:
    text = card.CARD.read_text(encoding="utf-8")
    template = Path(card.__file__).with_name("card.md").read_text(encoding="utf-8")
    fixed = [paragraph for paragraph in template.split("\n\n") if "{" not in paragraph]
    assert len(fixed) > 10
    assert [paragraph for paragraph in fixed if paragraph.strip() not in text] == []


def test_wilsons_interval() -> None:
    blank = card.Estimate(0.0, 0.0, 0.0)

    def interval(right: int, n: int) -> tuple[float, float]:
        return card.Accuracy("", "", n, right, blank, blank, blank).interval

    # Values of Wilson's score interval from published tables.
    assert interval(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_only_embedded_names_have_a_path() -> None:
    with pytest.raises(MiError, match="no embedded model 'big'"):
        embedded.path("big")
    assert {file.name for file in embedded.path("default").iterdir()} == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    }

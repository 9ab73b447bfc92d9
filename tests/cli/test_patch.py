"""`mi patch`, its map as numbers, colours and picture; `mi cache --means`, and ablations that take their constants."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mi.io import blobs, chain, stream
from mi.show import heatmap, table
from mi.show.heatmap import grid, heat_tables, svg
from mi.tasks import text as texts
from tests.cli.conftest import Done, Session
from tests.examples import random_examples
from tests.models import Shape, random_model
from tests.tasks.tokenizers import of_words

SVG = "{http://www.w3.org/2000/svg}"


def refused(done: Done, code: int, *parts: str) -> None:
    """One clear message, no output, no traceback."""
    assert (done.code, done.out) == (code, b""), done.err
    assert "Traceback" not in done.err
    assert "unexpected" not in done.err
    for part in parts:
        assert part in done.err, done.err


@pytest.fixture
def data(mi: Session) -> str:
    """Examples of ids of one length, a few of another, and a model of two layers."""
    random_model("gpt2", 0, Shape()).save_pretrained("model")
    rng = np.random.default_rng(0)
    rows = [
        {
            "id": f"e{place}",
            "clean": list(e.clean),
            "corrupted": list(e.corrupted),
            "answers": list(e.answers),
            "foils": list(e.foils),
            "template": f"t{len(e.clean)}",
            "split": "train",
        }
        for place, e in enumerate(random_examples(rng, 8, 29, (7, 7, 7, 5)))
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mi("cache", "-m", "model", "--data", "pairs.jsonl", "-o", "cache.jsonl").ok()
    return "cache.jsonl"


def effects(path: str = "effects.jsonl") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    found = stream.read(path, ("effects",))
    return found.head, found.records


def test_a_map_of_layers_and_positions(mi: Session, data: str) -> None:
    mi("patch", data, "--length", "7", "-o", "effects.jsonl").ok()
    head, records = effects()
    assert [(r["layer"], r["position"]) for r in records] == [(l, p) for l in range(2) for p in range(7)]
    assert head["patching"] | {"tokens": [], "plan": [], "undetermined": ""} == {
        "site": "resid_pre", "by": "layer,position", "direction": "noising", "metric": "logit-diff", "split": "train",
        "n": 6, "executor": "fast", "plan": [], "halved": 0, "memory_budget": 10**9, "tokens": [], "undetermined": "",
        "clean": head["patching"]["clean"], "corrupted": head["patching"]["corrupted"],
    }  # fmt: skip
    assert chain.broken(head) is None
    assert mi("verify", "effects.jsonl").code == 0
    assert all(r["low"] <= r["effect"] <= r["high"] and r["n"] == 6 for r in records)
    rows = [line.split() for line in mi("view", "effects.jsonl").ok().text.splitlines()[1:]]
    assert rows[0] == ["token", "0", "1"]
    assert len(rows) == 1 + 7 + 2


def test_the_two_directions_are_signed_alike(mi: Session, data: str) -> None:
    """Of the whole stream before the first layer, noising loses what denoising brings back: all of it."""
    for direction in ("noising", "denoising"):
        mi("patch", data, "--by", "layer", f"--{direction}", "-o", f"{direction}.jsonl").ok()
        head, records = effects(f"{direction}.jsonl")
        gap = head["patching"]["clean"] - head["patching"]["corrupted"]
        assert records[0]["effect"] == pytest.approx(gap, abs=1e-4)
        assert head["patching"]["direction"] == direction
        assert records[0].get("normalised", 1.0) == pytest.approx(1.0, abs=1e-4)
    plain = mi("patch", data, "--by", "layer", "-o", "plain.jsonl").ok()
    assert plain.err == mi("patch", data, "--by", "layer", "--noising", "-o", "noising.jsonl").err
    assert effects("plain.jsonl")[1] == effects("noising.jsonl")[1]


def test_examples_cache_and_pipe_give_the_same_records(mi: Session, data: str) -> None:
    flags = ("--site", "v", "--by", "layer,head", "--metric", "js")
    mi("data", "--from", "pairs.jsonl", "-o", "examples.jsonl").ok()
    of_cache = stream.parse(mi("patch", data, *flags).ok().out.splitlines(True), "a", ("effects",)).records
    of_stdin = mi("patch", *flags, stdin=Path(data).read_bytes()).ok().out
    of_examples = mi("patch", "examples.jsonl", "-m", "model", *flags, "--fresh").ok().out
    of_pipe = mi("pipe", f"cache -m model --data pairs.jsonl ! patch {' '.join(flags)}").ok().out
    for other in (of_stdin, of_examples, of_pipe):
        assert stream.parse(other.splitlines(True), "b", ("effects",)).records == of_cache
    assert mi("patch", data, *flags).ok().out == of_stdin, "a replay has the same bytes"


def test_a_replay_and_a_dry_run_compute_nothing(mi: Session, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = mi("patch", data, "--length", "7").ok().out
    monkeypatch.setattr("mi.core.site_patching.patch_sites", None)
    assert mi("patch", data, "--length", "7").ok().out == first
    dry = mi("patch", data, "--length", "7", "--dry-run").ok()
    assert dry.out == b""
    assert f"would run {2 + 2 * 7} forward passes over 6 examples" in dry.err
    assert mi("patch", data, "--length", "7", "--fresh").code == 4


def test_a_small_budget_runs_little_at_once_and_finds_the_same(mi: Session, data: str) -> None:
    flags = ("--site", "z", "--by", "layer,head")
    mi("patch", data, *flags, "-o", "effects.jsonl").ok()
    before = effects()[1]
    mi("patch", data, *flags, "--memory-budget", "1kB", "-o", "effects.jsonl").ok()
    head, records = effects()
    assert (head["patching"]["memory_budget"], head["patching"]["plan"]) == (1000, [[1, 8]])
    for record, other in zip(records, before, strict=True):
        assert record["effect"] == pytest.approx(other["effect"], abs=1e-5)
    dry = mi("patch", data, *flags, "--memory-budget", "1kB", "--dry-run").ok()
    assert "more than the 0 MiB of --memory-budget" in dry.err
    refused(mi("patch", data, "--memory-budget", "lots"), 2, "--memory-budget 'lots' is no amount")


def test_one_example_has_no_error(mi: Session, data: str) -> None:
    mi("patch", data, "--length", "7", "--limit", "1", "-o", "effects.jsonl").ok()
    assert all("se" not in record and "normalised" not in record for record in effects()[1])


def test_positions_are_labelled_by_what_stands_there(mi: Session) -> None:
    mi("data", "ioi", "-n", "100", "-o", "ioi.jsonl").ok()
    records = stream.read("ioi.jsonl", ("examples",)).records
    template = records[0]["template"]
    mi("patch", "ioi.jsonl", "--template", template, "-o", "effects.jsonl").ok()
    tokens = [token.strip() for token in effects()[0]["patching"]["tokens"]]
    assert tokens.count("{io}") == 1
    assert tokens.count("{s}") == 2
    same = [r for r in records if r["template"] == template and r["split"] == "train"]
    first_words = {r["clean"].split()[0].strip(",") for r in same}
    assert tokens[1] in first_words
    assert "{io}" in mi("view", "effects.jsonl").text


def test_what_is_refused(mi: Session, data: str) -> None:
    refused(mi("patch", data), 3, "5 to 7 tokens", "--length", "5: 2, 7: 6")
    refused(mi("patch", data, "--length", "6"), 3, "no example has 6 tokens")
    refused(mi("patch", data, "--template", "t9"), 3, "'t9'", "t7, t5")
    refused(mi("patch", data, "--noising", "--denoising"), 2, "two directions")
    refused(mi("patch", data, "--site", "resid"), 2, "resid_pre")
    refused(mi("patch", data, "--by", "layer,token"), 2, "layer,position")
    refused(mi("patch", data, "--site", "mlp_out", "--by", "layer,head"), 2, "mlp_out has no heads")
    refused(mi("patch", data, "--split", "test"), 3, "test")
    refused(mi("patch", stdin=b""), 3, "no stream came")
    mi("patch", data, "--by", "layer", "-o", "effects.jsonl").ok()
    refused(mi("patch", "effects.jsonl"), 3, "needed: examples or cache")
    refused(mi("score", "effects.jsonl"), 3, "`mi prune`")
    other = random_model("gpt2", 0, Shape(n_layers=1))
    other.save_pretrained("other")
    refused(mi("patch", data, "-m", "other", "--by", "layer"), 3, "another graph")


def test_a_metric_that_is_no_number_names_the_example(mi: Session, data: str) -> None:
    module = random_model("gpt2", 0, Shape())
    with torch.no_grad():
        module.transformer.h[1].mlp.c_proj.weight.fill_(3e38)
    module.save_pretrained("broken")
    refused(mi("patch", data, "-m", "broken", "--by", "layer", "-o", "effects.jsonl"), 4, "for example e")
    assert not Path("effects.jsonl").exists()


# The map


def head(by: str, **more: Any) -> dict[str, Any]:
    said = {"site": "z", "by": by, "direction": "noising", "metric": "logit-diff", "clean": 2.0, "corrupted": 1.0}
    return {"kind": "effects", "patching": {**said, **more}}


def record(effect: float, **place: int) -> dict[str, Any]:
    return {**place, "effect": effect, "normalised": effect / 2, "n": 4, "se": 0.1}


HEADS = [record(0.1 * h - l, layer=l, head=h) for l in range(2) for h in range(3)]
POSITIONS = [record(l + p, layer=l, position=p) for l in range(2) for p in range(4)]
BOTH = [record(l - h + p, layer=l, head=h, position=p) for l in range(2) for h in range(2) for p in range(3)]


@pytest.mark.parametrize(
    ("by", "records", "rows", "columns"),
    [
        ("layer,head", HEADS, ["0", "1"], ["0", "1", "2"]),
        ("layer,position", POSITIONS, ["0 When", "1", "2", "3"], ["0", "1"]),
        ("head,position", BOTH, ["a0.h0", "a0.h1", "a1.h0", "a1.h1"], ["0 When", "1", "2"]),
        ("layer", [record(1.0, layer=l) for l in range(3)], ["0", "1", "2"], ["all"]),
    ],
)
def test_every_record_is_in_its_cell(by: str, records: list[Any], rows: list[str], columns: list[str]) -> None:
    drawn = grid(head(by, tokens=[" When"]), records[::-1])
    assert (list(drawn.rows), list(drawn.columns)) == (rows, columns)
    seen = [cell for row in drawn.cells for cell in row]
    assert all(cell in records for cell in seen)
    assert len({id(cell) for cell in seen}) == len(records)
    for r, row in enumerate(drawn.cells):
        for c, cell in enumerate(row):
            assert cell is not None
            if by == "layer,position":
                assert (cell["position"], cell["layer"]) == (r, c)
            if by == "layer,head":
                assert (cell["layer"], cell["head"]) == (r, c)
            if by == "head,position":
                assert (2 * cell["layer"] + cell["head"], cell["position"]) == (r, c)


def test_heads_that_share_keys_are_not_called_heads() -> None:
    said = {**head("head,position"), "graph": {"params": {"n_heads": 2}}}
    assert grid(said, BOTH).rows[0] == "a0.h0"
    said["graph"]["params"]["n_heads"] = 4
    assert grid(said, BOTH).rows[0] == "a0.kv0"


def test_the_table_gives_shares_where_there_are_some_and_effects_where_not() -> None:
    (shares,) = heat_tables("t", head("layer,head"), HEADS, None)
    assert shares.rows == [["0", "0", "5", "10"], ["1", "-50", "-45", "-40"]]
    bare = [{key: value for key, value in r.items() if key != "normalised"} for r in HEADS]
    (plain,) = heat_tables("t", head("layer,head"), bare, 1)
    assert plain.rows == [["0", "0", "0.1", "0.2"]]
    assert plain.heat == [[None, 0.0, pytest.approx(0.1), pytest.approx(0.2)]]
    assert "1 of 2 layers" in plain.notes[1]


def test_colours_are_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    (made,) = heat_tables("t", head("layer,head"), HEADS, None)
    assert "\x1b[" not in table.plain(made)
    drawn = heatmap.painted(made, 80)
    assert "48;2;" in drawn, "a background colour"
    assert "-50" in drawn, "and still the number"
    narrow = heatmap.painted(made, 12)
    assert "48;2;" in narrow
    assert "-50" not in narrow, "no room for it"
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in narrow.splitlines()) <= 20
    monkeypatch.setenv("NO_COLOR", "1")
    assert "-50" in heatmap.painted(made, 12), "without colours there is nothing but numbers"
    assert "48;2;" not in heatmap.painted(made, 80)


def test_a_colour_tells_sign_and_size() -> None:
    assert heatmap.colour(0) == "#ffffff"
    assert heatmap.colour(1) == "#2166ac"
    assert heatmap.colour(-1) == "#b2182b"
    shades = [int(heatmap.colour(part / 10)[1:3], 16) for part in range(11)]
    assert shades == sorted(shades, reverse=True)
    assert (heatmap.ink(0.1), heatmap.ink(-0.9)) == ("#000000", "#ffffff")


def test_a_picture_is_svg_with_every_cell(mi: Session, data: str) -> None:
    mi("patch", data, "--length", "7", "--site", "z", "--by", "head,position", "-o", "effects.jsonl").ok()
    text = mi("view", "effects.jsonl", "--svg").ok().text
    mi("view", "effects.jsonl", "--svg", "-o", "effects.svg").ok()
    assert Path("effects.svg").read_text() == text
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    tips = [title.text or "" for title in root.iter(f"{SVG}title")]
    records = effects()[1]
    assert len(tips) == len(records) == 2 * 4 * 7
    assert tips[0].startswith("a0.h0, position 0: effect ")
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for part in root.iter(f"{SVG}rect"):
        if "x" in part.attrib:
            assert 0 <= float(part.attrib["x"]) <= width - float(part.attrib["width"])
            assert 0 <= float(part.attrib["y"]) <= height - float(part.attrib["height"])
    assert "<script" not in text


def test_a_picture_escapes_tokens_and_says_its_scale() -> None:
    text = svg("a < b", head("layer,position", tokens=["<s>", "&", '"', "\n"]), POSITIONS)
    labels = [part.text for part in ET.fromstring(text).iter(f"{SVG}text")]
    assert {"a < b", "0 <s>", "1 &", "3", "200 %", "0 %", "-200 %"} <= set(labels)


def test_only_effects_are_drawn(mi: Session, data: str) -> None:
    refused(mi("view", data, "--svg"), 2, "effects")
    mi("patch", data, "--by", "layer", "-o", "effects.jsonl").ok()
    refused(mi("view", "effects.jsonl", "--svg", "--json"), 2, "--svg")
    again = mi("view", "effects.jsonl", "--json").ok()
    assert again.out == Path("effects.jsonl").read_bytes()


# Means


def test_means_of_examples_are_used_by_score_and_attribute(mi: Session, data: str) -> None:
    """Means over the same prompts as the ablation's own give the same numbers; over others, others."""
    mi("data", "--from", "pairs.jsonl", "-o", "examples.jsonl").ok()
    mi("cache", "examples.jsonl", "-m", "model", "--means", "-o", "means.jsonl").ok()
    mi("cache", "examples.jsonl", "-m", "model", "--means", "--limit", "2", "-o", "few.jsonl").ok()
    flags = ("--method", "eap", "--ablation", "mean")
    for name, more in (("own", ()), ("same", ("--means", "means.jsonl")), ("other", ("--means", "few.jsonl"))):
        mi("attribute", data, *flags, *more, "-o", f"{name}.jsonl").ok()
        mi("prune", f"{name}.jsonl", "--top", "20", "-o", f"{name}.circuit.jsonl").ok()
    own, same, other = (
        blobs.load(stream.read(f"{name}.jsonl", ("scores",)), "scores")["edge"] for name in ("own", "same", "other")
    )
    np.testing.assert_allclose(same, own, rtol=0, atol=2e-5 * np.abs(own).max())
    assert np.abs(other - own).max() > 1e-2 * np.abs(own).max()
    link = stream.read("same.jsonl", ("scores",)).head["chain"][-1]
    assert "means.jsonl" in [word["name"] for word in link["argv"] if isinstance(word, dict)]
    assert "means.jsonl" in [item["name"] for item in link["inputs"]]
    values = []
    for more in ((), ("--means", "means.jsonl"), ("--means", "few.jsonl")):
        score = ("score", "own.circuit.jsonl", "--split", "all", "--ablation", "mean", *more)
        done = mi(*score).ok().out
        records = stream.parse(done.splitlines(True), "r", ("report",)).records
        values.append([r["value"] for r in records if "id" in r])
    np.testing.assert_allclose(values[0], values[1], rtol=0, atol=1e-4)
    assert np.abs(np.subtract(values[0], values[2])).max() > 1e-3


def test_the_means_are_those_of_each_node(mi: Session, data: str) -> None:
    mi("data", "--from", "pairs.jsonl", "-o", "examples.jsonl").ok()
    mi("cache", "examples.jsonl", "-m", "model", "--means", "-o", "means.jsonl").ok()
    found = stream.read("means.jsonl", ("means",))
    module = random_model("gpt2", 0, Shape())
    prompts = [json.loads(line)["clean"] for line in Path("pairs.jsonl").read_text().splitlines()]
    embedded = torch.cat([module.transformer.wte(torch.tensor(prompt)) for prompt in prompts]).mean(0).detach()
    np.testing.assert_allclose(blobs.load(found, "means")["embed"][0, 0], embedded, rtol=0, atol=1e-6)
    norms = {r["node"]: r["norm"] for r in found.records}
    assert norms["input"] == pytest.approx(float(embedded.norm()), rel=1e-5)
    assert len(norms) == 1 + 2 * (4 + 1)
    assert found.head["means"]["tokens"] == sum(map(len, prompts))
    assert "a1.h3" in mi("view", "means.jsonl").text


def test_resampling_is_recorded_and_repeats(mi: Session, data: str) -> None:
    flags = ("attribute", data, "--method", "eap", "--ablation", "resample")
    first = mi(*flags, "--fresh").ok().out
    assert mi(*flags, "--fresh").ok().out == first
    assert mi(*flags, "--seed", "1").ok().out != first
    assert stream.parse(first.splitlines(True), "s", ("scores",)).head["attribution"]["resampled"] == {"seed": 0}


def test_constants_that_do_not_fit_are_refused(mi: Session, data: str) -> None:
    mi("data", "--from", "pairs.jsonl", "-o", "examples.jsonl").ok()
    mi("cache", "examples.jsonl", "-m", "model", "--means", "-o", "means.jsonl").ok()
    random_model("gpt2", 1, Shape()).save_pretrained("other")
    flags = ("attribute", data, "--method", "eap")
    refused(mi(*flags, "--ablation", "mean", "--means", "none.jsonl"), 3, "no such file")
    refused(mi(*flags, "--ablation", "mean", "--means", data), 3, "without constants", "mi cache --means")
    refused(mi(*flags, "--ablation", "zero", "--means", "means.jsonl"), 2, "means nothing to --ablation zero")
    refused(mi(*flags, "--ablation", "optimal"), 2, "--means")
    refused(mi(*flags, "--ablation", "optimal", "--means", "means.jsonl"), 3, "of --ablation mean, not optimal")
    refused(mi(*flags, "--ablation", "mean", "--means", "means.jsonl", "-m", "other"), 3, "of other weights")
    refused(mi(*flags, "--ablation", "mean", "--means", "-"), 2, "--means -")
    found = stream.read("means.jsonl", ("means",))
    arrays = blobs.load(found, "means")
    optimal = {**found.head, "means": {"ablation": "optimal"}}
    stream.write("optimal.jsonl", optimal, [], {"means": arrays})
    mi(*flags, "--ablation", "optimal", "--means", "optimal.jsonl").ok()
    stream.write("bad.jsonl", optimal, [], {"means": {**arrays, "z1": arrays["z1"][..., :3].copy()}})
    refused(mi(*flags, "--ablation", "optimal", "--means", "bad.jsonl"), 3, "z1 is of shape [1, 1, 3]")
    stream.write("bad.jsonl", optimal, [], {"means": {k: v for k, v in arrays.items() if k != "embed"}})
    refused(mi(*flags, "--ablation", "optimal", "--means", "bad.jsonl"), 3, "embed is missing")


def test_means_of_any_text(mi: Session) -> None:
    stories = "Mary and John went home.\n<|end|>\nJohn gave a bag to Mary at the park.\n<|end|>\n"
    Path("stories.txt").write_text(stories)
    Path("stories.jsonl").write_text(
        "".join(json.dumps({"text": part.strip()}) + "\n" for part in stories.split("<|end|>") if part.strip())
    )
    plain = mi("cache", "--means", "--text", "stories.txt", "-o", "means.jsonl").ok()
    assert plain.out == b""
    of_lines = mi("cache", "--means", "--text", "stories.jsonl").ok().out
    of_stdin = mi("cache", "--means", "--text", "-", stdin=stories.encode()).ok().out
    wanted = stream.read("means.jsonl", ("means",))
    for other in (of_lines, of_stdin):
        found = stream.parse(other.splitlines(True), "m", ("means",))
        assert found.records == wanted.records
        assert found.head["means"]["text"]["sha256"] != "" and found.head["means"]["n"] == 2
    assert wanted.head["chain"][-1]["inputs"][0]["name"] == "stories.txt"
    by_position = mi("cache", "--means", "--by-position", "--text", "stories.txt", "--window", "4").ok().out
    said = stream.parse(by_position.splitlines(True), "m", ("means",)).head["means"]
    assert (said["ablation"], said["positions"]) == ("mean-positional", 4)
    assert said["tokens"] == 4 * said["n"], "windows that are not full are left out"


def test_text_that_cannot_be_read_is_refused(mi: Session, data: str) -> None:
    Path("t.txt").write_text("Mary went home.\n")
    Path("bad.txt").write_bytes(b"Mary \xff")
    Path("bad.jsonl").write_text('{"text": "Mary"}\n{"words": 3}\n')
    Path("empty.txt").write_text("\n<|end|>\n")
    refused(mi("cache", "--text", "t.txt"), 2, "--means")
    refused(mi("cache", "--means", "--window", "8", "--task", "ioi"), 2, "--text")
    refused(mi("cache", "--means", "--text", "t.txt", "--task", "ioi"), 2, "give one")
    refused(mi("cache", "--means", "--text", "none.txt"), 3, "none.txt")
    refused(mi("cache", "--means", "--text", "bad.txt"), 3, "UTF-8 at byte 5")
    refused(mi("cache", "--means", "--text", "bad.jsonl"), 3, "bad.jsonl:2")
    refused(mi("cache", "--means", "--text", "empty.txt"), 3, "no text")
    refused(mi("cache", "--means", "--text", "t.txt", "-m", "model"), 3, "no tokenizer")
    refused(mi("cache", "--means", "--text", "t.txt", "--window", "5000"), 3, "5000 tokens")
    refused(mi("cache", "--means", "--by-position", "--data", "pairs.jsonl", "-m", "model"), 3, "one length")
    dry = mi("cache", "--means", "--text", "t.txt", "--dry-run").ok()
    assert "would run 1 forward passes over 1 examples" in dry.err


def test_a_text_is_cut_into_windows(tmp_path: Path) -> None:
    words = of_words("a", "b", "c", "d", "e", bos="<s>")
    path = tmp_path / "t.txt"
    path.write_text("a b c d e\n<|end|>\nb c\n")
    ids = {word: words.encode(word)[0] for word in "abcde"}
    found = texts.read(str(path), words, "auto", 3, None)
    windows = ["".join(name for token in p.clean for name, at in ids.items() if at == token) for p in found.prompts]
    assert windows == ["ab", "cd", "e", "bc"]
    assert all(p.clean[0] == words.bos_id and len(p.clean) <= 3 and p.read == len(p.clean) - 1 for p in found.prompts)
    assert [len(p.clean) for p in texts.read(str(path), words, "auto", 3, None, whole=True).prompts] == [3, 3, 3]
    assert len(texts.read(str(path), words, "never", 3, 2).prompts) == 2
    assert texts.read(str(path), words, "never", 5, None).prompts[0].clean == tuple(ids[word] for word in "abcde")


def test_answers_of_several_tokens_are_counted_by_their_first(mi: Session) -> None:
    """The rule is said once, is recorded, and holds for every stage after it."""
    row = {"clean": "John met Mary.", "corrupted": "Mary met John.", "answers": [" Mary Mary"], "foils": [" John John"]}
    Path("long.jsonl").write_text(json.dumps(row) + "\n")
    refused(mi("cache", "--data", "long.jsonl"), 3, "2 tokens", "--answers first-token")
    mi("cache", "--data", "long.jsonl", "--answers", "first-token", "-o", "cache.jsonl").ok()
    found = stream.read("cache.jsonl", ("cache",))
    assert found.head["task"]["answers"] == "first-token"
    Path("short.jsonl").write_text(json.dumps({**row, "answers": [" Mary"], "foils": [" John"]}) + "\n")
    mi("cache", "--data", "short.jsonl", "-o", "short.cache.jsonl").ok()
    assert found.records[0]["baseline"] == stream.read("short.cache.jsonl", ("cache",)).records[0]["baseline"]
    line = "attribute --split all --method eap ! prune --top 9 ! score --split all"
    done = mi("pipe", line, stdin=Path("cache.jsonl").read_bytes()).ok().out
    assert stream.parse(done.splitlines(True), "r", ("report",)).head["task"]["answers"] == "first-token"

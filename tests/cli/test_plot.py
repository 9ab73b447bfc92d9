"""mi plot: every number is where it belongs, with its interval; and mi view --by, which adds up what the maps show."""

from __future__ import annotations

import math
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi.circuit import curve as areas
from mi.circuit.report import of_scores, report, single
from mi.io import stream
from mi.show.picture import axes, distribution
from tests.circuit.random_graphs import SEEDS, generator
from tests.cli import streams
from tests.cli.conftest import Session
from tests.cli.streams import GRAPH

SVG = "{http://www.w3.org/2000/svg}"
EVIL = '</title><script>window.owned=1</script>"><img src=x onerror=1>\x1b'


def write_curve(path: str, seed: int = 0, method: str = "eap", **parts: Any) -> list[dict[str, Any]]:
    """A report of a curve: what `mi score` says of random runs."""
    rng = np.random.default_rng(seed)
    circuits = of_scores(GRAPH, rng.standard_normal(GRAPH.n_edges))
    clean, empty = 3 + rng.standard_normal(30), rng.standard_normal(30) - 3
    share = circuits.masks.mean(axis=1)[:, None] ** 0.5 + 0.1 * rng.standard_normal((len(circuits.masks), 30))
    records = report(circuits, empty + share * (clean - empty), clean, empty, [{"id": f"e{i}"} for i in range(30)])
    head = streams.head(
        "report",
        "score",
        attribution={"method": method},
        scoring={"metric": "logit-diff", "split": "validation"},
        **parts,
    )
    stream.write(path, head, records)
    return records


def write_single(path: str, n_edges: int = 9, seed: int = 0, **parts: Any) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    clean, empty = 3 + rng.standard_normal(12), rng.standard_normal(12) - 3
    mask = np.arange(GRAPH.n_edges) < n_edges
    records = report(
        single(mask), (0.9 * clean + 0.1 * empty)[None], clean, empty, [{"id": f"e{i}"} for i in range(12)]
    )
    chosen = {"edges": GRAPH.n_edges, "realised": n_edges}
    stream.write(path, streams.head("report", "score", selection=chosen, scoring={"metric": "kl"}, **parts), records)
    return records


def summaries(records: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [r for r in records if "summary" in r and all(r.get(key) == value for key, value in wanted.items())]


def marks(panel: ET.Element) -> list[tuple[str, float, float]]:
    """Title and centre of each round mark, left to right."""
    found = [
        (c.findtext(f"{SVG}title", ""), float(c.attrib["cx"]), float(c.attrib["cy"]))
        for c in panel.iter(f"{SVG}circle")
    ]
    return sorted(found, key=lambda each: each[1])


def panels(text: str) -> list[ET.Element]:
    return [g for g in ET.fromstring(text).findall(f"{SVG}g") if g.find(f"{SVG}rect") is not None]


def levels(panel: ET.Element) -> tuple[float, float]:
    """Where 0 and 1 are on the upright axis: the dashed lines."""
    dashed = [float(e.attrib["y1"]) for e in panel.iter(f"{SVG}line") if e.get("stroke-dasharray") == "3 3"]
    zero, one = dashed
    return zero, one


@pytest.mark.parametrize("x", ["log", "linear"])
def test_every_point_of_a_curve_is_at_its_value_and_its_share(x: str, mi: Session) -> None:
    records = write_curve("curve.jsonl")
    found = panels(mi("plot", "curve.jsonl", "--x", x).ok().text)
    assert len(found) == 2
    for panel, mode in zip(found, ("signed", "absolute")):
        points = summaries(records, mode=mode, summary="faithfulness")
        zero, one = levels(panel)
        drawn = marks(panel)
        assert len(drawn) == len(points) == 10
        for (says, at, y), point in zip(drawn, points):
            assert (y - zero) / (one - zero) == pytest.approx(point["value"], abs=0.003)
            assert f"faithfulness {point['value']:.4g} ({point['low']:.3g} to {point['high']:.3g})" in says
            first, last = (0.001, 1.0) if x == "log" else (0.0, 1.0)
            share = math.log(point["nominal"] / first) / math.log(last / first) if x == "log" else point["nominal"]
            assert at == pytest.approx(axes.WIDE * share, abs=0.11)


def test_the_areas_and_their_intervals_are_named(mi: Session) -> None:
    records = write_curve("curve.jsonl")
    text = " ".join(ET.fromstring(mi("plot", "curve.jsonl").ok().text).itertext())
    for name in ("cpr", "cmd"):
        (area,) = summaries(records, summary=name)
        assert f"{name.upper()} {area['value']:.4g} ({area['low']:.3g} to {area['high']:.3g})" in text
    for word in ("95 % interval", "share of the edges asked for", "faithfulness", "report of ioi in toy"):
        assert word in text
    paths = [e for panel in panels(mi("plot", "curve.jsonl").text) for e in panel.iter(f"{SVG}path")]
    assert sum(e.get("opacity") == "0.13" for e in paths) == 2


def test_the_shaded_area_is_the_area_on_a_linear_axis(mi: Session) -> None:
    """The polygon that is drawn has the size that CPR is measured by."""
    records = write_curve("curve.jsonl")
    panel = panels(mi("plot", "curve.jsonl", "--x", "linear").ok().text)[0]
    zero, one = levels(panel)
    d = next(e.attrib["d"] for e in panel.iter(f"{SVG}path") if e.attrib["d"].endswith("Z"))
    points = [tuple(map(float, pair.split())) for pair in d.strip("MZ").split("L")]
    shoelace = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, [*points[1:], points[0]])) / 2
    (cpr,) = summaries(records, summary="cpr")
    assert abs(shoelace) / axes.WIDE / (zero - one) == pytest.approx(cpr["value"], abs=0.002)
    faithfulness = np.array([p["value"] for p in summaries(records, mode="signed", summary="faithfulness")])
    assert areas.cpr(faithfulness) == pytest.approx(cpr["value"])


def test_several_reports_lie_over_each_other_with_their_own_names(mi: Session) -> None:
    write_curve("a.jsonl", 0, "eap")
    write_curve("b.jsonl", 1, "eap-ig")
    write_single("c.jsonl", 9, attribution={"method": "atp"})
    text = mi("plot", "a.jsonl", "b.jsonl", "c.jsonl").ok().text
    said = " ".join(ET.fromstring(text).itertext())
    assert "eap: CPR" in said and "eap-ig: CPR" in said
    assert "atp 9 edges: faithfulness 0.9 " in said.replace("0.9000", "0.9")
    lines = [e for p in panels(text) for e in p.iter(f"{SVG}path") if e.get("fill") == "none"]
    assert len({(e.get("stroke"), e.get("stroke-dasharray")) for e in lines}) == 2
    write_curve("d.jsonl", 1, "eap")
    again = " ".join(ET.fromstring(mi("plot", "a.jsonl", "d.jsonl").ok().text).itertext())
    assert "a.jsonl: CPR" in again and "d.jsonl: CPR" in again


def test_what_is_undetermined_is_said(mi: Session) -> None:
    stream.write(
        "x.jsonl",
        streams.head("report", "score"),
        [{"summary": "faithfulness", "size": 4, "mode": "signed", "nominal": 0.1, "undetermined": "too <close>"}],
    )
    for words in ((), ("--to", "text")):
        assert "undetermined, too <close>" in "".join(_texts(mi("plot", "x.jsonl", *words).ok().text))


def _texts(text: str) -> list[str]:
    return list(ET.fromstring(text).itertext()) if text.startswith("<svg") else [text]


def test_a_plot_of_letters_has_the_same_points(mi: Session) -> None:
    records = write_curve("curve.jsonl")
    lines = mi("plot", "curve.jsonl", "--to", "text").ok().text.splitlines()
    tops = [i for i, line in enumerate(lines) if line.startswith("faithfulness over")]
    for top, mode in zip(tops, ("signed", "absolute")):
        plot = [line.partition("│")[2].ljust(100) for line in lines[top + 1 : top + 15]]
        one, zero = (next(i for i, line in enumerate(lines[top + 1 : top + 15]) if line[:7].strip() == t) for t in "10")
        drawn = sorted((x, y) for y, row in enumerate(plot) for x, letter in enumerate(row) if letter in "●✱")
        points = summaries(records, mode=mode, summary="faithfulness")
        assert len(drawn) == 10
        for (_, row), point in zip(drawn, points):
            assert row == pytest.approx(zero - point["value"] * (zero - one), abs=0.8)


def test_measures_have_their_values_and_intervals(mi: Session) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        write_curve(f"{name}.jsonl", seed, name)
    text = mi("plot", "a.jsonl", "b.jsonl", "--what", "measures", "--measure", "cpr", "--measure", "cmd").ok().text
    said = " ".join(ET.fromstring(text).itertext())
    plain = mi("plot", "a.jsonl", "b.jsonl", "--what", "measures", "--to", "text").ok().text
    for name, seed in (("a", 0), ("b", 1)):
        for measure in ("cpr", "cmd"):
            (area,) = summaries(write_curve("x.jsonl", seed), summary=measure)
            span = f"{area['low']:.3g} to {area['high']:.3g}"
            assert f"{area['value']:.4g} ({span})" in said
            row = [name, *re.split(" +", f"{area['value']:.4g} {span}")]
            assert row in [line.split()[: len(row)] for line in plain.splitlines()]
    assert "average" not in said and "average" in plain
    assert mi("plot", "a.jsonl", "--what", "measures", "--measure", "fame").code == 3


def test_examples_are_marks_at_their_two_values(mi: Session) -> None:
    records = write_single("x.jsonl")
    (panel,) = panels(mi("plot", "x.jsonl", "--what", "examples").ok().text)
    drawn = {says.split("\n")[0]: (x, y) for says, x, y in marks(panel)}
    examples = [r for r in records if "id" in r]
    assert set(drawn) == {r["id"] for r in examples}
    clean = np.array([r["clean"] for r in examples])
    value = np.array([r["value"] for r in examples])
    x, y = np.array([drawn[r["id"]] for r in examples]).T
    assert np.corrcoef(x, clean)[0, 1] == pytest.approx(1, abs=1e-4)
    assert np.corrcoef(y, -value)[0, 1] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_histogram_counts_every_score_once(seed: int | str) -> None:
    rng = generator(seed)
    for _ in range(10):
        scores = rng.standard_normal(int(rng.integers(1, 200))) * 10.0 ** rng.uniform(-9, 5, 1)
        scores *= np.exp(rng.normal(size=len(scores)) * 3)
        scores[rng.random(len(scores)) < 0.2] = 0
        scores[rng.random(len(scores)) < 0.1] = np.nan
        made = distribution.histogram("x", scores)
        known = [s for s in scores.tolist() if not math.isnan(s)]
        assert made.zero == sum(s == 0 for s in known)
        assert sum(made.positive) + sum(made.negative) + made.below + made.zero == len(known)
        for i, (left, right) in enumerate(zip(made.edges, made.edges[1:])):
            last = i == len(made.edges) - 2
            inside = [s for s in known if left <= abs(s) < right or (last and abs(s) == right)]
            assert made.positive[i] == sum(s > 0 for s in inside)
            assert made.negative[i] == sum(s < 0 for s in inside)


def test_a_histogram_is_drawn_with_its_counts(mi: Session) -> None:
    scores = streams.write_scores("scores.jsonl")
    made = distribution.histogram("", scores)
    svg = mi("plot", "scores.jsonl").ok().text
    bars = [
        e.findtext(f"{SVG}title", "")
        for e in ET.fromstring(svg).iter(f"{SVG}rect")
        if e.find(f"{SVG}title") is not None
    ]
    counts = sorted(n for n in [*made.positive, *made.negative] if n)
    assert sorted(int(bar.split(": ")[1].split()[0]) for bar in bars) == counts
    assert "|score|" in svg and "number of edges" in svg
    rows = [
        line.split() for line in mi("plot", "scores.jsonl", "--to", "text").ok().text.splitlines() if " to " in line
    ]
    assert sorted(int(n) for row in rows for n in (row[3], row[-1]) if n != "0") == counts


def sums_by(scores: np.ndarray, key: Any) -> dict[str, float]:
    made: dict[str, float] = {}
    for name, score in zip(GRAPH.edge_names(), scores.tolist()):
        made[key(name)] = made.get(key(name), 0.0) + score
    return made


def test_a_map_of_heads_adds_up_what_each_head_writes(mi: Session) -> None:
    scores = streams.write_scores("scores.jsonl")
    expected = sums_by(scores, lambda name: name.split("->")[0])
    svg = mi("plot", "scores.jsonl", "--what", "heads").ok().text
    found = {}
    for title in (e.text or "" for e in ET.fromstring(svg).iter(f"{SVG}title")):
        layer, column, value = re.match(r"(\d+), head (\w+): sum of scores (\S+)", title).groups()  # type: ignore[union-attr]
        found[f"m{layer}" if column == "mlp" else f"a{layer}.{column}"] = float(value)
    assert set(found) == {name for name in expected if name != "input"}
    for name, value in found.items():
        assert value == pytest.approx(expected[name], rel=1e-3)
    rows = mi("plot", "scores.jsonl", "--what", "heads", "--to", "text").ok().text.splitlines()
    assert rows[1].split() == ["layer", "h0", "h1", "mlp"]


def test_a_map_of_heads_puts_the_spans_of_a_head_together() -> None:
    from mi.show import heads
    from mi.show.edges import Edges

    made = heads.grid(Edges(["a1.h0@S1", "a1.h0@S2", "m1"], ["logits"] * 3, np.array([1.0, 2.0, 4.0])))
    assert (made.rows, made.columns) == (["1"], ["h0", "mlp"])
    assert [cell and cell["effect"] for cell in made.cells[0]] == [3.0, 4.0]


@pytest.mark.parametrize(
    ("by", "key"),
    [
        ("head", lambda name: name.split("->")[0]),
        ("receiver", lambda name: name.split("->")[1]),
        ("layer", lambda name: re.sub(r"^(?:a(\d+)\.h\d+|m(\d+))->.*|^input->.*", r"layer \1\2", name)),
    ],
)
def test_view_adds_up_by(by: str, key: Any, mi: Session) -> None:
    scores = streams.write_scores("scores.jsonl")
    expected = sums_by(scores, key)
    if by == "layer":
        expected["input"] = expected.pop("layer ")
    sizes = sums_by(abs(scores), key)
    text = mi("view", "scores.jsonl", "--by", by).ok().text.splitlines()
    assert text[1].split()[:3] == [by, "edges", "sum"]
    rows = [re.split(r"  +", line) for line in text[2:-1]]
    assert {row[0] for row in rows} == set(expected)
    shown = [float(row[3]) for row in rows]
    assert shown == sorted(shown, reverse=True)
    for row in rows:
        assert float(row[2]) == pytest.approx(expected[row[0]], rel=1e-3, abs=1e-6)
        assert float(row[3]) == pytest.approx(
            sizes["layer " if row[0] == "input" and by == "layer" else row[0]], rel=1e-3
        )
    assert f"2 of {len(rows)} " in mi("view", "scores.jsonl", "--by", by, "--top", "2").ok().text
    few = mi("view", "scores.jsonl", "--by", by, "m0->*").ok().text
    assert sum(int(re.split(r"  +", line)[1]) for line in few.splitlines()[2:-1]) == 8


def test_by_needs_edges(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    streams.write_examples("examples.jsonl")
    assert mi("view", "examples.jsonl", "--by", "head").code == 2
    assert mi("view", "scores.jsonl", "--by", "head", "--json").code == 2
    stream.write("nodes.jsonl", streams.head("circuit"), [{"node": "m0", "score": 1.0}])
    refused = mi("view", "nodes.jsonl", "--by", "receiver")
    assert refused.code == 2 and "no receiver" in refused.err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("scores.jsonl", "--what", "curve"), 3, "no plot 'curve'"),
        (("scores.jsonl", "curve.jsonl"), 3, "no plot 'histogram'"),
        (("curve.jsonl", "--what", "roc"), 3, "no report holds a ROC curve"),
        (("curve.jsonl", "--what", "examples"), 3, "no circuit of one size"),
        (("curve.jsonl", "curve.jsonl", "--what", "examples"), 2, "one stream"),
        (("curve.jsonl", "-o", "x.gif"), 2, "does not say what to draw"),
        (("scores.jsonl", "--x", "linear"), 2, "--x means nothing to the plot 'histogram'"),
        (("curve.jsonl", "--measure", "cpr"), 2, "--measure means nothing to the plot 'curve'"),
        (("examples.jsonl",), 3, "needed: report or scores"),
        (("other.jsonl", "--what", "curve"), 3, "no report holds a faithfulness"),
    ],
)
def test_what_cannot_be_plotted(words: tuple[str, ...], code: int, says: str, mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    streams.write_examples("examples.jsonl")
    write_curve("curve.jsonl")
    stream.write("other.jsonl", streams.head("report", "eval"), [{"summary": "auroc", "value": 0.5}])
    done = mi("plot", *words)
    assert (done.code, done.out) == (code, b"")
    assert says in done.err


def test_roc(mi: Session) -> None:
    points = [{"summary": "roc", "tpr": t, "fpr": f, "nominal": 0.1} for t, f in ((0, 0), (0.5, 0.25), (1, 1))]
    stream.write(
        "x.jsonl",
        streams.head("report", "eval"),
        [{"summary": "auroc", "value": 0.75, "low": 0.7, "high": 0.8}, *points],
    )
    text = mi("plot", "x.jsonl").ok().text
    (panel,) = panels(text)
    drawn = [(x / axes.TALL, 1 - y / axes.TALL) for _, x, y in marks(panel)]
    assert np.array(drawn) == pytest.approx(np.array([(0, 0), (0.25, 0.5), (1, 1)]))
    assert "auroc 0.75 (0.7 to 0.8)" in "".join(ET.fromstring(text).itertext())


@pytest.mark.parametrize("what", ["curve", "measures", "histogram", "heads"])
def test_what_a_stream_says_is_text_in_a_plot(what: str, mi: Session) -> None:
    parts = {"task": {"name": EVIL, "metric": EVIL}, "model": {"id": EVIL}}
    if what in ("curve", "measures"):
        write_curve("x.jsonl", method=EVIL, **parts)
        write_curve("y.jsonl", method=EVIL * 2, **parts)
        files = ["x.jsonl", "y.jsonl"]
    else:
        _, tensors = streams.scores()
        stream.write("x.jsonl", streams.head("scores", attribution={"method": EVIL}, **parts), [], tensors)
        files = ["x.jsonl"]
    text = mi("plot", *files, "--what", what).ok().text
    assert not {e.tag for e in ET.fromstring(text).iter()} & {f"{SVG}script", f"{SVG}img"}
    assert "<script>window.owned=1</script>" in "".join(ET.fromstring(text).itertext())
    assert "\x1b" not in mi("plot", *files, "--what", what, "--to", "text").ok().text


def test_what_an_effects_stream_says_is_text_in_its_map(mi: Session) -> None:
    said = {"by": "layer,position", "site": EVIL, "direction": "noising", "metric": EVIL, "tokens": [EVIL, "b\x00"]}
    head = streams.head("effects", "patch", patching={**said, "clean": 1.0, "corrupted": 0.0}, model={"id": EVIL})
    records = [{"layer": 0, "position": p, "effect": 0.5 - p, "n": 3} for p in range(2)]
    stream.write("x.jsonl", head, records)
    drawn = mi("plot", "x.jsonl").ok()
    assert drawn.out == mi("view", "x.jsonl", "--svg").ok().out
    root = ET.fromstring(drawn.text)
    assert not {e.tag for e in root.iter()} & {f"{SVG}script", f"{SVG}img"}
    assert "<script>window.owned=1</script>" in "".join(root.itertext())
    assert "b\\x00" in "".join(root.itertext())


def test_a_terminal_gets_letters_and_a_pipe_svg(mi: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    write_curve("curve.jsonl")
    data = Path("curve.jsonl").read_bytes()
    piped = mi("plot", stdin=data).ok()
    assert piped.out.startswith(b"<svg") and piped.out == mi("plot", "curve.jsonl").ok().out
    mi("plot", "curve.jsonl", "-o", "x.svg").ok()
    assert Path("x.svg").read_bytes() == piped.out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "└──" in mi("plot", "curve.jsonl").ok().text


def test_ticks_are_round_and_inside() -> None:
    assert axes.steps(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert axes.steps(-0.03, 1.07) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert axes.decades(0.001, 1) == pytest.approx([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1])
    assert axes.steps(2, 2) == [2]
    scale = axes.Scale(0.001, 1, 0, 300, log=True)
    assert [scale.at(v) for v in (0.001, 0.01, 1)] == pytest.approx([0, 100, 300])

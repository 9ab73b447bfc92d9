"""mi graph: what a picture shows, that it is one file, that nothing a stream says is run, how a browser takes it."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi.circuit.graph import Graph, explicit_graph
from mi.circuit.transformer import transformer_graph
from mi.io import stream
from mi.show.picture import layout as layouts
from mi.show.picture.canvas import NEGATIVE, POSITIVE
from mi.show.picture.diagram import Diagram, by_layer, diagram
from tests.circuit.random_graphs import SEEDS, any_graph, generator, named_pairs, readers_of
from tests.cli import streams
from tests.cli.browser import Browser
from tests.cli.conftest import Session
from tests.cli.streams import GRAPH

SVG = "{http://www.w3.org/2000/svg}"
KINDS = ("svg", "html", "dot", "png")


def write_edges(path: str, graph: Graph, scores: np.ndarray, kind: str = "scores", **parts: Any) -> None:
    head = streams.head(kind, graph=graph, **parts)
    tables: dict[str, Any] = {"graph": graph.table()} if graph.builder == "explicit" else {}
    if kind == "scores":
        stream.write(path, head, [], {"scores": {"edge": scores.astype(np.float32)}, **tables})
        return
    names = [name.split("->") for name in graph.edge_names()]
    records = [{"src": s, "dst": r, "score": float(x)} for (s, r), x in zip(names, scores) if x != 0]
    stream.write(path, head, records, tables)


def curves(text: str) -> list[tuple[str, ET.Element]]:
    """The drawn edges: name and element, as they lie above each other."""
    found = [path for path in ET.fromstring(text).iter(f"{SVG}path") if "data-i" in path.attrib]
    return [(path.findtext(f"{SVG}title", "").split("\n")[0], path) for path in found]


def drawn(path: str, top: int | None = None) -> Diagram:
    return diagram(stream.read(path, ("scores", "circuit")), top)


def test_every_edge_is_there_with_its_score(mi: Session) -> None:
    scores = streams.write_scores("scores.jsonl")
    found = curves(mi("graph", "scores.jsonl", "--top", "46").ok().text)
    assert {name for name, _ in found} == set(GRAPH.edge_names())
    for name, path in found:
        said = path.findtext(f"{SVG}title", "")
        assert f"score {scores[GRAPH.edge_index(name)]:.4g}, " in said
    order = [abs(float(scores[GRAPH.edge_index(name)])) for name, _ in found]
    assert order == sorted(order), "the largest lie on top"


def test_width_is_the_magnitude_and_the_sign_has_a_colour_and_a_dash(mi: Session) -> None:
    scores = streams.write_scores("scores.jsonl")
    text = mi("graph", "scores.jsonl").ok().text
    largest = abs(scores).max()
    for name, path in curves(text):
        score = float(scores[GRAPH.edge_index(name)])
        assert path.get("class") == ("p" if score >= 0 else "n")
        assert float(path.get("stroke-width") or 0.8) == pytest.approx(max(0.8, 7 * abs(score) / largest), rel=0.06)
        assert 0 < float(path.get("stroke-opacity") or 0) < 1
        assert path.get("opacity") is None, "for each path with it a renderer makes a layer as large as the picture"
    assert f".p{{stroke:{POSITIVE}}}" in text
    assert re.search(rf"\.n{{stroke:{NEGATIVE};stroke-dasharray:[\d ]+}}", text)
    for word in ("positive: helps the task", "negative: hinders it", "width: |score|", "scores of ioi in toy"):
        assert word in text


def test_queries_keys_and_values_enter_at_their_own_places(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    ends: dict[str, set[str]] = {}
    for name, path in curves(mi("graph", "scores.jsonl", "--top", "46").ok().text):
        ends.setdefault(name.split("->")[1], set()).add(_end(path.get("d", "")))
    assert all(len(places) == 1 for places in ends.values())
    for head in ("a0.h0", "a1.h1"):
        x = [float(next(iter(ends[f"{head}<{branch}>"])).split()[0]) for branch in "qkv"]
        assert x[0] + 8 < x[1] < x[2] - 8


def _end(d: str) -> str:
    """The last point of a path of relative curves."""
    x, y = (int(v) for v in re.match(r"M(-?\d+) (-?\d+)", d).groups())  # type: ignore[union-attr]
    for part in d.split("c")[1:]:
        *_, dx, dy = (int(v) for v in re.findall(r"-?\d+", part))
        x, y = x + dx, y + dy
    return f"{x} {y}"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rank_is_the_longest_way_and_lines_keep_clear_of_boxes(seed: int | str, mi: Session) -> None:
    rng = generator(seed)
    for _ in range(4):
        graph = any_graph(rng)
        if not graph.n_edges:
            continue
        write_edges("x.jsonl", graph, rng.standard_normal(graph.n_edges))
        made = drawn("x.jsonl")
        ways = [(s, node) for s, r in named_pairs(graph) for node in readers_of(graph)[r]]
        wanted = {name: _longest(ways, name) for name in graph.nodes}
        for link in made.links:
            a, b = made.nodes[link.source], made.nodes[link.target]
            assert (a.rank < b.rank) and (wanted[a.name] < wanted[b.name])
        ordered = sorted({wanted[node.name] for node in made.nodes})
        assert [node.rank for node in made.nodes] == [ordered.index(wanted[node.name]) for node in made.nodes]
        _check_clear(made)


def _longest(ways: list[tuple[str, str]], node: str) -> int:
    into = {source for source, target in ways if target == node}
    return 1 + max(_longest(ways, source) for source in into) if into else 0


def _check_clear(made: Diagram) -> None:
    placed = layouts.layout(made)
    rows: dict[float, list[layouts.Box]] = {}
    for box in placed.boxes:
        rows.setdefault(box.y, []).append(box)
        assert box.x - box.width / 2 >= -0.01 and box.x + box.width / 2 <= placed.width + 0.01
    for row in rows.values():
        row.sort(key=lambda box: box.x)
        for left, right in pairwise(row):
            assert left.x + left.width / 2 < right.x - right.width / 2
    if max(map(len, rows.values())) == 1:
        return  # arcs, which pass at the side
    for link, d in zip(made.links, placed.paths, strict=True):
        for x, y in _points(d)[1:-1]:
            assert not any(abs(y - box.y) < 1 and abs(x - box.x) < box.width / 2 for box in placed.boxes), link.name


def _points(d: str) -> list[tuple[int, int]]:
    parts = d.split("c")
    return [tuple(map(int, _end("c".join(parts[: n + 1])).split())) for n in range(len(parts))]  # type: ignore[misc]


def test_bundles_add_up(mi: Session) -> None:
    scores = streams.write_scores("scores.jsonl")
    whole = by_layer(drawn("scores.jsonl"))
    expected: dict[str, list[float]] = {}
    for name, score in zip(GRAPH.edge_names(), scores.tolist()):
        source, receiver = name.split("->")
        short = re.sub(r"\.h\d", "", source), re.sub(r"\.h\d", "", receiver)
        expected.setdefault("->".join(short), []).append(score)
    assert {link.name for link in whole.links} == set(expected)
    for link in whole.links:
        values = expected[link.name]
        assert link.size == pytest.approx(sum(map(abs, values)))
        assert (link.score or 0) * sum(values) >= 0
        assert f"{len(values)} edge" in link.says
    svg = mi("graph", "scores.jsonl", "--top", "46", "--by", "layer").ok().text
    assert {name for name, _ in curves(svg)} == set(expected)


def test_circuits_of_nodes_and_neurons_are_drawn(mi: Session) -> None:
    for level, shape in (("node", (7,)), ("neuron", (7, 8))):
        values = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        head = streams.head("scores", attribution={"level": level})
        stream.write("s.jsonl", head, [], {"scores": {level: values}})
        mi("prune", "s.jsonl", "--percent", "90", "-o", "c.jsonl").ok()
        text = mi("graph", "c.jsonl").ok().text
        assert "kept, without a score" in text
        assert len(curves(text)) == len(drawn("c.jsonl").links) > 0
        assert {path.get("class") for _, path in curves(text)} == {"u"}
        assert 'class="box head more"' in text or 'class="box head less"' in text
        refused = mi("graph", "s.jsonl")
        assert refused.code == 3 and "scores of edges are needed" in refused.err


def test_only_the_largest_are_drawn_and_that_is_said(mi: Session) -> None:
    scores = streams.write_scores("scores.jsonl")
    done = mi("graph", "scores.jsonl", "--top", "5").ok()
    best = sorted(range(GRAPH.n_edges), key=lambda i: -abs(scores[i]))[:5]
    assert {name for name, _ in curves(done.text)} == {GRAPH.edge_name(i) for i in best}
    assert "the 5 largest of 46 edges" in done.err
    assert "the 5 largest of 46 edges" in done.text
    assert mi("graph", "scores.jsonl", "--top", "46").ok().err == ""


def test_dot_names_every_edge_once(mi: Session) -> None:
    scores = streams.write_scores("scores.jsonl")
    text = mi("graph", "scores.jsonl", "--to", "dot").ok().text
    found = re.findall(r'^  "([^"]+)" -> "([^"]+)" \[(.*)\];$', text, re.MULTILINE)
    names = []
    for source, target, said in found:
        branch = re.search(r'headlabel="(.)"', said)
        names.append(f"{source}->{target}" + (f"<{branch[1]}>" if branch else ""))
        negative = scores[GRAPH.edge_index(names[-1])] < 0
        assert ("style=dashed" in said) == negative
        assert (NEGATIVE if negative else POSITIVE) in said
    assert sorted(names) == sorted(GRAPH.edge_names())
    assert text.count("rank=same") == 6  # input, a0, m0, a1, m1, logits


def test_graphviz_takes_the_dot(mi: Session) -> None:
    import shutil
    import subprocess

    if shutil.which("dot") is None:
        pytest.skip("graphviz is not installed")
    _write_hostile("x.jsonl")
    source = mi("graph", "x.jsonl", "--to", "dot").ok().out
    made = subprocess.run(["dot", "-Tsvg"], input=source, capture_output=True)
    assert made.returncode == 0, made.stderr
    assert made.stdout.count(b'class="edge"') == 3


def test_png_is_a_picture_of_twice_the_size(mi: Session) -> None:
    pytest.importorskip("resvg_py")
    streams.write_scores("scores.jsonl")
    svg = mi("graph", "scores.jsonl").ok().text
    mi("graph", "scores.jsonl", "-o", "x.png").ok()
    data = Path("x.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    root = ET.fromstring(svg)
    assert [int.from_bytes(data[i : i + 4], "big") for i in (16, 20)] == [
        2 * int(root.attrib["width"]),
        2 * int(root.attrib["height"]),
    ]


def test_a_png_that_would_be_large_has_fewer_colours_and_pixels(mi: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("resvg_py")
    from mi.show.picture import png

    streams.write_scores("scores.jsonl")
    mi("graph", "scores.jsonl", "-o", "whole.png").ok()
    whole = image.open("whole.png").convert("RGB")
    for share in (0.9, 0.5, 0.1):
        most = int(share * Path("whole.png").stat().st_size)
        monkeypatch.setattr(png, "LARGEST", most)
        mi("graph", "scores.jsonl", "-o", "less.png").ok()
        assert Path("less.png").stat().st_size <= most
        less = image.open("less.png")
        assert less.mode == "P"
        assert less.width <= whole.width
        assert less.width / less.height == pytest.approx(whole.width / whole.height, rel=0.02)
        np.testing.assert_allclose(_share_of_signs(less), _share_of_signs(whole), rtol=0.3)


def _share_of_signs(picture: Any) -> list[float]:
    """How much of a picture is blue, and how much is orange."""
    red, _, blue = np.moveaxis(np.asarray(picture.convert("RGB")).astype(int), -1, 0)
    return [float((blue - red > 40).mean()), float((red - blue > 40).mean())]


@pytest.mark.parametrize("package", ["resvg_py", "PIL"])
def test_png_without_its_library_says_what_to_install(
    package: str, mi: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mi.show.picture import png

    if package != "resvg_py":
        pytest.importorskip("resvg_py")
    streams.write_scores("scores.jsonl")
    monkeypatch.setattr(png, "LARGEST", 1000)
    monkeypatch.setitem(sys.modules, package, None)
    done = mi("graph", "scores.jsonl", "-o", "x.png")
    assert done.code == 3
    assert "mi[png]" in done.err
    assert not Path("x.png").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_stream_gives_the_same_bytes_from_anywhere(kind: str, mi: Session) -> None:
    if kind == "png":
        pytest.importorskip("resvg_py")
    streams.write_scores("scores.jsonl")
    mi("prune", "scores.jsonl", "--percent", "80", "-o", "circuit.jsonl").ok()
    piped = mi("graph", "--to", kind, stdin=Path("circuit.jsonl").read_bytes()).ok().out
    mi("graph", "circuit.jsonl", "-o", f"x.{kind}").ok()
    assert Path(f"x.{kind}").read_bytes() == piped


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("circuit.jsonl", "-o", "x.jpg"), 2, "does not say what to draw"),
        (("circuit.jsonl", "-o", "x.svg", "--to", "dot"), 2, "disagree"),
        (("circuit.jsonl", "--to", "pdf"), 2, "pdf"),
        (("empty.jsonl",), 3, "no edge to draw"),
        (("examples.jsonl",), 3, "needed: circuit or scores"),
        (("circuit.jsonl", "-o", "no/folder/x.svg"), 4, "no/folder/x.svg"),
    ],
)
def test_what_cannot_be_drawn(words: tuple[str, ...], code: int, says: str, mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    streams.write_examples("examples.jsonl")
    mi("prune", "scores.jsonl", "--percent", "80", "-o", "circuit.jsonl").ok()
    stream.write("empty.jsonl", streams.head("circuit"), [])
    done = mi("graph", *words)
    assert (done.code, done.out) == (code, b"")
    assert says in done.err
    assert not list(Path().glob("x.*"))


def test_a_terminal_gets_no_picture(mi: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    streams.write_scores("scores.jsonl")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    done = mi("graph", "scores.jsonl")
    assert done.code == 2
    assert "-o FILE" in done.err


# What a stream says is text

EVIL = '</script></title></svg><script>window.owned=1</script><img src=x onerror="owned=1">\'&amp;]]>\x00\x1b'


def _write_hostile(path: str) -> None:
    """Names may hold quotes, ampersands and backslashes; everything else in a head may hold anything."""
    names = ["input", 'a"];evil[x="', "b\\", "&lt;script", "logits"]
    graph = explicit_graph(names, names[1:], [1, 2, 3, 4], np.array([[0, 1, 3], [0, 1, 3]]))
    records = [
        {"src": s, "dst": r, "score": x, EVIL: EVIL}
        for (s, r), x in zip((n.split("->") for n in graph.edge_names()), (1.0, -2.0, 0.5))
    ]
    head = streams.head(
        "circuit",
        graph=graph,
        task={"name": EVIL, "metric": EVIL},
        model={"id": EVIL},
        attribution={"method": EVIL, "n": 3, "split": EVIL},
    )
    head["chain"][0]["argv"].append(EVIL)
    stream.write(path, head, records, {"graph": graph.table()})


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs


def test_hostile_names_are_text_in_svg(mi: Session) -> None:
    _write_hostile("x.jsonl")
    root = ET.fromstring(mi("graph", "x.jsonl").ok().text)
    assert not {e.tag for e in root.iter()} & {f"{SVG}script", f"{SVG}img", f"{SVG}foreignObject"}
    assert not [name for e in root.iter() for name in e.attrib if name.lower().startswith("on")]
    said = "".join(root.itertext())
    assert "<script>window.owned=1</script>" in said
    assert 'a"];evil[x="' in said
    assert "\\x00\\x1b" in said


def test_hostile_names_are_text_in_html(mi: Session) -> None:
    _write_hostile("x.jsonl")
    text = mi("graph", "x.jsonl", "--to", "html").ok().text
    tags = Tags()
    tags.feed(text)
    assert tags.names.count("script") == 2  # the data and the page's own
    assert "img" not in tags.names
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert set(json.loads(data[1])) == {"heads", "layers"}


def test_hostile_names_stay_in_their_quotes_in_dot(mi: Session) -> None:
    _write_hostile("x.jsonl")
    text = mi("graph", "x.jsonl", "--to", "dot").ok().text
    comment, _, rest = text.partition("\n")
    assert comment.startswith("// ")
    outside = re.sub(r'"(?:\\.|[^"\\])*"', "", rest)
    assert '"' not in outside
    for word in ("evil", "script", "owned"):
        assert word not in outside


# One page


def test_a_page_of_2000_edges_is_one_file_below_a_megabyte(mi: Session) -> None:
    graph = transformer_graph(12, 12, d_model=768)
    write_edges("big.jsonl", graph, np.random.default_rng(0).standard_normal(graph.n_edges))
    data = mi("graph", "big.jsonl", "--top", "2000", "--to", "html", "-q").ok().out
    assert len(data) < 1_000_000
    tags = Tags()
    tags.feed(data.decode())
    links = [value for name, value in tags.attributes if name in ("src", "href", "xlink:href") and value]
    assert {value for value in links if not value.startswith("#")} == {"data:,"}
    assert "url(" not in data.decode()
    assert len(mi("graph", "big.jsonl", "--top", "2000", "--to", "svg", "-q").ok().out) < 1_000_000


def test_in_a_browser(mi: Session, tmp_path: Path) -> None:
    """No error, nothing fetched, the threshold and the bundles work, the pointer is told what it rests on."""
    scores = streams.write_scores("scores.jsonl")
    mi("graph", "scores.jsonl", "-o", "x.html").ok()
    _write_hostile("evil.jsonl")
    mi("graph", "evil.jsonl", "-o", "evil.html").ok()
    with Browser(tmp_path) as browser:
        browser.open(Path("x.html"))
        visible = "[...document.querySelectorAll('#view-heads path[data-i]:not(.off)')]"
        said = "document.getElementById('said').textContent"
        assert browser.run(f"{visible}.length") == 46
        browser.run("threshold.value = 500; threshold.dispatchEvent(new Event('input'))")
        assert browser.run(f"{visible}.length") == 7  # the square root of 46
        least = sorted(abs(scores).tolist())[-7]
        shown = browser.run(said)
        assert "7 of 46 edges" in shown
        assert float(shown.split()[2].rstrip(":")) == pytest.approx(least, rel=0.01)
        browser.run("document.getElementById('sign-negative').click()")
        best = sorted(scores.tolist(), key=abs)[-7:]
        assert browser.run(f"{visible}.length") == sum(score > 0 for score in best)
        browser.run("document.getElementById('sign-negative').click(); threshold.value = 1000;")
        browser.run("document.getElementById('bundles').click()")
        assert "bundles" in browser.run(said)
        assert browser.run("document.getElementById('view-heads').getBoundingClientRect().width") == 0
        browser.run("document.getElementById('bundles').click()")
        place = browser.run(
            "(() => { const box = document.querySelector('#view-heads [data-n=\"0\"]');"
            "box.scrollIntoView({block:'center'});"
            "const at = box.getBoundingClientRect(); return [at.x + at.width / 2, at.y + at.height / 2] })()"
        )
        browser.point(*place)
        assert browser.run("document.getElementById('tip').textContent").startswith("input\n0 in, ")
        place = browser.run(
            "(() => { const curve = document.querySelector('#view-heads [data-i=\"0\"]');"
            "const at = curve.getPointAtLength(9).matrixTransform(curve.getScreenCTM()); return [at.x, at.y] })()"
        )
        browser.point(*place)
        best = int(np.argmax(abs(scores)))
        told = browser.run("document.getElementById('tip').textContent").split("\n")
        assert told[0] == GRAPH.edge_name(best)
        assert told[1].startswith(f"score {scores[best]:.4g}, 1 of 46")
        assert told[-1].startswith("46 edges, of the model's 46")  # where the scores come from
        assert browser.picture(tmp_path / "x.png").stat().st_size > 10_000
        browser.open(Path("evil.html"))
        assert browser.run("window.owned === undefined")
        assert browser.run(f"{visible}.length") == 3
        assert browser.errors == []
        assert {url for url in browser.requests if not url.startswith("file:")} == set()
        assert len(browser.requests) == 2

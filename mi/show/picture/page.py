"""A circuit as one page: a diagram in; HTML out that needs no network and no other file.

Nothing that a stream says is ever run: texts are escaped, data is JSON without a `<`, and the page's own policy lets no
script run but the one whose digest it names, and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mi.errors import printable
from mi.show.numbers import count, number
from mi.show.picture import network
from mi.show.picture.canvas import STYLE, element, safe
from mi.show.picture.diagram import Diagram, by_layer

FOLDER = Path(__file__).parent
LISTED = 100  # edges in the table below the picture
FIRST = 200  # edges that the threshold shows at first
BRANCHES = {"q": "queries", "k": "keys", "v": "values", "": "other inputs"}


def page(diagram: Diagram, by: str = "head", head_rows: Sequence[Sequence[str]] = ()) -> str:
    """The page of `mi graph`. `head_rows`: what the head of the stream says, part by part."""
    listed = _listed(diagram)
    parts = [
        f"<h1>{safe(diagram.title)}</h1>",
        f'<p class="dim">{safe(diagram.about)}</p>',
        *figure(diagram, by),
        f"<details><summary>The {count(len(listed), 'largest edge')} as a table</summary>",
        table(("", "edge", "score"), listed, right=(0, 2)),
        "</details>",
        "<h2>Where it comes from</h2>",
        f"<pre>{safe(diagram.made_by)}</pre>" if diagram.made_by else "<p>The stream has no chain.</p>",
        table(("part", "value"), head_rows) if head_rows else "",
    ]
    return html(diagram.title, parts, (script(),))


def figure(diagram: Diagram, by: str = "head") -> list[str]:
    """The picture with its controls: the circuit by heads and, bundled, by layers; then their data for the script."""
    views = {"heads": diagram, "layers": by_layer(diagram)}
    hidden = "heads" if by == "layer" else "layers"
    drawn = [_view(name, each, name == hidden) for name, each in views.items()]
    return [
        element("svg", network.ports(), class_="defs", width=0, height=0),
        _controls(diagram, by),
        f'<div class="sheet" id="sheet">{"".join(drawn)}</div>',
        '<div id="tip" role="tooltip" hidden></div>',
        _data(views),
    ]


def _view(name: str, diagram: Diagram, hidden: bool) -> str:
    """One drawing with its own key: widths of bundles are on another scale."""
    drawn = network.drawing(diagram, crowd=False)  # the threshold thins it out
    picture = element(
        "svg",
        drawn.body,
        class_="picture",
        viewBox=f"0 0 {drawn.width:.0f} {drawn.height:.0f}",
        width=f"{drawn.width:.0f}",
        height=f"{drawn.height:.0f}",
        role="img",
        aria_label=f"{diagram.title}, by {name}",
    )
    key = element("svg", *network.key(diagram), width=690, height=44, role="img", aria_label="key")
    return element("div", key, picture, id=f"view-{name}", class_="off" if hidden else None)


def script() -> str:
    return (FOLDER / "page.js").read_text()


def html(title: str, body: Iterable[str], scripts: Sequence[str] = ()) -> str:
    """A page around markup. The policy: nothing is fetched, only these scripts run."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}; base-uri 'none'"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{safe(title)}</title>",
            f"<style>\n{STYLE}{network.STYLE}\n{(FOLDER / 'page.css').read_text()}</style></head><body>",
            *filter(None, body),
            *(f"<script>{text}</script>" for text in scripts),
            "</body></html>\n",
        ]
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> str:
    """`right`: columns of numbers."""

    def cells(values: Sequence[object], tag: str) -> str:
        made = (element(tag, safe(v), class_="right" if i in right else None) for i, v in enumerate(values))
        return f"<tr>{''.join(made)}</tr>"

    body = "\n".join(cells(row, "td") for row in rows)
    return f'<div class="scroll"><table><thead>{cells(heads, "th")}</thead><tbody>\n{body}</tbody></table></div>'


def _controls(diagram: Diagram, by: str) -> str:
    """Hidden until the script runs: without it, they would do nothing."""
    n = len(diagram.links)
    at = 1000 if n <= FIRST else round(1000 * _log(FIRST) / _log(n))
    slider = element("input", type="range", id="threshold", min=1, max=1000, value=at)
    made = [f'<label>threshold {slider}</label> <output id="said"></output>']
    scores = [link.score for link in diagram.links]
    signs = {
        "positive": any(score is not None and score >= 0 for score in scores),
        "negative": any(score is not None and score < 0 for score in scores),
        "none": any(score is None for score in scores),
    }
    names = {"none": "without a score"}
    made += [_box(f"sign-{sign}", names.get(sign, sign)) for sign, used in signs.items() if used]
    ports = {link.port for link in diagram.links}
    made += [_box(f"branch-{port or 'other'}", text) for port, text in BRANCHES.items() if port in ports]
    made.append(_box("bundles", "bundles: heads of a layer as one", by == "layer"))
    made.append(_box("real", "actual size", False))
    made.append('<label>find <input type="search" id="search" size="8" placeholder="a3.h1"></label>')
    return f'<div class="controls" id="controls" hidden>{" ".join(made)}</div>'


def _log(n: int) -> float:
    import math

    return math.log(max(2, n))


def _box(name: str, text: str, on: bool = True) -> str:
    checked = " checked" if on else ""
    return f'<label><input type="checkbox" id="{name}"{checked}> {safe(text)}</label>'


def _data(views: Mapping[str, Diagram]) -> str:
    made: dict[str, Any] = {
        name: {
            "about": printable(each.about),
            "links": [
                [link.source, link.target, link.port, None if link.score is None else float(f"{link.score:.6g}")]
                for link in each.links
            ],
        }
        for name, each in views.items()
    }
    text = json.dumps(made, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="data">{text}</script>'


def _listed(diagram: Diagram) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [
        (place, printable(link.name), "" if link.score is None else number(link.score))
        for place, link in enumerate(diagram.links[:LISTED], start=1)
    ]
    return rows

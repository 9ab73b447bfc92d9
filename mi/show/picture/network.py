"""The picture of a circuit: a diagram in, SVG out. Ranks run from bottom to top; width is the magnitude; colour and
dash are the sign; queries, keys and values enter a head at three places, each with its letter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mi.show.numbers import number
from mi.show.picture import canvas
from mi.show.picture.canvas import BRANCH_COLOURS, DIM, INK, NEGATIVE, PAPER, POSITIVE, UNSCORED, element, hint, words
from mi.show.picture.diagram import Diagram, Link, Node
from mi.show.picture.layout import PORTS, TALL, Box, Layout, layout

MARGIN, HEAD, LEGEND = 28.0, 58.0, 46.0
LEAST = 680.0  # pixels from left to right: the key needs them
THIN, THICK = 0.8, 7.0
FAINTEST, CROWD = 0.22, 200  # opacity of the smallest link; less where there are more links than that
FILLS = {"root": "#e8e8e8", "sink": "#e8e8e8", "plain": "#f1efe6", "head": PAPER}
DASHED = "6 3"
STYLE = (  # what many elements share is said once: a file stays small
    f".p{{stroke:{POSITIVE}}}.n{{stroke:{NEGATIVE};stroke-dasharray:{DASHED}}}.u{{stroke:{UNSCORED}}}"
    f".box{{stroke:{INK}}}.root,.sink{{fill:{FILLS['root']}}}.plain{{fill:{FILLS['plain']};stroke:{DIM}}}"
    f".head{{fill:{PAPER}}}.more{{fill:#cfe5f3}}.less{{fill:#fbe0cc}}"  # a box with a score of its own
)


@dataclass(frozen=True)
class Drawn:
    """A drawing without a file around it: `body` stands in a `width` by `height` field."""

    width: float
    height: float
    body: str


def svg(diagram: Diagram) -> str:
    """One file: title, key, picture."""
    drawn = drawing(diagram)
    lines = canvas.wrapped(diagram.about, max(drawn.width, LEAST) - 2 * MARGIN)
    width = max(drawn.width, canvas.width_of(diagram.title, 14) + 2 * MARGIN, LEAST)
    head = HEAD + 15 * (len(lines) - 1)
    body = [
        words(MARGIN, 24, diagram.title, "t"),
        *(words(MARGIN, 42 + 15 * row, text, "d") for row, text in enumerate(lines)),
        ports(),
        element("g", *key(diagram), transform=f"translate({MARGIN:.0f} {head:.0f})"),
        element("g", drawn.body, transform=f"translate({(width - drawn.width) / 2:.0f} {head + LEGEND:.0f})"),
    ]
    about = f"{diagram.about}. Made by: {diagram.made_by}"
    return canvas.document(width, head + LEGEND + drawn.height, diagram.title, about, body, STYLE)


def drawing(diagram: Diagram, crowd: bool = True) -> Drawn:
    """Links below, the largest on top of the others; boxes above all of them. `crowd`: many links make small ones
    paler."""
    placed = layout(diagram)
    faintest = FAINTEST * min(1.0, (CROWD / len(diagram.links)) ** 0.5) if crowd else FAINTEST
    links = [_curve(diagram, placed, place, faintest) for place in reversed(range(len(diagram.links)))]
    reads = _ports(diagram)
    boxes = [
        _box(place, node, box, reads[place])
        for place, (node, box) in enumerate(zip(diagram.nodes, placed.boxes, strict=True))
    ]
    body = [element("g", *links, fill="none", stroke_width=THIN, class_="links"), element("g", *boxes, class_="nodes")]
    moved = element("g", *body, transform=f"translate({MARGIN:.0f} {MARGIN:.0f})")
    return Drawn(placed.width + 2 * MARGIN, placed.height + 2 * MARGIN, moved)


def _curve(diagram: Diagram, placed: Layout, place: int, faintest: float) -> str:
    link = diagram.links[place]
    share = link.size / diagram.largest if diagram.largest else 0.0
    opacity = faintest + (0.92 - faintest) * share**0.5 if link.score is not None else 0.5
    return element(
        "path",
        hint(f"{link.name}\n{link.says}"),
        d=placed.paths[place],
        class_="u" if link.score is None else "n" if link.score < 0 else "p",
        stroke_width=f"{width(share):.2g}" if width(share) > THIN else None,
        stroke_opacity=f"{opacity:.2f}",  # not opacity, for which a renderer makes a layer as large as the picture
        data_i=place,
    )


def colour(link: Link) -> str:
    if link.score is None:
        return UNSCORED
    return POSITIVE if link.score >= 0 else NEGATIVE


def width(share: float) -> float:
    """Pixels for a share of the largest magnitude."""
    return max(THIN, THICK * share)


def key(diagram: Diagram) -> Iterator[str]:
    """What colours, dashes, widths and letters mean."""
    scored = [link.score for link in diagram.links if link.score is not None]
    x = 0.0
    for text, stroke, dash, is_used in (
        ("positive: helps the task", POSITIVE, None, any(score >= 0 for score in scored)),
        ("negative: hinders it", NEGATIVE, DASHED, any(score < 0 for score in scored)),
        ("kept, without a score", UNSCORED, None, len(scored) < len(diagram.links)),
    ):
        if is_used:
            yield canvas.line(x, 8, x + 26, 8, stroke, stroke_width=3, stroke_dasharray=dash)
            yield words(x + 32, 12, text)
            x += 32 + canvas.width_of(text) + 18
    x = 0.0
    if scored and diagram.largest:
        yield words(x, 32, "width: |score|", "d")
        x += canvas.width_of("width: |score|") + 8
        for share in (1.0, 0.5, 0.1):
            text = number(diagram.largest * share, 2)
            yield canvas.line(x, 28, x + 22, 28, stroke_width=width(share))
            yield words(x + 27, 32, text)
            x += 27 + canvas.width_of(text) + 12
    branches = {link.port for link in diagram.links} & set(BRANCH_COLOURS)
    for branch, name in (("q", "queries"), ("k", "keys"), ("v", "values")):
        if branch in branches:
            yield _port(x + 4, 28, branch)
            yield words(x + 12, 32, name)
            x += 12 + canvas.width_of(name) + 12
    yield words(x, 32, "from bottom to top", "d")


def _ports(diagram: Diagram) -> list[set[str]]:
    """Which branches of each node something is drawn into."""
    reads: list[set[str]] = [set() for _ in diagram.nodes]
    for link in diagram.links:
        if link.port:
            reads[link.target].add(link.port)
    return reads


def _box(place: int, node: Node, box: Box, branches: set[str]) -> str:
    sign = "" if node.score is None else " more" if node.score >= 0 else " less"
    inside = [
        hint(f"{node.name}\n{node.says}" if node.says else node.name),
        element(
            "rect",
            x=box.x - box.width / 2,
            y=box.y - TALL / 2,
            width=box.width,
            height=TALL,
            rx={"root": 13, "sink": 13, "plain": 2, "head": 5}[node.kind],
            class_=f"box {node.kind}{sign}",
        ),
        words(box.x, box.y + (2 if branches and not box.sideways else 4), node.name, anchor="middle"),
        *(_port(*box.port(branch), branch) for branch in PORTS if branch in branches),
    ]
    return element("g", *inside, data_n=place)


def ports() -> str:
    """What `_port` repeats: a dot with the branch's letter, which stands once in a file."""
    made = []
    for branch, fill in BRANCH_COLOURS.items():
        dot = element("circle", r=5, fill=fill, stroke=PAPER)
        made.append(element("g", dot, words(0, 3, branch, "s", anchor="middle"), id=f"port-{branch}"))
    return element("defs", *made)


def _port(x: float, y: float, branch: str) -> str:
    return element("use", href=f"#port-{branch}", x=x, y=y)

"""Where things stand: a diagram in; boxes and curves in pixels out. No number here depends on a clock or on chance.

Nodes stand in their rank near what they are linked to. A link that passes a rank goes through the gap between two nodes
that is nearest to its way, so that no line runs behind a node, and lines that go the same way become bundles by
themselves. Where every rank holds one node, links are arcs: into heads on the left, the others on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from mi.show.picture.canvas import LETTER
from mi.show.picture.diagram import Diagram, Link, Node

TALL = 26.0  # a box
APART, WIDE_APART = 20.0, 72.0  # gaps between two boxes: in a crowded rank, and where there is room
ROOM = 560.0  # pixels of gaps in a rank that has room
ARC = 18.0  # how much further out an arc is pulled for each rank that it passes
CLEAR = 6.0  # what a line keeps from a box
SWEEPS = 10
NEAR, POINTS = 1.5, 10_000  # pixels by which a line may leave its way; more where all ways have more points than that
PORTS = {"q": -0.3, "k": 0.0, "v": 0.3, "": 0.0}  # where a branch enters, as a share of the box's width

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A node's place: its centre and its width."""

    x: float
    y: float
    width: float
    sideways: bool = False  # it is entered from the left, not from below

    def port(self, branch: str) -> Point:
        if self.sideways:
            return self.x - self.width / 2, self.y + PORTS[branch] * 1.2 * TALL
        return self.x + PORTS[branch] * self.width, self.y + TALL / 2


@dataclass(frozen=True)
class Layout:
    """`boxes` belong to the diagram's nodes, `paths` (as SVG spells curves) to its links."""

    boxes: Sequence[Box]
    paths: Sequence[str]
    width: float
    height: float


def layout(diagram: Diagram) -> Layout:
    """The first rank stands at the bottom, the last at the top."""
    widths = np.array([_width(node) for node in diagram.nodes])
    ranks = _ranks(diagram.nodes)
    x = _places(diagram, ranks, widths)
    x -= float((x - widths / 2).min())
    width = float((x + widths / 2).max())
    step = min(110.0, max(62.0, width / 11))
    top = [(len(ranks) - 1 - rank) * step + TALL / 2 for rank in range(len(ranks))]
    boxes = [Box(float(at), top[node.rank], float(w)) for node, at, w in zip(diagram.nodes, x, widths, strict=True)]
    tall = top[0] + TALL / 2
    if len(ranks) > 2 and all(len(members) == 1 for members in ranks):
        return _column(diagram, boxes, width, tall)
    gaps = [_gaps([boxes[i] for i in members], width) for members in ranks]
    ways = [_way(link, diagram.nodes, boxes, gaps, top) for link in diagram.links]
    near = NEAR
    while sum(map(len, ways)) > POINTS and near < 20:  # a file of a page is to stay below a megabyte
        near *= 2
        ways = [_straightened(way, near) for way in ways]
    left = -min(0.0, *(x for way in ways for x, _ in way))
    right = max(width, *(x for way in ways for x, _ in way))
    moved = [replace(box, x=box.x + left) for box in boxes]
    return Layout(moved, [path([(x + left, y) for x, y in way]) for way in ways], left + right, tall)


def path(points: Sequence[Point]) -> str:
    """A smooth curve through points, whose ends are upright: a cubic for each pair, slopes from the neighbours."""
    slopes = [0.0]
    for before, after in zip(points, points[2:], strict=False):
        slopes.append((after[0] - before[0]) / (after[1] - before[1]))
    slopes.append(0.0)
    made = [f"M{points[0][0]:.0f} {points[0][1]:.0f}"]
    here = (round(points[0][0]), round(points[0][1]))
    for number, ((x1, y1), (x2, y2)) in enumerate(pairwise(points)):
        bend = (y2 - y1) / (2 if len(points) == 2 else 3)
        corners = ((x1 + slopes[number] * bend, y1 + bend), (x2 - slopes[number + 1] * bend, y2 - bend), (x2, y2))
        steps = [(round(x) - here[0], round(y) - here[1]) for x, y in corners]
        made.append("c" + " ".join(f"{x} {y}" for x, y in steps).replace(" -", "-"))
        here = (round(x2), round(y2))
    return "".join(made)


def _width(node: Node) -> float:
    return max(44.0, len(node.name) * LETTER + 14)


def _ranks(nodes: Sequence[Node]) -> list[list[int]]:
    ranks: list[list[int]] = [[] for _ in range(1 + max(node.rank for node in nodes))]
    for place, node in enumerate(nodes):
        ranks[node.rank].append(place)
    return ranks


def _places(diagram: Diagram, ranks: Sequence[Sequence[int]], widths: np.ndarray) -> np.ndarray:
    """The x of each node: again and again the weighted mean of its neighbours', as near as its rank has room."""
    source = np.array([link.source for link in diagram.links])
    target = np.array([link.target for link in diagram.links])
    weight = np.array([link.size for link in diagram.links]) / (diagram.largest or 1.0) + 0.02
    apart = min(WIDE_APART, max(APART, ROOM / max(map(len, ranks))))
    x = np.zeros(len(diagram.nodes))
    for members in ranks:
        x[members] = _spread(np.zeros(len(members)), widths[members], apart)
    for _ in range(SWEEPS):
        pull, mass = np.zeros(len(x)), np.full(len(x), 1e-9)
        for here, there in ((source, target), (target, source)):
            np.add.at(pull, here, weight * x[there])
            np.add.at(mass, here, weight)
        wanted = pull / mass
        for members in ranks:
            order = np.array(members)[np.argsort(np.round(wanted[members], 3), kind="stable")]
            x[order] = _spread(wanted[order], widths[order], apart)
    return x


def _spread(wanted: np.ndarray, widths: np.ndarray, apart: float) -> np.ndarray:
    """The places nearest to the wanted ones at which boxes in this order do not touch: isotonic regression."""
    needs = np.concatenate([[0.0], np.cumsum((widths[:-1] + widths[1:]) / 2 + apart)])
    blocks: list[tuple[float, int]] = []  # mean of what is wanted, how many
    for value in (wanted - needs).tolist():
        mean, many = value, 1
        while blocks and blocks[-1][0] >= mean:
            before, n = blocks.pop()
            mean, many = (before * n + mean * many) / (n + many), n + many
        blocks.append((mean, many))
    return np.repeat([mean for mean, _ in blocks], [many for _, many in blocks]) + needs


def _gaps(boxes: Sequence[Box], width: float) -> np.ndarray:
    """Where lines may pass a rank: intervals from left to right, [gap, 2]."""
    ordered = sorted(boxes, key=lambda box: box.x)
    left = [-3 * APART, *(box.x + box.width / 2 for box in ordered)]
    right = [*(box.x - box.width / 2 for box in ordered), width + 3 * APART]
    return np.array([(a + CLEAR, b - CLEAR) for a, b in zip(left, right, strict=True)])


def _way(
    link: Link, nodes: Sequence[Node], boxes: Sequence[Box], gaps: Sequence[np.ndarray], top: Sequence[float]
) -> list[Point]:
    """From the top of the source through a gap in each rank between to a port at the bottom of the target."""
    start = (boxes[link.source].x, boxes[link.source].y - TALL / 2)
    end = boxes[link.target].port(link.port)
    first, last = nodes[link.source].rank, nodes[link.target].rank
    points = [start]
    for rank in range(first + 1, last):
        straight = start[0] + (end[0] - start[0]) * (rank - first) / (last - first)
        points.append((_through(straight, gaps[rank]), top[rank]))
    return _straightened([*points, end], NEAR)


def _column(diagram: Diagram, boxes: Sequence[Box], width: float, tall: float) -> Layout:
    """One node a rank: room for the widest arc on both sides."""
    reach = 0.75 * ARC * (2 + len(boxes))
    heads = [node.kind == "head" for node in diagram.nodes]
    moved = [replace(box, x=box.x + reach, sideways=head) for box, head in zip(boxes, heads, strict=True)]
    return Layout(moved, [_arc(link, diagram.nodes, moved) for link in diagram.links], width + 2 * reach, tall)


def _arc(link: Link, nodes: Sequence[Node], boxes: Sequence[Box]) -> str:
    """From side to side, the further out the more ranks lie between."""
    source, target = boxes[link.source], boxes[link.target]
    out = ARC * (2 + nodes[link.target].rank - nodes[link.source].rank)
    side = -1 if target.sideways else 1
    x, y = target.port(link.port) if target.sideways else (target.x + target.width / 2, target.y)
    start = source.x + side * source.width / 2
    corners = ((start + side * out, source.y), (x + side * out, y), (x, y))
    return f"M{start:.0f} {source.y:.0f}C" + " ".join(f"{a:.0f} {b:.0f}" for a, b in corners)


def _through(x: float, gaps: np.ndarray) -> float:
    """The nearest x that lies in a gap."""
    nearest = np.clip(x, gaps[:, 0], gaps[:, 1])
    return float(nearest[np.argmin(np.abs(nearest - x))])


def _straightened(points: list[Point], near: float) -> list[Point]:
    """Without the points that lie on the line between their neighbours. The two at each end stay: the curve turns
    upright between them."""
    if len(points) < 5:
        return points
    kept = points[:2]
    for point, after in pairwise(points[2:-1]):
        share = (point[1] - kept[-1][1]) / (after[1] - kept[-1][1])
        if abs(kept[-1][0] + share * (after[0] - kept[-1][0]) - point[0]) > near:
            kept.append(point)
    return [*kept, *points[-2:]]

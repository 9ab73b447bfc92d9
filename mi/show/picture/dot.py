"""A circuit for Graphviz: a diagram in, text of the DOT language out. No program is called: the text is the result."""

from __future__ import annotations

from mi.errors import printable
from mi.show.picture.canvas import BRANCH_COLOURS
from mi.show.picture.diagram import Diagram, Link, Node
from mi.show.picture.network import FILLS, THICK, colour, width

SHAPES = {"root": "ellipse", "sink": "ellipse", "plain": "box", "head": "box"}


def dot(diagram: Diagram) -> str:
    ranks: dict[int, list[Node]] = {}
    for node in diagram.nodes:
        ranks.setdefault(node.rank, []).append(node)
    lines = [
        f"// {printable(diagram.made_by)}".replace("\n", " "),
        f"digraph {quoted(diagram.title)} {{",
        f"  label={quoted(f'{diagram.title}: {diagram.about}')}; labelloc=t; fontname=monospace; rankdir=BT;",
        "  node [fontname=monospace, fontsize=10, style=filled, height=0.3, margin=0.05];",
        "  edge [fontname=monospace, fontsize=8, arrowsize=0.5];",
    ]
    for _, nodes in sorted(ranks.items()):
        lines.append("  { rank=same; " + " ".join(_node(node) for node in nodes) + " }")
    lines += [_link(diagram, link) for link in diagram.links]
    return "\n".join([*lines, "}\n"])


def quoted(text: str) -> str:
    """A string of the language. A backslash would begin an escape, so it is doubled."""
    plain = printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{plain}"'


def _node(node: Node) -> str:
    rounded = ', style="filled,rounded"' if node.kind == "head" else ""
    return f'{quoted(node.name)} [shape={SHAPES[node.kind]}, fillcolor="{FILLS[node.kind]}"{rounded}];'


def _link(diagram: Diagram, link: Link) -> str:
    share = link.size / diagram.largest if diagram.largest else 0.0
    said = [
        f'color="{colour(link)}"',
        f"penwidth={max(0.4, width(share) * 5 / THICK):.2f}",
        f"tooltip={quoted(f'{link.name}: {link.says}')}",
    ]
    if (link.score or 0) < 0:
        said.append("style=dashed")
    if link.port:
        said.append(f'headlabel="{link.port}", fontcolor="{BRANCH_COLOURS[link.port]}"')
    ends = (quoted(diagram.nodes[end].name) for end in (link.source, link.target))
    return f"  {' -> '.join(ends)} [{', '.join(said)}];"

"""`mi graph`: a circuit or scores in, a picture out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mi.options import Input, Option, Output, Quiet

if TYPE_CHECKING:
    from mi.show.picture.diagram import Diagram

Kind = Literal["svg", "html", "dot", "png"]
KINDS = ("svg", "html", "dot", "png")
DRAWN, SCORED = 2000, 200  # edges that are drawn where nobody says how many: of a circuit, of scores


def graph(
    file: Input = None,
    to: Annotated[
        Kind | None,
        Option("--to", show_default=False, help="Kind of picture; if not given, that of the output's name, else svg."),
    ] = None,
    top: Annotated[
        int | None,
        Option(
            "--top",
            metavar="N",
            min=1,
            show_default=False,
            help="Draw the N edges with the largest scores; the default is 2000 of a circuit and 200 of scores.",
        ),
    ] = None,
    by: Annotated[
        Literal["head", "layer"], Option("--by", help="Draw every head, or the heads of a layer as one.")
    ] = "head",
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """Draw a circuit: layers as ranks, heads and MLPs as boxes, edges as wide as their scores.

    Blue is positive (the edge helps the task), orange and dashed is negative. Queries, keys and values enter a head at
    three places. SVG shows names and scores under the pointer. HTML is one page that needs no network, with a slider
    for the threshold, a search, and bundles of all heads of a layer. DOT is text for Graphviz, which no other format
    needs. PNG needs two packages more (pip install 'mi[png]').

    Examples:

        mi graph circuit.jsonl -o circuit.html

        mi prune --top 100 scores.jsonl | mi graph --to svg > circuit.svg

        mi graph scores.jsonl --top 50 --by layer -o layers.svg
    """
    from mi.io import atomic, stream
    from mi.show.notes import note
    from mi.show.picture import diagram
    from mi.show.picture.kind import kind_of

    wanted = kind_of(to, output, KINDS)
    found = stream.read(file, ("circuit", "scores"))
    drawn = diagram.diagram(found, top or (DRAWN if found.kind == "circuit" else SCORED))
    if len(drawn.links) < drawn.total:
        note(f"drawn are the {len(drawn.links):,} largest of {drawn.total:,} edges; --top N draws more or fewer")
    atomic.content(output, _made(drawn, wanted, by, found.head))


def _made(drawn: Diagram, wanted: str, by: str, head: Mapping[str, Any]) -> bytes:
    from mi.show.picture import network
    from mi.show.picture.diagram import by_layer

    if wanted == "html":
        from mi.show.head import head_table
        from mi.show.picture.page import page

        return page(drawn, by, head_table(head).rows).encode()
    chosen = by_layer(drawn) if by == "layer" else drawn
    if wanted == "dot":
        from mi.show.picture.dot import dot

        return dot(chosen).encode()
    text = network.svg(chosen)
    if wanted == "svg":
        return text.encode()
    from mi.show.picture.png import png

    return png(text)

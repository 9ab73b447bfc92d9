"""`mi plot`: reports, scores, circuits or effects in; a plot out, as a picture or as text."""

from __future__ import annotations

from typing import Annotated, Literal

from mi.options import UNRECORDED, Files, Option, Output, Quiet

What = Literal["curve", "measures", "examples", "histogram", "heads", "map", "roc"]
READS = ("report", "scores", "circuit", "effects")
KINDS = ("svg", "png")


def plot(
    files: Files = None,
    what: Annotated[
        What | None,
        Option("--what", show_default=False, help="What to plot; if not given, what the streams are best seen as."),
    ] = None,
    to: Annotated[
        Literal["svg", "png", "text"] | None,
        Option("--to", show_default=False, help="Kind of picture; if not given, that of the output's name, else svg."),
    ] = None,
    x: Annotated[
        Literal["log", "linear"] | None,
        Option(
            "--x",
            show_default=False,
            help="Axis of circuit sizes of a curve, log if not given; areas are true if linear.",
        ),
    ] = None,
    measure: Annotated[
        list[str] | None,
        Option("--measure", metavar="NAME", show_default=False, help="A measure to show; may be given again."),
    ] = None,
    title: Annotated[
        str | None, UNRECORDED, Option("--title", metavar="TEXT", show_default=False, help="Write TEXT above the plot.")
    ] = None,
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """Plot reports, scores or effects. On a terminal and without -o, the plot is drawn with letters.

    Reports of curves are drawn over each other with their 95 % intervals and the areas CPR and CMD (curve); reports of
    one circuit are compared measure by measure (measures), or example by example (examples); those of mi eval as ROC
    curves (roc). Scores and circuits give the spread of their scores (histogram) or a map of heads (heads), effects of
    mi patch their map (map).

    Examples:

        mi score scores.jsonl -o curve.jsonl && mi plot curve.jsonl -o curve.svg

        mi plot curve.jsonl --x linear --to text

        mi plot scores.jsonl --what heads -o heads.svg
    """
    from mi.io import atomic, stream
    from mi.show.picture import plots
    from mi.show.picture.kind import is_for_a_terminal, kind_of

    kind = "text" if to == "text" or is_for_a_terminal(output, to) else kind_of(to, output, KINDS)
    streams = [stream.read(file, READS) for file in files or ["-"]]
    wanted = plots.wanted(streams, what, title, x, measure or ())
    if kind == "text":
        atomic.text(output, plots.text(wanted, coloured=output is None))
        return
    made = plots.svg(wanted)
    if kind == "png":
        from mi.show.picture.png import png

        atomic.content(output, png(made))
    else:
        atomic.content(output, made.encode())

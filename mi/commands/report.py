"""`mi report`: a circuit, its scores and its reports in, one page for a reviewer out."""

from __future__ import annotations

from typing import Annotated, Literal

from mi.options import UNRECORDED, Files, Option, Output, Quiet

READS = ("circuit", "scores", "report", "effects")


def report(
    files: Files = None,
    findings: Annotated[
        str | None,
        Option(
            "--findings", metavar="FILE", show_default=False, help="Show the verdicts that 'mi check --json' wrote."
        ),
    ] = None,
    title: Annotated[
        str | None, UNRECORDED, Option("--title", metavar="TEXT", show_default=False, help="Write TEXT above it all.")
    ] = None,
    to: Annotated[
        Literal["html", "text"] | None,
        Option("--to", show_default=False, help="A page, or tables; on a terminal tables, else a page."),
    ] = None,
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """Put a circuit and what was measured of it on one page that a reviewer can read.

    Give a circuit, the scores that it was chosen from, and any number of reports, in any order. First stands what must
    be known before believing the numbers: examples that chose the circuit and judge it, too few of them, wide
    intervals, edges that other examples would not choose, numbers that are undetermined, another model, a history that
    cannot be told. Then the numbers with their intervals and what they mean, verdicts, the picture of the circuit, the
    curve, the tests of mi score --test, how stable the choice is, and the commands that made each stream.

    The page is one file that needs no network, and nothing that a stream says is run in it.

    Examples:

        mi report circuit.jsonl scores.jsonl report.jsonl -o report.html

        mi score circuit.jsonl --test sufficiency --random 20 | mi report --to text

        mi check report.jsonl --min faithfulness=0.5 --json -o checks.jsonl

        mi report circuit.jsonl report.jsonl --findings checks.jsonl -o report.html
    """
    from mi.io import atomic, stream
    from mi.show import table
    from mi.show.picture import review
    from mi.show.picture.kind import is_for_a_terminal, kind_of

    on_terminal = is_for_a_terminal(output, to)
    kind = "text" if on_terminal or to == "text" else kind_of(to, output, ("html",), default="html")
    checks = review.findings(findings) if findings else ()
    of = review.review([stream.read(file, READS) for file in files or ["-"]], title, checks)
    if kind == "html":
        atomic.content(output, review.html(of).encode())
        return
    draw = table.drawn if on_terminal else table.plain
    atomic.text(output, "\n".join(draw(each) for each in review.text_tables(of)))

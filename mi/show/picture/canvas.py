"""SVG as text. Numbers, names and elements in, escaped text out; and what pictures share: colours, letters, the frame.

Names and prompts come from streams that somebody else may have written: every text passes `safe`, in which nothing is
markup and nothing is a character that XML forbids.
"""

from __future__ import annotations

from collections.abc import Iterable

from mi.errors import printable

# Okabe and Ito's colours, which are told apart with any kind of colour blindness; signs differ in their dash too.
POSITIVE, NEGATIVE, UNSCORED = "#0072b2", "#d55e00", "#777777"
INK, DIM, FAINT, PAPER = "#1a1a1a", "#5a5a5a", "#dddddd", "#ffffff"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "12 4", "1 2")  # lines differ in more than their colour
BRANCH_COLOURS = {"q": "#cc79a7", "k": "#009e73", "v": "#e69f00"}

LETTER = 6.7  # pixels of one letter at 11 px: the widest of the fonts below
FONT = "ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace"
STYLE = f"text{{font:11px {FONT};fill:{INK}}}.t{{font-size:14px;font-weight:600}}.s{{font-size:9px}}.d{{fill:{DIM}}}"
BOLD = ".b{font-weight:600}"
ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


def safe(text: object) -> str:
    """Text between tags or in quotes."""
    return printable(str(text)).translate(ESCAPED)


def figure(value: float) -> str:
    """A coordinate: at most one decimal, no minus zero."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def element(name: str, *children: str, **attributes: object) -> str:
    """`stroke_width=2` becomes stroke-width="2"; None leaves an attribute out; children are markup already."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{figure(value) if isinstance(value, float) else safe(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{''.join(children)}</{name}>" if children else f"<{name}{written}/>"


def words(x: float, y: float, text: object, kind: str = "", anchor: str | None = None, **more: object) -> str:
    """One line of text; `kind`: t a title, s small, d dim."""
    return element("text", safe(text), class_=kind or None, x=x, y=y, text_anchor=anchor, **more)


def line(x1: float, y1: float, x2: float, y2: float, colour: str = INK, **more: object) -> str:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, **more)


def hint(text: object) -> str:
    """What is shown while the pointer rests on an element."""
    return f"<title>{safe(text)}</title>"


def width_of(text: object, size: float = 11) -> float:
    """Pixels, an upper bound."""
    return len(printable(str(text))) * LETTER * size / 11


def cut(text: str, width: float, size: float = 11) -> str:
    """As much of a text as fits."""
    room = max(1, int(width / (LETTER * size / 11)))
    return text if len(text) <= room else text[: room - 1] + "…"


def wrapped(text: str, width: float, size: float = 11) -> list[str]:
    """A text as lines that fit; words that are longer than a line are broken."""
    import textwrap

    return textwrap.wrap(text, max(8, int(width / (LETTER * size / 11)))) or [""]


def document(width: float, height: float, title: str, about: str, body: Iterable[str], style: str = "") -> str:
    """The file: a white sheet, which says in words what it shows to those who do not see it."""
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
                f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{safe(title)}">'
            ),
            f"<desc>{safe(about)}</desc>",
            f"<style>{STYLE}{style}</style>",
            f'<path d="M0 0h{width:.0f}v{height:.0f}H0z" fill="{PAPER}"/>',
            *body,
            "</svg>\n",
        ]
    )

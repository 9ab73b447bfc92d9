"""An SVG picture as PNG: text in, bytes out, by resvg, with the font that comes with the package, so that a machine
without any font draws the same picture."""

from __future__ import annotations

import re
from pathlib import Path

from mi.errors import MiError, RunError

FONTS = Path(__file__).parent / "font"
FAMILY = "DejaVu Sans Mono"
SHARP = 2.0  # pixels of the file for one of the picture
MOST = 12_000  # pixels from edge to edge


def png(svg: str) -> bytes:
    """Letters that the font lacks, as of Chinese, are taken from the fonts of the system.

    Raises:
        MiError: resvg is not installed.
    """
    try:
        import resvg_py
    except ImportError as error:
        raise MiError(
            "a PNG needs the package resvg-py, which is not here", "pip install 'mi[png]', or write SVG: -o FILE.svg"
        ) from error
    sides = re.search(r'width="(\d+)" height="(\d+)"', svg)
    zoom = min(SHARP, MOST / max(map(int, sides.groups()))) if sides else SHARP
    try:
        made = resvg_py.svg_to_bytes(
            svg_string=svg,
            zoom=zoom,
            skip_system_fonts=_is_covered(svg),
            font_dirs=[str(FONTS)],
            font_family=FAMILY,
            monospace_family=FAMILY,
            sans_serif_family=FAMILY,
        )
    except ValueError as error:
        raise RunError(f"resvg cannot draw the picture: {error}", "write SVG: -o FILE.svg") from error
    return bytes(made)


def _is_covered(text: str) -> bool:
    """Whether Latin, Greek, arrows and signs are all that is there."""
    return all(c < "\u0180" or "\u0391" <= c <= "\u03c9" or "\u2010" <= c <= "\u25ff" for c in text)

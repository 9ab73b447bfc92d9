"""An SVG picture as PNG: text in, bytes out, by resvg, with the font that comes with the package, so that a machine
without any font draws the same picture. A file is under a megabyte: a picture that would be larger has fewer colours,
and where that is not enough, fewer pixels."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

from mi.errors import MiError, RunError

FONTS = Path(__file__).parent / "font"
FAMILY = "DejaVu Sans Mono"
SHARP = 2.0  # pixels of the file for one of the picture
MOST = 12_000  # pixels from edge to edge
LARGEST = 1_000_000  # bytes
SAVED = 3.0  # at least so many times smaller is a picture of few colours


def png(svg: str) -> bytes:
    """Letters that the font lacks, as of Chinese, are taken from the fonts of the system.

    Raises:
        MiError: resvg or Pillow is not installed.
    """
    sides = re.search(r'width="(\d+)" height="(\d+)"', svg)
    zoom = min(SHARP, MOST / max(map(int, sides.groups()))) if sides else SHARP
    made = _drawn(svg, zoom)
    if len(made) <= LARGEST:
        return made
    zoom *= min(1.0, math.sqrt(SAVED * LARGEST / len(made)))
    while len(made) > LARGEST:
        made = _of_few_colours(_drawn(svg, zoom))
        zoom *= 0.85
    return made


def _drawn(svg: str, zoom: float) -> bytes:
    try:
        import resvg_py
    except ImportError as error:
        raise _lacks("resvg-py") from error
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


def _of_few_colours(png: bytes) -> bytes:
    try:
        from PIL import Image
    except ImportError as error:
        raise _lacks("Pillow") from error
    # An octree keeps the thin coloured lines, which a median cut takes for the grey between them.
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    out = io.BytesIO()
    picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def _lacks(package: str) -> MiError:
    return MiError(
        f"this PNG needs the package {package}, which is not here", "pip install 'mi[png]', or write SVG: -o FILE.svg"
    )


def _is_covered(text: str) -> bool:
    """Whether Latin, Greek, arrows and signs are all that is there."""
    return all(c < "\u0180" or "\u0391" <= c <= "\u03c9" or "\u2010" <= c <= "\u25ff" for c in text)

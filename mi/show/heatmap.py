"""A map of places, as of effects: head and records of an `effects` stream in; a table with coloured cells or an SVG
picture out. `mi/show/heads.py` draws scores of heads by the same grid.

What a cell says is the share of the difference between the runs (or the effect itself, where there is no share). Blue
is positive: the place carries what the clean prompt has. White is nothing; the largest effect has the full colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mi.show.numbers import number
from mi.show.picture.canvas import safe
from mi.show.table import Column, Table

Record = Mapping[str, Any]
QUIET = 0.02  # of the largest effect: less leaves a cell without colour
NOISE = 5e-4  # of the largest effect: less is not written out as a number
BLUE, RED, WHITE = (33, 102, 172), (178, 24, 43), (255, 255, 255)
SITES = {
    "resid_pre": "residual stream before a layer",
    "resid_mid": "residual stream between attention and MLP",
    "resid_post": "residual stream after a layer",
    "attn_out": "output of attention",
    "mlp_out": "output of the MLP",
    "z": "output of a head (z)",
    "q": "queries",
    "k": "keys",
    "v": "values",
}


@dataclass(frozen=True)
class Grid:
    """Cells by row and column, with what stands at the edges. None: there is no record of that place."""

    rows: Sequence[str]
    columns: Sequence[str]
    row_axis: str
    column_axis: str
    cells: Sequence[Sequence[Record | None]]
    measure: str  # the field that is drawn: normalised or effect
    what: str = "effect"

    @property
    def largest(self) -> float:
        return max((abs(cell[self.measure]) for row in self.cells for cell in row if cell), default=0.0)

    def heat(self, cell: Record | None) -> float:
        """From -1 to 1."""
        return cell[self.measure] / self.largest if cell and self.largest > 0 else 0.0


def grid(head: Mapping[str, Any], records: Sequence[Record]) -> Grid:
    """The map of a stream. Tokens run down and layers across; heads run down where positions run across."""
    by = str(head.get("patching", {}).get("by", "layer,position"))
    tokens = head.get("patching", {}).get("tokens") or []
    measure = "normalised" if records and all("normalised" in record for record in records) else "effect"
    row_of, column_of, row_axis, column_axis = {
        "layer,position": (_position, _layer, "token", "layer"),
        "head,position": (_head, _position, "head", "position"),
        "layer,head": (_layer, _only_head, "layer", "head"),
        "layer": (_layer, lambda record: 0, "layer", ""),
        "site": (_site, lambda record: 0, "site", ""),
        "site,position": (_site, _position, "site", "position"),
    }[by if by in ("layer,position", "head,position", "layer,head", "site", "site,position") else "layer"]
    rows, columns = sorted({row_of(r) for r in records}), sorted({column_of(r) for r in records})
    if row_axis == "site":  # in the order of a run, as the stream has them
        rows = list(dict.fromkeys(row_of(r) for r in records))
    found = {(row_of(record), column_of(record)): record for record in records}
    heads = head.get("graph", {}).get("params", {}).get("n_heads", 0)
    shared = all("head" in r for r in records) and len({r["head"] for r in records}) < heads
    name = "kv" if shared else "h"  # keys and values that several heads share
    label = {"token": _token(tokens), "position": _token(tokens), "head": lambda key: f"a{key[0]}.{name}{key[1]}"}
    return Grid(
        [label.get(row_axis, str)(key) for key in rows],
        [label[column_axis](key) if column_axis == "position" else str(key) for key in columns]
        if column_axis
        else ["all"],
        row_axis,
        column_axis,
        [[found.get((row, column)) for column in columns] for row in rows],
        measure,
    )


def _layer(record: Record) -> Any:
    return record["layer"]


def _site(record: Record) -> Any:
    return record["site"]


def _position(record: Record) -> Any:
    return record["position"]


def _only_head(record: Record) -> Any:
    return record["head"]


def _head(record: Record) -> Any:
    return (record["layer"], record["head"])


def _token(tokens: Sequence[str]) -> Any:
    """The label of a position: its number, and the token there where one is known."""

    def label(position: int) -> str:
        text = tokens[position].strip().replace("\n", "\\n") if position < len(tokens) else ""
        return f"{position} {text}".rstrip()

    return label


def about(head: Mapping[str, Any]) -> str:
    """What was patched, in one line."""
    said = head.get("patching", {})
    way = {
        "noising": "corrupted activations in the clean run",
        "denoising": "clean activations in the corrupted run",
    }.get(str(said.get("direction")), "")
    runs = ""
    if "clean" in said and "corrupted" in said:
        runs = f"{said.get('metric')} {number(said['clean'])} clean, {number(said['corrupted'])} corrupted"
    return "; ".join(filter(None, (SITES.get(str(said.get("site")), str(said.get("site", ""))), way, runs)))


# The table


def heat_tables(title: str, head: Mapping[str, Any], records: Sequence[Record], top: int | None) -> list[Table]:
    """The map as a table: numbers for every eye, colours on a terminal."""
    if not records:
        return [Table([], [], title, notes=("0 places",))]
    drawn = grid(head, records)
    unit = "% of the difference between the runs" if drawn.measure == "normalised" else "mean effect on the metric"
    return [grid_table(title, drawn, filter(None, [about(head)]), unit, len(records), top)]


def grid_table(title: str, drawn: Grid, said: Iterable[str], unit: str, places: int, top: int | None = None) -> Table:
    """Any grid as a table. `said`: lines below it; `unit`: what a figure is."""
    shown = range(len(drawn.rows))[:top]
    short = [column.split(" ")[0] for column in drawn.columns]
    columns = [Column(drawn.row_axis), *(Column(name, right=True) for name in short)]
    percent = drawn.measure == "normalised"
    rows = [[drawn.rows[r], *(_figure(cell, drawn, percent) for cell in drawn.cells[r])] for r in shown]
    heat = [[None, *(drawn.heat(cell) for cell in drawn.cells[r])] for r in shown]
    notes = [*said]
    across = f", {drawn.column_axis}s across" if drawn.column_axis else ""
    notes.append(f"{unit}{across}; {len(shown)} of {len(drawn.rows)} {drawn.row_axis}s, {places:,} places")
    if drawn.column_axis == "position" and any(" " in column for column in drawn.columns):
        notes.append("positions: " + ", ".join(drawn.columns))
    return Table(columns, rows, title, notes, heat)


def _figure(cell: Record | None, drawn: Grid, percent: bool) -> str:
    if cell is None:
        return ""
    if percent:
        rounded = round(100 * cell[drawn.measure])
        return str(rounded or 0)
    value = cell[drawn.measure]
    return f"{value:.2g}" if abs(value) > NOISE * drawn.largest else "0"


def painted(table: Table, width: int) -> str:
    """The table for a terminal of that width: cells side by side on their colour, without figures where these have no
    room. A cell that says nothing keeps the terminal's own colour."""
    from rich.console import Console
    from rich.text import Text

    console = Console(width=max(width, 20), force_terminal=True, highlight=False)
    label = max(len(name) for name in (table.columns[0].name, *(row[0] for row in table.rows)))
    names = [column.name for column in table.columns[1:]]
    room = 2 + max(len(cell) for row in (names, *(row[1:] for row in table.rows)) for cell in row)
    figures = console.no_color or label + len(names) * room <= width
    if not figures:
        room = max(1, min(2, (width - label) // len(names)))
        names = [name.ljust(5 * room) for name in names[::5]]  # every fifth, where there is no room for all
    head = Text(table.columns[0].name.ljust(label), style="dim")
    head.append("".join(f"{name} ".rjust(room) for name in names) if figures else f" {''.join(names)}")
    lines = [head]
    for row, heats in zip(table.rows, table.heat, strict=True):
        line = Text(f"{row[0].ljust(label)}{'' if figures else ' '}")
        for cell, heat in zip(row[1:], heats[1:], strict=True):
            loud = heat is not None and abs(heat) >= QUIET
            style = f"{ink(heat)} on {colour(heat)}" if loud and heat is not None else "dim"
            line.append(f"{cell} ".rjust(room) if figures else " " * room, style=style)
        lines.append(line)
    with console.capture() as capture:
        console.print(Text(table.title, style="bold"))
        for line in lines:
            console.print(line, overflow="crop", no_wrap=True)
        for text in table.notes:
            console.print(Text(text, style="dim"))
    return capture.get()


# Colours


def colour(heat: float) -> str:
    """#rrggbb: white at 0, blue at 1, red at -1."""
    end, part = (BLUE if heat >= 0 else RED), min(1.0, abs(heat)) ** 0.8
    mixed = (round(a + (b - a) * part) for a, b in zip(WHITE, end, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def ink(heat: float) -> str:
    """What can be read on that colour."""
    return "#ffffff" if abs(heat) > 0.55 else "#000000"


# The picture

CELL, FIGURES_IN, LETTER, LINE = 26, 24, 6.7, 16  # pixels; cells carry figures up to so many columns
STYLE = (
    "text{font:11px ui-monospace,Menlo,Consolas,monospace;fill:#222}.t{font-size:13px}.n{font-size:10px}.a{fill:#555}"
)


def svg(title: str, head: Mapping[str, Any], records: Sequence[Record]) -> str:
    """The map as one SVG file: no scripts, no fonts of its own, every cell with its numbers as a tooltip."""
    return picture(title, about(head), grid(head, records))


def picture(title: str, below: str, drawn: Grid) -> str:
    """Any grid, with its title and a line below that."""
    n_rows, n_columns = len(drawn.rows), len(drawn.columns)
    figures = n_columns <= FIGURES_IN
    high = CELL if n_rows <= 60 else 14
    percent = drawn.measure == "normalised"
    longest = max(len(_figure(cell, drawn, percent)) for row in drawn.cells for cell in row)
    wide = max(CELL + 6, 8 + round(LETTER * 10 / 11 * longest)) if figures else 14
    turned = max(map(len, drawn.columns)) > 3
    left = 14 + LETTER * max(map(len, [drawn.row_axis, *drawn.rows]))
    header = (LETTER * max(map(len, drawn.columns)) if turned else LINE) + 8
    top = 52 + header
    width = max(left + n_columns * wide + 90, 20 + 7.8 * len(title), 20 + LETTER * len(below))
    height = top + max(n_rows * high, 140) + 40
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{safe(title)}">'
        ),
        f"<style>{STYLE}</style>",
        f'<rect width="100%" height="100%" fill="#fff"/><text class="t" x="10" y="20">{safe(title)}</text>',
        f'<text class="a" x="10" y="38">{safe(below)}</text>',
        f'<text class="a" x="{left - 8:.1f}" y="{top - 8:.1f}" text-anchor="end">{safe(drawn.row_axis)}</text>',
        f'<text class="a" x="{left:.1f}" y="{top + n_rows * high + 20:.1f}">{safe(drawn.column_axis)}</text>',
    ]
    for column, name in enumerate(drawn.columns):
        x = left + (column + 0.5) * wide
        turn = f' transform="rotate(-90 {x + 4:.1f} {top - 8:.1f})" x="{x + 4:.1f}"' if turned else f' x="{x:.1f}"'
        anchor = "start" if turned else "middle"
        parts.append(f'<text{turn} y="{top - 8:.1f}" text-anchor="{anchor}">{safe(name)}</text>')
    for row, name in enumerate(drawn.rows):
        y = top + row * high
        parts.append(f'<text x="{left - 8:.1f}" y="{y + high / 2 + 4:.1f}" text-anchor="end">{safe(name)}</text>')
        for column, cell in enumerate(drawn.cells[row]):
            parts += _square(drawn, cell, (row, column), (left + column * wide, y, wide, high), figures)
    parts += _scale(drawn, left + n_columns * wide + 24, top)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _square(
    drawn: Grid,
    cell: Record | None,
    place: tuple[int, int],
    box: tuple[float, float, float, float],
    figures: bool,
) -> list[str]:
    if cell is None:
        return []
    x, y, wide, high = box
    heat = drawn.heat(cell)
    says = (
        f"{drawn.rows[place[0]]}, {drawn.column_axis} {drawn.columns[place[1]]}: {drawn.what} {number(cell['effect'])}"
    )
    if "se" in cell:
        says += f" ± {number(cell['se'], 2)}"
    if "normalised" in cell:
        says += f", {100 * cell['normalised']:.1f} % of the difference"
    made = [
        (
            f'<g><title>{safe(says)}</title><rect x="{x:.1f}" y="{y:.1f}" width="{wide}" height="{high}" '
            f'fill="{colour(heat)}" stroke="#e4e4e4" stroke-width=".5"/>'
        )
    ]
    text = _figure(cell, drawn, drawn.measure == "normalised")
    if figures and high == CELL and text != "0":  # a white cell says nothing twice
        made.append(
            f'<text class="n" x="{x + wide / 2:.1f}" y="{y + high / 2 + 4:.1f}" text-anchor="middle" '
            f'style="fill:{ink(heat)}">{text}</text>'
        )
    return ["".join([*made, "</g>"])]


def _scale(drawn: Grid, x: float, y: float) -> list[str]:
    """The bar that says which colour means how much."""
    steps, tall = 20, 120
    parts = [
        (
            f'<rect x="{x:.1f}" y="{y + step * tall / steps:.1f}" width="12" height="{tall / steps + 0.5:.1f}" '
            f'fill="{colour(1 - 2 * (step + 0.5) / steps)}"/>'
        )
        for step in range(steps)
    ]
    for part in (1.0, 0.0, -1.0):
        value = part * drawn.largest
        text = f"{100 * value:.0f} %" if drawn.measure == "normalised" else f"{value:.2g}"
        parts.append(f'<text x="{x + 16:.1f}" y="{y + (1 - part) / 2 * tall + 4:.1f}">{text}</text>')
    return parts

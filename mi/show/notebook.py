"""Streams in a notebook: a path in; data frames, graphs, tensors and a small page of HTML out.

circuit = mi.load("circuit.jsonl")
circuit.pandas().nlargest(10, "score")
circuit.networkx()

pandas, networkx and torch are imported when they are asked for; mi itself needs none of them here.
"""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mi.circuit.names import parse
from mi.errors import MiError
from mi.io import stream
from mi.io.load import Artifact
from mi.io.tensors import BF16
from mi.show.receivers import shared_receivers

if TYPE_CHECKING:
    import networkx
    import pandas
    import torch

    from mi.show.records import Shown
    from mi.show.table import Table

SCORED = ("scores", "circuit")
ROWS = 10  # of a table in a notebook


@dataclass(frozen=True, repr=False)
class Loaded(Artifact):
    """A verified stream, with the forms in which notebooks like it."""

    def pandas(self, part: str | None = None) -> pandas.DataFrame:
        """A data frame with a row per edge, node, example or summary.

        Scores and circuits: one row for each edge (`src`, `dst`), node or neuron, with its score and where it is known
        its standard error. Reports: the summaries, or the examples with `part="examples"`. Anything else: the records,
        a field a column, fields of fields joined by a point.
        """
        frame = _library("pandas").DataFrame
        if self.kind in SCORED:
            scored = self._scored()
            rows = scored.records()
            if scored.standard_error is not None:
                rows = [{**row, "se": float(se)} for row, se in zip(rows, scored.standard_error.ravel(), strict=True)]
            return frame(rows)
        return frame([_flat(record) for record in self._part(part)])

    def _part(self, part: str | None) -> Iterable[Mapping[str, Any]]:
        if part not in (None, "summaries", "examples"):
            raise MiError(f"a stream has no part {part!r}", "parts of a report are summaries and examples")
        if self.kind != "report":
            return self.records
        summaries = part != "examples"
        return [record for record in self.records if ("summary" in record) == summaries]

    def networkx(self) -> networkx.MultiDiGraph:
        """The edges as a directed graph: several edges join two nodes where a head reads with q, k and v, and an edge
        into a receiver that heads share goes to each of them, with the same name.

        A node has `layer` and `head` where its name says them; an edge its `score`, its `branch` and its `name`.
        """
        graph = _library("networkx").MultiDiGraph()
        if self.kind not in SCORED:
            raise MiError(
                f"a stream of kind {self.kind} is no graph", "scores and circuits are", place=self.stream.origin
            )
        shared = shared_receivers(self.head)
        for record in self._scored().records():
            if "src" not in record:
                graph.add_node(record["node"], score=record.get("score"), **_place(record["node"]))
                continue
            receiver = parse(record["dst"])
            name = f"{record['src']}->{record['dst']}"
            said = {key: value for key, value in record.items() if key not in ("src", "dst")}
            for target in shared.get(record["dst"], [str(receiver.node)]):
                for node in (record["src"], target):
                    if node not in graph:
                        graph.add_node(node, **_place(node))
                graph.add_edge(record["src"], target, key=receiver.branch, branch=receiver.branch, name=name, **said)
        return graph

    def torch(self, name: str) -> torch.Tensor:
        """One tensor, named as for `numpy`. bfloat16 stays bfloat16."""
        library = _library("torch")
        array = self.array(name)
        if isinstance(array, BF16):
            return library.from_numpy(array.bits.view("int16").copy()).view(library.bfloat16)
        return library.from_numpy(array.copy())  # a view of what was read could not be written to

    def _scored(self) -> Any:
        from mi.show.edges import edges_of

        shown = self._shown()
        return edges_of(self.head, self.records, shown.tensors if "scores" in shown.blobs else None)

    def _shown(self) -> Shown:
        from mi.show.output import shown

        return shown(self.head, self.records, self.stream.blobs)

    def _repr_html_(self) -> str:
        """What a notebook shows: the tables that a terminal is shown, and the commands that made the stream."""
        from mi.io import chain
        from mi.show.records import Wanted, tables

        parts = [_table(table) for table in tables(self._shown(), Wanted(ROWS))]
        if made := chain.pipeline(self.head):
            parts.append(f"<p><code>{html.escape(made)}</code></p>")
        return "<div>" + "".join(parts) + "</div>"


def load(path: str | os.PathLike[str]) -> Loaded:
    """Read a stream of any kind and verify every byte of it."""
    return Loaded(stream.read(os.fspath(path), ()))


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        if error.name != name:
            raise
        raise MiError(f"{name} is not installed", f"pip install {name}") from None


def _flat(record: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Fields of fields as fields: `baseline.clean`."""
    made: dict[str, Any] = {}
    for key, value in record.items():
        made |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return made


def _place(node: str) -> dict[str, int]:
    """Layer and head of a node of a transformer."""
    part, _, head = node.partition(".h")
    made = {"layer": int(part[1:])} if part[:1] in ("a", "m") and part[1:].isdigit() else {}
    return {**made, "head": int(head)} if made and head.isdigit() else made


def _table(table: Table) -> str:
    def row(cells: Iterable[str], tag: str) -> str:
        aligned = zip(cells, table.columns, strict=True)
        style = {True: ' style="text-align:right"', False: ' style="text-align:left"'}
        return "<tr>" + "".join(f"<{tag}{style[c.right]}>{html.escape(cell)}</{tag}>" for cell, c in aligned) + "</tr>"

    body = "".join(row(cells, "td") for cells in table.rows)
    head = row([column.name for column in table.columns], "th") if table.columns else ""
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in table.notes)
    return f"<p><b>{html.escape(table.title)}</b></p><table>{head}{body}</table>{notes}"

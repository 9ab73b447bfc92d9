"""Circuits that are known: a file in, the true edges of a graph out.

Three kinds of file say which edges are true: a circuit stream; JSON with `true_edges`, a list of names, or one such
list under each of several keys (one for each counterfactual); and a graph of the MIB benchmark, whose edges carry
`in_graph` flags (spec A7, D4).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mi.circuit import reading
from mi.circuit.graph import Graph
from mi.circuit.names import ARROW
from mi.circuit.transformer import contradicted
from mi.errors import MiError
from mi.io import canonical, stream


@dataclass(frozen=True, eq=False)
class Truth:
    """Which edges are true, bool [E], where that was read, and what the file says of how it was found out."""

    edges: np.ndarray
    sha256: str
    key: str | None = None
    keys: tuple[str, ...] = ()  # of the file, where it holds a truth for each of several
    about: Mapping[str, Any] = field(default_factory=dict)


def read(path: str | Path, graph: Graph, key: str | None = None, likely: str | None = None) -> Truth:
    """The truth of a file. `key` chooses among several; `likely` is the one to take if it is there and none is named.

    Raises:
        MiError: the file is none of the three kinds, is about another graph, or names an edge that the graph lacks.
    """
    place = str(path)
    with stream.open_file(place) as f:
        data = f.read()
    sha = canonical.sha256(data)
    if b'"mi"' in data.split(b"\n", 1)[0]:
        _refuse_key(key, place, "a circuit stream")
        return Truth(_of_stream(place, graph), sha)
    try:
        value = json.loads(data)
    except ValueError as error:
        raise MiError(f"neither a stream nor JSON: {error}", _EXPECTED, place=place) from None
    if isinstance(value, dict) and isinstance(value.get("edges"), dict):
        _refuse_key(key, place, "a graph of the MIB benchmark")
        return Truth(_of_mib(value, graph, place), sha)
    chosen, row = _row(value, key, likely, place)
    if row.get("n_edges", graph.n_edges) != graph.n_edges:
        raise _other_graph(f"it is about a graph of {row['n_edges']} edges", graph, place)
    about = {name: row[name] for name in ("task", "metric", "ablation") if isinstance(row.get(name), str)}
    keys = () if chosen is None else tuple(value)
    return Truth(_by_name(row["true_edges"], graph, place), sha, chosen, keys, about)


_EXPECTED = "a truth is a circuit stream, JSON with `true_edges`, or a graph of the MIB benchmark"


def _refuse_key(key: str | None, place: str, what: str) -> None:
    if key is not None:
        raise MiError(f"{what} holds one truth only", "leave --key away", place=place)


def _of_stream(path: str, graph: Graph) -> np.ndarray:
    found = stream.read(path, ("circuit",))
    own = reading.graph_of(found)
    if own.digest != graph.digest:
        raise _other_graph(f"the circuit's graph is {own.describe()}", graph, path)
    return reading.circuit_of(found, graph)


def _of_mib(value: Mapping[str, Any], graph: Graph, place: str) -> np.ndarray:
    """Edges that the file leaves out are not in the circuit, as in the benchmark's own reader."""
    cfg = value.get("cfg")
    if isinstance(cfg, dict) and (wrong := contradicted(graph, cfg)):
        raise _other_graph(f"its {wrong} is {cfg[wrong]}", graph, place)
    flags = {name: _flag(name, edge, place) for name, edge in value["edges"].items()}
    _by_name(list(flags), graph, place)  # a name that the graph lacks is a fault, whatever its flag
    return _by_name([name for name, flag in flags.items() if flag], graph, place)


def _flag(name: str, edge: Any, place: str) -> bool:
    if not isinstance(edge, dict) or not isinstance(edge.get("in_graph"), bool):
        raise MiError(f"the edge {name} has no in_graph flag", _EXPECTED, place=place)
    return bool(edge["in_graph"])


def _row(value: Any, key: str | None, likely: str | None, place: str) -> tuple[str | None, Mapping[str, Any]]:
    """The key and the entry that it stands for."""
    if _is_row(value):
        _refuse_key(key, place, "this file")
        return None, value
    if not isinstance(value, dict) or not value or not all(_is_row(row) for row in value.values()):
        raise MiError("says of no edge that it is true", _EXPECTED, place=place)
    keys = ", ".join(value)
    if key is not None and key not in value:
        raise MiError(f"holds no truth {key!r}", f"--key is one of {keys}", place=place)
    chosen = key or (likely if likely in value else next(iter(value)) if len(value) == 1 else None)
    if chosen is None:
        raise MiError(f"holds {len(value)} truths: {keys}", "choose one with --key", place=place)
    return chosen, value[chosen]


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("true_edges"), list)


def _by_name(names: Sequence[Any], graph: Graph, place: str) -> np.ndarray:
    parts = [str(name).partition(ARROW) for name in names]
    found = graph.find([source for source, _, _ in parts], [receiver for _, _, receiver in parts])
    missing = np.flatnonzero(found < 0)
    if len(missing):
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise _other_graph(f"{names[missing[0]]}{more} is no edge of it", graph, place)
    true = np.zeros(graph.n_edges, dtype=bool)
    true[found] = True
    return true


def _other_graph(fact: str, graph: Graph, place: str) -> MiError:
    return MiError(
        f"the truth is about another graph: {fact}; the scores' graph is {graph.describe()}",
        "scores and truth must belong to one model",
        place=place,
    )

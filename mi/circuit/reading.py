"""Graph and scored edges of a stream: a verified stream in, tables and vectors out.

A `scores` stream holds one vector in a blob; after a filter such as jq it holds a record per edge instead, and a
`circuit` always does. Edges that the records do not list may not be chosen. Errors name the line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mi.circuit.graph import Graph, from_head
from mi.circuit.select import check_scores
from mi.errors import MiError
from mi.io import blobs
from mi.io.blobs import BF16, Array
from mi.io.stream import Stream


@dataclass(frozen=True)
class Scored:
    """Scores in edge order. `listed` and `records` are there where the stream has a record per edge."""

    scores: np.ndarray  # float [E]; 0 where no record lists the edge
    listed: np.ndarray | None = None  # bool [E]
    records: dict[int, dict[str, Any]] | None = None  # by edge, with every field that the stream had


def graph_of(stream: Stream) -> Graph:
    """The graph that the head names, rebuilt and checked against its digest."""
    table = {key: _plain(a) for name in graph_blobs(stream) for key, a in blobs.load(stream, name).items()}
    try:
        return from_head(stream.head["graph"], table or None)
    except MiError as error:
        raise MiError(error.fact, error.hint, place=stream.origin) from error


def graph_blobs(stream: Stream) -> list[str]:
    """The blobs that hold the graph's table: one for an explicit graph, none for a graph that is built."""
    graph = stream.head["graph"]
    return [str(graph.get("blob"))] if graph.get("builder") == "explicit" else []


def edges_of(stream: Stream, graph: Graph) -> np.ndarray:
    """The edge that each record names, int64 [n]; refuses unknown edges and edges named twice."""
    for index, record in enumerate(stream.records):
        if not isinstance(record.get("src"), str) or not isinstance(record.get("dst"), str):
            raise MiError("the record names no edge", "this mi prunes edges, not nodes", place=stream.place(index))
    edges = graph.find([r["src"] for r in stream.records], [r["dst"] for r in stream.records])
    unknown = np.flatnonzero(edges < 0)
    if len(unknown):
        record = stream.records[unknown[0]]
        raise MiError(
            f"{record['src']}->{record['dst']} is no edge of this graph ({graph.describe()})",
            "the records belong to another graph, or were edited",
            place=stream.place(int(unknown[0])),
        )
    first = np.unique(edges, return_index=True)[1]
    if len(first) < len(edges):
        again = int(np.setdiff1d(np.arange(len(edges)), first)[0])
        raise MiError(f"{graph.edge_name(int(edges[again]))} is listed twice", place=stream.place(again))
    return edges


def circuit_of(stream: Stream, graph: Graph) -> np.ndarray:
    """The edges of a circuit stream, bool [E]."""
    mask = np.zeros(graph.n_edges, dtype=bool)
    mask[edges_of(stream, graph)] = True
    return mask


def scored_edges(stream: Stream, graph: Graph) -> Scored:
    """The scores of a stream, from its records where it has any, else from its blob."""
    if stream.records or stream.kind == "circuit":
        return _from_records(stream, graph)
    if "scores" not in stream.blobs:
        raise MiError(
            "the stream holds no scores: neither a blob nor a record of an edge",
            "`mi view --json FILE` lists scored edges; did a filter take them all?",
            place=stream.origin,
        )
    arrays = blobs.load(stream, "scores")
    if "edge" not in arrays:
        held = ", ".join(sorted(arrays)) or "nothing"
        raise MiError(f"the scores are not scores of edges (the blob holds {held})", place=stream.origin)
    scores = _plain(arrays["edge"])
    check_scores(graph, scores, place=stream.origin)
    return Scored(scores)


def _plain(array: Array) -> np.ndarray:
    return array.float32() if isinstance(array, BF16) else array


def _from_records(stream: Stream, graph: Graph) -> Scored:
    edges = edges_of(stream, graph)
    scores = np.zeros(graph.n_edges, dtype=np.float64)
    for index, (edge, record) in enumerate(zip(edges.tolist(), stream.records, strict=True)):
        try:
            scores[edge] = float(record["score"])
        except (KeyError, TypeError) as error:
            raise MiError(
                f"{graph.edge_name(edge)} has no score", "ranking needs a finite number", place=stream.place(index)
            ) from error
    listed = np.zeros(graph.n_edges, dtype=bool)
    listed[edges] = True
    return Scored(scores, listed, dict(zip(edges.tolist(), stream.records, strict=True)))

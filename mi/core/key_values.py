"""Which receivers a model's heads read keys and values with: one of each for every query head, or one of each for the
heads that share a key and a value head of the model (`--kv`, spec A3).

    query:    a3.h4<k>, a3.h5<k>, ...    the graph of every benchmark
    grouped:  a3.kv2<k>                  fewer edges; the gradient at it is the sum of theirs

Whatever runs a model runs it with a key and a value of each query head's own (`receivers`). In a grouped graph those
of one group stand in one column of the table (`layout`): an edge is kept, gated and patched in all of them at once, and
gradients there add up. Flows in: a model, with the graph that a stream is of. Flows out: the model with that graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mi.circuit.transformer import shares_receivers, transformer_graph
from mi.core.model import Model
from mi.errors import MiError


def grouped(model: Model) -> Model:
    """The model with a key and a value receiver for each group of heads; where no heads share any, as it is."""
    adapter = model.adapter
    graph = transformer_graph(
        adapter.n_layers, adapter.n_heads, adapter.roles.parallel, adapter.d_model, n_kv_heads=adapter.n_kv_heads
    )
    return replace(model, graph=graph)


def as_asked(model: Model, kv: str | None, of_stream: Mapping[str, Any] | None, name: str) -> Model:
    """The model with the graph that ``kv`` asks for: query, grouped, or None for that of the stream, if there is one.

    With ``kv`` given, a stream of the other form is as good: who reads a stream of edges has refused it (`check`).

    Raises:
        MiError: the model's graph is not the stream's.
    """
    share = kv == "grouped" if kv else of_stream is not None and shares_receivers(of_stream)
    made = grouped(model) if share else model
    fits = {made.graph.digest} | ({model.graph.digest, grouped(model).graph.digest} if kv else set())
    if of_stream is not None and of_stream.get("digest") not in fits:
        raise MiError(
            f"{name} has another graph ({made.graph.describe()}) than the stream",
            "scores and circuits belong to one graph; make them again with this model",
        )
    return made

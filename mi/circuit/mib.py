"""What a graph file of EAP-IG and the MIB benchmark says: scores and membership of a graph.

Its two forms say the same (spec A7): for every edge a score and whether it is in the circuit; for every node whether it
is; where somebody scored nodes or neurons (the dimensions of what a node writes), their scores too.
`mi.circuit.mib_json` and `mi.circuit.mib_pt` read and write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mi.circuit.graph import Graph
from mi.circuit.levels import LEVELS, Circuit
from mi.circuit.transformer import most_edges, shares_receivers, transformer_graph
from mi.errors import MiError, UsageError

EXPECTED = "a graph of the MIB benchmark has cfg, nodes and edges"
FEW = 4_000_000  # edges: more than Llama-3.1-8B has
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class ScoredGraph:
    """A graph with scores and membership by level, in the order of its units: edge [E], node [n], neuron [n, d]."""

    graph: Graph
    scores: Arrays = field(default_factory=dict)
    members: Arrays = field(default_factory=dict)

    @property
    def level(self) -> str:
        """The finest level that somebody scored, or else put into the circuit."""
        said = self.scores or self.members
        return max((level for level in LEVELS if level in said), key=LEVELS.index, default="edge")


def of_circuit(circuit: Circuit, scores: Arrays) -> ScoredGraph:
    """The graph of a circuit. Its nodes are those that write one of its edges."""
    writes = np.zeros(circuit.graph.n_sources, dtype=bool)
    writes[circuit.graph.source[circuit.edges]] = True
    members = {"edge": circuit.edges, "node": writes}
    if circuit.neurons is not None:
        members["neuron"] = circuit.neurons
    return ScoredGraph(circuit.graph, scores, members)


def config(graph: Graph, d_model: int | None = None) -> dict[str, Any]:
    """What a file says about the model.

    Raises:
        MiError: no file of the benchmark can be about this graph.
    """
    params = graph.params
    if shares_receivers({"params": params}):
        raise MiError(
            "the benchmark has a key and a value receiver for each query head, and here heads share them",
            "no sum says what each head is worth: run mi attribute without --kv grouped, and export its scores, "
            "or this circuit with --scores",
        )
    if graph.builder != "transformer" or params.get("attention_only"):
        raise MiError(f"the benchmark has no graph such as this one ({graph.describe()})", "it has whole transformers")
    width = d_model or params.get("d_model")
    if width is None:
        raise UsageError("the graph does not say d_model, which the file must", "name the model with -m")
    return {
        "n_layers": params["n_layers"],
        "n_heads": params["n_heads"],
        "parallel_attn_mlp": params["parallel"],
        "d_model": int(width),
    }


def width(made: ScoredGraph) -> int | None:
    found = [of["neuron"].shape[1] for of in (made.scores, made.members) if "neuron" in of]
    return int(found[0]) if found else None


def graph_of(cfg: Any, listed: int, place: str) -> Graph:
    """The graph that a file's `cfg` describes. `listed`: for how many edges the file has room."""
    good = isinstance(cfg, dict) and all(_is_count(cfg.get(name)) for name in ("n_layers", "n_heads", "d_model"))
    if not good or not isinstance(cfg.get("parallel_attn_mlp"), bool):
        fact = "cfg does not say n_layers, n_heads, parallel_attn_mlp and d_model"
        raise MiError(f"no graph of the benchmark: {fact}", EXPECTED, place=place)
    check_size(cfg["n_layers"], cfg["n_heads"], listed, place)
    try:
        return transformer_graph(cfg["n_layers"], cfg["n_heads"], cfg["parallel_attn_mlp"], cfg["d_model"])
    except MiError as error:
        raise MiError(error.fact, error.hint, place=place) from None


def check_size(layers: int, heads: int, listed: int, place: str) -> None:
    """Refuse a few bytes that describe a graph which would fill the memory."""
    if most_edges(layers, heads) > FEW + 10 * listed:
        fact = f"it speaks of {layers} layers of {heads} heads, and lists {listed} edges"
        raise MiError(fact, "a graph of that size is not read from so small a file", place=place)


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def meaningful(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without the zeros that stand for edges that nobody scored, where another level is scored."""
    if len(scores) > 1 and not scores["edge"].any():
        del scores["edge"]
    return scores

"""Where an adapter's layers stand in the graph's table: rows of sources, columns of receivers.

Found by name, so that the order of the table stays the graph's own business.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mi.circuit.graph import Graph
from mi.circuit.names import BRANCHES
from mi.circuit.transformer import head_receiver


@dataclass(frozen=True)
class LayerRows:
    """A layer's place in the table."""

    heads: tuple[int, ...]  # source of each head
    mlp: int  # source
    receivers: tuple[int, ...]  # q of every head, then k, then v; the same one for heads that share it
    mlp_receiver: int

    @cached_property
    def distinct(self) -> tuple[int, ...]:
        """The receivers of heads, each once."""
        return tuple(dict.fromkeys(self.receivers))

    @cached_property
    def place(self) -> tuple[int, ...]:
        """Of each of ``receivers``, where it stands in ``distinct``."""
        return tuple(self.distinct.index(receiver) for receiver in self.receivers)

    @property
    def shares(self) -> bool:
        """Whether heads share a receiver."""
        return len(self.distinct) < len(self.receivers)


@dataclass(frozen=True)
class Layout:
    input: int
    layers: tuple[LayerRows, ...]
    logits_receiver: int
    n_sources: int
    n_receivers: int


def layout(graph: Graph, n_layers: int, n_heads: int) -> Layout:
    group = n_heads // graph.params.get("n_kv_heads", n_heads)  # heads that share a key and a value receiver
    source = {name: row for row, name in enumerate(graph.nodes)}
    receiver = {name: column for column, name in enumerate(graph.receivers)}
    layers = tuple(
        LayerRows(
            heads=tuple(source[f"a{layer}.h{head}"] for head in range(n_heads)),
            mlp=source[f"m{layer}"],
            receivers=tuple(
                receiver[head_receiver(layer, head, kind, head // group if group > 1 else None)]
                for kind in BRANCHES
                for head in range(n_heads)
            ),
            mlp_receiver=receiver[f"m{layer}"],
        )
        for layer in range(n_layers)
    )
    return Layout(source["input"], layers, receiver["logits"], graph.n_sources, len(graph.receivers))

"""Circuits that people found by hand, as edges: a name in, the graph and the edges that papers call the circuit out.

The papers speak of heads and of what they read from each other; as edges they were first written down for ACDC (Conmy
et al. 2023), whose ROC curves are against these sets. They are followed here (spec D5). Two things to know of them:
where a paper is silent about MLPs, as that of IOI, every edge of an MLP that touches no head outside the circuit counts
as true, which makes the true class large; and roles are linked as wholes, each head of one with each of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mi.circuit.graph import Graph
from mi.circuit.transformer import transformer_graph
from mi.errors import UsageError

Roles = Mapping[str, Sequence[str]]  # nodes by what they do
Links = Sequence[tuple[str, str, str]]  # who writes, who reads, with which of q, k and v (or "" for MLPs and logits)


@dataclass(frozen=True)
class Known:
    """A circuit of the literature. `model` is the hub's name of the model that it was found in."""

    name: str
    source: str
    model: str
    shape: tuple[int, int, int, bool]  # layers, heads, d_model, whether there are no MLPs
    roles: Roles
    true: Callable[[Graph], set[str]]

    @property
    def graph(self) -> Graph:
        layers, heads, width, attention_only = self.shape
        return transformer_graph(layers, heads, d_model=width, attention_only=attention_only)

    def edges(self) -> np.ndarray:
        """The true edges of the graph, bool [E]."""
        graph = self.graph
        names = self.true(graph)
        found = np.array([name in names for name in graph.edge_names()], dtype=bool)
        assert int(found.sum()) == len(names), "a name is no edge of the graph"
        return found


def get(name: str) -> Known:
    known = {circuit.name: circuit for circuit in (IOI, GREATER_THAN, DOCSTRING)}
    if name not in known:
        raise UsageError(f"no circuit of the literature is called {name!r}", f"there are {', '.join(known)}")
    return known[name]


NAMES = ("ioi", "greater-than", "docstring")


def _layer(node: str) -> int:
    return int(node[1:].partition(".")[0]) if node[0] in "am" else -1


def _runs_forward(source: str, reader: str) -> bool:
    """A head writes into the MLP of its own layer; everything else into later layers only."""
    if source == "input" or reader == "logits":
        return True
    same = _layer(source) == _layer(reader) and source[0] == "a" and reader[0] == "m"
    return same or _layer(source) < _layer(reader)


def _linked(roles: Roles, links: Links) -> Iterator[str]:
    """Every edge from a node of one role to one of another that it can reach."""
    for writer, reader, branches in links:
        for source in roles.get(writer, (writer,)):
            for node in roles.get(reader, (reader,)):
                if _runs_forward(source, node):
                    yield from (f"{source}->{node}<{b}>" for b in branches) if node[0] == "a" else [f"{source}->{node}"]


# --- indirect objects, Wang et al. 2022

_IOI: Roles = {
    "name mover": ("a9.h9", "a10.h0", "a9.h6"),
    "backup name mover": (
        "a10.h10", "a10.h6", "a10.h2", "a10.h1", "a11.h2", "a9.h7", "a9.h0", "a11.h9",
    ),
    "negative name mover": ("a10.h7", "a11.h10"),
    "s-inhibition": ("a7.h3", "a7.h9", "a8.h6", "a8.h10"),
    "induction": ("a5.h5", "a5.h8", "a5.h9", "a6.h9"),
    "duplicate token": ("a0.h1", "a0.h10", "a3.h0"),
    "previous token": ("a2.h2", "a4.h11"),
}  # fmt: skip
_MOVERS = ("negative name mover", "name mover", "backup name mover")
_IOI_LINKS: Links = (
    ("input", "previous token", "qkv"),
    ("input", "duplicate token", "qkv"),
    ("input", "s-inhibition", "q"),
    *(("input", mover, "kv") for mover in _MOVERS),
    ("previous token", "induction", "kv"),
    ("induction", "s-inhibition", "kv"),
    ("duplicate token", "s-inhibition", "kv"),
    *(("s-inhibition", mover, "q") for mover in _MOVERS),
    *((mover, "logits", "") for mover in _MOVERS),
)


def _ioi(graph: Graph) -> set[str]:
    """The links above; and every edge between MLPs, input, logits and the circuit's heads that joins no two heads, no
    head and the logits, and no head and the input."""
    heads = {head for role in _IOI.values() for head in role}
    others = {node for node in graph.nodes if node[0] != "a"}
    true = set(_linked(_IOI, _IOI_LINKS))
    for name in graph.edge_names():
        source, receiver = name.split("->")
        reader = receiver.partition("<")[0]
        if source in others and reader in others:
            true.add(name)
        if (source[0] == "m" and reader in heads) or (source in heads and reader[0] == "m"):
            true.add(name)
    return true


IOI = Known(
    "ioi", "Wang et al. 2022; edges as in Conmy et al. 2023", "openai-community/gpt2", (12, 12, 768, False), _IOI, _ioi
)

# --- later years, Hanna et al. 2023

_GREATER: Roles = {
    "early head": ("a0.h3", "a0.h5"),
    "first head": ("a0.h1",),
    "early MLP": ("m0", "m1", "m2", "m3"),
    "middle head": ("a5.h5", "a6.h1", "a6.h9", "a7.h10", "a8.h11", "a9.h1"),
    "late MLP": ("m8", "m9", "m10", "m11"),
}
_GREATER_LINKS: Links = (
    ("input", "early head", "qkv"),
    ("input", "first head", "qkv"),
    ("input", "early MLP", ""),
    ("first head", "early MLP", ""),
    ("first head", "middle head", "qkv"),
    ("early head", "middle head", "qkv"),
    ("early MLP", "early MLP", ""),
    ("early MLP", "middle head", "qkv"),
    ("middle head", "late MLP", ""),
    ("late MLP", "late MLP", ""),
    ("middle head", "logits", ""),
    ("late MLP", "logits", ""),
)


def _greater_than(graph: Graph) -> set[str]:
    """The links above; and, as the paper leaves the queries of its middle heads alone, every MLP before such a query,
    and every edge between MLPs below the last of these heads."""
    last = max(map(_layer, _GREATER["middle head"]))
    true = set(_linked(_GREATER, _GREATER_LINKS))
    true |= {f"m{low}->m{high}" for high in range(last) for low in range(high)}
    for head in _GREATER["middle head"]:
        true |= {f"m{layer}->{head}<q>" for layer in range(_layer(head))}
    return true


GREATER_THAN = Known(
    "greater-than",
    "Hanna et al. 2023; edges as in Conmy et al. 2023",
    "openai-community/gpt2",
    (12, 12, 768, False),
    _GREATER,
    _greater_than,
)

# --- arguments of docstrings, Heimersheim and Janiak 2023

_DOCSTRING: Roles = {
    "argument mover": ("a3.h0", "a3.h6"),
    "before the argument movers": ("a0.h5", "a1.h2", "a1.h4", "a2.h0"),
}
_DOCSTRING_LINKS: Links = (
    ("input", "a0.h5", "v"),
    ("input", "a1.h4", "v"),
    ("a0.h5", "a1.h4", "v"),
    ("input", "a1.h2", "qk"),
    ("a0.h5", "a1.h2", "qk"),
    ("input", "a2.h0", "qk"),
    ("a0.h5", "a2.h0", "qk"),
    ("a1.h4", "a2.h0", "v"),
    ("a1.h4", "argument mover", "q"),
    ("input", "argument mover", "v"),
    ("a0.h5", "argument mover", "v"),
    ("a2.h0", "argument mover", "k"),
    ("a1.h2", "argument mover", "k"),
    ("argument mover", "logits", ""),
)
DOCSTRING = Known(
    "docstring",
    "Heimersheim and Janiak 2023; edges as in Conmy et al. 2023",
    "attn-only-4l",
    (4, 8, 512, True),
    _DOCSTRING,
    lambda graph: set(_linked(_DOCSTRING, _DOCSTRING_LINKS)),
)

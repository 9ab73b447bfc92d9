"""Random graphs that no transformer has, and seeds that differ from run to run: printed."""

import secrets

import numpy as np

from mi.circuit.graph import explicit_graph
from mi.circuit.transformer import transformer_graph

SEEDS = [0, 1, 2, 3, "fresh", "fresh again"]


def generator(seed):
    """A random generator; any text makes a new one at every run."""
    number = seed if isinstance(seed, int) else secrets.randbits(32)
    print("seed:", number)
    return np.random.default_rng(number)


def random_graph(rng):
    """Nodes with none to three receivers and edges of any density, from very sparse to complete."""
    inner = int(rng.integers(0, 9))
    nodes = ["input"] + [f"n{i}" for i in range(inner)] + ["logits"]
    receivers, owners = [], []
    for index in range(1, len(nodes)):
        rootless = rng.random() < 0.9 or nodes[index] == "logits"
        for branch in list("qkv")[: int(rng.integers(1, 4)) * rootless]:
            receivers.append(f"{nodes[index]}<{branch}>" if nodes[index] != "logits" or branch != "q" else "logits")
            owners.append(index)
    shuffled = rng.permutation(len(receivers))
    receivers, owners = [receivers[i] for i in shuffled], [owners[i] for i in shuffled]
    shared = _shared(rng, owners, len(nodes)) if rng.random() < 0.5 else []
    first = [min([owner, *(node for r, node in shared if r == place)]) for place, owner in enumerate(owners)]
    density = rng.choice([0.1, 0.3, 0.7, 1.0])
    pairs = [(s, r) for r in range(len(receivers)) for s in range(first[r]) if rng.random() < density]
    edges = np.array([pairs[i] for i in rng.permutation(len(pairs))], dtype=np.int32).reshape(-1, 2).T
    return explicit_graph(nodes, receivers, owners, edges, np.array(shared).reshape(-1, 2).T)


def _shared(rng, owners, n_nodes):
    """Further nodes of some receivers."""
    others = [[int(node) for node in rng.permutation(np.arange(1, n_nodes)) if node != owner] for owner in owners]
    return [(r, node) for r, own in enumerate(others) for node in own[: int(rng.choice([0, 0, 1, 2]))]]


def some_transformer(rng):
    layers, heads = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    kv_heads = int(rng.choice([n for n in range(1, heads + 1) if heads % n == 0])) if rng.random() < 0.5 else None
    kinds = {"parallel": bool(rng.integers(2)), "attention_only": bool(rng.integers(2))}
    return transformer_graph(layers, heads, n_kv_heads=kv_heads, **kinds)


def any_graph(rng):
    return random_graph(rng) if rng.random() < 0.7 else some_transformer(rng)


def pairs_of(graph):
    """The edges as (source, receiver) names, for the oracle: a receiver that nodes share is called after them all."""
    nodes = readers_of(graph)
    spelled = {name: "+".join(sorted(nodes[name])) + "".join(name.partition("<")[1:]) for name in graph.receivers}
    return [(source, spelled[receiver]) for source, receiver in named_pairs(graph)]


def named_pairs(graph):
    """The edges as (source, receiver), as the graph calls them."""
    return [(graph.nodes[s], graph.receivers[r]) for s, r in graph.edges.T.tolist()]


def readers_of(graph):
    """The names of the nodes of each receiver."""
    own = [{graph.nodes[node]} for node in graph.receiver_node]
    for receiver, node in graph.shared.T.tolist():
        own[receiver].add(graph.nodes[node])
    return dict(zip(graph.receivers, own, strict=True))


def roots_of(graph):
    return [graph.nodes[i] for i in np.flatnonzero(graph.roots)]


def random_scores(rng, n):
    """Scores with ties of value and of magnitude, signed zeros and gaps."""
    kind = rng.integers(3)
    if kind == 0:
        return rng.normal(size=n).astype(np.float32)
    if kind == 1:
        return rng.integers(-3, 4, size=n).astype(np.float32)
    return np.where(rng.random(n) < 0.5, rng.choice([0.0, -0.0], size=n), rng.normal(size=n)).astype(np.float32)

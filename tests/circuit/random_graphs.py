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
    density = rng.choice([0.1, 0.3, 0.7, 1.0])
    pairs = [(s, r) for r in range(len(receivers)) for s in range(owners[r]) if rng.random() < density]
    edges = np.array([pairs[i] for i in rng.permutation(len(pairs))], dtype=np.int32).reshape(-1, 2).T
    return explicit_graph(nodes, receivers, owners, edges)


def some_transformer(rng):
    layers, heads = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    return transformer_graph(layers, heads, parallel=bool(rng.integers(2)), attention_only=bool(rng.integers(2)))


def any_graph(rng):
    return random_graph(rng) if rng.random() < 0.7 else some_transformer(rng)


def pairs_of(graph):
    """The edges as (source, receiver) names, for the oracle."""
    return [(graph.nodes[s], graph.receivers[r]) for s, r in graph.edges.T.tolist()]


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

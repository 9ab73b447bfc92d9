"""Edges of a graph in which heads share keys and values, as edges of one in which each head has its own: by names, in
loops, and sharing no code with `mi`.

`input->a0.kv1<k>` is `input->a0.h2<k>` and `input->a0.h3<k>` where four heads share two keys. What happens to such an
edge happens to all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Cell = tuple[int, int]


def edge_names(n_layers: int, n_heads: int, n_kv_heads: int, parallel: bool) -> list[tuple[str, str]]:
    """(source, receiver) of every edge, in any order."""
    made, sources = [], ["input"]
    for layer in range(n_layers):
        heads = [f"a{layer}.h{head}" for head in range(n_heads)]
        reads = [f"{head}<q>" for head in heads]
        reads += [f"a{layer}.kv{group}<{part}>" for group in range(n_kv_heads) for part in "kv"]
        made += [(source, receiver) for source in sources for receiver in reads]
        made += [(source, f"m{layer}") for source in (sources if parallel else sources + heads)]
        sources += [*heads, f"m{layer}"]
    return made + [(source, "logits") for source in sources]


def own_receivers(receiver: str, n_heads: int, n_kv_heads: int) -> list[str]:
    """The receivers of single heads that a receiver stands for."""
    place, dot, part = receiver.partition(".kv")
    if not dot:
        return [receiver]
    group, branch = int(part[:-3]), part[-3:]
    size = n_heads // n_kv_heads
    return [f"{place}.h{head}{branch}" for head in range(n_heads) if head // size == group]


def visits(n_layers: int, n_heads: int, n_kv_heads: int) -> list[str]:
    """Receivers from the logits back; a key and a value that heads share after the queries of all of these."""
    order, size = ["logits"], n_heads // n_kv_heads
    for layer in reversed(range(n_layers)):
        order.append(f"m{layer}")
        for group in reversed(range(n_kv_heads)):
            order += [f"a{layer}.h{head}<q>" for head in reversed(range(group * size, (group + 1) * size))]
            order += [f"a{layer}.kv{group}<k>", f"a{layer}.kv{group}<v>"]
    return order


def acdc(
    edges: Sequence[tuple[int, str]], order: Sequence[str], loss: Callable[[set[int]], float], tau: float
) -> tuple[set[int], np.ndarray]:
    """The edges (by number) that one pass keeps, and how the loss rose when each was tried; ``loss`` of a set of them.

    ``edges`` are (number of the source, receiver).
    """
    kept, delta = set(range(len(edges))), np.zeros(len(edges))
    current = loss(kept)
    for receiver in order:
        into = [edge for edge, (_, name) in enumerate(edges) if name == receiver]
        for edge in sorted(into, key=lambda edge: -edges[edge][0]):
            found = loss(kept - {edge})
            delta[edge] = found - current
            if delta[edge] < tau:
                kept, current = kept - {edge}, found
    return kept, delta

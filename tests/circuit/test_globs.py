"""Patterns over names mean the edges that a loop over all names finds."""

from fnmatch import fnmatchcase

import numpy as np
import pytest

from mi.circuit.globs import matching
from mi.circuit.transformer import transformer_graph
from mi.errors import UsageError
from tests.circuit.random_graphs import SEEDS, any_graph, generator, named_pairs, readers_of

PATTERNS = [
    "input",
    "logits",
    "n1",
    "n?",
    "n[0-3]",
    "*<q>",
    "*",
    "m*",
    "a0.*",
    "a1.h0<k>",
    "input->*",
    "*->logits",
    "*->*<v>",
]
PATTERNS += ["n*->n*", "a0.*->a*.h1", "m0->a1.h0<q>", "in*->n2", "*->m1", "nobody", "m0->nobody", "n1->", "->n1"]


def by_loop(graph, pattern):
    edges, nodes = named_pairs(graph), readers_of(graph)

    def reads(receiver, part):
        return any(fnmatchcase(name, part) for name in (receiver, *nodes[receiver]))

    left, arrow, right = pattern.partition("->")
    found = []
    for source, receiver in edges:
        if arrow:
            found.append(fnmatchcase(source, left) and reads(receiver, right))
        else:
            found.append(fnmatchcase(source, pattern) or reads(receiver, pattern))
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_patterns_equal_a_loop_over_the_names(seed):
    rng = generator(seed)
    for _ in range(20):
        graph = any_graph(rng)
        for pattern in PATTERNS:
            expected = by_loop(graph, pattern)
            if any(expected):
                assert matching(graph, [pattern]).tolist() == expected, pattern
            else:
                with pytest.raises(UsageError):
                    matching(graph, [pattern])


def test_patterns_of_a_transformer():
    graph = transformer_graph(3, 2)
    names = np.array(graph.edge_names())
    assert set(names[matching(graph, ["m0->a1.h1"])]) == {f"m0->a1.h1<{branch}>" for branch in "qkv"}
    assert set(names[matching(graph, ["m0->a1.h1<q>", "input->logits"])]) == {"m0->a1.h1<q>", "input->logits"}
    touching = {name for name in names if "a1.h1" in name}
    assert set(names[matching(graph, ["a1.h1"])]) == touching
    assert len(touching) > 10
    assert not matching(graph, []).any()


def test_a_pattern_that_means_nothing_is_refused():
    graph = transformer_graph(3, 2)
    with pytest.raises(UsageError, match=r"--keep 'a7.\*' matches no edge or node") as caught:
        matching(graph, ["m0", "a7.*"], flag="--keep")
    assert caught.value.code == 2

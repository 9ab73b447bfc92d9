"""The grammar: names and edges survive a round trip, and what is not a name is refused."""

import pytest

from mi.circuit.names import BRANCHES, EdgeName, Name, parse, parse_edge
from mi.errors import MiError
from tests.circuit.random_graphs import SEEDS, generator

ALPHABET = list("abcdeh0123456789._-+%$*?[]()|'\"\\=!#&,;~^`{}éß語")


@pytest.mark.parametrize("seed", SEEDS)
def test_parse_undoes_format(seed):
    rng = generator(seed)

    def part():
        return "".join(rng.choice(ALPHABET, size=rng.integers(1, 8)))

    def maybe(value):
        return value if rng.random() < 0.5 else None

    for _ in range(300):
        name = Name(part(), maybe(part()), maybe(part()), maybe(part()), maybe(str(rng.choice(BRANCHES))))
        assert parse(str(name)) == name
        edge = EdgeName(Name(part(), None, maybe(part()), maybe(part())), name)
        assert parse_edge(str(edge)) == edge
        assert f"{name}" == str(name)
        assert f"{edge}" == str(edge)


def test_every_part_is_found():
    assert parse("a9.h3@S2<q>") == Name("a9.h3", span="S2", branch="q")
    assert parse("m3/f1021") == Name("m3", unit="f1021")
    assert parse("m3/error") == Name("m3", unit="error")
    assert parse("model.layers.3.mlp:output@S2/f7") == Name("model.layers.3.mlp", "output", "S2", "f7")
    assert parse("a9.h3@S2/f1<k>").node == Name("a9.h3", span="S2", unit="f1")
    assert parse_edge("a0.h1->a3.h5<q>") == EdgeName(Name("a0.h1"), Name("a3.h5", branch="q"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a9 h3",
        "a9.h3<x>",
        "a9.h3<q",
        "a9.h3<>",
        "@S2",
        "m3/",
        "m3@",
        "m3:",
        "m3/f1@S2",
        "m3<q>/f1",
        "a->b",
        "m3\n",
        "a:b:c",
    ],
)
def test_what_is_not_a_name_is_refused(text):
    with pytest.raises(MiError, match="is not a name"):
        parse(text)


@pytest.mark.parametrize(
    "parts", [("",), ("a@b",), ("a", "p:q"), ("a", None, ""), ("a", None, None, "x/y"), ("a", None, None, None, "z")]
)
def test_a_name_that_would_not_survive_the_trip_cannot_be_made(parts):
    with pytest.raises(MiError, match="is not a name"):
        Name(*parts)


@pytest.mark.parametrize("text", ["m0", "m0>m3", "->m3", "m0->", "m0->m1->m2"])
def test_what_is_not_an_edge_is_refused(text):
    says = "is not a name" if "->" in text else "is not an edge"
    with pytest.raises(MiError, match=says):
        parse_edge(text)


def test_a_branch_is_read_not_written():
    with pytest.raises(MiError, match="cannot be the source"):
        parse_edge("a0.h1<q>->m3")

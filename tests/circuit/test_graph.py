"""The transformer's graph: counts, orders, digests; and graphs that are only a table."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import mi.circuit
from mi.circuit.graph import explicit_graph, from_head
from mi.circuit.transformer import MOST_EDGES, most_edges, transformer_graph
from mi.errors import MiError
from tests.circuit.random_graphs import (
    SEEDS,
    any_graph,
    generator,
    named_pairs,
    pairs_of,
    random_graph,
    readers_of,
    some_transformer,
)
from tests.data_dir import shared
from tests.oracle import selection as oracle

GOLDEN = ["gpt2-tiny", "llama-tiny", "neox-tiny"]

# name, layers, heads, parallel, attention only, sources, receivers, edges
COUNTS = [
    ("GPT-2 small", 12, 12, False, False, 157, 445, 32_491),
    ("GPT-2 medium", 24, 16, False, False, 409, 1177, 231_877),
    ("GPT-2 large", 36, 20, False, False, 757, 2197, 810_703),
    ("GPT-2 XL", 48, 25, False, False, 1249, 3649, 2_235_025),
    ("Qwen2.5-0.5B", 24, 14, False, False, 361, 1033, 179_749),
    ("Gemma-2-2B", 26, 8, False, False, 235, 651, 74_218),
    ("Llama-3.1-8B", 32, 32, False, False, 1057, 3105, 1_592_881),
    ("InterpBench IOI", 6, 4, False, False, 31, 79, 1_108),
    ("Pythia-70M", 6, 8, True, False, 55, 151, 3_580),
    ("Pythia-160M", 12, 12, True, False, 157, 445, 32_347),
    ("Pythia-2.8B", 32, 32, True, False, 1057, 3105, 1_591_857),
    ("attn-only-4l", 4, 8, False, True, 33, 97, 1_281),
    ("redwood 2l", 2, 8, False, True, 17, 49, 257),
]


@pytest.mark.parametrize("row", COUNTS, ids=[row[0] for row in COUNTS])
def test_counts_of_known_models(row):
    _, layers, heads, parallel, attention_only, sources, receivers, edges = row
    graph = transformer_graph(layers, heads, parallel, attention_only=attention_only)
    assert (graph.n_sources, len(graph.receivers), graph.n_edges) == (sources, receivers, edges)
    cells = np.zeros((sources, receivers), dtype=bool)
    cells[graph.edges[0], graph.edges[1]] = True
    assert np.count_nonzero(cells) == edges


@pytest.mark.parametrize("seed", SEEDS)
def test_edges_come_in_the_order_of_a_walk_through_the_model(seed):
    rng = generator(seed)
    for _ in range(10):
        graph = some_transformer(rng)
        shape = {key: value for key, value in graph.params.items() if key != "d_model"}
        assert pairs_of(graph) == oracle.transformer_edges(**shape)
        spelled = dict(zip(named_pairs(graph), pairs_of(graph), strict=True))
        for (_, receiver), (_, names) in spelled.items():
            assert readers_of(graph)[receiver] == oracle.nodes_of(names)
        edges, nodes = graph.every_way
        assert (graph.source[edges] < nodes).all()


@pytest.mark.parametrize("model", GOLDEN)
def test_orders_are_those_of_the_reference(model):
    reference = json.loads(shared("golden", model, "reference.json").read_text())
    arrays = load_file(shared("golden", model, "reference.safetensors"))
    cfg = reference["cfg"]
    graph = transformer_graph(cfg["n_layers"], cfg["n_heads"], cfg["parallel_attn_mlp"], cfg["d_model"])
    assert list(graph.nodes[:-1]) == reference["src_nodes"]
    assert list(graph.receivers) == reference["dst_nodes"]
    assert list(graph.edge_names()) == reference["edge_names"]
    legal = np.zeros((graph.n_sources, len(graph.receivers)), dtype=bool)
    legal[graph.edges[0], graph.edges[1]] = True
    assert (legal == arrays["real_edge_mask"]).all()
    own = np.arange(graph.n_sources)[:, None] == graph.receiver_node[None, :]
    assert (own == arrays["forward_to_backward"]).all()


def test_edges_of_gpt2_are_those_of_a_published_file():
    document = json.loads(shared("data", "mib", "ioi-eap-ig.json").read_text())
    graph = transformer_graph(12, 12)
    assert list(document["nodes"]) == list(graph.nodes)
    assert list(document["edges"]) == list(graph.edge_names())


def test_only_one_file_knows_the_arithmetic():
    """Selection, pruning, curves and statistics know the table only; no other file computes an index from a layer. What
    reads and writes the files of others speaks of layers and heads, because these do."""
    package = Path(mi.circuit.__file__).parent.parent
    sources = {path.relative_to(package).as_posix(): path.read_text() for path in package.rglob("*.py")}
    arithmetic = re.compile(r"heads\s*\+\s*1\b|\blayer\s*\*|\*\s*layer\b(?!\.)")
    assert {name for name, text in sources.items() if arithmetic.search(text)} == {"circuit/transformer.py"}
    shape = re.compile(r"""n_heads|n_layers|f["'][am]\{""")
    exchange = (
        "circuit/importers/",
        "circuit/mib",
        "circuit/benchmark.py",
        "circuit/literature.py",
        "circuit/weights.py",
    )
    inside = {n: t for n, t in sources.items() if n.startswith("circuit/") or n == "commands/prune.py"}
    table_only = {n: t for n, t in inside.items() if not n.startswith(exchange)}
    assert {name for name, text in table_only.items() if shape.search(text)} == {"circuit/transformer.py"}


@pytest.mark.parametrize("seed", SEEDS)
def test_names_and_indices_agree(seed):
    rng = generator(seed)
    for _ in range(20):
        graph = any_graph(rng)
        names = graph.edge_names()
        assert names == tuple(f"{source}->{receiver}" for source, receiver in named_pairs(graph))
        assert [graph.edge_index(name) for name in names] == list(range(graph.n_edges))
        assert [graph.edge_name(i) for i in range(graph.n_edges)] == list(names)
        sources = [source for source, _ in named_pairs(graph)]
        receivers = [receiver for _, receiver in named_pairs(graph)]
        assert graph.find(sources, receivers).tolist() == list(range(graph.n_edges))


def test_edges_that_do_not_exist_are_not_found():
    graph = transformer_graph(2, 2)
    sources, receivers = ["m1", "nobody", "input", "a0.h0", "logits"], ["m0", "m0", "nothing", "nothing", "m0"]
    assert graph.find(sources, receivers).tolist() == [-1] * 5
    empty = explicit_graph(["input", "logits"], ["logits"], [1], np.zeros((2, 0)))
    assert empty.find(["input"], ["logits"]).tolist() == [-1]
    for name in ("m1->m0", "m7->logits", "a0.h0<q>->m0", "m0"):
        with pytest.raises(MiError):
            graph.edge_index(name)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_head_gives_the_graph_back(seed):
    rng = generator(seed)
    for _ in range(10):
        graph = some_transformer(rng)
        again = from_head(json.loads(json.dumps(graph.head())))
        assert (again.nodes, again.receivers, again.params) == (graph.nodes, graph.receivers, graph.params)
        assert (again.edges == graph.edges).all()
        assert (again.shared == graph.shared).all()
        assert again.digest == graph.digest
        graph = random_graph(rng)
        head = json.loads(json.dumps(graph.head()))
        assert head == {"builder": "explicit", "blob": "graph", "digest": graph.digest}
        again = from_head(head, {key: value.copy() for key, value in graph.table().items()})
        assert pairs_of(again) == pairs_of(graph)
        assert again.nodes == graph.nodes
        with pytest.raises(MiError, match="table is missing"):
            from_head(head)


def test_digests_are_those_of_graphs_before_receivers_could_be_shared():
    """Committed circuits name their graph by it."""
    assert transformer_graph(3, 4, True, 8).digest == (
        "3a7a938f6a424461052ab254be9e99314f7f40d9276b839789e690e80c5083b8"
    )
    assert transformer_graph(12, 12).digest == "fbbf348ac6624692afbfabe479d319ff7c4a51a372f532885d42fef563ab9e1d"
    assert transformer_graph(3, 4, True, 8, n_kv_heads=4).head() == transformer_graph(3, 4, True, 8).head()
    assert "shared" not in transformer_graph(2, 2).table()


def test_heads_that_share_keys_and_values():
    graph = transformer_graph(1, 4, n_kv_heads=2)
    assert graph.receivers == (
        *(f"a0.h{head}<q>" for head in range(4)),
        *("a0.kv0<k>", "a0.kv1<k>", "a0.kv0<v>", "a0.kv1<v>", "m0", "logits"),
    )
    assert readers_of(graph)["a0.kv1<v>"] == {"a0.h2", "a0.h3"}
    assert graph.head()["params"]["n_kv_heads"] == 2
    assert [graph.edge_name(edge) for edge in range(5)] == [
        f"input->{name}" for name in ("a0.h0<q>", "a0.h1<q>", "a0.kv0<k>", "a0.kv0<v>", "a0.h2<q>")
    ]
    for wrong in (3, 8, 0, -2):
        with pytest.raises(MiError, match="evenly"):
            transformer_graph(1, 4, n_kv_heads=wrong)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_edge_leads_into_all_nodes_of_its_receiver(seed):
    rng = generator(seed)
    for _ in range(30):
        graph = any_graph(rng)
        names, readers = named_pairs(graph), readers_of(graph)
        mask = rng.random(graph.n_edges) < rng.random()
        ways = {(edge, node) for edge in np.flatnonzero(mask) for node in readers[names[edge][1]]}
        found = [(edge, graph.nodes[node]) for edge, node in zip(*graph.ways(mask), strict=True)]
        assert set(found) == ways
        assert len(found) == len(ways)
        wanted = rng.random(len(graph.nodes)) < 0.3
        chosen = {graph.nodes[node] for node in np.flatnonzero(wanted)}
        assert graph.into(wanted).tolist() == [bool(readers[receiver] & chosen) for _, receiver in names]
        for edge in range(graph.n_edges):
            assert {graph.nodes[node] for node in graph.readers(edge)} == readers[names[edge][1]]


def test_the_digest_is_of_the_table_not_of_the_builder():
    built = transformer_graph(3, 2, True, 64)
    listed = explicit_graph(built.nodes, built.receivers, built.receiver_node, built.edges)
    assert listed.digest == built.digest == transformer_graph(3, 2, True, 128).digest


def test_the_digest_covers_every_part_of_the_table():
    graph = transformer_graph(2, 2)
    nodes, receivers = list(graph.nodes), list(graph.receivers)
    owners, edges = graph.receiver_node.copy(), graph.edges.copy()
    renamed, relabelled = ["start", *nodes[1:]], ["a0.h0<k>", "a0.h0<q>"]
    first_two = [receivers.index(name) for name in ("a0.h0<q>", "a0.h0<k>")]
    swapped = list(receivers)
    swapped[first_two[0]], swapped[first_two[1]] = relabelled
    owner_moved = owners.copy()
    owner_moved[receivers.index("a1.h0<q>")] = nodes.index("a1.h1")
    sharing = explicit_graph(nodes, receivers, owners, edges, [[first_two[0]], [nodes.index("a0.h1")]])
    others = [
        sharing,
        explicit_graph(nodes, receivers, owners, edges, [[first_two[1]], [nodes.index("a0.h1")]]),
        explicit_graph(renamed, receivers, owners, edges),
        explicit_graph(nodes, swapped, owners, edges),
        explicit_graph(nodes, receivers, owner_moved, edges),
        explicit_graph(nodes, receivers, owners, edges[:, ::-1]),
        explicit_graph(nodes, receivers, owners, edges[:, :-1]),
    ]
    digests = {graph.digest, *(other.digest for other in others)}
    assert len(digests) == 8


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "0" * 64},
        {"digest": None},
        {"params": {"n_layers": 2, "n_heads": 3}},
        {"params": {}},
        {"params": {"n_layers": "2", "n_heads": 2}},
        {"params": {"n_layers": 0, "n_heads": 2}},
        {"params": {"layers": 2}},
        {"builder": "spider"},
    ],
)
def test_a_head_that_does_not_match_is_refused(change):
    with pytest.raises(MiError) as caught:
        from_head({**transformer_graph(2, 2).head(), **change})
    assert caught.value.code == 3


def test_a_table_that_was_changed_is_refused():
    graph = explicit_graph(["input", "n0", "logits"], ["n0", "logits"], [1, 2], np.array([[0, 1], [0, 1]]))
    table = {**graph.table(), "edges": np.array([[0, 0], [0, 1]])}
    with pytest.raises(MiError, match="digest"):
        from_head(graph.head(), table)


@pytest.mark.parametrize(
    ("table", "fact"),
    [
        ((["input", "n0", "logits"], ["n0", "logits"], [1, 2], [[1], [0]]), "runs backward"),
        ((["input", "n0", "logits"], ["n0", "logits"], [1, 2], [[0, 0], [0, 0]]), "twice"),
        ((["input", "input", "logits"], ["logits"], [2], [[0], [0]]), "twice"),
        ((["input", "n0", "logits"], ["n0", "n0"], [1, 1], [[0], [0]]), "twice"),
        ((["input", "logits"], ["logits"], [2], [[0], [0]]), "out of range"),
        ((["input", "logits"], ["logits"], [1], [[1], [0]]), "out of range"),
        ((["input", "logits"], ["logits"], [1], [[0], [1]]), "out of range"),
        ((["input", "logits"], ["logits"], [1], [[-1], [0]]), "out of range"),
        ((["input", "logits"], ["logits"], [1, 1], [[0], [0]]), "owners"),
        ((["input", "n0", "n1", "logits"], ["n1", "logits"], [2, 3], [[1], [0]], [[0], [1]]), "runs backward"),
        ((["input", "n0", "logits"], ["n0", "logits"], [1, 2], [[0], [0]], [[0], [1]]), "to one node twice"),
        ((["input", "n0", "logits"], ["n0", "logits"], [1, 2], [[0], [0]], [[0], [3]]), "out of range"),
        ((["input", "n0", "logits"], ["n0", "logits"], [1, 2], [[0], [0]], [[2], [1]]), "out of range"),
        ((["in put", "logits"], ["logits"], [1], [[0], [0]]), "not a name"),
    ],
)
def test_a_table_that_is_no_graph_is_refused(table, fact):
    nodes, receivers, owners, edges, *shared = table
    with pytest.raises(MiError, match=fact):
        explicit_graph(nodes, receivers, owners, np.array(edges), *shared)


@pytest.mark.parametrize("shape", [(0, 2), (2, 0), (-1, 2)])
def test_a_transformer_has_layers_and_heads(shape):
    with pytest.raises(MiError, match="has no graph"):
        transformer_graph(*shape)


def test_the_table_cannot_be_written_to():
    graph = transformer_graph(2, 2)
    for array in (graph.edges, graph.receiver_node, graph.source):
        with pytest.raises(ValueError, match="read-only"):
            array[..., 0] = 1


@pytest.mark.parametrize(("n_layers", "n_heads"), [(10**9, 4), (4, 10**9), (2000, 2000), (10**4, 10**3)])
def test_a_head_cannot_ask_for_a_graph_that_no_memory_holds(n_layers: int, n_heads: int) -> None:
    """A stream is somebody else's: `mi verify` must not fill the machine for it."""
    params = {"n_layers": n_layers, "n_heads": n_heads, "parallel": False, "d_model": 8}
    with pytest.raises(MiError, match="more edges than"):
        from_head({"builder": "transformer", "params": params, "digest": "0" * 64})


def test_the_largest_models_have_a_graph() -> None:
    """126 layers of 128 heads: only the number of edges is bounded, by more than twice theirs."""
    assert most_edges(126, 128) < MOST_EDGES / 2
    assert most_edges(12, 12) >= 32_491

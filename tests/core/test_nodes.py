"""Scores of nodes and neurons against the oracle and against the edges that they stand for."""

import numpy as np
import pytest

from mi.core.attribute import Attribution, attribute
from mi.core.replacement import OF_A_FILE
from tests.core.cases import ADAPTED, Case, largest, random_case
from tests.oracle import attribution, nodes, transformer

LENGTHS = (5, 8, 6)
SAME = 1e-9  # of the largest score, in float64
NOISE = 2e-5  # of the largest score, between two right answers in float32
ASKED = [
    {"method": "eap", "metric": "logit-diff"},
    {"method": "eap", "metric": "prob-diff", "ablation": "mean"},
    {"method": "eap", "metric": "logit-diff", "ablation": "zero"},
    {"method": "eap-ig", "metric": "logit-diff", "steps": 3, "rule": "left"},
    {"method": "eap-ig", "metric": "kl", "steps": 2, "rule": "right"},
    {"method": "eap-ig", "metric": "prob-diff", "steps": 2, "rule": "midpoint"},
]


def in_order(case: Case, of_sources: np.ndarray) -> np.ndarray:
    """The oracle's [source, ...] in the order of the package's nodes, matched by name."""
    names = transformer.source_names(case.weights)
    return np.stack([of_sources[names.index(name)] for name in case.model.graph.nodes[: len(names)]])


def expected(case: Case, options: dict[str, object], **more: object) -> np.ndarray:
    """[source, dimension], mean over the examples."""
    chosen = {key: value for key, value in options.items() if key not in ("method", "metric")}
    each = nodes.neurons(case.weights, case.examples, options["metric"], **chosen, **more)
    return in_order(case, each.mean(-1))


def close(found: np.ndarray, wanted: np.ndarray, tolerance: float = SAME) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * largest(wanted))


def scores(case: Case, level: str, options: dict[str, object], **more: object) -> np.ndarray:
    found = attribute(case.model, case.encoded, level=level, **{**options, **more})
    assert found.level == level
    np.testing.assert_allclose(found.shards.sum(0) / len(case.examples), found.scores, rtol=1e-9, atol=1e-15)
    return found.scores


@pytest.mark.parametrize("options", ASKED, ids=lambda options: "-".join(map(str, options.values())))
def test_nodes_and_neurons_are_the_oracles(options: dict[str, object], seed: int) -> None:
    case = random_case("gpt2" if seed % 2 else "qwen2", seed, n=4, lengths=LENGTHS, n_answers=2)
    wanted = expected(case, options)
    close(scores(case, "neuron", options), wanted)
    close(scores(case, "node", options), wanted.sum(1))


@pytest.mark.parametrize("name", ADAPTED)
def test_nodes_of_every_family(name: str, seed: int) -> None:
    case = random_case(name, seed, n=3, lengths=(4, 6))
    close(scores(case, "neuron", ASKED[0], batch_size=2), expected(case, ASKED[0]))


@pytest.mark.parametrize("executor", ["fast", "generic"])
@pytest.mark.parametrize("name", ["gpt2", "mistral"])
def test_nodes_in_float32_through_both_executors(name: str, executor: str) -> None:
    case = random_case(name, 1, n=4, lengths=LENGTHS, double=False)
    for options in (ASKED[0], ASKED[3]):
        wanted = expected(case, options)
        close(scores(case, "neuron", options, executor=executor), wanted, NOISE)
        close(scores(case, "node", options, executor=executor), wanted.sum(1), NOISE)


@pytest.mark.parametrize("options", ASKED, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.parametrize("name", ["gpt2-scaled", "llama-wide-heads", "mistral-windowed"])
def test_a_node_is_the_sum_of_its_edges_and_of_its_neurons(name: str, options: dict[str, object], seed: int) -> None:
    case = random_case(name, seed, lengths=LENGTHS)
    graph = case.model.graph
    edges = attribute(case.model, case.encoded, **options).edge
    found = scores(case, "node", options)
    close(np.bincount(graph.source, edges, minlength=graph.n_sources), found)
    close(scores(case, "neuron", options).sum(1), found)


@pytest.mark.parametrize(("of_nodes", "of_edges"), [("nap", "eap"), ("nap-ig", "eap-ig")])
def test_the_methods_of_nodes_by_their_own_names(of_nodes: str, of_edges: str) -> None:
    case = random_case("llama", 3)
    named = attribute(case.model, case.encoded, method=of_nodes)
    assert named.level == "node"
    same = attribute(case.model, case.encoded, method=of_edges, level="node")
    np.testing.assert_array_equal(named.scores, same.scores)
    neurons = attribute(case.model, case.encoded, method=of_nodes, level="neuron").scores
    assert neurons.shape == (case.model.graph.n_sources, case.model.adapter.d_model)


def sides(found: Attribution) -> tuple[float, float]:
    return found.attributed, found.loss_change


def test_the_input_accounts_for_the_change_of_the_loss_at_every_level() -> None:
    """Spec I3: what the input's edges attribute, its node does, and its neurons do."""
    case = random_case("qwen2", 5, lengths=LENGTHS)
    by_level = [attribute(case.model, case.encoded, level=level, steps=4) for level in ("edge", "node", "neuron")]
    for found in by_level[1:]:
        assert sides(found) == pytest.approx(sides(by_level[0]), abs=1e-9)
    many = attribute(case.model, case.encoded, level="node", steps=100, rule="midpoint")
    assert many.attributed == pytest.approx(many.loss_change, abs=0.02 * abs(many.loss_change))
    assert many.attributed == pytest.approx(many.scores[case.model.layout.input])


@pytest.mark.parametrize("method", ["nap", "nap-ig"])
def test_the_reference_takes_an_mlps_gradient_at_its_input(method: str, seed: int) -> None:
    """`--compat mib`: rows 1, 2 and 9 of the spec's B0."""
    case = random_case("gpt2", seed, n=5, lengths=(6,))
    asked: dict[str, object] = {"metric": "logit-diff"} | ({"steps": 3, "rule": "right"} if method == "nap-ig" else {})
    each = nodes.nodes(case.weights, case.examples, **asked, at_mlp_input=True)
    wanted = in_order(case, attribution.reference_batching(each, 2))
    steps = {"steps": 3} if method == "nap-ig" else {}
    found = attribute(case.model, case.encoded, method=method, compat="mib", batch_size=2, **steps)
    close(found.scores, wanted)
    right = in_order(case, attribution.reference_batching(nodes.nodes(case.weights, case.examples, **asked), 2))
    mlps = [index for index, node in enumerate(case.model.graph.nodes) if node.startswith("m")]
    assert np.abs(right - wanted)[mlps].min() > 1e-6 * largest(wanted)
    np.testing.assert_allclose(np.delete(wanted, mlps), np.delete(right, mlps[: len(mlps)]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("by_layer", [False, True])
@pytest.mark.parametrize("ablation", ["counterfactual", "zero"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_head_importance(name: str, ablation: str, by_layer: bool, seed: int) -> None:
    case = random_case(name, seed, lengths=LENGTHS)
    found = attribute(case.model, case.encoded, method="hisp", ablation=ablation, normalise_layers=by_layer)
    oracle = nodes.head_importance(case.weights, case.examples, "logit-diff", ablation, by_layer)
    wanted = in_order(case, oracle)
    assert np.isnan(found.scores[case.model.layout.input])
    heads_and_mlps = np.flatnonzero(~np.isnan(wanted))
    assert len(heads_and_mlps) == case.model.graph.n_sources - 1
    close(found.scores[heads_and_mlps], wanted[heads_and_mlps])
    assert (found.scores[heads_and_mlps] > 0).all()
    assert np.isfinite(found.shards).all()
    shares = found.shards[:, heads_and_mlps].sum(0) / found.shard_n.sum()
    np.testing.assert_allclose(shares, found.scores[heads_and_mlps], rtol=1e-12)


def test_nothing_cancels_over_examples_in_head_importance() -> None:
    case = random_case("gpt2", 7, n=8, lengths=LENGTHS)
    signed = attribute(case.model, case.encoded, method="nap").scores
    found = attribute(case.model, case.encoded, method="hisp").scores
    rest = np.arange(len(found)) != case.model.layout.input
    assert (found[rest] >= np.abs(signed[rest]) - 1e-12).all()
    assert (found[rest] > np.abs(signed[rest]) + 1e-6).any()


@pytest.mark.parametrize("level", ["node", "neuron"])
@pytest.mark.parametrize("ablation", ["counterfactual", "zero", "mean"])
def test_nodes_do_not_depend_on_batches_or_order(level: str, ablation: str, seed: int) -> None:
    assert ablation not in OF_A_FILE
    case = random_case("mistral", seed, n=7, lengths=LENGTHS)
    options = {"method": "eap", "level": level, "ablation": ablation}
    whole = attribute(case.model, case.encoded, **options)
    order = case.rng.permutation(7)
    parts = attribute(case.model, [case.encoded[place] for place in order], batch_size=2, **options)
    close(parts.scores, whole.scores)
    close(parts.shards, whole.shards)


def test_wide_heads_in_parts() -> None:
    """Room for one position of one layer's heads at a time."""
    case = random_case("gpt2", 2, lengths=LENGTHS)
    whole = attribute(case.model, case.encoded, level="neuron").scores
    close(attribute(case.within(1), case.encoded, level="neuron", batch_size=6).scores, whole, 1e-12)

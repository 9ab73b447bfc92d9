"""AtP* against the oracle, and on models made so that its two repairs can be seen."""

import dataclasses

import numpy as np
import pytest
import torch

from mi.core import atp_star
from mi.core.attribute import attribute
from mi.core.key_values import grouped
from mi.core.model import wrap
from mi.errors import UsageError
from mi.tasks import footprint
from tests.core.cases import ADAPTED, Case, largest, random_case
from tests.models import Shape, random_model, truly_double
from tests.oracle import atp_star as oracle
from tests.oracle import exact, key_values
from tests.oracle.transformer import receiver_names, source_names
from tests.oracle.weights import read_module

LENGTHS = (5, 7)
SAME = 1e-9  # of the largest score, in float64
NOISE = 2e-5  # in float32


def scores_of(case: Case, level: str = "edge", **options: object) -> np.ndarray:
    return attribute(case.model, case.encoded, method="atp-star", level=level, **options).scores  # type: ignore[arg-type]


def compare(case: Case, metric: str, ablation: str, within: float = SAME, **options: object) -> None:
    edges = case.as_edges(oracle.edges(case.weights, case.examples, metric, ablation)).mean(1)
    found = scores_of(case, metric=metric, ablation=ablation, **options)
    np.testing.assert_allclose(found, edges, rtol=0, atol=within * largest(edges))
    dense = oracle.nodes(case.weights, case.examples, metric, ablation).mean(1)
    place = {name: row for row, name in enumerate(source_names(case.weights))}
    nodes = dense[[place[name] for name in case.model.graph.nodes[: len(place)]]]
    found = scores_of(case, "node", metric=metric, ablation=ablation, **options)
    np.testing.assert_allclose(found, nodes, rtol=0, atol=within * largest(nodes))


@pytest.mark.parametrize("ablation", ["counterfactual", "zero", "mean"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt2-scaled"])
def test_scores_are_the_oracles(name: str, ablation: str) -> None:
    compare(random_case(name, 0, n=3, lengths=LENGTHS), "logit-diff", ablation)


@pytest.mark.parametrize("name", ADAPTED)
def test_scores_of_every_family_are_the_oracles(name: str, seed: int) -> None:
    """Examples whose prompts begin to differ anywhere, in batches of any size."""
    case = random_case(name, seed, n=3, lengths=LENGTHS)
    compare(case, "prob-diff", "counterfactual", batch_size=int(case.rng.integers(1, 4)))


@pytest.mark.parametrize("name", ["llama", "llama-wide-heads", "mistral-windowed"])
def test_effects_through_heads_that_share_add_up_before_their_magnitude_is_taken(name: str, seed: int) -> None:
    case = random_case(name, seed, n=3, lengths=LENGTHS)
    shared = dataclasses.replace(case, model=grouped(case.model))
    weights, graph = case.weights, shared.model.graph
    n_layers, n_heads, n_kv_heads = len(weights.layers), weights.n_heads, case.model.adapter.n_kv_heads
    place = {name: row for row, name in enumerate(source_names(weights))}
    column = {name: row for row, name in enumerate(receiver_names(weights))}
    dropped = [None] if n_layers == 1 else list(range(n_layers))
    effects = {j: oracle.effects(weights, case.examples, "logit-diff", "counterfactual", j) for j in dropped}
    expected = np.zeros(graph.n_edges)
    for edge, (source, receiver) in enumerate(name.split("->") for name in graph.edge_names()):
        own = [column[one] for one in key_values.own_receivers(receiver, n_heads, n_kv_heads)]
        layers = [j for j in dropped if j is None or j != oracle.layer_of_receiver(weights, own[0])]
        expected[edge] = np.mean([np.abs(effects[j][place[source], own].sum(0)).mean() for j in layers])
    found = scores_of(shared, metric="logit-diff")
    np.testing.assert_allclose(found, expected, rtol=0, atol=SAME * largest(expected))


@pytest.mark.parametrize("executor", ["fast", "generic"])
@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
def test_scores_in_float32_through_both_executors(name: str, executor: str) -> None:
    case = random_case(name, 1, n=2, lengths=(6,), double=False)
    compare(case, "logit-diff", "counterfactual", NOISE, executor=executor)


def test_few_sources_side_by_side_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case("qwen2", 2, n=2, lengths=LENGTHS)
    every = scores_of(case)
    monkeypatch.setattr(footprint, "ROW_TOKENS", 1)
    np.testing.assert_allclose(scores_of(case), every, rtol=0, atol=1e-12 * largest(every))


@pytest.mark.parametrize("which", ["q", "k"])
def test_edges_into_queries_and_keys_are_exact_where_only_the_softmax_is_bent(which: str, seed: int) -> None:
    """In the last layer, with no MLP after it and a final norm that is a straight line, what remains between a query
    or key and the logits is the softmax. EAP is far off there.
    """
    module = random_model("gpt2", seed, Shape()).double()
    with torch.no_grad():
        module.transformer.h[-1].mlp.c_proj.weight.zero_()
        module.transformer.ln_f.weight *= 1e7  # the norm now divides by what hardly depends on its input
    module.transformer.ln_f.eps = 1e14
    weights = read_module(module)
    weights = dataclasses.replace(weights, final_norm=dataclasses.replace(weights.final_norm, eps=1e14))
    other = random_case("gpt2", seed, n=4, lengths=LENGTHS)
    case = Case(wrap(truly_double(module)), weights, other.examples, other.rng)
    names = case.model.graph.edge_names()
    chosen = np.array([name.split("->")[1].startswith("a1.") and name.endswith(f"<{which}>") for name in names])
    sources, receivers = source_names(weights), receiver_names(weights)
    patches = [
        exact.Patch(sources.index(name.split("->")[0]), receivers.index(name.split("->")[1]))
        for name, mine in zip(names, chosen, strict=True)
        if mine
    ]
    truth = np.abs(exact.exact(weights, case.examples, "logit-diff", patches)).mean(1)
    found = scores_of(case, metric="logit-diff")[chosen]
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-6 * largest(truth))
    eap = np.abs(attribute(case.model, case.encoded, method="eap", metric="logit-diff").edge[chosen])
    assert np.abs(eap - truth).max() > 0.05 * largest(truth)


def cancelling() -> Case:
    """The input reaches the logits directly, and through the first MLP, which undoes exactly that. Attention writes
    nothing, the second MLP nothing; norms and activation are straight lines.
    """
    shape = Shape()
    module = random_model("gpt2", 7, shape)
    config = module.config
    config.activation_function = "linear"
    config.layer_norm_epsilon = 1e14
    with torch.no_grad():
        for block in module.transformer.h:
            for part in (block.attn.c_proj, block.mlp.c_proj, block.mlp.c_fc):
                part.weight.zero_()
                part.bias.zero_()
            block.mlp.act = torch.nn.Identity()
        embed = module.transformer.wte.weight
        embed -= embed.mean(1, keepdim=True)
        first = module.transformer.h[0].mlp
        narrow = torch.eye(shape.d_model, shape.d_mlp)
        first.c_fc.weight.copy_(narrow)
        first.c_proj.weight.copy_(-0.999 * narrow.T)
        for norm in module.modules():
            if isinstance(norm, torch.nn.LayerNorm):
                norm.weight.fill_(1e7)
                norm.bias.zero_()
                norm.eps = 1e14
    weights = read_module(module)
    other = random_case("gpt2", 7, n=4, lengths=LENGTHS)
    return Case(wrap(truly_double(module)), weights, other.examples, other.rng)


def test_dropping_a_layer_shows_two_paths_that_cancel() -> None:
    """The whole effect of the input is a thousandth of either path's, and AtP's score is as small."""
    case = cancelling()
    nodes = case.model.graph.nodes
    atp = np.abs(attribute(case.model, case.encoded, method="nap").scores)
    star = scores_of(case, "node")
    eap = attribute(case.model, case.encoded, method="eap").edge
    direct = np.abs(eap[case.model.graph.edge_names().index("input->logits")])
    assert atp[nodes.index("input")] < 0.01 * atp[nodes.index("m0")]
    assert star[nodes.index("input")] > 0.1 * direct
    compare(case, "logit-diff", "counterfactual")


def test_nothing_that_it_says_is_negative_and_effects_of_other_examples_add_up() -> None:
    case = random_case("llama", 3, lengths=LENGTHS)
    for level in ("edge", "node"):
        assert (scores_of(case, level) >= 0).all()
        one_by_one = [attribute(case.model, [e], method="atp-star", level=level).scores for e in case.encoded]
        together = scores_of(case, level)
        np.testing.assert_allclose(np.mean(one_by_one, 0), together, rtol=0, atol=1e-10 * largest(together))


def test_the_backward_passes_are_those_of_the_dropped_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case("gpt2-scaled", 0, n=2)
    assert case.model.adapter.n_layers == 3
    dropped = []
    original = atp_star._Tally.add_linear

    def seen(self: atp_star._Tally, slopes: atp_star._Slopes, cells: torch.Tensor) -> None:
        dropped.append((slopes.dropped, sorted(slopes.receivers.heads)))
        original(self, slopes, cells)

    monkeypatch.setattr(atp_star._Tally, "add_linear", seen)
    scores_of(case)
    assert dropped == [(None, [0, 1, 2]), (1, [0]), (2, [0, 1])]


def test_neurons_and_metrics_that_are_flat_are_refused() -> None:
    case = random_case("gpt2", 0, n=2)
    with pytest.raises(UsageError, match="no neurons"):
        scores_of(case, "neuron")
    with pytest.raises(UsageError, match="zero at the clean run"):
        scores_of(case, metric="kl")

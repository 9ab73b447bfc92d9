"""RelP against the oracle, which follows changes forwards by the rules, and against identities that need every rule."""

from itertools import combinations

import numpy as np
import pytest
import torch

from mi.core.attribute import attribute
from mi.core.executor import Edit, Port
from mi.core.methods import BACKWARD, settle
from mi.core.model import wrap
from mi.core.rules import Ruled
from mi.errors import MiError, UsageError
from tests.core.cases import ADAPTED, Case, largest, random_case
from tests.models import Shape, random_model, truly_double
from tests.oracle.relp import relp
from tests.oracle.weights import read_module

LENGTHS = (5, 7)
SAME = 1e-8  # of the largest score: the oracle's slopes of activations are differences
SUBSETS = [rules for n in range(len(BACKWARD) + 1) for rules in combinations(BACKWARD, n)]


def scores_of(case: Case, level: str = "edge", **options: object) -> np.ndarray:
    return attribute(case.model, case.encoded, method="relp", level=level, **options).scores  # type: ignore[arg-type]


def sums_by_source(case: Case, edges: np.ndarray) -> np.ndarray:
    total = np.zeros(case.model.graph.n_sources)
    np.add.at(total, case.model.graph.source, edges)
    return total


def compare(case: Case, rules: tuple[str, ...], metric: str = "logit-diff", ablation: str = "counterfactual") -> None:
    found = scores_of(case, metric=metric, ablation=ablation, backward=rules)
    dense = relp(case.weights, case.examples, metric, ablation, rules)
    expected = case.as_edges(dense).mean(1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=SAME * largest(expected), err_msg=str(rules))


@pytest.mark.parametrize("rules", SUBSETS, ids=lambda rules: "+".join(rules) or "none")
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_scores_are_the_oracles(name: str, rules: tuple[str, ...]) -> None:
    compare(random_case(name, 0, n=2, lengths=(5,)), rules)


@pytest.mark.parametrize("name", ADAPTED)
def test_scores_of_every_family_are_the_oracles(name: str, seed: int) -> None:
    case = random_case(name, seed, n=3, lengths=LENGTHS)
    chosen = SUBSETS[int(case.rng.integers(len(SUBSETS)))]
    compare(case, chosen, metric="prob-diff", ablation=str(case.rng.choice(["counterfactual", "zero", "mean"])))


@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
def test_relu_has_no_rule_of_its_own(name: str) -> None:
    module = random_model(name, 3, Shape())
    setattr(module.config, "activation_function" if name == "gpt2" else "hidden_act", "relu")
    for block in module.base_model.h if name == "gpt2" else module.base_model.layers:
        setattr(block.mlp, "act" if name == "gpt2" else "act_fn", torch.nn.ReLU())
    other = random_case(name, 3, n=3, lengths=LENGTHS)
    case = Case(wrap(truly_double(module)), read_module(module), other.examples, other.rng)
    compare(case, ("ln", "identity", "half"))
    assert np.array_equal(scores_of(case, backward=["identity"]), scores_of(case, backward=[]))


def test_without_rules_it_is_eap() -> None:
    case = random_case("qwen2", 1, lengths=LENGTHS)
    eap = attribute(case.model, case.encoded, method="eap").edge
    np.testing.assert_allclose(scores_of(case, backward=[]), eap, rtol=0, atol=1e-12 * largest(eap))
    assert np.abs(scores_of(case) - eap).max() > 0.01 * largest(eap)


@pytest.mark.parametrize("name", ADAPTED)
def test_the_default_rules_are_ln_identity_and_half(name: str) -> None:
    case = random_case(name, 2, n=2)
    np.testing.assert_array_equal(scores_of(case), scores_of(case, backward=["half", "ln", "identity"]))
    assert settle("relp").backward == ("ln", "identity", "half")


@pytest.mark.parametrize("name", ADAPTED)
def test_a_nodes_score_is_the_sum_of_its_edges(name: str, seed: int) -> None:
    case = random_case(name, seed, lengths=LENGTHS)
    for rules in (None, BACKWARD):
        nodes = scores_of(case, "node", backward=rules)
        found = sums_by_source(case, scores_of(case, backward=rules))
        np.testing.assert_allclose(nodes, found, rtol=0, atol=1e-10 * largest(nodes))
        neurons = scores_of(case, "neuron", backward=rules).sum(1)
        np.testing.assert_allclose(neurons, nodes, rtol=0, atol=1e-10 * largest(nodes))


@pytest.mark.parametrize("name", ["llama", "mistral", "mistral-windowed"])
def test_relevance_is_conserved_where_there_are_no_biases(name: str, seed: int) -> None:
    """With every rule the model is linear in its embedding, so what the input gets is all of the logit difference."""
    case = random_case(name, seed, lengths=LENGTHS)
    got = attribute(case.model, case.encoded, method="relp", level="node", ablation="zero", backward=BACKWARD)
    assert got.scores[0] == pytest.approx(got.clean.mean(), abs=1e-5 * np.abs(got.clean).max())


@pytest.mark.parametrize("missing", BACKWARD)
def test_relevance_is_not_conserved_without_one_of_the_rules(missing: str) -> None:
    rules = [rule for rule in BACKWARD if rule != missing]
    case = random_case("llama", 0, lengths=LENGTHS)
    got = attribute(case.model, case.encoded, method="relp", level="node", ablation="zero", backward=rules)
    assert abs(got.scores[0] - got.clean.mean()) > 0.01 * np.abs(got.clean).max()


@pytest.mark.parametrize("double", [True, False], ids=["float64", "float32"])
@pytest.mark.parametrize("name", ADAPTED)
def test_what_the_model_computes_is_unchanged(name: str, double: bool) -> None:
    case = random_case(name, 4, double=double)
    ids = torch.tensor([list(example.clean) for example in case.examples])
    read = torch.tensor([example.read for example in case.examples])
    start = Edit(Port(case.model.adapter.roles.embed, "out"), lambda value: value.detach().requires_grad_(True))
    plain = case.model.executor()
    with torch.enable_grad():
        before = plain.run(ids, [start], read)
        within = Ruled(plain, case.model.adapter, BACKWARD).run(ids, [start], read)
    assert within.requires_grad
    assert torch.equal(within, before)
    with torch.no_grad():
        assert torch.equal(Ruled(plain, case.model.adapter, BACKWARD).run(ids, [], read), before)


@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
def test_both_executors_agree(name: str) -> None:
    case = random_case(name, 5, lengths=LENGTHS)
    for rules in (None, BACKWARD):
        fast, generic = (scores_of(case, backward=rules, executor=which) for which in ("fast", "generic"))
        np.testing.assert_allclose(generic, fast, rtol=0, atol=1e-12 * largest(fast))


def test_half_precision_comes_close() -> None:
    case = random_case("llama", 6, n=8, lengths=LENGTHS, double=False)
    exact = scores_of(case)
    half = Case(wrap(case.model.module.to(torch.bfloat16)), case.weights, case.examples, case.rng)
    assert np.corrcoef(exact, scores_of(half))[0, 1] > 0.98


def test_what_means_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="no backward rule 'gamma'"):
        settle("relp", backward=["gamma"])
    with pytest.raises(UsageError, match="--backward means nothing to eap"):
        settle("eap", backward=["ln"])
    case = random_case("gpt2", 0, n=2)
    for layer in case.model.adapter.layers:
        mlp = layer.part(layer.roles.mlp)
        del mlp.act, mlp.dropout
        mlp.act = torch.tanh
    with pytest.raises(MiError, match="is no module"):
        scores_of(case, backward=["identity"])

"""The table of methods: what each takes, what is refused and what is said, what each costs."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mi.commands.attribute import attribute as command
from mi.core import methods
from mi.core.attribute import attribute
from mi.core.fast import FastExecutor
from mi.core.methods import LEVELS, METHODS, RULES, settle
from mi.core.model import wrap
from mi.errors import UsageError
from tests.core.cases import largest, random_case
from tests.data_dir import CHECKOUT
from tests.examples import encoded, random_examples
from tests.models import random_model, truly_double

GRADIENT = [name for name, method in METHODS.items() if method.needs_gradient]


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_does_when_nothing_more_is_said(name: str) -> None:
    method, config = METHODS[name], settle(name)
    assert config.level == method.levels[0]
    assert set(method.levels) <= set(LEVELS)
    assert set(method.compat) <= set(method.levels)
    assert config.rule == method.rule
    assert config.steps == (methods.STEPS if "steps" in method.flags else 1)
    assert config.compat is None


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("eap", {"steps": 3}, "eap-ig"),
        ("eap", {"rule": "left"}, "eap-ig"),
        ("eap", {"normalise_layers": True}, "hisp"),
        ("eap", {"level": "layer"}, "edge, node, neuron"),
        ("hisp", {"level": "edge"}, "eap"),
        ("ifr", {"level": "node"}, "hisp"),
        ("ifr", {"ablation": "zero"}, "eap"),
        ("eap-ig", {"ablation": "mean"}, "counterfactual or resample"),
        ("clean-corrupted", {"steps": 2}, "eap-ig"),
        ("hisp", {"compat": "mib"}, "nap"),
        ("eap-ig-activations", {"level": "node", "compat": "mib"}, "nap-ig"),
        ("eap-gp", {}, "eap-ig"),
    ],
)
def test_what_has_no_meaning_is_refused_with_what_has(name: str, asked: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        settle(name, **asked)
    assert said in caught.value.hint


@pytest.mark.parametrize("name", GRADIENT)
def test_methods_of_gradients_need_one(name: str) -> None:
    case = random_case("gpt2", 0, n=1)
    with pytest.raises(UsageError, match="no gradient"):
        attribute(case.model, case.encoded, method=name, metric="accuracy")
    if METHODS[name].only_at_clean:
        with pytest.raises(UsageError, match="zero at the clean run"):
            attribute(case.model, case.encoded, method=name, metric="kl")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_weights_of_a_quadrature_sum_to_one(rule: str, steps: int) -> None:
    taken = methods.alphas(settle("eap-ig", steps=steps, rule=rule))
    assert sum(weight for _, weight in taken) == pytest.approx(1)
    assert all(0 <= alpha <= 1 for alpha, _ in taken)
    integral = sum(weight * alpha for alpha, weight in taken)  # of x: 1/2, and off by 1/2m at one end
    off = {"left": -0.5 / steps, "right": 0.5 / steps}.get(rule, 0.0)
    assert integral == pytest.approx(0.5 + off)


COSTS = [
    ("eap", {}),
    ("eap", {"ablation": "zero"}),
    ("eap", {"ablation": "mean"}),
    ("nap", {"ablation": "resample"}),
    *[("eap-ig", {"rule": rule, "steps": 3}) for rule in RULES],
    ("nap-ig", {}),
    ("clean-corrupted", {}),
    ("hisp", {}),
    ("ifr", {}),
    ("eap-ig-activations", {"compat": "mib", "steps": 2}),
]


@pytest.mark.parametrize(("name", "asked"), COSTS, ids=str)
def test_what_is_run_is_what_was_said(monkeypatch: pytest.MonkeyPatch, name: str, asked: dict[str, object]) -> None:
    """Forwards and gradients of one batch; those that go on from half the model are counted elsewhere."""
    case = random_case("gpt2", 0, n=2, lengths=(5,))
    ran, pulled = [], []
    run, grad = FastExecutor.run, torch.autograd.grad
    monkeypatch.setattr(FastExecutor, "run", lambda *args: (ran.append(1), run(*args))[1])
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **more: (pulled.append(1), grad(*args, **more))[1])
    attribute(case.model, case.encoded, method=name, **asked)
    assert methods.cost(settle(name, **asked), case.model.adapter.n_layers) == (len(ran), len(pulled))


def test_clean_and_corrupted_gradients_weigh_the_same(seed: int) -> None:
    """The mean of EAP and of a single step from the corrupted end."""
    case = random_case("llama", seed, lengths=(5, 7))
    clean = attribute(case.model, case.encoded, method="eap").edge
    corrupted = attribute(case.model, case.encoded, method="eap-ig", steps=1, rule="left").edge
    found = attribute(case.model, case.encoded, method="clean-corrupted").edge
    np.testing.assert_allclose(found, (clean + corrupted) / 2, rtol=0, atol=1e-12 * largest(found))


def test_the_command_offers_the_table() -> None:
    assert "MethodName" in str(inspect.signature(command).parameters["method"].annotation)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_documented(name: str) -> None:
    assert f"`{name}`" in Path(CHECKOUT, "docs", "methods.md").read_text()


@pytest.mark.parametrize("name", ["eap-ig-activations", "clean-corrupted", "nap", "nap-ig"])
def test_where_everything_is_linear_every_gradient_is_the_same(name: str, seed: int) -> None:
    """Norms that only rescale, frozen attention, an identity for an activation: nothing to integrate (spec I7)."""
    module = truly_double(random_model("gpt2", seed))
    d = module.config.n_embd
    with torch.no_grad():
        for block in module.transformer.h:
            block.mlp.act = nn.Identity()
            block.attn.c_attn.weight[:, : 2 * d] = 0
            block.attn.c_attn.bias[: 2 * d] = 0
        for norm in module.modules():
            if isinstance(norm, nn.LayerNorm):
                norm.eps = 1e16
                norm.weight *= 1e8
    model = wrap(module)
    examples = encoded(random_examples(np.random.default_rng(seed), 4, 29, (6,)))
    level = METHODS[name].levels[0]
    plain = attribute(model, examples, method="eap", level=level).scores
    found = attribute(model, examples, method=name).scores
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-6 * largest(plain))

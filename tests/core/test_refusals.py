"""What the core refuses, and how it says so: what has no meaning, what does not fit, numbers that are not finite."""

import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from mi.core import runtime
from mi.core.attribute import attribute
from mi.core.circuits import run_circuits
from mi.core.model import Model, wrap
from mi.core.sitewise import spread
from mi.errors import MiError
from mi.io.device_map import DeviceMap
from tests.core.cases import random_case
from tests.examples import encoded, random_examples
from tests.models import LENGTH, random_model

USAGE, BAD_INPUT, FAILED = 2, 3, 4


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"method": "eap", "metric": "kl"}, USAGE, "gradient.*zero"),
        ({"metric": "accuracy"}, USAGE, "no gradient"),
        ({"ablation": "zero"}, USAGE, "eap-ig"),
        ({"method": "acdc"}, USAGE, "no method 'acdc'"),
        ({"metric": "perplexity"}, USAGE, "no metric 'perplexity'"),
        ({"rule": "simpson"}, USAGE, "no rule 'simpson'"),
        ({"steps": 0}, USAGE, "0 steps"),
        ({"ablation": "shuffle", "method": "eap"}, USAGE, "no ablation 'shuffle'"),
        ({"executor": "quantum"}, USAGE, "no executor 'quantum'"),
        ({"compat": "acdc"}, USAGE, "acdc"),
        ({"method": "eap", "ablation": "mean-positional"}, BAD_INPUT, "one length"),
    ],
)
def test_what_has_no_meaning(options: dict[str, object], code: int, words: str) -> None:
    case = random_case("gpt2", 0, lengths=(4, 6))
    with pytest.raises(MiError, match=words) as caught:
        attribute(case.model, case.encoded, **options)
    assert caught.value.code == code
    assert caught.value.hint


def test_masks_of_another_graph() -> None:
    case = random_case("gpt2", 0)
    with pytest.raises(MiError, match=str(case.model.graph.n_edges)):
        run_circuits(case.model, case.encoded, np.ones((1, case.model.graph.n_edges - 1), dtype=bool))
    mixed = random_case("gpt2", 0, lengths=(4, 5))
    masks = np.ones((1, mixed.model.graph.n_edges), dtype=bool)
    with pytest.raises(MiError, match="one length"):
        run_circuits(mixed.model, mixed.encoded, masks, ablation="mean-positional")


def test_no_examples() -> None:
    case = random_case("gpt2", 0)
    masks = np.ones((1, case.model.graph.n_edges), dtype=bool)
    with pytest.raises(MiError, match="no examples"):
        attribute(case.model, [])
    with pytest.raises(MiError, match="no examples"):
        run_circuits(case.model, [], masks)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_prompts_longer_than_the_model_can_place(family: str) -> None:
    """Learned positions end somewhere; rotary ones may be trained no further, but have no end."""
    model = wrap(random_model(family, 0))
    examples = encoded(random_examples(np.random.default_rng(0), 2, 29, (LENGTH + 1,)))
    masks = np.ones((1, model.graph.n_edges), dtype=bool)
    if family == "llama":
        assert np.isfinite(attribute(model, examples, steps=1).edge).all()
        return
    for call in (lambda: attribute(model, examples), lambda: run_circuits(model, examples, masks)):
        with pytest.raises(MiError, match=f"{LENGTH + 1}.*{LENGTH}") as caught:
            call()
        assert caught.value.code == BAD_INPUT


def broken(value: float, where: str) -> Model:
    module = random_model("gpt2", 0)
    model = wrap(module)
    with torch.no_grad():
        module.get_parameter(where).view(-1)[0] = value
    return model


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["transformer.h.0.mlp.c_proj.weight", "transformer.ln_f.weight"])
def test_broken_weights_are_named_by_an_example(value: float, where: str) -> None:
    model = broken(value, where)
    examples = encoded(random_examples(np.random.default_rng(0), 3, 29, (5,)))
    masks = np.ones((1, model.graph.n_edges), dtype=bool)
    for call in (
        lambda: attribute(model, examples),
        lambda: attribute(model, examples, method="eap"),
        lambda: run_circuits(model, examples, masks),
    ):
        with pytest.raises(MiError, match=r"example-\d") as caught:
            call()
        assert caught.value.code == FAILED
        assert re.search(r"weights", caught.value.hint)


def test_a_broken_token_is_named_by_the_example_that_has_it() -> None:
    """Only the examples that hold the token are hurt; the message names one of them."""
    module = random_model("llama", 0)
    model = wrap(module)
    examples = random_examples(np.random.default_rng(1), 6, 20, (5,))
    examples[4] = replace(examples[4], clean=(25, *examples[4].clean[1:]))
    with torch.no_grad():
        module.get_input_embeddings().weight[25] = float("nan")
    with pytest.raises(MiError, match="example-4") as caught:
        attribute(model, encoded(examples))
    assert caught.value.code == FAILED


def test_a_score_that_overflows_is_named_by_its_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metric is finite, a product of two large numbers is not."""
    module = random_model("gpt2", 0)
    model = wrap(module)
    examples = encoded(random_examples(np.random.default_rng(0), 3, 29, (5,)))
    code = sys.modules["mi.core.inputs"]

    def overflow(*given: object) -> torch.Tensor:
        cells = contract(*given)
        cells[0, 0, -1] = float("inf")
        return cells

    contract = code.contract
    monkeypatch.setattr(code, "contract", overflow)
    with pytest.raises(MiError, match="input->logits") as caught:
        attribute(model, examples)
    assert caught.value.code == FAILED


def test_an_apple_gpu_is_taken_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MiError, match="mps is not there"):
        runtime.device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert runtime.device("auto").type == "cpu"
    assert runtime.device("mps").type == "mps"
    for placed in (DeviceMap("auto"), DeviceMap("map.json", (("model", "mps"),))):
        with pytest.raises(MiError, match="no part of a model on an Apple GPU") as caught:
            spread.devices(placed)
        assert caught.value.code == USAGE

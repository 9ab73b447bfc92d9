"""A decoder that accelerate spreads, here over the processor and a disk: scores, circuits and patches are to the bit
those of one device, for its kernels are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mi.core import placement
from mi.core.attribute import attribute
from mi.core.circuits import run_circuits
from mi.core.executor import Edit, Port
from mi.core.fast import FastExecutor
from mi.core.model import Model, wrap
from mi.core.placement import Spread
from mi.tasks.encode import Encoded
from tests.examples import encoded, random_examples
from tests.families.models import VOCABULARY, random_model

pytest.importorskip("accelerate")
from tests.spread_models import spread_out

SOME = ("gpt2", "opt", "gptj", "neox", "qwen3", "gemma2", "olmo2", "phi3", "falcon-new", "mixtral")
METHODS = (
    {"method": "eap-ig", "steps": 2},
    {"method": "exact"},
    {"method": "nap", "level": "neuron"},
)


def both(name: str, seed: int, folder: Path) -> tuple[Model, Model]:
    """One model, on one device and spread."""
    here, there = (random_model(name, seed, torch.float64, None) for _ in range(2))
    return wrap(here), wrap(spread_out(there, folder))


def prompts(seed: int) -> list[Encoded]:
    return encoded(random_examples(np.random.default_rng(seed), 2, VOCABULARY, (6,), read_last=False))


@pytest.mark.parametrize("name", SOME)
def test_numbers_are_those_of_one_device(name: str, tmp_path: Path) -> None:
    models, examples = both(name, 5, tmp_path), prompts(5)
    assert isinstance(models[1].adapter.placement, Spread)
    for options in METHODS:
        here, there = (attribute(model, examples, **options) for model in models)
        np.testing.assert_array_equal(there.scores, here.scores)
        assert np.nanmax(np.abs(here.scores)) > 0
    masks = np.random.default_rng(5).random((2, models[0].graph.n_edges)) < 0.5
    here, there = (run_circuits(model, examples, masks) for model in models)
    np.testing.assert_array_equal(there.value, here.value)


def test_an_edit_sees_what_goes_on(tmp_path: Path) -> None:
    """Gradients at what a function was shown, and kept, where a port is on another device than the edits."""
    _, model = both("llama", 0, tmp_path)
    shown: list[torch.Tensor] = []
    moves: list[tuple[str, Port]] = []

    class Elsewhere(Spread):
        def whole(self, port: Port, value: torch.Tensor) -> torch.Tensor:
            moves.append(("whole", port))
            return value.clone()  # as a copy from another device is

        def part(self, port: Port, value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
            moves.append(("part", port))
            return value.clone()

    port = Port(model.adapter.layers[1].path(), "in")
    first = Edit(Port(model.adapter.roles.embed, "out"), lambda value: value.detach().requires_grad_(True))
    edits = placement.placed(Elsewhere(model.device), [first, Edit(port, shown.append)])
    logits = FastExecutor(model.adapter).run(torch.zeros(1, 3, dtype=torch.long), edits, torch.tensor([2]))
    (gradient,) = torch.autograd.grad(logits.sum(), shown)
    assert float(gradient.abs().max()) > 0
    moves.clear()
    with torch.no_grad():
        FastExecutor(model.adapter).run(torch.zeros(1, 3, dtype=torch.long), edits[1:], torch.tensor([2]))
    assert moves == [("whole", port)], "what nobody takes gradients at need not go back"


def test_weights_come_as_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = both("llama", 1, tmp_path)
    spread = there.adapter.placement
    wanted, found = (model.adapter.layers[0].heads_out for model in (here, there))
    assert found.weight.is_meta
    found.weight = torch.nn.Parameter(found.weight.float(), requires_grad=False)  # on the disk in another number format
    spread._kept.clear()
    with torch.inference_mode():
        weight = spread.weight(found, "weight")
    assert torch.equal(weight, wanted.weight.float())
    assert not weight.is_inference(), "a later run takes gradients through it"
    assert spread.weight(found, "weight") is weight, "it is not read twice"
    rows = torch.tensor([2, 0])
    assert torch.equal(spread.weight(found, "weight", rows), wanted.weight.float()[rows])
    assert spread.weight(found, "bias") is None
    query, key, value = there.adapter.layers[0].projections
    spread.weight(query, "weight")
    spread.weight(found, "weight")
    assert list(spread._kept) == [(query, "weight"), (found, "weight")], "the one asked for last is the last to go"
    monkeypatch.setattr(placement, "KEPT", query.weight.nbytes)
    spread.weight(value, "weight")
    assert list(spread._kept) == [(found, "weight"), (value, "weight")], "the oldest goes"
    spread.weight(query, "weight")
    assert list(spread._kept) == [(query, "weight")]
    monkeypatch.setattr(placement, "KEPT", 0)
    spread.weight(key, "weight")
    assert list(spread._kept) == [(key, "weight")], "the last one stays anyway"


def test_a_weight_that_is_nowhere_is_an_error() -> None:
    with pytest.raises(placement.MiError, match="nothing says where it is kept"):
        placement.stored_tensor(torch.nn.Linear(2, 2, device="meta"), "weight")


def test_the_main_device_is_the_first_accelerator() -> None:
    module = torch.nn.Linear(2, 2)
    assert placement.main_device(module) is None
    assert placement.placement_of(module) is placement.HERE
    for places, device in (
        ({"a": "disk", "b": 0, "c": 1}, "cuda:0"),
        ({"a": 1, "b": "cpu"}, "cuda:1"),
        ({"a": "cuda"}, "cuda:0"),
        ({"a": "cpu", "b": "disk"}, "cpu"),
    ):
        module.hf_device_map = places
        assert str(placement.main_device(module)) == device
        assert str(placement.placement_of(module).main) == device

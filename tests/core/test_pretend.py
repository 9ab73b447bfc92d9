"""The package on machines with GPUs, as `tests.pretend` has them: nothing is used on another device than it lies on,
and the numbers are those of the processor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mi.core.attribute import attribute
from mi.core.circuits import run_circuits
from mi.core.model import Model, wrap
from mi.core.placement import Spread
from mi.errors import MiError
from mi.tasks.encode import Encoded
from tests.examples import encoded, random_examples
from tests.families.models import OPTIONS, VOCABULARY, random_model
from tests.pretend import Pretended, machine

pytest.importorskip("accelerate")
import accelerate

from tests.spread_models import places

METHODS = (
    {"method": "eap"},
    {"method": "eap-ig", "steps": 2, "metric": "kl"},
    {"method": "eap-ig-activations", "steps": 2},
    {"method": "eap", "ablation": "mean"},
    {"method": "clean-corrupted"},
    {"method": "nap", "level": "neuron"},
    {"method": "exact", "level": "node"},
    {"method": "relp"},
    {"method": "atp-star"},
    {"method": "hisp"},
    {"method": "ifr"},
)
SPREAD = ({"method": "eap-ig", "steps": 2}, {"method": "exact", "level": "node"}, {"method": "atp-star"})


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with machine(2, monkeypatch):
        yield


def prompts(seed: int) -> list[Encoded]:
    return encoded(random_examples(np.random.default_rng(seed), 2, VOCABULARY, (6,), read_last=False))


def same(
    there: Model,
    here: Model,
    seed: int,
    methods: tuple[dict[str, object], ...],
    executor: str = "fast",
    exact: float = 1e-12,
) -> None:
    """Whether the scores are equal, up to the order in which the processor adds."""
    examples = prompts(seed)
    for options in methods:
        try:
            wanted = attribute(here, examples, **options).scores
        except MiError as refused:  # a method that knows nothing of the family
            with pytest.raises(MiError, match=refused.fact[:40]):
                attribute(there, examples, **options)
            continue
        found = attribute(there, examples, executor=executor, **options).scores
        np.testing.assert_allclose(found, wanted, rtol=0, atol=exact * np.nanmax(np.abs(wanted)), err_msg=str(options))
    masks = np.random.default_rng(seed).random((2, here.graph.n_edges)) < 0.5
    found, wanted = (run_circuits(model, examples, masks, executor=executor).value for model in (there, here))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=exact)


@pytest.mark.parametrize("name", ["gpt2", "qwen3-moe"])
def test_on_one_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = wrap(random_model(name, 4, torch.float64, None))
    with machine(1, monkeypatch):
        there = wrap(random_model(name, 4, torch.float64, None).to("cuda:0"))
        assert str(there.device) == "cuda:0"
        same(there, here, 4, METHODS)


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_on_an_apple_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no float64: sums are made on the processor."""
    here = wrap(random_model(name, 4, torch.float32, None))
    with machine(0, monkeypatch):
        there = wrap(random_model(name, 4, torch.float32, None).to("mps"))
        assert there.device.type == "mps"
        same(there, here, 4, METHODS, exact=1e-4)


def test_gradients_on_a_gpu_go_through_the_plain_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fused kernels add gradients up in no fixed order. Without gradients they are used."""
    fused: list[tuple[bool, bool]] = []
    plain = torch.nn.functional.scaled_dot_product_attention

    def seen(*given: Tensor, **options: object) -> Tensor:
        enabled = torch.backends.cuda.mem_efficient_sdp_enabled() or torch.backends.cuda.flash_sdp_enabled()
        fused.append((torch.is_grad_enabled(), enabled))
        return plain(*given, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", seen)
    with machine(1, monkeypatch):
        there = wrap(random_model("llama", 4, torch.float64, None).to("cuda:0"))
        attribute(there, prompts(4), method="eap")
    assert set(fused) == {(True, False), (False, True)}


def test_nnsight_leaves_the_model_where_it_is(gpus: None) -> None:
    """A pipeline of transformers', which nnsight makes, moves a model to the first GPU unless it is told where to."""
    here = wrap(random_model("gpt2", 4, torch.float64, None))
    there = wrap(random_model("gpt2", 4, torch.float64, None).to("cuda:1"))
    same(there, here, 4, ({"method": "eap"},), "generic")
    assert {str(p.device) for p in there.module.parameters()} == {"cuda:1"}


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "mixtral"])
def test_spread_over_two_gpus(name: str, gpus: None) -> None:
    """Of three layers the middle one is beside the rest."""
    kinds = {"layer_types": OPTIONS[name][1]["layer_types"]} if "layer_types" in OPTIONS[name][1] else {}
    module, own = (random_model(name, 6, torch.float64, 3, **kinds) for _ in range(2))
    accelerate.dispatch_model(module, device_map=places(module, "cuda:0", "cuda:1", "cuda:0"))
    there = wrap(module)
    assert isinstance(there.adapter.placement, Spread)
    assert {str(p.device) for p in module.parameters()} == {"cuda:0", "cuda:1"}
    same(there, wrap(own), 6, SPREAD)
    if name == "llama":
        same(there, wrap(own), 6, SPREAD[:1], "generic")


def test_what_has_no_room_on_the_gpu(gpus: None, tmp_path: Path) -> None:
    """Blocks by turns in memory and on the GPU, the rest on a disk: all of it computes on the GPU."""
    module, own = (random_model("llama", 7, torch.float64, 3) for _ in range(2))
    device_map = places(module, "cpu", "cuda:0", "disk")
    accelerate.dispatch_model(module, device_map=device_map, offload_dir=str(tmp_path))
    there = wrap(module)
    assert str(there.device) == "cuda:0"
    assert {p.is_meta for p in module.parameters()} == {True, False}
    same(there, wrap(own), 7, SPREAD)


def on(device: str) -> Tensor:
    return torch.ones(3, 3).to(device)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: on("cuda:0") + on("cpu"), "same device, but found cpu, cuda:0"),
        (lambda: on("cuda:0") @ on("cuda:1"), "same device, but found cuda:0, cuda:1"),
        (lambda: torch.cat([on("cuda:0"), on("cpu")]), "same device"),
        (lambda: on("cuda:0").index_select(0, torch.tensor([1])), "same device"),
        (lambda: on("cpu")[torch.tensor([1]).to("cuda:0")], "indices should be"),
        (lambda: on("cuda:0")[torch.tensor([1]).to("cuda:1")], "indices should be"),
        (lambda: torch.where(on("cpu") > 0, on("cuda:0"), on("cuda:0")), "same device"),
        (lambda: torch.bmm(on("cpu")[None], on("cpu")[None], out=torch.empty(1, 3, 3, device="cuda:0")), "same device"),
        (lambda: on("cuda:0").long() @ on("cuda:0").long(), "whole numbers"),
        (lambda: torch.randn(2, generator=torch.Generator(), device="cuda:0"), "device type for generator"),
        (lambda: on("cuda:0").numpy(), "to numpy"),
        (lambda: np.asarray(on("cuda:0")), "to numpy"),
        (lambda: torch.nn.Linear(3, 3).to("cuda:0")(on("cpu")), "same device"),
    ],
)
def test_what_a_gpu_refuses(wrong: Callable[[], object], words: str, gpus: None) -> None:
    with pytest.raises((RuntimeError, TypeError), match=words):
        wrong()


def test_what_a_gpu_does(gpus: None) -> None:
    x = on("cuda:0")
    x[torch.tensor([0, 1])] = torch.tensor(5.0)  # indices and a single number may be the processor's
    x[0].copy_(torch.full((3,), 2.0))
    assert x.cpu().tolist() == [[2, 2, 2], [5, 5, 5], [1, 1, 1]]
    for made in (x.new_full((2,), 1.0), torch.zeros_like(x), x.double(), x[1:], torch.arange(2, device=x.device)):
        assert isinstance(made, Pretended), "where it was made"
        assert str(made.device) == "cuda:0"
    leaf = torch.ones(2, requires_grad=True)
    (gradient,) = torch.autograd.grad((leaf.to("cuda:0") * 3).to("cuda:1").sum(), leaf)
    assert gradient.tolist() == [3, 3]
    assert type(gradient) is Tensor, "gradients come back"

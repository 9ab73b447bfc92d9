"""Adapters: what the load-time identities catch, and that loading leaves the model as it was."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BloomConfig, BloomForCausalLM

from mi.core import adapters
from mi.core.attribute import attribute
from mi.core.model import load, wrap
from mi.errors import MiError
from tests.core.cases import ADAPTED
from tests.examples import encoded, random_examples
from tests.models import Shape, random_model


def with_roles(monkeypatch: pytest.MonkeyPatch, family: str, **wrong: object) -> None:
    changed = tuple(replace(r, **wrong) if family in r.families else r for r in adapters.ROLES)
    monkeypatch.setattr(adapters, "ROLES", changed)


@pytest.mark.parametrize(
    ("family", "wrong"),
    [
        ("gpt2", {"centred": False}),
        ("llama", {"centred": True}),
        ("gpt2", {"position": None}),
        ("gpt2", {"attention_norm": "ln_2"}),
        ("gpt2", {"heads_out": "mlp.c_fc"}),
        ("gpt2", {"mlp": "attn.c_proj"}),
        ("gpt2", {"final_norm": "transformer.h.1.ln_2"}),
        ("llama", {"embed": "model.norm"}),
    ],
)
def test_a_wrong_adapter_fails_at_load(monkeypatch: pytest.MonkeyPatch, family: str, wrong: dict[str, object]) -> None:
    wrap(random_model(family, 0))
    with_roles(monkeypatch, family, **wrong)
    with pytest.raises(MiError, match="adapter") as caught:
        wrap(random_model(family, 0))
    assert caught.value.code == 3


@pytest.mark.parametrize("order", [order for order in permutations("qkv") if order != tuple("qkv")])
def test_queries_keys_and_values_cannot_be_taken_for_each_other(
    monkeypatch: pytest.MonkeyPatch, order: tuple[str, ...], seed: int
) -> None:
    """Where no key is shared they all have one shape."""
    shape = Shape(n_kv_heads=4)
    wrap(random_model("llama", seed, shape))
    with_roles(monkeypatch, "llama", queries_keys_values=tuple(f"self_attn.{which}_proj" for which in order))
    with pytest.raises(MiError, match="what it takes for the (queries|keys) is something else"):
        wrap(random_model("llama", seed, shape))


class Doubled(nn.Module):
    """An MLP that the residual stream sees twice as large, as some families scale theirs."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.inner(x)


def test_a_model_that_scales_a_block_after_its_node_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = random_model("llama", 0)
    module.model.layers[1].mlp = Doubled(module.model.layers[1].mlp)
    wrap(module)  # the doubling is inside the node
    module = random_model("llama", 0)
    block = module.model.layers[1]
    block.register_forward_hook(lambda _, args, out: out + 0.1 * args[0])
    with pytest.raises(MiError, match="sum to the final norm's input"):
        wrap(module)


def test_a_family_without_adapter_is_refused_by_name() -> None:
    module = BloomForCausalLM(BloomConfig(n_layer=1, n_head=2, hidden_size=8, vocab_size=11))
    with pytest.raises(MiError, match="no adapter for architecture 'bloom'") as caught:
        wrap(module)
    assert "mi adapter probe" in caught.value.hint


@pytest.mark.parametrize("name", ADAPTED)
def test_the_model_still_runs_as_it_did(name: str) -> None:
    """Wrapping, attributing and both executors leave no hook, no gradient and no changed weight behind."""
    family, shape = ADAPTED[name]
    module = random_model(family, 0, shape)
    tokens = torch.randint(shape.vocabulary, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = module(tokens, use_cache=False).logits
    weights = {key: value.clone() for key, value in module.state_dict().items()}
    model = wrap(module)
    examples = encoded(random_examples(np.random.default_rng(0), 2, shape.vocabulary, (5,)))
    for executor in ("fast", "generic"):
        attribute(model, examples, executor=executor)
    with torch.no_grad():
        torch.testing.assert_close(module(tokens, use_cache=False).logits, before, rtol=0, atol=1e-5)
    assert all(torch.equal(weights[key], value) for key, value in module.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in module.parameters())
    assert not any(
        m._forward_hooks or m._forward_pre_hooks for m in module.modules() if "Rotary" not in type(m).__name__
    )


@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
def test_a_folder_loads_as_the_module_that_was_saved(name: str, tmp_path: object) -> None:
    family, shape = ADAPTED[name]
    module = random_model(family, 5, shape)
    module.save_pretrained(tmp_path)
    examples = encoded(random_examples(np.random.default_rng(0), 3, shape.vocabulary, (5,)))
    loaded = load(str(tmp_path), device="cpu")
    found = attribute(loaded, examples).edge
    assert found.tobytes() == attribute(wrap(module), examples).edge.tobytes()
    assert str(loaded.dtype) == "torch.float32"
    wide = load(str(tmp_path), device="cpu", dtype="float64")
    assert str(wide.dtype) == "torch.float64"
    np.testing.assert_allclose(attribute(wide, examples).edge, found, rtol=0, atol=2e-5 * np.abs(found).max())

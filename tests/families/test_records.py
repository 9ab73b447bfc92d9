"""Records of roles: the right ones load in every number format, wrong ones fail, and so does what has none."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import BloomConfig, BloomForCausalLM

from mi.circuit.importers.edges import side_by_side
from mi.core import adapters
from mi.core.families import ROLES
from mi.core.model import load, wrap
from mi.errors import MiError
from mi.tasks.shape import shape_of
from tests.families.models import FAMILIES, PARALLEL, POST_NORM, VOCABULARY, random_model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_loads(name: str, dtype: torch.dtype) -> None:
    """The identities hold; and the model still gives the logits that it gave."""
    sizes = {"moe_intermediate_size": 16} if name == "qwen3-moe" else {}  # the grouped kernel wants eight at a time
    module = random_model(name, 1, dtype, **sizes)
    tokens = torch.randint(VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = module(tokens, use_cache=False).logits
        model = wrap(module)
        after = module(tokens, use_cache=False).logits
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 0.1, torch.float16: 0.02}[dtype]
    torch.testing.assert_close(after, before, rtol=0, atol=tolerance * float(before.abs().max()))
    assert model.adapter.roles.parallel == (name in PARALLEL)
    assert model.graph.params["parallel"] == (name in PARALLEL)
    assert model.adapter.has_post_norms == (name in POST_NORM)
    wrap(module)  # once more does no harm


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_loads_from_a_folder(name: str, tmp_path: object) -> None:
    module = random_model(name, 2)
    module.save_pretrained(tmp_path)
    tokens = torch.randint(VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = module(tokens, use_cache=False).logits
        found = load(str(tmp_path), device="cpu").module(tokens, use_cache=False).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


WRONG = [
    ("gpt-neo", {"position": None}),
    ("neox", {"interleaved": False}),
    ("neox", {"parallel": False}),
    ("neox-sequential", {"parallel": True}),
    ("neox", {"mlp_norm": "input_layernorm"}),
    ("gptj", {"parallel": False}),
    ("opt", {"position_offset": 0}),
    ("opt", {"mlp_in": None}),
    ("qwen3", {"unit_offset": True}),
    ("gemma", {"unit_offset": False}),
    ("gemma2", {"attention_post_norm": None}),
    ("gemma2", {"mlp_post_norm": None}),
    ("gemma3", {"mlp_norm": "post_attention_layernorm"}),
    ("phi3", {"ungroup": ()}),
    ("phi3", {"interleaved": True}),
    ("olmo2", {"attention_norm": "post_attention_layernorm"}),
    ("olmo2", {"centred": True}),
    ("olmo2", {"key_norm": None}),
    ("falcon", {"overwritten": ()}),
    ("falcon", {"ungroup": (("self_attention.num_kv_heads", None),)}),
    ("falcon-new", {"interleaved": False}),
    ("falcon-new", {"mlp_norm": "ln_attn"}),
    ("falcon-alibi", {"interleaved": False}),
    ("stablelm", {"mlp_norm": "input_layernorm"}),
    ("stablelm", {"ungroup": ()}),
    ("mixtral", {"mlp": "self_attn"}),
]


@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_a_wrong_record_fails_at_load(name: str, wrong: dict[str, object]) -> None:
    module = random_model(name, 0)
    roles = adapters.record_for(module)
    with pytest.raises(MiError, match="does not fit this model") as caught:
        wrap(module, roles=replace(roles, **wrong))
    assert caught.value.code == 3


def test_conditions_tell_records_of_one_family_apart() -> None:
    """Each family's record is some model's; `test_with_images` has the one that is not here."""
    held = {adapters.record_for(random_model(name, 0)) for name in FAMILIES}
    used = {record.families for record in held}
    assert {record.families for record in ROLES} - {("gemma3",)} <= used


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("opt", {"do_layer_norm_before": False}, "'opt' with do_layer_norm_before = False has no adapter"),
        ("opt", {"word_embed_proj_dim": 8}, r"'opt' with model.decoder.project_in has no adapter"),
        ("opt", {"_remove_final_layer_norm": True}, r"cannot be found: final_norm \(model.decoder.final_layer_norm\)"),
        ("gpt2", {"add_cross_attention": True}, "'gpt2' with add_cross_attention = True has no adapter"),
    ],
)
def test_options_that_have_no_adapter_are_named(name: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(MiError, match=said):
        wrap(random_model(name, 0, **changes))


def test_an_unknown_architecture_is_told_which_roles_cannot_be_found() -> None:
    module = BloomForCausalLM(BloomConfig(n_layer=1, n_head=2, hidden_size=8, vocab_size=11))
    with pytest.raises(MiError, match="no adapter for architecture 'bloom'; its parts are called as in falcon"):
        wrap(module)
    module.transformer.final = module.transformer.ln_f
    del module.transformer.ln_f
    with pytest.raises(MiError, match=r"of the nearest, falcon, cannot be found: final_norm \(transformer.ln_f\)"):
        wrap(module)


def test_all_missing_roles_of_a_known_family_are_named() -> None:
    module = random_model("gemma2", 0)
    block = module.model.layers[1]
    block.feed, block.mlp = block.mlp, None
    block.self_attn.o_proj = None
    with pytest.raises(MiError, match=r"heads_out \(model.layers.1.self_attn.o_proj\), mlp \(model.layers.1.mlp\)"):
        wrap(module)


def test_a_given_record_is_taken_before_the_family_s() -> None:
    """Data, not code: a model of an unknown type that is put together as a known one."""
    module = random_model("llama", 0)
    module.config.model_type = "mine"
    with pytest.raises(MiError, match="no adapter for architecture 'mine'"):
        wrap(module)
    (roles,) = (record for record in ROLES if "llama" in record.families)
    assert wrap(module, roles=replace(roles, families=("mine",))).graph.n_edges > 0


class Scaled(nn.Module):
    """An attention's output that the residual stream sees smaller, as some families scale theirs."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: object, **options: object) -> tuple[torch.Tensor, object]:
        out, pattern = self.inner(*args, **options)
        return 0.5 * out, pattern


def test_a_family_member_that_scales_what_heads_write_is_refused() -> None:
    module = random_model("llama", 0)
    attention = module.model.layers[0].self_attn
    scaled = Scaled(attention)
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        setattr(scaled, name, getattr(attention, name))
    module.model.layers[0].self_attn = scaled
    with pytest.raises(MiError, match="reads something else than the residual stream"):
        wrap(module)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_config_says_without_the_model(name: str) -> None:
    """Heads, layers and the kind of block, as the commands read them that load no model."""
    module = random_model(name, 0)
    config = json.loads(module.config.to_json_string())
    params = wrap(module).graph.params
    shape = shape_of(config)
    assert (shape.n_layers, shape.n_heads) == (params["n_layers"], params["n_heads"])
    assert side_by_side(config) == params["parallel"]

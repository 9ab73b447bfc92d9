"""Sites of every family: activations by their names, against hooks on the library's own modules and the brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mi.core.baseline import Wanted, baselines
from mi.core.sites import aliases, resolve
from mi.errors import MiError
from tests.families.cases import FamilyCase, family_case
from tests.families.models import FAMILIES, PARALLEL, POST_NORM

WITHOUT_PATTERNS = ("falcon", "falcon-new", "falcon-alibi")  # their code mixes values by itself


def cached(case: FamilyCase, executor: str = "fast") -> dict[str, np.ndarray]:
    sites = tuple(site for site in aliases(case.model.adapter) if "pattern" not in site.name)
    return baselines(case.model, case.encoded, wanted=Wanted(sites), executor=executor).activations["clean"]


@pytest.mark.parametrize("name", FAMILIES)
def test_streams_and_what_is_written(name: str, seed: int) -> None:
    case = family_case(name, seed)
    got, run, brute = cached(case), case.record("clean"), case.brute
    for layer in range(brute.n_layers):
        heads = [run.sources[brute.source(layer, head)] for head in range(brute.heads)]
        mlp = run.sources[brute.source(layer, brute.heads)]
        next_one = brute.receiver(layer + 1, 0, 0)  # of the last layer: the logits
        wanted = {
            "resid_pre": run.inputs[brute.receiver(layer, 0, 0)],
            "attn.out": brute._heads_add(layer, heads),
            "mlp.out": mlp,
            "resid_post": run.inputs[next_one],
        }
        if name not in PARALLEL:
            wanted["resid_mid"] = run.inputs[brute.receiver(layer, 3, 0)]
        for site, expected in wanted.items():
            found = got[f"blocks.{layer}.{site}"]
            np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-9, err_msg=f"{layer} {site}")
        z = got[f"blocks.{layer}.attn.z"]
        for head, own in enumerate(heads):
            weight = case.model.adapter.layers[layer].output_weight[head].numpy()
            np.testing.assert_allclose(z[:, :, head] @ weight, own.numpy(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_queries_keys_and_values(name: str, seed: int) -> None:
    """What the projections put out for what they read, in the columns that the brute force takes for them."""
    case = family_case(name, seed)
    got, run, brute = cached(case), case.record("clean"), case.brute
    for layer, block in enumerate(brute.blocks):
        read = run.inputs[brute.receiver(layer, 0, 0)]
        normed = block.get_submodule(brute.family.before_heads)(read) if brute.family.before_heads else read
        for part, kind in enumerate("qkv"):
            separate = len(brute.family.projections) == 3
            out = block.get_submodule(brute.family.projections[part if separate else 0])(normed)
            expected = out.unflatten(-1, (-1, brute.d_head)) if separate else out[..., brute.columns(part)]
            found = got[f"blocks.{layer}.attn.{kind}"]
            repeats = found.shape[-2] // expected.shape[-2]
            expected = expected.repeat_interleave(repeats, -2)
            np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_both_executors_see_the_same(name: str) -> None:
    case = family_case(name, 6)
    fast, generic = cached(case), cached(case, "generic")
    assert fast.keys() == generic.keys()
    for site, value in fast.items():
        np.testing.assert_allclose(generic[site], value, rtol=0, atol=1e-12, err_msg=site)


@pytest.mark.parametrize("name", FAMILIES)
def test_patterns_mix_values(name: str, seed: int) -> None:
    """Softmax that sums to one; times each head's values it is z."""
    case = family_case(name, seed)
    if name in WITHOUT_PATTERNS:
        with pytest.raises(MiError, match="no site is called"):
            resolve(case.model.adapter, "blocks.0.attn.pattern")
        return
    names = ("pattern", "v", "z")
    sites = tuple(resolve(case.model.adapter, f"blocks.1.attn.{kind}") for kind in names)
    got = baselines(case.model, case.encoded, wanted=Wanted(sites)).activations["clean"]
    pattern, v, z = (torch.tensor(got[f"blocks.1.attn.{kind}"]) for kind in names)
    np.testing.assert_allclose(pattern.sum(-1), 1.0, rtol=0, atol=1e-9)
    v = v.repeat_interleave(z.shape[2] // v.shape[2], 2)
    np.testing.assert_allclose(torch.einsum("bqhk,bkhd->bqhd", pattern, v), z, rtol=0, atol=1e-9)


def test_what_is_not_there_has_no_name() -> None:
    assert set(POST_NORM) <= set(FAMILIES)
    for name, missing in (("olmo2", "attn.norm"), ("olmo2", "mlp.norm"), ("gptj", "resid_mid")):
        with pytest.raises(MiError, match="no site is called"):
            resolve(family_case(name, 0).model.adapter, f"blocks.0.{missing}")

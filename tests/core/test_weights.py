"""Which node moved: read from files by name alone, and equal to what the adapters say belongs to a node."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mi.circuit import weights
from mi.core.adapters import bind
from mi.io.models import locate
from tests.core.cases import ADAPTED
from tests.models import Shape, random_model


def moved(a: Path, b: Path, n: int, n_kv: int) -> dict[str, weights.Moved]:
    return {each.name: each for each in weights.moved(locate(str(a)), locate(str(b)), weights.Heads(n, n_kv), 0, 0)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["gpt2", "llama-wide-heads", "mistral", "qwen2"])
def test_a_head_that_was_changed_is_the_one_that_moved(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    family, shape = ADAPTED[name]
    model = random_model(family, 1, shape).to(dtype)
    model.save_pretrained(tmp_path / "a")
    adapter = bind(model)
    layer, n, n_kv = adapter.layers[-1], adapter.n_heads, adapter.n_kv_heads
    prefix = f"a{layer.index}"
    with torch.no_grad():
        before = [layer.weight(which).clone() for which in range(3)]
        outs = layer.output_weight.clone()
        layer.weight(0)[2].mul_(1.5)
    model.save_pretrained(tmp_path / "b")
    found = moved(tmp_path / "a", tmp_path / "b", n, n_kv)
    assert {name for name, each in found.items() if each.beyond} == {f"{prefix}.h2"}
    own = [before[0][2], before[1][layer.kv_head(2)], before[2][layer.kv_head(2)], outs[2]]
    own += [
        bias[h]
        for which, h in ((0, 2), (1, layer.kv_head(2)), (2, layer.kv_head(2)))
        if (bias := layer.bias(which)) is not None
    ]
    length = sum(float(part.detach().double().square().sum()) for part in own) ** 0.5
    change = float((layer.weight(0)[2].double() - before[0][2].double()).norm())
    assert found[f"{prefix}.h2"].length == pytest.approx(length, rel=1e-9)
    assert found[f"{prefix}.h2"].change == pytest.approx(change, rel=1e-9)
    with torch.no_grad():
        layer.weight(0)[2].copy_(before[0][2])
        layer.weight(1)[0].add_(1)
        layer.output_weight[3, :, 0].add_(1)
        layer.mlp_weights()[0][0, 0].add_(1)
        adapter.final_norm.weight.add_(1)
    model.save_pretrained(tmp_path / "c")
    found = moved(tmp_path / "a", tmp_path / "c", n, n_kv)
    sharing = {f"{prefix}.h{head}" for head in range(n) if layer.kv_head(head) == 0}
    norm = {f"{adapter.roles.final_norm}.weight"}
    assert {name for name, each in found.items() if each.beyond} == sharing | {f"{prefix}.h3", f"m{layer.index}"} | norm


def test_a_large_tensor_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        random_model("gpt2", seed, Shape()).save_pretrained(tmp_path / name)
    whole = moved(tmp_path / "a", tmp_path / "b", 4, 4)
    monkeypatch.setattr(weights, "_PIECE", 40)
    pieces = moved(tmp_path / "a", tmp_path / "b", 4, 4)
    for name, each in whole.items():
        assert pieces[name].change == pytest.approx(each.change, rel=1e-12)
        assert (pieces[name].largest, pieces[name].beyond) == (each.largest, each.beyond)

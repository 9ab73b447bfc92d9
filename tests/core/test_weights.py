"""Which node moved: read from files by name alone, and equal to what the adapters say belongs to a node."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from mi.circuit import weights
from mi.commands.diff import _layout
from mi.core.adapters import Layer, bind
from mi.io.models import locate
from tests.families.models import FAMILIES, random_model


def moved(a: Path, b: Path, family: str) -> dict[str, weights.Moved]:
    found, heads = weights.moved(locate(str(a)), locate(str(b)), _layout(family), 0, 0)
    assert heads is not None
    return {each.name: each for each in found}


def of_head(layer: Layer, head: int) -> list[torch.Tensor]:
    """What is a head's own: its rows of q, k and v, and what W_O does with its output."""
    rows = [head, layer.kv_head(head), layer.kv_head(head)]
    parts = [layer.weight(which)[row] for which, row in enumerate(rows)]
    parts += [bias[row] for which, row in enumerate(rows) if (bias := layer.bias(which)) is not None]
    return [*parts, layer.output_weight[head]]


def of_mlp(layer: Layer) -> list[torch.Tensor]:
    roles = layer.roles
    return [p for path in dict.fromkeys((roles.mlp, roles.mlp_in or roles.mlp)) for p in layer.part(path).parameters()]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_node_moves_as_its_own_weights_do(name: str, tmp_path: Path) -> None:
    before, after = random_model(name, 1), random_model(name, 2)
    before.save_pretrained(tmp_path / "a")
    after.save_pretrained(tmp_path / "b")
    found = moved(tmp_path / "a", tmp_path / "b", before.config.model_type)
    pairs = {}
    for x, y in zip(bind(before).layers, bind(after).layers, strict=True):
        pairs |= {f"a{x.index}.h{head}": (of_head(x, head), of_head(y, head)) for head in range(x.n_heads)}
        pairs[f"m{x.index}"] = (of_mlp(x), of_mlp(y))
    for node, (old, new) in pairs.items():
        gaps = [(q.double() - p.double()).flatten() for p, q in zip(old, new, strict=True)]
        assert found[node].change == pytest.approx(math.sqrt(sum(float(gap @ gap) for gap in gaps)), rel=1e-9)
        assert found[node].length == pytest.approx(math.sqrt(sum(float(p.double().square().sum()) for p in old)))
        assert found[node].largest == pytest.approx(max(float(gap.abs().max()) for gap in gaps), rel=1e-9)
    assert {each for each in found if each[0] in "am" and each[1].isdigit()} == set(pairs)


def test_a_head_of_keys_that_is_shared_moves_all_that_share_it(tmp_path: Path) -> None:
    model = random_model("llama", 1, torch.bfloat16)
    model.save_pretrained(tmp_path / "a")
    layer = bind(model).layers[1]
    layer.weight(1)[0].add_(1)
    layer.output_weight[3, :, 0].add_(1)
    model.model.norm.weight.add_(1)
    model.save_pretrained(tmp_path / "b")
    found = moved(tmp_path / "a", tmp_path / "b", "llama")
    changed = {name for name, each in found.items() if each.beyond}
    assert changed == {"a1.h0", "a1.h1", "a1.h3", "model.norm.weight"}


def test_a_large_tensor_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        random_model("gpt2", seed).save_pretrained(tmp_path / name)
    whole = moved(tmp_path / "a", tmp_path / "b", "gpt2")
    monkeypatch.setattr(weights, "_PIECE", 40)
    pieces = moved(tmp_path / "a", tmp_path / "b", "gpt2")
    for name, each in whole.items():
        assert pieces[name].change == pytest.approx(each.change, rel=1e-12)
        assert (pieces[name].largest, pieces[name].beyond) == (each.largest, each.beyond)


def test_an_unknown_family_is_compared_by_the_names_of_its_tensors(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        random_model("gpt2", seed).save_pretrained(tmp_path / name)
    found, heads = weights.moved(locate(str(tmp_path / "a")), locate(str(tmp_path / "b")), None, 0, 0)
    assert heads is None
    assert {each.name.rpartition(".")[2] for each in found} == {"weight", "bias"}

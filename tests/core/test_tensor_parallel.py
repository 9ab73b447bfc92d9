"""What several processes hold of one model, seen whole: threads stand in for processes, and a shared list for what they
send. `tests/line/test_tensor_parallel.py` has real ones, and models that transformers cut up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributed

from mi.core import cut_up, tensor_parallel
from mi.core.executor import Port
from mi.core.tensor_parallel import Circle, Cut, gathered, own_part, styles_of, wildcard
from mi.errors import MiError, UsageError
from mi.io.models import locate
from tests.families.models import random_model


class Ring:
    """What threads give each other; the group of a `Circle`."""

    def __init__(self, size: int) -> None:
        self.size, self._given = size, [torch.empty(0)] * size
        self._meet = threading.Barrier(size, timeout=20)
        self._rank = threading.local()

    @property
    def rank(self) -> int:
        return int(self._rank.number)

    def gather(self, parts: list[Tensor], part: Tensor, group: Ring) -> None:
        assert group is self
        self._given[self.rank] = part.detach().clone()
        self._meet.wait()
        for own, given in zip(parts, self._given, strict=True):
            own.copy_(given)
        self._meet.wait()

    def add(self, value: Tensor, group: Ring) -> None:
        parts = [torch.empty_like(value) for _ in range(self.size)]
        self.gather(parts, value, group)
        value.copy_(torch.stack(parts).sum(0))

    def all_do(self, what: Callable[[Circle], Any]) -> list[Any]:
        def one(rank: int) -> Any:
            self._rank.number = rank
            return what(Circle(self, rank, self.size))

        with ThreadPoolExecutor(self.size) as pool:
            return list(pool.map(one, range(self.size)))


@pytest.fixture(params=[2, 3])
def ring(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Ring:
    made = Ring(request.param)
    monkeypatch.setattr(distributed, "all_gather", made.gather)
    monkeypatch.setattr(distributed, "all_reduce", made.add)
    return made


def mixed(whole: Tensor) -> Tensor:
    """An edit that knows no parts."""
    return whole.roll(1, -1) * whole.flip(-1) + whole.sum(-1, keepdim=True)


@pytest.mark.parametrize("dim", [-1, 1])
def test_parts_make_a_whole_and_a_whole_has_parts(ring: Ring, seed: int, dim: int) -> None:
    whole = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 6, 5, 6)))
    parts = whole.chunk(ring.size, dim)
    found = ring.all_do(lambda circle: gathered(parts[circle.rank], dim, circle))
    assert all(torch.equal(each, whole) for each in found)
    found = ring.all_do(lambda circle: own_part(whole, dim, circle))
    assert all(torch.equal(each, part) for each, part in zip(found, parts, strict=True))


def test_gradients_pass_an_edit_as_if_there_were_one_process(ring: Ring, seed: int) -> None:
    """At what the edit saw the gradient is whole and the same in each; at what the model held it is its own part."""
    rng = np.random.default_rng(seed)
    start, weight = torch.from_numpy(rng.normal(size=(4, 6))), torch.from_numpy(rng.normal(size=(6, 3)))

    def loss_of(product: Tensor) -> Tensor:
        return product.square().sum()

    leaf = start.clone().requires_grad_()
    shown = leaf.view_as(leaf)
    wanted = torch.autograd.grad(loss_of(mixed(shown) @ weight), [leaf, shown])

    def one(circle: Circle) -> list[Tensor]:
        part = start.chunk(circle.size, -1)[circle.rank].clone().requires_grad_()
        shown = gathered(part, -1, circle)
        back = own_part(mixed(shown), -1, circle)
        own = back @ weight.chunk(circle.size)[circle.rank]
        # A rowwise projection: the sum of all comes out, whose gradient each of them gets.
        parts = [torch.empty_like(own) for _ in range(circle.size)]
        circle.group.gather(parts, own, circle.group)
        others = sum(p for rank, p in enumerate(parts) if rank != circle.rank)
        return list(torch.autograd.grad(loss_of(own + others), [part, shown]))

    for rank, (of_part, of_whole) in enumerate(ring.all_do(one)):
        torch.testing.assert_close(of_whole, wanted[1], rtol=1e-12, atol=0)
        torch.testing.assert_close(of_part, wanted[0].chunk(ring.size, -1)[rank], rtol=1e-12, atol=0)


def test_nothing_is_sent_where_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "all_gather", None)
    placement, value = cut("llama"), torch.ones(1, 2, 3)
    port = Port("model.norm", "in")
    assert placement.part(port, placement.whole(port, value), value) is value


def test_scores_of_all_heads_are_made_by_all(ring: Ring) -> None:
    """Each process has some heads' q, k and v; side by side they come by kind, then by head."""
    whole = torch.arange(2 * 3 * 12.0).view(2, 3, 12)  # [row, kind, head]

    def one(circle: Circle) -> Tensor:
        placement = Cut(circle, torch.device("cpu"), {}, torch.nn.Identity())
        return placement.joined(whole[..., placement.share(12)].flatten(-2), 3)

    assert all(torch.equal(found, whole.flatten(-2)) for found in ring.all_do(one))


def test_no_module_is_given_nothing_while_gradients_are_taken() -> None:
    placement = cut("llama")
    with torch.no_grad():
        assert placement.idles()
    with torch.enable_grad():
        assert not placement.idles()


def cut(name: str) -> Cut:
    """A family's placement, by the plan that transformers has for it."""
    module = random_model(name, 0)
    return Cut(Circle(None, 0, 2), torch.device("cpu"), styles_of(module), module)


@pytest.mark.parametrize(
    ("name", "path", "side", "dim"),
    [
        ("llama", "model.layers.1.self_attn.q_proj", "out", -1),
        ("llama", "model.layers.1.self_attn.k_proj", "out", -1),
        ("llama", "model.layers.1.self_attn.q_proj", "in", None),
        ("llama", "model.layers.1.self_attn.o_proj", "in", -1),
        ("llama", "model.layers.1.self_attn.o_proj", "out", None),
        ("llama", "model.layers.1.self_attn", "pattern", 1),
        ("llama", "model.layers.1.self_attn", "out", None),
        ("llama", "model.layers.0.mlp.act_fn", "in", -1),
        ("llama", "model.layers.0.mlp.act_fn", "out", -1),
        ("llama", "model.layers.0.mlp.down_proj", "in", -1),
        ("llama", "model.layers.0.mlp", "out", None),
        ("llama", "model.layers.0.input_layernorm", "out", None),
        ("llama", "model.embed_tokens", "out", None),
        ("llama", "lm_head", "out", None),
        ("neox", "gpt_neox.layers.0.attention.query_key_value", "out", -1),
        ("neox", "gpt_neox.layers.0.attention.dense", "in", -1),
        ("phi3", "model.layers.0.self_attn.qkv_proj", "out", None),
        ("phi3", "model.layers.0.self_attn.o_proj", "in", None),
        ("phi3", "model.layers.0.self_attn", "pattern", None),
        ("phi3", "model.layers.0.mlp.activation_fn", "out", None),
        ("olmo2", "model.layers.0.self_attn.q_norm", "out", None),
        ("olmo2", "model.layers.0.mlp.down_proj", "in", -1),
        ("mixtral", "model.layers.0.mlp", "out", None),
        ("mixtral", "model.layers.0.mlp.gate", "out", None),
        ("mixtral", "model.layers.0.mlp.experts", "out", None),
    ],
)
def test_what_is_cut_and_where(name: str, path: str, side: Any, dim: int | None) -> None:
    placement = cut(name)
    assert side == "pattern" or placement.module.get_submodule(path)
    assert placement.cut_along(Port(path, side)) == dim


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("qwen3", "model.layers.0.self_attn.q_norm"),
        ("mixtral", "model.layers.0.mlp.experts.act_fn"),
    ],
)
def test_what_is_neither_whole_nor_cut_along_its_width(name: str, path: str) -> None:
    with pytest.raises(MiError, match=f"pass {path}; name a site at a projection"):
        cut(name).whole(Port(path, "out"), torch.zeros(1))


def test_layers_are_counted_in_plans_by_a_star() -> None:
    assert wildcard("model.layers.12.mlp.experts.3.w1") == "model.layers.*.mlp.experts.*.w1"
    assert wildcard("transformer.h1.2") == "transformer.h1.*"


@pytest.fixture
def alone() -> Iterator[Any]:
    """A group of this process only: torch's own tensors, cut into one part."""
    from torch.distributed.device_mesh import init_device_mesh

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


def test_weights_are_gathered_when_they_are_read(alone: Any) -> None:
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    matrix, rows = torch.arange(12.0).view(4, 3), torch.tensor([3, 0])
    holder = torch.nn.Linear(3, 4)
    held = Cut(Circle(alone.get_group(), 0, 1), torch.device("cpu"), {}, holder)
    assert held.weight(holder, "bias") is holder.bias
    assert held.weight(holder, "none") is None
    for placement in (Shard(0), Shard(1), Replicate()):
        holder.weight = torch.nn.Parameter(distribute_tensor(matrix, alone, [placement]), requires_grad=False)
        held._kept.clear()
        with torch.inference_mode():
            whole = held.weight(holder, "weight")
            some = held.weight(holder, "weight", rows)
        assert type(whole) is torch.Tensor
        assert torch.equal(whole, matrix)
        assert torch.equal(some, matrix[rows])
        assert not whole.is_inference(), "gradients may pass it later"
        assert held.weight(holder, "weight") is whole
    assert torch.equal(tensor_parallel.own_of(holder.weight), matrix)


@pytest.mark.parametrize("length", [6, 7])
def test_some_rows_of_a_matrix_that_lies_in_parts(ring: Ring, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of parts as torch cuts them, of which the last may be shorter."""
    matrix = torch.arange(3.0 * length).view(length, 3)
    rows = torch.tensor([length - 1, 0, 3, 2, 4])
    monkeypatch.setattr(tensor_parallel, "own_of", lambda whole: whole.chunk(ring.size)[ring.rank])

    def one(circle: Circle) -> Tensor:
        return Cut(circle, torch.device("cpu"), {}, torch.nn.Identity())._rows(matrix, rows)

    assert all(torch.equal(found, matrix[rows]) for found in ring.all_do(one))


def test_a_model_that_nobody_cut_up_is_whole() -> None:
    assert tensor_parallel.of(random_model("llama", 0)) is None


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("gpt2", 2, "transformers has no plan for 'gpt2'"),
        ("llama", 4, "its num_key_value_heads, 2, cannot be divided by 4"),
        ("llama", 3, "its num_attention_heads, 4, cannot be divided by 3"),
        ("qwen3-moe", 8, "its num_attention_heads, 4, cannot be divided by 8"),
    ],
)
def test_what_cannot_be_cut_up(name: str, size: int, says: str, tmp_path: Path) -> None:
    random_model(name, 0).config.save_pretrained(tmp_path)
    with pytest.raises(UsageError) as found:
        cut_up.check(locate(str(tmp_path), None), size, torch.device("cpu"))
    assert says in str(found.value)


def test_widths_must_be_divided_too(tmp_path: Path) -> None:
    random_model("llama", 0, intermediate_size=25).config.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="its intermediate_size, 25, cannot be divided by 2"):
        cut_up.check(locate(str(tmp_path), None), 2, torch.device("cpu"))


def test_a_plan_of_an_unknown_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_model("llama", 0).config.save_pretrained(tmp_path)
    monkeypatch.setattr(cut_up, "KNOWN", frozenset({"colwise"}))
    with pytest.raises(UsageError, match="of a kind that mi does not know, rowwise"):
        cut_up.check(locate(str(tmp_path), None), 2, torch.device("cpu"))


@pytest.mark.parametrize(
    ("here", "on", "says"),
    [("cuda", "cpu", "puts what it cuts up on cuda, not on cpu"), ("mps", "mps", "cuts up no model on mps")],
)
def test_transformers_chooses_the_kind_of_device(
    here: str, on: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_model("llama", 0).config.save_pretrained(tmp_path)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(here))
    with pytest.raises(UsageError, match=says):
        cut_up.check(locate(str(tmp_path), None), 2, torch.device(on))

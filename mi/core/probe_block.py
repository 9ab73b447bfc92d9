"""The roles inside a block, found by what its parts do: `probe` for a whole model.

Flows in: the calls of one run, and of another whose first token differs. Flows out: roles, put into `Probed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mi.core.probe_run import Call, kept, leaves, same

if TYPE_CHECKING:
    from mi.core.probe import Probed

FAINT = 1e-3  # of the largest gradient: no dependence


@dataclass(frozen=True)
class Block:
    """The first block: only there do positions know nothing of each other before its attention."""

    module: nn.Module
    ids: Tensor
    path: str
    seen: dict[str, Call]
    moved: dict[str, Call]

    @property
    def inside(self) -> list[Call]:
        return [call for path, call in self.seen.items() if path.startswith(f"{self.path}.")]

    def short(self, call: Call) -> str:
        return call.path.removeprefix(f"{self.path}.")

    def maps(self) -> list[Call]:
        """Linear maps: parts with one matrix and nothing inside."""
        return [c for c in self.inside if _is_matrix(c.module)]

    def of_position(self, value: Tensor) -> Tensor:
        """[batch, pos, ...], whatever the part saw."""
        return value.reshape(*self.ids.shape, -1)


def _is_matrix(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    flat = isinstance(weight, Tensor) and weight.ndim == 2
    return flat and not isinstance(module, nn.Embedding) and not list(module.children())


def block_roles(found: Probed, block: Block) -> None:
    """Fill in the roles of the block; what depends on one that is lacking is not looked for."""
    out = _heads_out(block)
    if out is None:
        found.lacking["heads_out"] = "no linear map reads what tokens have mixed"
        return
    found.record["heads_out"] = block.short(out)
    labels = _labels(block, out)
    if not _projections(found, block, out, labels):
        return
    ours = {out.path, *labels}
    _norm_before_heads(found, block, next(iter(labels)))
    _written(found, block, out, ours)
    _counts(found, block, out, labels)


def _heads_out(block: Block) -> Call | None:
    """The first linear map in whose input the second token knows of the first one."""
    for call in sorted(block.maps(), key=lambda c: c.order):
        other = block.moved.get(call.path)
        if call.read is None or other is None or other.read is None:
            continue
        a, b = block.of_position(call.read)[:, 1], block.of_position(other.read)[:, 1]
        if not same(a, b):
            return call
    return None


def _labels(block: Block, out: Call) -> dict[str, Tensor]:
    """For each linear map that the heads' mix depends on: 0, 1 or 2 for each of its outputs, a query, a key, a value.

    A value of the first token counts in its own mix, a key of it in those of later tokens, its query nowhere.
    """
    before = {c.path: c.module for c in block.maps() if c.order < out.order and not same(c.read, out.read)}
    with torch.enable_grad(), leaves(before, "out") as made, kept(out.module, "in") as mixed:
        block.module(input_ids=block.ids, use_cache=False)
        z = block.of_position(mixed[0])
        toward = torch.linspace(1, 2, z.shape[-1]).to(z)  # of one sign, so that heads that share a value do not cancel
        paths = list(made)
        own, later = (
            torch.autograd.grad((part @ toward).sum(), [made[p] for p in paths], retain_graph=True, allow_unused=True)
            for part in (z[:, 0], z[:, 1:])
        )
    labels = {}
    for path, first, after in zip(paths, own, later, strict=True):
        if first is None or after is None or not bool(after.any()):
            continue
        by_first, by_later = (block.of_position(g)[:, 0].abs().amax(0) for g in (first, after))
        is_value = by_first > FAINT * toward.max()
        is_key = ~is_value & (by_later > 0)  # there is no way at all from a first query to a later mix
        labels[path] = 2 * is_value.int() + is_key.int()
    return labels


def _projections(found: Probed, block: Block, out: Call, labels: dict[str, Tensor]) -> bool:
    """q, k and v: three linear maps, or one that holds them all."""
    record = found.record
    if len(labels) == 3:
        by_kind = {int(own[0]): path for path, own in labels.items() if bool((own == own[0]).all())}
        if len(by_kind) == 3:
            record["queries_keys_values"] = tuple(by_kind[i].removeprefix(f"{block.path}.") for i in range(3))
            return True
    if len(labels) == 1:
        ((path, own),) = labels.items()
        record["queries_keys_values"] = (path.removeprefix(f"{block.path}."),)
        runs = torch.unique_consecutive(own).tolist()
        record["interleaved"] = len(runs) > 3
        if runs[:3] == [0, 1, 2] and runs == [0, 1, 2] * (len(runs) // 3):
            return True
        found.lacking["queries_keys_values"] = f"{path} holds q, k and v in an order that has no name"
        return False
    what = ", ".join(path.removeprefix(f"{block.path}.") for path in labels) or "none"
    found.lacking["queries_keys_values"] = f"of the linear maps before {block.short(out)} these feed it: {what}"
    return False


def _norm_before_heads(found: Probed, block: Block, projection: str) -> None:
    start, read = block.seen[block.path].read, block.seen[projection].read
    if same(read, start):
        found.record["attention_norm"] = None
        return
    norms = [c for c in block.inside if same(c.wrote, read) and same(c.read, start)]
    if norms:
        found.record["attention_norm"] = block.short(norms[-1] if _nested(norms) else norms[0])
    else:
        found.lacking["attention_norm"] = "no part takes the stream to what q, k and v read"


def _nested(found: Sequence[Call]) -> bool:
    return len(found) > 1 and found[0].path.startswith(f"{found[-1].path}.")


def _is_norm(call: Call, width: int) -> bool:
    weight = getattr(call.module, "weight", None)
    return isinstance(weight, Tensor) and weight.shape == (width,)


def _written(found: Probed, block: Block, out: Call, ours: set[str]) -> None:
    """What attention and MLP add to the stream, through post-norms or not, and what the MLP reads."""
    whole = block.seen[block.path]
    if whole.read is None or whole.wrote is None or out.wrote is None:
        found.lacking["mlp"] = "the block gives no tensor"
        return
    width = whole.read.shape[-1]
    start, end = (block.of_position(value) for value in (whole.read, whole.wrote))
    others = [c for c in block.inside if c.path not in ours and c.wrote is not None and _width(c.wrote) == width]
    posts = [c for c in others if _is_norm(c, width) and same(c.read, out.wrote)]
    for post in [*posts, None]:
        added = block.of_position((post or out).wrote)  # type: ignore[arg-type]
        rest = end - start - added
        writers = [c for c in others if same(c.wrote, rest)]
        if writers:
            break
    else:
        found.lacking["mlp"] = "what a block adds to the stream is not its attention's output and one other part's"
        return
    if post is not None:
        found.record["attention_post_norm"] = block.short(post)
    last = next((c for c in writers if _is_norm(c, width)), None)
    if last is not None:
        found.record["mlp_post_norm"] = block.short(last)
        writers = [c for c in others if same(c.wrote, last.read)]
    if not writers:
        found.lacking["mlp"] = "nothing writes what its post-norm reads"
        return
    mlp = min(writers, key=lambda c: c.path.count("."))  # the outermost
    found.record["mlp"] = block.short(mlp)
    _read_by_mlp(found, block, mlp, start, start + added, ours)


def _read_by_mlp(found: Probed, block: Block, mlp: Call, start: Tensor, middle: Tensor, ours: set[str]) -> None:
    record, width = found.record, start.shape[-1]
    streams = [(middle, False), (start, True)]
    for stream, parallel in streams:
        if same(mlp.read, stream):
            record |= {"mlp_norm": None, "parallel": parallel}
            break
        norms = [c for c in block.inside if same(c.read, stream) and _is_norm(c, width) and _feeds(block, c, mlp, ours)]
        if norms:
            # One norm may feed attention and MLP; of two that do the same the MLP's own is not the attention's.
            norms.sort(key=lambda c: (not same(c.wrote, mlp.read), block.short(c) == record.get("attention_norm")))
            own = block.short(norms[0]) != record.get("attention_norm")
            first = parallel and own and norms[0].order < block.seen[f"{block.path}.{record['heads_out']}"].order
            record |= {"mlp_norm": block.short(norms[0]), "parallel": parallel, "mlp_norm_first": first}
            if not same(norms[0].wrote, mlp.read):
                reader = _feeds(block, norms[0], mlp, ours)
                record["mlp_in"] = block.short(reader) if reader else None
            break
    else:
        found.lacking["mlp_norm"] = "no norm takes the stream to what the MLP reads"
        return
    seen = block.seen
    into = seen[f"{block.path}.{record.get('mlp_in') or record['mlp']}"]
    reads = [c for c in block.maps() if c.path not in ours and same(c.read, into.read)]
    record["mlp_reads"] = tuple(block.short(c) for c in reads) if _complete(block, mlp, into, reads) else ()
    _activation(found, block, [seen[f"{block.path}.{path}"] for path in record["mlp_reads"]], ours)
    roles = [record[role] for role in ("mlp_norm", "mlp_in", "activation", "mlp", "product") if record.get(role)]
    flat = [path for path in dict.fromkeys(roles) if _is_flat(seen[f"{block.path}.{path}"], block)]
    record["side_by_side"] = tuple(flat)
    changed = [path for path in dict.fromkeys(roles) if seen[f"{block.path}.{path}"].overwritten]
    record["overwritten"] = tuple(path for path in changed if path == record["mlp"])


def _feeds(block: Block, norm: Call, mlp: Call, ours: set[str]) -> Call | None:
    """The MLP itself, or a linear map before it, if it reads what the norm wrote."""
    if same(norm.wrote, mlp.read):
        return mlp
    return next((c for c in block.maps() if c.path not in ours and same(c.read, norm.wrote)), None)


def _is_flat(call: Call, block: Block) -> bool:
    return call.read is not None and call.read.ndim == 2 and call.read.shape[0] == block.ids.numel()


def _complete(block: Block, mlp: Call, into: Call, reads: Sequence[Call]) -> bool:
    """Whether the MLP sees its input through these linear maps alone: then its gradient is theirs."""
    if not reads or any(p.ndim > 2 for p in mlp.module.parameters()):
        return False
    with torch.enable_grad(), leaves({into.path: into.module}, "in") as made, kept(mlp.module, "out") as wrote:
        hooks, between = [], dict[str, Tensor]()
        for call in reads:
            hooks.append(
                call.module.register_forward_hook(lambda _, __, out, path=call.path: between.__setitem__(path, out))
            )
        try:
            block.module(input_ids=block.ids, use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        toward = torch.randn(wrote[0].shape, generator=torch.Generator().manual_seed(2)).to(wrote[0])
        outs = [between[call.path] for call in reads]
        whole, *parts = torch.autograd.grad((wrote[0] * toward).sum(), [made[into.path], *outs], allow_unused=True)
    if whole is None or any(part is None for part in parts):
        return False
    return same(whole, sum(part @ _matrix(call.module) for part, call in zip(parts, reads, strict=True)))  # type: ignore[arg-type]


def _matrix(module: Any) -> Tensor:
    weight: Tensor = module.weight
    return weight.T if type(module).__name__ == "Conv1D" else weight


def _activation(found: Probed, block: Block, reads: Sequence[Call], ours: set[str]) -> None:
    """The MLP's activation function, where it is a part, and what reads its product with the other half of a gate."""
    for call in block.inside:
        bare = not list(call.module.parameters()) and not list(call.module.children())
        if not bare or call.wrote is None or same(call.read, call.wrote):
            continue
        halves = [h for r in reads if r.wrote is not None for h in (r.wrote, *r.wrote.chunk(2, -1))]
        if not any(same(call.read, half) for half in halves):
            continue
        found.record["activation"] = block.short(call)
        for reader in block.maps():
            if reader.path in ours or reader in reads:
                continue
            if any(_width(h) == _width(call.wrote) and same(reader.read, call.wrote * h) for h in halves):
                found.record["product"] = block.short(reader)
        return


def _counts(found: Probed, block: Block, out: Call, labels: dict[str, Tensor]) -> None:
    """What depends on how many heads there are: the entry that says so, norms and attributes that know of shared
    keys."""
    width = 0 if out.read is None else int(out.read.shape[-1])
    d_head = _head_width(block, out, labels)
    heads = _entry(found, block.module.config, width, d_head)
    if heads is None:
        found.lacking["heads"] = "no entry of the configuration says how many heads there are"
        return
    d_head = width // heads
    keys = sum(int((own == 1).sum()) for own in labels.values())
    shared = keys // d_head
    if keys % d_head or not shared or heads % shared:
        found.lacking["heads"] = f"{heads} heads of width {d_head} do not go with keys of width {keys}"
        return
    if shared < heads:
        _attributes(found, block, out, shared)
    _key_norm(found, block, labels, shared, d_head)


def _entry(found: Probed, config: Any, width: int, d_head: int) -> int | None:
    """How many heads there are: as many as have queries of their own. The configuration must have an entry for it."""
    usual = getattr(config, "num_attention_heads", None)
    if isinstance(usual, int) and usual > 0 and (usual * d_head == width or (d_head == width and not width % usual)):
        return usual
    for name, value in sorted(config.to_dict().items()):
        if type(value) is int and value * d_head == width and "head" in name and "kv" not in name:
            found.record["heads"] = name
            return value
    return None


def _head_width(block: Block, out: Call, labels: dict[str, Tensor]) -> int:
    """How many of the queries one number of the mix depends on: those of one head. (All, where they share a norm.)"""
    parts = {path: block.seen[path].module for path in labels}
    with torch.enable_grad(), leaves(parts, "out") as made, kept(out.module, "in") as mixed:
        block.module(input_ids=block.ids, use_cache=False)
        z = block.of_position(mixed[0])
        gradients = torch.autograd.grad(z[:, 1, 0].sum(), [made[path] for path in labels], allow_unused=True)
    own = 0
    for path, gradient in zip(labels, gradients, strict=True):
        if gradient is not None:
            size = block.of_position(gradient)[:, 1].abs().amax(0)
            own += int(((size > 0) & (labels[path].to(size.device) == 0)).sum())
    return max(own, 1)


def _attributes(found: Probed, block: Block, out: Call, shared: int) -> None:
    """Counts that the attention's code keeps, to be set where each query head gets a key of its own. Names say which:
    a number alone does not."""
    attention = block.short(out).rpartition(".")[0]
    holder = block.module.get_submodule(f"{block.path}.{attention}" if attention else block.path)
    prefix = f"{attention}." if attention else ""
    kept = vars(holder).items()
    counts = [
        n for n, v in kept if v == shared and type(v) is int and ("kv" in n or "key_value" in n) and "group" not in n
    ]
    one_for_all = [n for n, v in kept if v is True and n == "multi_query"]
    projections = found.record["queries_keys_values"]
    if len(projections) == 3 and _takes_repeated(block, projections, out.read.shape[-1] if out.read is not None else 0):
        return
    found.record["ungroup"] = (
        *((f"{prefix}{n}", None) for n in counts),
        *((f"{prefix}{n}", False) for n in one_for_all),
    )
    if one_for_all:  # without it the code takes q, k and v head by head
        found.record["interleaved"] = True


def _takes_repeated(block: Block, projections: Sequence[str], width: int) -> bool:
    """Whether the block's code takes keys and values that are repeated for each query head as they come."""

    def repeat(_: nn.Module, __: Any, value: Tensor) -> Tensor:
        times = width // value.shape[-1]
        return value.repeat(*[1] * (value.ndim - 1), times)  # which head gets which does not matter here

    parts = [block.module.get_submodule(f"{block.path}.{path}") for path in projections[1:]]
    handles = [part.register_forward_hook(repeat) for part in parts]
    try:
        with torch.no_grad():
            block.module(input_ids=block.ids, use_cache=False)
    except RuntimeError as error:
        return "invalid for input of size" not in str(error)  # a view by a count; `key_norm` sees to all else
    finally:
        for handle in handles:
            handle.remove()
    return True


def _key_norm(found: Probed, block: Block, labels: dict[str, Tensor], shared: int, d_head: int) -> None:
    """A norm of the keys that has parameters for each of them."""
    if len(labels) != 3:
        return
    keys = next(block.seen[path].wrote for path, own in labels.items() if bool((own == 1).all()))
    assert keys is not None
    by_head = block.of_position(keys).unflatten(-1, (-1, d_head)).transpose(1, 2)
    for call in block.inside:
        own = [p.shape for p in call.module.parameters()]
        if not own or call.read is None or _is_matrix(call.module):
            continue
        if call.read.shape == keys.shape and torch.equal(call.read, keys):
            found.record.update(key_norm=block.short(call), key_norm_axis=-1)
        elif call.read.shape == by_head.shape and torch.equal(call.read, by_head) and list(call.module.children()):
            found.record.update(key_norm=block.short(call), key_norm_axis=1)


def _width(value: Tensor | None) -> int:
    return 0 if value is None else int(value.shape[-1])

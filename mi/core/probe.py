"""The roles of an unknown architecture, found by what its parts do on a few random tokens.

Which part wrote what another one read says how a block is put together; which of a projection's outputs a token's own
mix depends on, and which an earlier token's, says what is a query, a key and a value (a first token sees itself alone,
so there only values count). Names are asked last: for counts that the configuration holds.

Flows in: a module. Flows out: :class:`Probed`: a record of roles as far as it goes, and what could not be found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mi.core import attention
from mi.core.fast import FastExecutor
from mi.core.identities import Finding, findings
from mi.core.model import prepare
from mi.core.probe_block import Block, block_roles
from mi.core.probe_run import Call, calls, same
from mi.core.roles import Roles
from mi.errors import MiError

ROWS, LENGTH = 6, 6


@dataclass(frozen=True)
class Probed:
    """``record``: fields of `Roles` by name, those that were found. ``lacking``: role and why it was not found."""

    record: dict[str, Any] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)

    def roles(self) -> Roles | None:
        return None if self.lacking else Roles(**self.record)


def probe(module: Any) -> Probed:
    """Find the roles of a module.

    Raises:
        MiError: it has no stack of blocks, or does not run on token ids.
    """
    config = module.config
    implementation = _implementation(module)
    vocabulary = int(getattr(config, "vocab_size", 0)) or len(module.get_input_embeddings().weight)
    ids = torch.randint(vocabulary, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    ids = ids.to(next(module.parameters()).device)
    blocks = _blocks(module)
    try:
        seen, logits = calls(module, ids)
        other = ids.clone()
        other[:, 0] = (other[:, 0] + 1) % vocabulary
        moved, _ = calls(module, other)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        fact = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MiError(f"the model does not run on token ids alone: {fact}", place="-m") from error
    found = Probed()
    found.record["families"] = (str(getattr(config, "model_type", type(module).__name__)),)
    found.record["blocks"] = blocks
    found.record["implementation"] = implementation
    _around(found, module, seen, blocks, logits)
    first = f"{blocks}.0"
    if first not in seen:
        raise MiError(f"the blocks in {blocks} do not run, or give no tensor", place="-m")
    block_roles(found, Block(module, ids, first, seen, moved))
    if implementation != attention.NAME:
        own = [name for name, part in module.get_submodule(first).named_modules() if hasattr(part, "_attn")]
        found.record["mixer"] = own[0] if own else None
    _centring(found, module, seen, first)
    return found


def checked(module: Any, found: Probed) -> tuple[list[Finding], str]:
    """The identities on the roles that were found: what each comparison gave, and why none could be made, if so."""
    roles = found.roles()
    if roles is None:
        return [], ""
    try:
        adapter = prepare(module, roles)
        return findings(adapter, FastExecutor(adapter)), ""
    except MiError as error:
        return [], error.fact


def _implementation(module: Any) -> str:
    """Attention as the model can be made to run it: ours where it asks the library for a function."""
    attention.register()
    before = str(module.config._attn_implementation)
    if getattr(module, "_can_set_attn_implementation", lambda: True)():
        try:
            module.set_attn_implementation(attention.NAME)
        except (ValueError, ImportError):
            return before
        return attention.NAME
    return before


def _blocks(module: nn.Module) -> str:
    """The list of modules that holds the most parameters, outermost first."""
    best, most = "", 0
    for path, part in module.named_modules():
        if isinstance(part, nn.ModuleList) and len(part) and not (best and path.startswith(f"{best}.")):
            size = sum(p.numel() for p in part.parameters())
            if size > most:
                best, most = path, size
    if not best:
        raise MiError(
            "no list of blocks could be found in this model", "mi needs a decoder of equal blocks", place="-m"
        )
    return best


def _around(found: Probed, module: Any, seen: dict[str, Call], blocks: str, logits: Tensor) -> None:
    """Embedding, positions, final norm and unembedding."""
    outside = [call for path, call in seen.items() if path and not f"{path}.".startswith(f"{blocks}.")]
    count = len(module.get_submodule(blocks))
    start, end = seen[f"{blocks}.0"].read, seen[f"{blocks}.{count - 1}"].wrote
    tables = [call for call in outside if isinstance(call.module, nn.Embedding)]
    vocabulary = logits.shape[-1]
    words = [c for c in tables if len(c.module.weight) >= vocabulary] or tables  # type: ignore[arg-type]
    embed = next((c for c in words if same(c.wrote, start)), words[0] if words else None)
    if embed is None:
        found.lacking["embed"] = "no embedding table is read"
    else:
        found.record["embed"] = embed.path
        if not same(embed.wrote, start):
            _position(found, embed, [c for c in tables if c is not embed], start)
    final = next((c for c in outside if same(c.read, end) and not same(c.read, c.wrote) and _is_leaf(c)), None)
    if final is None or final.wrote is None or final.wrote.shape[-1] == vocabulary:
        found.lacking["final_norm"] = "nothing between the last block and the logits reads what the blocks wrote"
        return
    found.record["final_norm"] = final.path
    unembed = next((c for c in outside if same(c.read, final.wrote) and _width(c.wrote) == vocabulary), None)
    if unembed is None:
        found.lacking["unembed"] = "no part takes what the final norm writes to the logits"
        return
    found.record["unembed"] = unembed.path
    _cap(found, module.config, unembed.wrote, logits)


def _position(found: Probed, embed: Call, tables: list[Call], start: Tensor | None) -> None:
    """A second table whose rows, added to the embedding, are what the first block reads."""
    assert start is not None and embed.wrote is not None
    for call in tables:
        if call.wrote is not None and call.wrote.shape[-1] == start.shape[-1]:
            rows = call.wrote.expand_as(embed.wrote) if call.wrote.ndim == embed.wrote.ndim else call.wrote[None]
            if same((embed.wrote + rows).contiguous(), start):
                table: Any = call.module.weight
                first = call.wrote.reshape(-1, call.wrote.shape[-1])[0]
                found.record["position"] = call.path
                found.record["position_offset"] = int((table - first).abs().amax(-1).argmin())
                return
    found.lacking["embed"] = f"what the first block reads is not what {embed.path} writes, nor that and positions"


def _cap(found: Probed, config: Any, raw: Tensor | None, logits: Tensor) -> None:
    if same(raw, logits):
        return
    assert raw is not None
    for name, value in sorted(config.to_dict().items(), key=lambda entry: "cap" not in entry[0]):
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        if is_number and same(value * torch.tanh(raw / value), logits):
            found.record["logit_cap"] = name
            return
    found.lacking["logit_cap"] = "the logits are not what the unembedding writes, nor that under a soft cap"


def _centring(found: Probed, module: nn.Module, seen: dict[str, Call], first: str) -> None:
    """What kind the norms are: all must be of one kind."""
    record = found.record
    inside = [record.get(role) for role in ("attention_norm", "mlp_norm", "attention_post_norm", "mlp_post_norm")]
    paths = [f"{first}.{path}" for path in inside if path] + [record["final_norm"]] * ("final_norm" in record)
    kinds = {path: kind(seen[path]) for path in paths}
    if not kinds:
        return
    odd = [path for path, own in kinds.items() if own is None]
    if odd:
        found.lacking["centred"] = f"{odd[0]} is neither a LayerNorm nor an RMSNorm"
    elif len(set(kinds.values())) > 1:
        found.lacking["centred"] = "norms are of two kinds: " + ", ".join(kinds)
    else:
        record["centred"], record["unit_offset"] = kinds[paths[0]] or (False, False)


def kind(call: Call) -> tuple[bool, bool] | None:
    """(centred, gain is 1 + weight) of a norm, by what it computes."""
    weight, bias = getattr(call.module, "weight", None), getattr(call.module, "bias", None)
    if call.read is None:
        return None
    x = call.read.float()
    eps = getattr(call.module, "eps", getattr(call.module, "variance_epsilon", 1e-6))
    for centred in (True, False):
        y = x - x.mean(-1, keepdim=True) if centred else x
        y = y * (y.square().mean(-1, keepdim=True) + float(eps)).rsqrt()
        for offset in (False, True):
            gain = 1.0 if weight is None else weight.float() + offset
            made = y * gain + (0 if bias is None else bias.float())
            if same(made, call.wrote):
                return centred, offset
    return None


def _is_leaf(call: Call) -> bool:
    return not list(call.module.children())


def _width(value: Tensor | None) -> int:
    return 0 if value is None else int(value.shape[-1])

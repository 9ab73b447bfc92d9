"""A Hugging Face module and token ids in; every node's output and the logits out, of that module run edge by edge.

The library's own modules compute norms, attention, MLPs and the logits. What is written here, by hand for each family,
is how its blocks put them together, and which columns of a projection are whose. Every receiver's input is written out
as a sum over all sources before it, of what the source writes in this very run or of a replacement; heads are run one
at a time; no residual stream is carried along. Where a post-norm stands between a layer's heads and the stream, each
receiver has that norm of its own sum of heads (spec A4).

    input of v = positions + x_input + sum over layers l of [ post_l(b_O + sum_h x_{l,h}) + x_{m_l} ],
    x_u = replacement_u + gate_{u,v} (a_u - replacement_u)

Keys and values that query heads share are each query head's own (spec A3). A norm over all keys of a layer runs over
those of one query head of each group at a time: the first ones, then the second ones, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Family:
    """How the blocks of one model are put together. Paths are relative to the block."""

    embed: str
    blocks: str
    final: str
    before_heads: str | None  # the norm that q, k and v read through
    attention: str  # takes the normed hidden states
    projections: tuple[str, ...]  # of q, k and v; or one
    out: str
    after_heads: str | None  # the post-norm
    mlp: Callable[[nn.Module, Tensor], Tensor]  # from the stream to the stream
    parallel: bool = False
    columns: str = "side by side"  # of one projection of all three


def _plain(norm: str, mlp: str, after: str | None = None) -> Callable[[nn.Module, Tensor], Tensor]:
    def run(block: nn.Module, x: Tensor) -> Tensor:
        wrote: Tensor = block.get_submodule(mlp)(block.get_submodule(norm)(x) if norm else x)
        return block.get_submodule(after)(wrote) if after else wrote

    return run


def _opt(block: Any, x: Tensor) -> Tensor:
    wrote: Tensor = block.fc2(block.activation_fn(block.fc1(block.final_layer_norm(x))))
    return wrote


SELF = tuple(f"self_attn.{name}_proj" for name in "qkv")


def _llama(**changes: Any) -> Family:
    roles = {
        "embed": "model.embed_tokens",
        "blocks": "model.layers",
        "final": "model.norm",
        "before_heads": "input_layernorm",
        "attention": "self_attn",
        "projections": SELF,
        "out": "self_attn.o_proj",
        "after_heads": None,
        "mlp": _plain("post_attention_layernorm", "mlp"),
    }
    return Family(**{**roles, **changes})


def describe(config: Any) -> Family:
    """The description of a model's family."""
    kind = str(config.model_type)
    if kind in ("gpt2", "gpt_neo", "gptj"):
        attention = "attn.attention" if kind == "gpt_neo" else "attn"
        separate = tuple(f"{attention}.{name}_proj" for name in "qkv")
        return Family(
            embed="transformer.wte",
            blocks="transformer.h",
            final="transformer.ln_f",
            before_heads="ln_1",
            attention="attn",
            projections=("attn.c_attn",) if kind == "gpt2" else separate,
            out="attn.c_proj" if kind == "gpt2" else f"{attention}.out_proj",
            after_heads=None,
            mlp=_plain("ln_1" if kind == "gptj" else "ln_2", "mlp"),
            parallel=kind == "gptj",
        )
    if kind == "gpt_neox":
        return Family(
            embed="gpt_neox.embed_in",
            blocks="gpt_neox.layers",
            final="gpt_neox.final_layer_norm",
            before_heads="input_layernorm",
            attention="attention",
            projections=("attention.query_key_value",),
            out="attention.dense",
            after_heads=None,
            mlp=_plain("post_attention_layernorm", "mlp"),
            parallel=config.use_parallel_residual,
            columns="head by head",
        )
    if kind == "opt":
        return Family(
            embed="model.decoder.embed_tokens",
            blocks="model.decoder.layers",
            final="model.decoder.final_layer_norm",
            before_heads="self_attn_layer_norm",
            attention="self_attn",
            projections=SELF,
            out="self_attn.out_proj",
            after_heads=None,
            mlp=_opt,
        )
    if kind == "falcon":
        return _falcon(config)
    if kind == "phi3":
        return _llama(projections=("self_attn.qkv_proj",))
    if kind == "stablelm":
        if config.use_parallel_residual:
            return _llama(parallel=True, mlp=_plain("input_layernorm", "mlp"))
        return _llama()
    if kind in ("gemma2", "gemma3_text"):
        return _llama(
            after_heads="post_attention_layernorm",
            mlp=_plain("pre_feedforward_layernorm", "mlp", "post_feedforward_layernorm"),
        )
    if kind == "olmo2":
        return _llama(
            before_heads=None,
            after_heads="post_attention_layernorm",
            mlp=_plain("", "mlp", "post_feedforward_layernorm"),
        )
    assert kind in ("llama", "mistral", "qwen2", "qwen3", "gemma", "mixtral", "qwen3_moe"), kind
    return _llama()


def _falcon(config: Any) -> Family:
    two = config.new_decoder_architecture and config.num_ln_in_parallel_attn in (None, 2)
    if config.new_decoder_architecture:
        columns = "group by group"
    else:
        columns = "side by side" if config.multi_query else "head by head"
    parallel = bool(config.new_decoder_architecture or config.parallel_attn)
    own = "ln_mlp" if two else "input_layernorm"
    return Family(
        embed="transformer.word_embeddings",
        blocks="transformer.h",
        final="transformer.ln_f",
        before_heads="ln_attn" if two else "input_layernorm",
        attention="self_attention",
        projections=("self_attention.query_key_value",),
        out="self_attention.dense",
        after_heads=None,
        mlp=_plain(own if parallel else "post_attention_layernorm", "mlp"),
        parallel=parallel,
        columns=columns,
    )


def _grouped(config: Any) -> int:
    if config.model_type == "falcon":
        if config.new_decoder_architecture:
            return int(config.num_kv_heads)
        return 1 if config.multi_query else int(config.num_attention_heads)
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


@dataclass(frozen=True)
class Run:
    sources: list[Tensor]  # of [row, position, d], in source order
    inputs: dict[int, Tensor]  # what each receiver reads
    logits: Tensor  # [row, position, vocabulary]


class Brute:
    """One module, run edge by edge. The module is not changed."""

    def __init__(self, module: Any) -> None:
        self.module, self.family = module, describe(module.config)
        config = module.config
        self.blocks = list(module.get_submodule(self.family.blocks))
        self.n_layers, self.heads = len(self.blocks), int(config.num_attention_heads)
        self.grouped = _grouped(config)
        out: Any = self.blocks[0].get_submodule(self.family.out)
        self.d_head = out.weight.shape[0 if type(out).__name__ == "Conv1D" else 1] // self.heads
        self.d_model = int(config.hidden_size)
        self.source_names = ["input"]
        self.receiver_names: list[str] = []
        for layer in range(self.n_layers):
            self.source_names += [f"a{layer}.h{head}" for head in range(self.heads)] + [f"m{layer}"]
            self.receiver_names += [f"a{layer}.h{head}<{part}>" for part in "qkv" for head in range(self.heads)]
            self.receiver_names.append(f"m{layer}")
        self.receiver_names.append("logits")

    # the graph

    def source(self, layer: int, head: int) -> int:
        """Of a head; the MLP comes after the last one."""
        return 1 + layer * (self.heads + 1) + head

    def receiver(self, layer: int, part: int, head: int) -> int:
        return layer * (3 * self.heads + 1) + part * self.heads + head

    def edges(self) -> list[tuple[int, int]]:
        """Every edge as (source, receiver), receiver by receiver."""
        cells = []
        for receiver, name in enumerate(self.receiver_names):
            if name == "logits":
                before = len(self.source_names)
            elif name.startswith("m"):
                before = self.source(int(name[1:]), 0 if self.family.parallel else self.heads)
            else:
                before = self.source(int(name[1 : name.index(".")]), 0)
            cells += [(source, receiver) for source in range(before)]
        return cells

    def full(self, *rows: int) -> Tensor:
        return torch.ones(len(self.source_names), len(self.receiver_names), *rows, dtype=torch.float64)

    # the run

    def record(self, ids: Tensor) -> Run:
        """The model as it is."""
        return self.run(ids)

    def run(
        self,
        ids: Tensor,
        gates: Tensor | None = None,
        replacement: Sequence[Tensor] | None = None,
        embedding: Tensor | None = None,
        neurons: Tensor | None = None,
        nudges: dict[int, Tensor] | None = None,
    ) -> Run:
        """gates: [source, receiver] or [source, receiver, row], 1 for what is kept; replacement: one tensor a source;
        neurons: [source, d], 0 where every edge carries the replacement; embedding: in the place of the input's own;
        nudges: what is added to a receiver's input."""
        positions, inputs, calls = self._around(ids)
        sources: list[Tensor] = [inputs if embedding is None else embedding]
        read: dict[int, Tensor] = {}

        def carried(source: int, receiver: int) -> Tensor:
            own = sources[source]
            if gates is None and neurons is None:
                return own
            assert replacement is not None
            gate = torch.ones((), dtype=own.dtype) if gates is None else gates[source, receiver].to(own.dtype)
            gate = gate[:, None, None] if gate.ndim else gate
            if neurons is not None:
                gate = gate * neurons[source].to(own.dtype)
            return replacement[source] + gate * (own - replacement[source])

        def stream(receiver: int, layers: int, heads_of: int | None = None) -> Tensor:
            total = positions + carried(0, receiver)
            for layer in range(layers):
                total = total + self._heads_add(layer, [carried(self.source(layer, h), receiver) for h in self._h()])
                total = total + carried(self.source(layer, self.heads), receiver)
            if heads_of is not None:
                total = total + self._heads_add(
                    heads_of, [carried(self.source(heads_of, h), receiver) for h in self._h()]
                )
            if nudges and receiver in nudges:
                total = total + nudges[receiver]
            read[receiver] = total
            return total

        for layer, block in enumerate(self.blocks):
            own = [[stream(self.receiver(layer, part, h), layer) for h in self._h()] for part in range(3)]
            z = self._heads(layer, own, calls[layer])
            sources += [self.written(layer, head, z[head]) for head in self._h()]
            reads = stream(self.receiver(layer, 3, 0), layer, None if self.family.parallel else layer)
            sources.append(self.family.mlp(block, reads))
        end = stream(len(self.receiver_names) - 1, self.n_layers)
        final = self.module.get_submodule(self.family.final)
        handle = final.register_forward_pre_hook(lambda _, args: (end, *args[1:]))
        try:
            logits = self.module(ids, use_cache=False).logits
        finally:
            handle.remove()
        return Run(sources, read, logits)

    def _h(self) -> range:
        return range(self.heads)

    def _around(self, ids: Tensor) -> tuple[Tensor, Tensor, list[tuple[tuple[Any, ...], dict[str, Any]]]]:
        """What positions add to the stream, the input's own output, and with what each attention is called."""
        seen: dict[str, Any] = {}
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        handles = [
            self.module.get_submodule(self.family.embed).register_forward_hook(
                lambda _, __, out: seen.__setitem__("embed", out)
            ),
            self.blocks[0].register_forward_pre_hook(
                lambda _, args, kwargs: seen.__setitem__("stream", args[0] if args else kwargs["hidden_states"]),
                with_kwargs=True,
            ),
        ]
        for block in self.blocks:
            handles.append(
                block.get_submodule(self.family.attention).register_forward_pre_hook(
                    lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
                )
            )
        with torch.no_grad():
            self.module(ids, use_cache=False)
        for handle in handles:
            handle.remove()
        return seen["stream"] - seen["embed"], seen["embed"], calls

    def _heads_add(self, layer: int, heads: list[Tensor]) -> Tensor:
        """What the heads of a layer add to a stream."""
        block = self.blocks[layer]
        total = sum(heads[1:], heads[0])
        bias = getattr(block.get_submodule(self.family.out), "bias", None)
        if bias is not None:
            total = total + bias
        return total if self.family.after_heads is None else block.get_submodule(self.family.after_heads)(total)

    def written(self, layer: int, head: int, z: Tensor) -> Tensor:
        out = self.blocks[layer].get_submodule(self.family.out)
        columns = slice(head * self.d_head, (head + 1) * self.d_head)
        weight = out.weight if type(out).__name__ == "Conv1D" else out.weight.T
        return z[..., columns] @ weight[columns]

    def columns(self, part: int) -> Tensor:
        """[kv head or head, d_head]: the columns of the one projection of all three that hold q, k or v."""
        d, heads, grouped = self.d_head, self.heads, self.grouped
        if self.family.columns == "head by head":
            starts = [(3 * head + part) * d for head in range(heads)]
        elif self.family.columns == "group by group":
            each = heads // grouped
            if part == 0:
                starts = [(group * (each + 2) + member) * d for group in range(grouped) for member in range(each)]
            else:
                starts = [(group * (each + 2) + each + part - 1) * d for group in range(grouped)]
        else:
            first = (0, heads, heads + grouped)[part]
            starts = [(first + head) * d for head in range(heads if part == 0 else grouped)]
        return torch.tensor([[start + i for i in range(d)] for start in starts])

    def _heads(
        self, layer: int, reads: list[list[Tensor]], call: tuple[tuple[Any, ...], dict[str, Any]]
    ) -> list[Tensor]:
        """z of all heads side by side, in as many runs of the attention as there are heads: in each, one head has its
        own q, k and v in its place, and only what it mixes is taken."""
        block = self.blocks[layer]
        norm = block.get_submodule(self.family.before_heads) if self.family.before_heads else nn.Identity()
        each = self.heads // self.grouped
        projected: list[list[Tensor]] = []  # part, query head: [row, position, d_head]
        for part in range(3):
            path = self.family.projections[part if len(self.family.projections) == 3 else 0]
            if len(self.family.projections) == 3:
                kept = torch.arange((self.heads if part == 0 else self.grouped) * self.d_head).view(-1, self.d_head)
            else:
                kept = self.columns(part)
            module = block.get_submodule(path)
            projected.append(
                [module(norm(x))[..., kept[h if part == 0 else h // each]] for h, x in enumerate(reads[part])]
            )
        mixed = []
        for head in self._h():
            hooks = self._give(block, head, projected)
            got: list[Tensor] = []
            hooks.append(
                block.get_submodule(self.family.out).register_forward_pre_hook(lambda _, args: got.append(args[0]))  # noqa: B023
            )
            args, kwargs = call
            rows = torch.broadcast_shapes(*(x.shape for own in reads for x in own))
            nothing = projected[0][0].new_zeros(rows)
            if "hidden_states" in kwargs:
                kwargs = {**kwargs, "hidden_states": nothing}
            else:
                args = (nothing, *args[1:])
            try:
                block.get_submodule(self.family.attention)(*args, **kwargs)
            finally:
                for hook in hooks:
                    hook.remove()
            mixed.append(got[0])
        return mixed

    def _give(self, block: nn.Module, head: int, projected: list[list[Tensor]]) -> list[Any]:
        """Hooks that make the projections' outputs those that the head has read."""
        each = self.heads // self.grouped
        alike = range(head % each, self.heads, each)  # one query head of each group
        parts = [torch.cat(projected[0], -1), *(torch.cat([projected[part][h] for h in alike], -1) for part in (1, 2))]
        hooks = []
        if len(self.family.projections) == 3:
            for path, part in zip(self.family.projections, parts, strict=True):
                hooks.append(block.get_submodule(path).register_forward_hook(lambda *_, part=part: part))
            return hooks
        whole = parts[0].new_zeros(*parts[0].shape[:-1], sum(part.shape[-1] for part in parts))
        for number, part in enumerate(parts):
            whole[..., self.columns(number).flatten()] = part
        hooks.append(block.get_submodule(self.family.projections[0]).register_forward_hook(lambda *_: whole))
        return hooks

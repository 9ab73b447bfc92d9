"""A model ready for use: module, adapter, graph, tokenizer and identity.

Flows in: a folder, a hub id, an embedded name, or a module in memory. Flows out: :class:`Model`, with frozen weights, in
evaluation mode, on one device, its adapter checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from mi.circuit.graph import Graph
from mi.circuit.transformer import transformer_graph
from mi.core import attention
from mi.core.adapters import Adapter, bind
from mi.core.executor import Executor
from mi.core.fast import FastExecutor
from mi.core.generic import GenericExecutor
from mi.core.layout import Layout, layout
from mi.errors import MiError
from mi.tasks.tokenizer import Tokenizer


@dataclass(frozen=True)
class Model:
    """What every computation takes."""

    module: nn.Module
    adapter: Adapter
    graph: Graph
    tokenizer: Tokenizer | None
    identity: Mapping[str, Any]
    wrapper: Any = field(repr=False)  # nnsight's TransformersModel around the module

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.module.parameters()).dtype

    @property
    def compute_dtype(self) -> torch.dtype:
        """Scores are contracted in float32 at least."""
        return torch.promote_types(self.dtype, torch.float32)

    @cached_property
    def layout(self) -> Layout:
        return layout(self.graph, self.adapter.n_layers, self.adapter.n_heads)

    def executor(self, name: str = "auto") -> Executor:
        if name in ("auto", "fast"):
            return FastExecutor(self.adapter)
        if name == "generic":
            return GenericExecutor(self.adapter, self.wrapper)
        raise MiError(f"no executor '{name}'", "executors are auto, fast, generic", code=2)


def wrap(module: nn.Module, tokenizer: Tokenizer | None = None, id: str = "module", wrapper: Any = None) -> Model:
    """A Hugging Face module in memory as a :class:`Model` (weights are frozen in place).

    Raises:
        MiError: no adapter fits.
    """
    attention.register()
    module.set_attn_implementation(attention.NAME)  # type: ignore[operator]
    module.eval().requires_grad_(False)
    adapter = bind(module)
    graph = transformer_graph(adapter.n_layers, adapter.n_heads, False, adapter.d_model)
    identity = {
        "id": id,
        "architecture": str(module.config.model_type),
        "dtype": str(next(module.parameters()).dtype).removeprefix("torch."),
    }
    return Model(module, adapter, graph, tokenizer, identity, wrapper or nnsight_wrapper(module))


def nnsight_wrapper(module: nn.Module) -> Any:
    """nnsight's view of the module. A tokenizer must be given to it: ours are ids already, so it gets an empty one."""
    from nnsight.modeling.transformers import TransformersModel
    from tokenizers import Tokenizer as Backend
    from tokenizers import models
    from transformers import PreTrainedTokenizerFast

    empty = Backend(models.WordLevel({"": 0}, unk_token=""))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=empty, pad_token="", eos_token="")
    return TransformersModel(module, task="text-generation", tokenizer=tokenizer)

"""A model ready for use: module, adapter, graph, tokenizer and identity.

Flows in: a folder, a hub id, an embedded name, or a module in memory. Flows out: :class:`Model`, with frozen weights,
in evaluation mode, on one device, its adapter checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mi.circuit.graph import Graph
from mi.circuit.transformer import transformer_graph
from mi.core import attention, cut_up, identities, records, runtime, tensor_parallel
from mi.core.adapters import Adapter, bind, implementation
from mi.core.executor import Executor
from mi.core.fast import FastExecutor
from mi.core.fused import fuse
from mi.core.generic import GenericExecutor
from mi.core.grouping import ungroup
from mi.core.layout import Layout, layout
from mi.core.memory import is_out_of_memory
from mi.core.placement import stored_tensor
from mi.core.roles import Roles
from mi.core.sitewise import spread
from mi.core.sitewise.which import need_graph
from mi.errors import MiError, UsageError
from mi.io.device_map import DeviceMap
from mi.io.models import Located, locate
from mi.tasks.budget import DEFAULT_BUDGET, Budget
from mi.tasks.tokenizer import Tokenizer
from mi.tasks.tokenizer import load as tokenizer_of


@dataclass(frozen=True)
class Model:
    """What every computation takes."""

    module: nn.Module
    adapter: Adapter
    graph: Graph
    tokenizer: Tokenizer | None
    identity: Mapping[str, Any]
    budget: Budget = DEFAULT_BUDGET  # of memory that work on the model may take

    @cached_property
    def wrapper(self) -> Any:
        """nnsight's TransformersModel around the module: only the generic executor traces through it."""
        if isinstance(self.adapter.placement, tensor_parallel.Cut):
            return nnsight_wrapper(self.module, **cut_up.tracing())
        if self.adapter.placement.main is not None:
            return spread.wrapped(self.module)
        return nnsight_wrapper(self.module)

    @property
    def device(self) -> torch.device:
        """Where inputs go, and scores are computed."""
        return self.adapter.device

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


def load(
    ref: str | None = None,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    tf32: bool = False,
    adapter: Mapping[str, Any] | None = None,
) -> Model:
    """A model by folder, hub id or embedded name (None: the embedded default).

    Raises:
        MiError: it is not there, its files are damaged or of the wrong kind, or no adapter fits it.
    """
    if trust_remote_code and not revision and not (ref and Path(ref).is_dir()):
        raise UsageError("--trust-remote-code runs code from the hub", "pin it with --revision COMMIT")
    located = locate(ref, revision, allow_pickle=allow_pickle)
    return load_located(
        located,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        tf32=tf32,
        adapter=adapter,
    )


def load_located(
    located: Located,
    *,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    tf32: bool = False,
    adapter: Mapping[str, Any] | None = None,
    device_map: DeviceMap | None = None,
    parts: int = 1,
) -> Model:
    """`load`, for a model that has been found already. ``adapter``: a record of its roles, not to use mi's own;
    ``device_map``: how it is spread over devices (`sitewise.spread`); ``parts``: how many processes hold it together
    (`cut_up`).
    """
    need_graph(located, adapter)
    runtime.settle(tf32)
    on, number = runtime.device(device), runtime.dtype(dtype)
    roles = None if adapter is None else records.for_family(adapter, str(located.config().get("model_type")))
    how = implementation(located.config()) if roles is None else roles.implementation
    apart = {} if device_map is None else spread.options(device_map)
    if parts > 1:
        cut_up.check(located, parts, on, trust_remote_code)
        apart = cut_up.options(parts)
    module = read_module(located, number, trust_remote_code, allow_pickle, how, **apart)
    if parts > 1:
        cut_up.settle(module)
    tokenizer = load_tokenizer(located)
    if device_map is None:
        runtime.put(module, on)
    else:
        spread.check(module, device_map)
    model = wrap(module, tokenizer, located.id, roles)
    known = {"revision": located.revision, "weights": located.digest()}
    return replace(model, identity={**model.identity, **known})


def load_tokenizer(located: Located) -> Tokenizer | None:
    """The model's own tokenizer, or None where its folder holds none (its inputs are then ids)."""
    has_one = any((located.folder / name).exists() for name in ("tokenizer.json", "vocab.json"))
    return tokenizer_of(located.folder, located.id) if has_one else None


def read_module(
    located: Located,
    dtype: torch.dtype | None,
    trust_remote_code: bool,
    allow_pickle: bool,
    how: str | None,
    **options: Any,
) -> nn.Module:
    """The module of a language model with its weights. ``how`` it attends: a name that transformers knows, or None for
    the model's own. ``options`` say where it goes."""
    from transformers import AutoModelForCausalLM

    attention.register()
    located.config()
    return from_pretrained(
        AutoModelForCausalLM,
        located,
        dtype,
        allow_pickle,
        attn_implementation=how,
        trust_remote_code=trust_remote_code,
        **options,
    )


def from_pretrained(
    of: Any, located: Located, dtype: torch.dtype | None, allow_pickle: bool, **options: Any
) -> nn.Module:
    """A module of that class with its weights, or one error that says what is wrong with the files."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    safe = any(located.folder.glob("*.safetensors"))
    if not safe and not allow_pickle:
        what = "pickled weights only" if any(located.folder.glob("*.bin")) else "no weights"
        hint = "--allow-pickle reads them, tensors only" if "pickled" in what else "it needs *.safetensors files"
        raise MiError(f"{located.id} holds {what}", hint, place="-m")
    try:
        module, report = of.from_pretrained(
            located.folder,
            dtype=dtype or "auto",
            local_files_only=True,
            use_safetensors=safe,
            weights_only=True,
            output_loading_info=True,
            **options,
        )
    except (MiError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if (refusal := spread.refusal(error)) is not None:
            raise refusal from error
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise MiError(f"{located.id} cannot be loaded: {lines[0]}", "its files may be damaged", place="-m") from error
    for fault, names in (("lack", report["missing_keys"]), ("do not fit", report["mismatched_keys"])):
        if names:
            first = min(str(name) for name in names)
            raise MiError(f"the weights of {located.id} {fault} {first}", "they are of another model", place="-m")
    _refuse_broken(module, located)
    return module


def _refuse_broken(module: nn.Module, located: Located) -> None:
    """NaN or Inf in a weight is named here, where it is, not where it first shows."""
    for name, _ in module.named_parameters():
        holder, _, own = name.rpartition(".")
        parameter = stored_tensor(module.get_submodule(holder), own)
        parameter = tensor_parallel.own_of(parameter)
        # A sum is NaN or Inf if any term is, and needs no copy of the parameter.
        if not bool(torch.isfinite(parameter.detach().sum(dtype=torch.float32))):
            bad = (~torch.isfinite(parameter)).nonzero()
            if len(bad):
                value = parameter[tuple(bad[0])].item()
                raise MiError(
                    f"{len(bad)} of the numbers in {name} of {located.id} are not finite, the first is {value}",
                    "the checkpoint is broken: use another",
                    place="-m",
                )


def wrap(
    module: nn.Module, tokenizer: Tokenizer | None = None, name: str = "module", roles: Roles | None = None
) -> Model:
    """A Hugging Face module in memory as a :class:`Model` (weights are frozen in place).

    The adapter, of ``roles`` or of the family's own record, is checked by its identities.

    Raises:
        MiError: no adapter fits.
    """
    adapter = prepare(module, roles)
    identities.check(adapter, FastExecutor(adapter))
    graph = transformer_graph(adapter.n_layers, adapter.n_heads, adapter.roles.parallel, adapter.d_model)
    identity = {
        "id": name,
        "architecture": str(getattr(module.config, "model_type", "")),
        "dtype": str(next(module.parameters()).dtype).removeprefix("torch."),
        "revision": None,
    }
    return Model(module, adapter, graph, tokenizer, identity)


def prepare(module: nn.Module, roles: Roles | None = None) -> Adapter:
    """The adapter of a module, of ``roles`` or of its family's own record; the module is made ready in place.

    Raises:
        MiError: no adapter fits.
    """
    attention.register()
    module.eval().requires_grad_(False)
    adapter = bind(module, roles)
    if adapter.roles.implementation == attention.NAME:
        module.set_attn_implementation(attention.NAME)  # type: ignore[operator]
    if hasattr(module.config, "_experts_implementation") and next(module.parameters()).dtype == torch.float64:
        module.set_experts_implementation("eager")  # type: ignore[operator] # the grouped kernel has no float64
    try:
        if adapter.roles.mixer:
            for layer in adapter.layers:
                attention.adopt(layer.part(adapter.roles.mixer))
        fuse(module)
        ungroup(adapter)
    except (AttributeError, TypeError, RuntimeError, ValueError) as error:
        if roles is None or is_out_of_memory(error):
            raise
        raise MiError(f"the adapter does not fit this model: {error}") from error
    return adapter


def nnsight_wrapper(module: nn.Module | str, task: str = "text-generation", **options: Any) -> Any:
    """nnsight's view of the module, or of one of the hub by its id. A tokenizer must be given to it: ours are ids
    already, so it gets an empty one."""
    from nnsight.modeling.transformers import TransformersModel
    from tokenizers import Tokenizer as Backend
    from tokenizers import models
    from transformers import PreTrainedTokenizerFast

    empty = Backend(models.WordLevel({"": 0}, unk_token=""))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=empty, pad_token="", eos_token="")
    if isinstance(module, nn.Module):
        # transformers' pipeline, which nnsight makes of it, would move it to the first GPU there is.
        options = {"device": next(module.parameters()).device, **options}
    return TransformersModel(module, task=task, tokenizer=tokenizer, **options)

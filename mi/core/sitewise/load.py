"""Any torch module as a model with sites: an encoder, a vision or time-series transformer, what a function returns.

Flows in: a model folder whose config names its class, or a Python file with a function. Flows out: :class:`Module`,
with frozen weights, in evaluation mode, on one device.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from mi.core import runtime
from mi.core.model import from_pretrained
from mi.core.placement import main_device
from mi.core.sitewise import spread
from mi.errors import MiError, UsageError
from mi.io.device_map import DeviceMap
from mi.io.models import Located
from mi.tasks.budget import DEFAULT_BUDGET, Budget

LOCAL = "local"  # a rehearsal of a remote run, in this process


@dataclass(frozen=True)
class Module:
    """What a computation over sites takes."""

    module: nn.Module
    identity: Mapping[str, Any]
    remote: str | None = None  # where its runs go: None is here
    elsewhere: Any = None  # nnsight's view of a model that is on a server only
    budget: Budget = DEFAULT_BUDGET  # of memory that work on the module may take

    @cached_property
    def wrapper(self) -> Any:
        """nnsight's view of the module, through which every run goes."""
        from nnsight import NNsight

        if self.elsewhere is not None:
            return self.elsewhere
        if self.remote is not None:
            from mi.core.sitewise.remote import wrapped

            return wrapped(self.module)

        with warnings.catch_warnings():
            # BERT calls a submodule `output`, as nnsight calls what a module puts out: `envoys` finds it all the same.
            warnings.simplefilter("ignore")
            return NNsight(self.module) if main_device(self.module) is None else spread.wrapped(self.module)

    @cached_property
    def envoys(self) -> dict[str, Any]:
        """nnsight's view of each submodule, by the submodule's path."""
        views = {id(envoy._module): envoy for envoy in self.wrapper.modules()}
        return {path: views[id(part)] for path, part in self.module.named_modules() if id(part) in views}

    @property
    def device(self) -> torch.device:
        """Where inputs are made, and what is read is measured."""
        if self.remote is not None:
            return torch.device("cpu")
        return main_device(self.module) or next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next((p.dtype for p in self.module.parameters() if p.is_floating_point()), torch.float32)

    @property
    def compute_dtype(self) -> torch.dtype:
        """Metrics and scores are computed in float32 at least."""
        return torch.promote_types(self.dtype, torch.float32)


def load_located(
    located: Located,
    *,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    tf32: bool = False,
    remote: str | None = None,
    device_map: DeviceMap | None = None,
) -> Module:
    """The module of a model that has been found. ``remote``: where its runs go (`remote`); ``device_map``: how it is
    spread over devices (`spread`).

    Raises:
        MiError: its files are damaged, of the wrong kind, or lack weights.
    """
    if remote is not None and remote != LOCAL:
        return _on_server(located, remote)
    runtime.settle(tf32)
    on, number = runtime.device(device), runtime.dtype(dtype)
    if located.code is not None:
        if device_map is not None:
            raise MiError("a model that a function makes is not spread over devices", "leave --device-map away")
        module = _from_function(located, trust_remote_code)
        module = module if number is None else module.to(number)
    else:
        options: dict[str, Any] = {"trust_remote_code": True} if trust_remote_code else {}
        options |= spread.options(device_map) if device_map is not None else {}
        module = from_pretrained(_class_of(located, trust_remote_code), located, number, allow_pickle, **options)
    if device_map is not None:
        spread.check(module, device_map)
    else:
        runtime.put(module, on)
    made = wrap(module, located.id, str(located.config().get("model_type", "")))
    identity = {**made.identity, "revision": located.revision, "weights": located.digest()}
    return Module(made.module, identity, remote)


def _on_server(located: Located, remote: str) -> Module:
    """A model of the hub that a server runs: here are its modules, and no weights."""
    from mi.core.sitewise.remote import of_hub

    config = located.config()
    view = of_hub(located.id, located.revision, str((config.get("architectures") or [""])[0]))
    number = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    identity = {
        "id": located.id,
        "architecture": str(config.get("model_type", "")),
        "dtype": number,
        "revision": located.revision,
        "weights": located.digest(),
    }
    return Module(view._module, identity, remote, view)


def wrap(module: nn.Module, name: str = "module", architecture: str = "") -> Module:
    """A module in memory (its weights are frozen in place)."""
    if next(module.parameters(), None) is None:
        raise MiError(f"{name} has no parameters", "a model without weights has nothing to look into", place="-m")
    module.eval().requires_grad_(False)
    # torch would run a whole nn.TransformerEncoderLayer as one kernel, and none of its parts would be passed.
    torch.backends.mha.set_fastpath_enabled(False)
    number = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    identity = {"id": name, "architecture": architecture, "dtype": str(number).removeprefix("torch."), "revision": None}
    return Module(module, identity)


def _class_of(located: Located, trust_remote_code: bool) -> Any:
    """The class named by `architectures`; of a model that brings its own code, the auto class that knows where."""
    import transformers

    config = located.config()
    name = str((config.get("architectures") or [""])[0])
    if trust_remote_code and config.get("auto_map"):
        auto = next((key for key in sorted(config["auto_map"]) if key.startswith("AutoModel")), None)
        if auto is not None:
            return getattr(transformers, auto)
    found = getattr(transformers, name or "AutoModelForCausalLM", None)
    if found is None:
        raise MiError(
            f"transformers has no class {name}",
            "a model that brings its own code needs --trust-remote-code",
            place="-m",
        )
    return found


def _from_function(located: Located, trust_remote_code: bool) -> nn.Module:
    """What the function returns, with the weights that lie beside its file."""
    from safetensors.torch import load_file

    if not trust_remote_code:
        raise UsageError(f"-m {located.id} runs the code in {located.source.name}", "allow it with --trust-remote-code")
    weights = located.source.with_suffix(".safetensors")
    if not weights.is_file():
        raise MiError(
            f"{located.id} has no weights: {weights.name} is not beside {located.source.name}",
            f"write them: safetensors.torch.save_file(module.state_dict(), '{weights.name}')",
            place="-m",
        )
    module = _call(located)
    try:
        missing, unexpected = module.load_state_dict(load_file(weights), strict=False)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise MiError(f"{weights.name} does not fit the module: {lines[-1].strip()}", place="-m") from error
    for fault, names in (("lacks", missing), ("has no place in the module for", unexpected)):
        if names:
            raise MiError(f"{weights.name} {fault} {min(names)}", "it is of another module", place="-m")
    return module


def _call(located: Located) -> nn.Module:
    spec = importlib.util.spec_from_file_location(located.source.stem, located.source)
    assert spec is not None and spec.loader is not None
    code = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(code)
        function = getattr(code, located.function, None)
        module = function() if callable(function) else None
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise MiError(f"{located.id} fails: {type(error).__name__}: {lines[0]}", place="-m") from error
    if not callable(function):
        raise MiError(f"{located.source.name} has no function {located.function}", place="-m")
    if not isinstance(module, nn.Module):
        raise MiError(f"{located.id} returns a {type(module).__name__}", "it must return a torch.nn.Module", place="-m")
    return module

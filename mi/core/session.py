"""A model held for one command: leased, loaded, checked against the stream, and let go before anything is written.

Inside `mi pipe` the model stays loaded for the next stage of the same process.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch

from mi.core import runtime
from mi.core.key_values import as_asked
from mi.core.model import Model, load_located
from mi.core.sitewise import load as sitewise
from mi.core.sitewise import spread
from mi.core.sitewise.load import Module
from mi.core.team import current
from mi.errors import UsageError
from mi.io import channel
from mi.tasks.subject import Chosen, Loading

_kept: dict[tuple[object, ...], Model | Module] = {}


def _load(chosen: Chosen, loading: Loading, device: str, parts: int) -> Model | Module:
    if parts > 1 and (loading.sites_only or loading.remote or loading.device_map):
        raise UsageError(
            "--tensor-parallel is for what knows the graph of a language model", "for sites there is --device-map"
        )
    options: dict[str, Any] = {
        "device": device,
        "dtype": loading.dtype,
        "trust_remote_code": loading.trust_remote_code,
        "allow_pickle": loading.allow_pickle,
        "tf32": loading.tf32,
        "device_map": loading.device_map,
    }
    if loading.sites_only:
        return sitewise.load_located(chosen.located, **options, remote=loading.remote)
    record = chosen.adapter.record if chosen.adapter else None
    return load_located(chosen.located, **options, adapter=record, parts=parts)


def _devices(loading: Loading) -> list[torch.device]:
    """Those that a run holds, in the one order in which every run takes them."""
    if loading.device_map is not None:
        return spread.devices(loading.device_map)
    return [runtime.device(current().device(loading.device))]


@contextmanager
def opened(
    chosen: Chosen,
    graph: Mapping[str, Any] | None,
    loading: Loading,
    on_wait: Callable[[str], None] = lambda text: None,
) -> Iterator[Any]:
    """The model that was chosen, on its device: a `Model`, or a `Module` where only its sites are asked for.
    ``graph`` is the head's, if the stream has one.

    Raises:
        MiError: the model's graph is not the stream's.
    """
    runtime.settle(loading.tf32)
    team = current()
    taken = _devices(loading)
    on = taken[0]
    key = (chosen.identity, on, loading.dtype, loading.tf32, loading.sites_only, loading.remote, loading.device_map)
    with ExitStack() as held:
        for each in taken:
            with team.turn(str(each)):
                held.enter_context(runtime.lease(each, lambda: on_wait(f"waiting for {each}: another mi holds it")))  # noqa: B023
        model = _kept.get(key) or _load(chosen, loading, str(on), team.parts)
        ready = as_asked(model, loading.kv, graph, chosen.located.id) if isinstance(model, Model) else model
        _kept.clear()
        try:
            yield replace(ready, budget=loading.budget)
        finally:
            if channel.current() is not None:
                _kept[key] = model
            else:
                del model, ready
                gc.collect()
                if on.type == "cuda":
                    torch.cuda.empty_cache()

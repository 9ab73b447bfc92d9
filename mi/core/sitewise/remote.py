"""Runs on another machine: NDIF through nnsight, or a rehearsal of it in this process (``local``).

Flows in: a model that nnsight can name to a server. Flows out: a :class:`RemoteTracer`, which takes the same steps as
`trace.Tracer`; only data travels, so that the server needs nothing of mi. Each run is one request, and a gradient two:
the metric is computed here, from the logits of the first, and its gradient with respect to them goes with the second.
"""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import nnsight
import torch
from torch import Tensor

from mi.core.sitewise.load import LOCAL
from mi.core.sitewise.reach import Site
from mi.core.sitewise.trace import Ran, Step, Total
from mi.errors import MiError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mi.core.sitewise.load import Module

CONNECT = 10  # seconds
# nnsight's tasks by the class of a model: those whose wrapper takes the model's own arguments.
TASKS = {
    "ForSequenceClassification": "text-classification",
    "ForMaskedLM": "fill-mask",
    "ForTokenClassification": "token-classification",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
}


def host() -> str:
    """The server: $NDIF_HOST, else what nnsight is set up for."""
    from nnsight.schema.config import CONFIG

    return (os.environ.get("NDIF_HOST") or CONFIG.API.HOST).rstrip("/")


def check_server() -> None:
    """A key and a server that answers, before anything is fetched or loaded.

    Raises:
        RunError: there is no key, or nothing answers.
    """
    from nnsight.schema.config import CONFIG

    if not (os.environ.get("NDIF_API_KEY") or CONFIG.API.APIKEY):
        raise RunError(
            "NDIF needs a key, and NDIF_API_KEY is not set", "get one at login.ndif.us, or rehearse with --remote local"
        )
    where = urlsplit(host())
    port = where.port or (443 if where.scheme == "https" else 80)
    try:
        socket.create_connection((where.hostname or "", port), timeout=CONNECT).close()
    except OSError as error:
        raise _unreachable(error) from error


def _unreachable(error: BaseException) -> RunError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return RunError(
        f"{host()} does not answer: {lines[0][:200]}", "nothing was run here instead; look at the network, or NDIF_HOST"
    )


def task_of(name: str) -> str:
    """nnsight's task for a class of models.

    Raises:
        MiError: it has none, so that no server could hold the model.
    """
    found = next((task for ending, task in TASKS.items() if name.endswith(ending)), None)
    if found is None:
        raise MiError(f"a {name} cannot be run remotely", f"classes that can: {', '.join(f'…{n}' for n in TASKS)}",
                      place="--remote")  # fmt: skip
    return found


def wrapped(module: Any) -> Any:
    """nnsight's remotable view of a module that is here, for a rehearsal."""
    from mi.core.model import nnsight_wrapper

    task = task_of(type(module).__name__)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nnsight_wrapper(module, task)


def of_hub(repo: str, revision: str | None, name: str) -> Any:
    """nnsight's view of a model that is on the server only: its modules without weights."""
    from mi.core.model import nnsight_wrapper

    with _answered(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of submodules called `output`, as in `wrapped`
        return nnsight_wrapper(repo, task_of(name), revision=revision, dispatch=False)


class RemoteTracer:
    """Takes the steps of a `Tracer` in one request a run."""

    def __init__(self, model: Module, sites: Sequence[Site]) -> None:
        from nnsight.modeling.mixins.remotable import Remotable

        if not isinstance(model.wrapper, Remotable):  # nnsight would run any other here, and say nothing
            raise MiError("this model cannot be run remotely", "leave --remote away", place="--remote")
        self._wrapper = model.wrapper
        self._envoys = model.envoys
        self._remote: Any = LOCAL if model.remote == LOCAL else host()
        self._order = {site.port: place for place, site in enumerate(sites)}

    def run(self, inputs: Mapping[str, Tensor], steps: Sequence[Step], read: Tensor) -> Ran:
        """A run without gradients."""
        ordered = self._ordered(steps)
        logits, kept = self._request(inputs, ordered, read)
        return Ran(logits, dict(zip([s.port for s in ordered if s.kind == "keep"], kept, strict=True)))

    def gradients(
        self, inputs: Mapping[str, Tensor], steps: Sequence[Step], read: Tensor, total: Total
    ) -> list[Tensor]:
        """As `Tracer.gradients`. By the chain rule the gradient of the metric is that of <logits, d metric / d logits>
        with the second factor held still."""
        ordered = self._ordered(steps)
        logits, _ = self._request(inputs, ordered, read)
        at = logits.detach().to(torch.promote_types(logits.dtype, torch.float32)).requires_grad_()
        (pull,) = torch.autograd.grad(total(at), at)
        found = self._request_gradients(inputs, ordered, read, pull)
        return self._as_given(steps, ordered, found)

    def _ordered(self, steps: Sequence[Step]) -> list[Step]:
        return sorted(steps, key=lambda step: self._order[step.port])

    def _as_given(self, steps: Sequence[Step], ordered: Sequence[Step], found: list[Tensor]) -> list[Tensor]:
        """Gradients in the order in which the steps were given, not that of the run."""
        left = iter(found)
        of = {id(step): [next(left) for _ in range(_wanted(step))] for step in ordered}
        return [gradient for step in steps for gradient in of[id(step)]]

    def _data(self, steps: Sequence[Step]) -> list[tuple[Any, bool, str, list[tuple[Any, ...]]]]:
        """The steps as plain values: the server has no class of mi's."""
        return [
            (
                self._envoys[step.port.path],
                step.port.side == "in",
                step.kind,
                [(p.start, p.stop, p.position, p.value.detach().cpu(), p.wanted) for p in step.parts],
            )
            for step in steps
        ]

    def _request(
        self, inputs: Mapping[str, Tensor], steps: Sequence[Step], read: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        wrapper, plan, remote = self._wrapper, self._data(steps), self._remote
        given, rows = dict(inputs), read.cpu()
        kept: list[Tensor] = []
        logits: Any = None
        with _answered(), wrapper.trace(given, remote=remote):
            kept = nnsight.save([])
            for envoy, at_input, kind, parts in plan:
                whole = envoy.input if at_input else envoy.output
                value = whole
                if not isinstance(whole, torch.Tensor):
                    value = next(iter(whole.values())) if hasattr(whole, "values") else whole[0]
                if kind == "keep":
                    kept.append(value.detach().clone().cpu())
                    continue
                new = value.clone()
                for start, stop, position, part, _ in parts:
                    part = part.to(value.device, value.dtype)
                    if position is None:
                        new[start:stop] = part
                    else:
                        new[start:stop, ..., position, :] = part
                if not isinstance(whole, torch.Tensor):
                    new = (new, *list(whole)[1:])
                if at_input:
                    envoy.input = new
                else:
                    envoy.output = new
            output = wrapper.output
            value = output if isinstance(output, torch.Tensor) else output["logits"]
            if value.ndim == 3:
                value = value[torch.arange(len(rows)), rows]
            logits = nnsight.save(value.detach().cpu())
        return logits, list(kept)

    def _request_gradients(
        self, inputs: Mapping[str, Tensor], steps: Sequence[Step], read: Tensor, pull: Tensor
    ) -> list[Tensor]:
        wrapper, plan, remote = self._wrapper, self._data(steps), self._remote
        given, rows, pull = dict(inputs), read.cpu(), pull.cpu()
        found: Any = None
        with _answered(), wrapper.trace(given, remote=remote):
            leaves = []
            for envoy, at_input, kind, parts in plan:
                whole = envoy.input if at_input else envoy.output
                value = whole
                if not isinstance(whole, torch.Tensor):
                    value = next(iter(whole.values())) if hasattr(whole, "values") else whole[0]
                if kind == "keep":
                    continue
                if kind == "add":
                    leaves.append(torch.zeros_like(value, requires_grad=True))
                    new = value + leaves[-1]
                else:
                    new = value.clone()
                for start, stop, position, part, wanted in parts:
                    part = part.to(value.device, value.dtype)
                    if wanted:
                        part = part.detach().requires_grad_()
                        leaves.append(part)
                    if position is None:
                        new[start:stop] = part
                    else:
                        new[start:stop, ..., position, :] = part
                if not isinstance(whole, torch.Tensor):
                    new = (new, *list(whole)[1:])
                if at_input:
                    envoy.input = new
                else:
                    envoy.output = new
            output = wrapper.output
            value = output if isinstance(output, torch.Tensor) else output["logits"]
            if value.ndim == 3:
                value = value[torch.arange(len(rows)), rows]
            through = (value * pull.to(value.device, value.dtype)).sum()
            gradients = torch.autograd.grad(through, leaves, allow_unused=True)
            found = nnsight.save(
                [torch.zeros_like(a).cpu() if g is None else g.cpu() for a, g in zip(leaves, gradients, strict=True)]
            )
        return list(found)


def _wanted(step: Step) -> int:
    return 1 if step.kind == "add" else sum(part.wanted for part in step.parts)


@contextmanager
def _answered() -> Iterator[None]:
    """What a server or the network says, as one line."""
    try:
        yield
    except (MiError, MemoryError):
        raise
    except Exception as error:
        name = type(error).__name__
        if isinstance(error, OSError) or "Connect" in name or "Timeout" in name or "WebSocket" in name:
            raise _unreachable(error) from error
        lines = [line for line in str(error).strip().splitlines() if line.strip()] or [name]
        raise RunError(f"the remote run failed: {lines[-1].strip()[:300]}", "nothing was run here instead") from error

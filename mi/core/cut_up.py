"""Loading a model so that the processes of a run hold it together: transformers' own tensor parallelism.

Flows in: a model's config, and how many processes there are. Flows out: what transformers must be told; a refusal where
a family has no plan or does not divide; the module, so that nnsight can trace it too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mi.core.tensor_parallel import CUT, KNOWN
from mi.errors import UsageError
from mi.io.models import Located

FLAG = "--tensor-parallel"
OTHERWISE = "run it in one process, with --dtype bfloat16 or --device-map auto if it is large"


def check(located: Located, size: int, on: torch.device, trust_remote_code: bool = False) -> None:
    """
    Raises:
        UsageError: transformers cannot cut this model into ``size`` parts on devices of this kind; says why.
    """
    from transformers import AutoConfig

    here = kind_of_device()
    if here not in ("cpu", "cuda"):
        raise UsageError(f"transformers cuts up no model on {here}", OTHERWISE, place=FLAG)
    if on.type != here:
        raise UsageError(
            f"transformers puts what it cuts up on {here}, not on {on.type}",
            "CUDA_VISIBLE_DEVICES= hides the GPUs",
            place=FLAG,
        )
    try:
        config = AutoConfig.from_pretrained(located.folder, trust_remote_code=trust_remote_code, local_files_only=True)
    except (OSError, ValueError):  # loading says what is wrong
        return
    text = config.get_text_config()
    plan = getattr(text, "base_model_tp_plan", None)
    if not plan:
        raise _cannot(located, f"transformers has no plan for '{text.model_type}'")
    unknown = sorted(set(plan.values()) - KNOWN)
    if unknown:
        raise _cannot(
            located, f"the plan for '{text.model_type}' has parts of a kind that mi does not know, {unknown[0]}"
        )
    for entry in dict.fromkeys(e for name, style in plan.items() if style in CUT for e in _divided(name, text)):
        count = getattr(text, entry, None)
        if isinstance(count, int) and count % size:
            raise _cannot(located, f"its {entry}, {count}, cannot be divided by {size}")


def kind_of_device() -> str:
    """Where transformers puts the parts, whatever it is told."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return "cpu" if found is None else found.type


def _divided(name: str, config: Any) -> tuple[str, ...]:
    """Which entries of a config are divided where the plan cuts this projection."""
    if "experts" in name and hasattr(config, "moe_intermediate_size"):
        return ("moe_intermediate_size",)
    return ("intermediate_size",) if "mlp" in name else ("num_attention_heads", "num_key_value_heads")


def _cannot(located: Located, why: str) -> UsageError:
    return UsageError(f"{located.id} cannot be cut up: {why}", OTHERWISE, place=FLAG)


def options(size: int) -> dict[str, Any]:
    """What `from_pretrained` must be told."""
    from transformers.distributed import DistributedConfig

    return {"distributed_config": DistributedConfig(tp_size=size, tp_plan="auto")}


@dataclass(frozen=True)
class Around:
    """A module's forward with the collectives that transformers put around it, as one thing."""

    forward: Callable[..., Any]

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        return self.forward(*inputs, **named)


def settle(module: nn.Module) -> None:
    """Make nnsight take what transformers put around the modules' forwards for a part of them: it then shows what the
    modules themselves give and take, as hooks do."""
    for part in module.modules():
        own = part.__dict__.get("forward")
        if own is not None and not isinstance(own, Around):
            part.forward = Around(own)


def tracing() -> dict[str, Any]:
    """What nnsight must be told: its own way to see parts whole (0.8.1) looks for a function that transformers 5.23
    moved, and ours does it for both executors."""
    from nnsight.intervention.interleaver import Interleaver

    return {"interleaver": Interleaver()}

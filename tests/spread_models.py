"""A decoder in memory, spread by accelerate over what this machine has: the processor, and a folder that is its disk.

Every second block lies in the folder, with the unembedding and whatever else is no embedding.
"""

from __future__ import annotations

from pathlib import Path

import accelerate
from torch import nn

from mi.core.adapters import record_for


def places(module: nn.Module, even: str = "disk", odd: str = "cpu", rest: str = "disk") -> dict[str, str]:
    """A device map: of blocks by turns, of embeddings as of odd blocks, of all else."""
    blocks = record_for(module).blocks
    found: dict[str, str] = {}

    def walk(prefix: str, parent: nn.Module) -> None:
        for name, part in parent.named_children():
            path = prefix + name
            if path == blocks:
                found.update({f"{path}.{i}": odd if i % 2 else even for i in range(len(list(part.children())))})
            elif blocks.startswith(f"{path}."):
                walk(f"{path}.", part)
            else:
                found[path] = odd if isinstance(part, nn.Embedding) else rest
        found.update({prefix + name: odd for name, _ in parent.named_parameters(recurse=False)})

    walk("", module)
    return found


def spread_out(module: nn.Module, folder: Path) -> nn.Module:
    """The module, spread in place."""
    accelerate.dispatch_model(module, device_map=places(module), offload_dir=str(folder), force_hooks=True)
    assert {p.is_meta for p in module.parameters()} == {True, False}, "some of it is on the disk"
    return module

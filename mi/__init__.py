"""mi: composable command-line tools for mechanistic interpretability.

In a notebook, ``mi.load("acts.jsonl").numpy("blocks.3.attn.z")`` reads back what a command wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mi.io.load import load as load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """`load` is imported when it is asked for: the front door must start at once."""
    if name == "load":
        from mi.io.load import load

        return load
    raise AttributeError(f"module 'mi' has no attribute {name!r}")

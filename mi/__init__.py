"""mi: composable command-line tools for mechanistic interpretability.

In a notebook, ``mi.load("circuit.jsonl")`` reads back what a command wrote: ``.numpy("edge")``, ``.pandas()``,
``.networkx()``, ``.torch("edge")``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mi.show.notebook import load as load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """`load` is imported when it is asked for: the front door must start at once."""
    if name == "load":
        from mi.show.notebook import load

        return load
    raise AttributeError(f"module 'mi' has no attribute {name!r}")

"""How much memory a command may take over the model's weights, and how that is shared out. No torch.

Never what happens to be free: the same budget means the same batches on every machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mi.errors import UsageError

OF_SITES = "; what sites keep is known once the model has run, and batches are then cut to --memory-budget"
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@dataclass(frozen=True)
class Budget:
    """Bytes, and the shares that parts of a computation may take."""

    bytes: int = 10**9

    @property
    def batch(self) -> int:
        """Of what grows with the examples that are run at once."""
        return self.bytes // 2

    @property
    def table(self) -> int:
        """Of the differences of all sources of a circuit's run at all positions, d_model wide. Batches are cut to it;
        those of one example that needs more are made wide for a few positions at a time."""
        return self.bytes // 2

    @property
    def gated(self) -> int:
        """The same, of a run with gates, which keeps several times as much for its gradient."""
        return self.bytes // 8

    @property
    def chunk(self) -> int:
        """Of what is made wide for a moment, where more room saves work."""
        return self.bytes // 4

    @property
    def least_chunk(self) -> int:
        """The same, where it does not."""
        return self.bytes // 16


DEFAULT_BUDGET = Budget()


def parse(text: str) -> Budget:
    """A budget as a person writes it: 500M, 2GB, 1.5G.

    Raises:
        UsageError: it is no amount, or one of nothing.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", text.strip().lower())
    n_bytes = int(float(match.group(1)) * UNITS[match.group(2)]) if match else 0
    if n_bytes < 1:
        raise UsageError(f"--memory-budget {text!r} is no amount", "write it as 500MB or 2GB")
    return Budget(n_bytes)

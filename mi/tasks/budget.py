"""How much memory a command may take, and how that is shared out. No torch.

Never of what happens to be free: the same budget means the same batches on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass



@dataclass(frozen=True)
class Budget:
    """Bytes over the weights that a command may take, and how they are shared out. Never what happens to be free."""

    bytes: int = 1 << 30

    @property
    def batch(self) -> int:
        """Of what grows with the examples that are run at once."""
        return self.bytes // 2

    @property
    def table(self) -> int:
        """Of the differences of all sources at all positions of a circuit's run, d_model wide, of one example; those
        that need more are made wide for a few positions at a time."""
        return self.bytes // 2

    @property
    def tables(self) -> int:
        """The same, of several examples at once."""
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

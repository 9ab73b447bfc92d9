"""One random case for the package and the brute-force oracle alike: a family and a seed in; model, oracle and examples
out, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mi.core.model import Model, wrap
from mi.tasks.encode import Encoded
from tests.examples import IdExample, encoded, random_examples
from tests.families.models import OPTIONS, VOCABULARY, random_model
from tests.oracle.families import Brute, Run


@dataclass(frozen=True)
class FamilyCase:
    model: Model
    brute: Brute
    examples: list[IdExample]
    rng: np.random.Generator

    @property
    def encoded(self) -> list[Encoded]:
        return encoded(self.examples)

    def ids(self, prompt: str) -> Tensor:
        return torch.tensor([getattr(example, prompt) for example in self.examples])

    def record(self, prompt: str) -> Run:
        with torch.no_grad():
            return self.brute.record(self.ids(prompt))

    def loss(self, logits: Tensor) -> Tensor:
        """Minus the logit difference of each row; rows are copies of the examples, the first copy first."""
        copies = len(logits) // len(self.examples)
        rows = torch.arange(len(logits))
        read, answers, foils = (
            torch.tensor([value(e) for e in self.examples]).repeat(copies)
            for value in (lambda e: e.read, lambda e: e.answers[0], lambda e: e.foils[0])
        )
        at_read = logits[rows, read]
        return at_read[rows, foils] - at_read[rows, answers]

    def cells(self) -> list[tuple[int, int]]:
        """Every edge of the package's graph as the oracle's (source, receiver), matched by name."""
        sources = {name: row for row, name in enumerate(self.brute.source_names)}
        receivers = {name: column for column, name in enumerate(self.brute.receiver_names)}
        names = [name.split("->") for name in self.model.graph.edge_names()]
        return [(sources[source], receivers[receiver]) for source, receiver in names]

    def losses(self, gates: Sequence[Tensor], replacement: Sequence[Tensor], prompt: str = "clean") -> np.ndarray:
        """The loss of every example under each of the gates [source, receiver], [gate, example]: side by side."""
        n, copies = len(self.examples), len(gates)
        stacked = torch.stack(list(gates), -1).repeat_interleave(n, -1)
        many = [r.expand(n, -1, -1).repeat(copies, 1, 1) for r in replacement]
        with torch.no_grad():
            run = self.brute.run(self.ids(prompt).repeat(copies, 1), stacked, many)
        return self.loss(run.logits).view(copies, n).numpy()

    def edge_scores(self, rows: Sequence[int] | None = None) -> np.ndarray:
        """The change of the loss when one edge carries the corrupted run's value, [edge, example]."""
        cells = self.cells()
        chosen = range(len(cells)) if rows is None else rows
        return self._patched([[cells[row]] for row in chosen])

    def node_scores(self) -> np.ndarray:
        """The same with every edge out of a node, [source, example]."""
        by_source: dict[int, list[tuple[int, int]]] = {}
        for source, receiver in self.cells():
            by_source.setdefault(source, []).append((source, receiver))
        return self._patched([by_source[source] for source in range(len(self.brute.source_names))])

    def _patched(self, dropped: Sequence[Sequence[tuple[int, int]]]) -> np.ndarray:
        gates = [self.brute.full()]
        for cells in dropped:
            gates.append(self.brute.full())
            for cell in cells:
                gates[-1][cell] = 0
        found = self.losses(gates, self.record("corrupted").sources)
        return found[1:] - found[:1]


def family_case(
    name: str,
    seed: int,
    *,
    n: int = 2,
    length: int = 6,
    lengths: Sequence[int] | None = None,
    n_layers: int | None = None,
) -> FamilyCase:
    """Examples of one length (or of several, for the package alone), read anywhere after their last difference."""
    kinds = {"layer_types": OPTIONS[name][1]["layer_types"][:n_layers]} if "layer_types" in OPTIONS[name][1] else {}
    rng = np.random.default_rng(seed)
    examples = random_examples(rng, n, VOCABULARY, lengths or (length,), read_last=False)
    model, own = (random_model(name, seed, torch.float64, n_layers, **kinds) for _ in range(2))
    return FamilyCase(wrap(model), Brute(own), examples, rng)


def largest(scores: np.ndarray) -> float:
    """The unit of tolerances on scores."""
    return float(np.abs(scores).max())

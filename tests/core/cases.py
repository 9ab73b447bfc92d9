"""One random case for the package and the oracle alike: family and seed in, model, weights and examples out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mi.core.model import Model, wrap
from mi.tasks.budget import Budget
from mi.tasks.encode import Encoded
from tests.examples import IdExample, encoded, random_examples
from tests.models import Shape, random_model, truly_double
from tests.oracle import transformer
from tests.oracle.weights import Weights, read_module

# name: family as in tests.models, shape
ADAPTED = {
    "gpt2": ("gpt2", Shape()),
    "gpt2-scaled": ("gpt2-scaled", Shape(n_layers=3, n_heads=2)),
    "llama": ("llama", Shape()),
    "llama-wide-heads": ("llama-wide-heads", Shape(n_layers=1, n_kv_heads=4)),
    "mistral": ("mistral", Shape(n_heads=6, n_kv_heads=2)),
    "mistral-windowed": ("mistral", Shape(n_layers=3, n_heads=2, n_kv_heads=1, window=3)),
    "qwen2": ("qwen2", Shape(n_kv_heads=1)),
    "qwen2-windowed": ("qwen2", Shape(n_layers=3, n_heads=2, n_kv_heads=2, window=3)),
}


@dataclass(frozen=True)
class Case:
    model: Model
    weights: Weights
    examples: list[IdExample]
    rng: np.random.Generator  # for what else a test wants at random

    @property
    def encoded(self) -> list[Encoded]:
        return encoded(self.examples)

    def within(self, n_bytes: int) -> Model:
        """The model, with so much memory to work in."""
        return replace(self.model, budget=Budget(n_bytes))

    def as_edges(self, dense: np.ndarray) -> np.ndarray:
        """The oracle's [source, receiver, ...] in the order of the package's edges, matched by name."""
        sources = {name: row for row, name in enumerate(transformer.source_names(self.weights))}
        receivers = {name: column for column, name in enumerate(transformer.receiver_names(self.weights))}
        cells = [name.split("->") for name in self.model.graph.edge_names()]
        return np.stack([dense[sources[source], receivers[receiver]] for source, receiver in cells])

    def as_matrix(self, edges: np.ndarray) -> np.ndarray:
        """A choice of the package's edges, bool [edge], as the oracle's bool [source, receiver]."""
        sources = {name: row for row, name in enumerate(transformer.source_names(self.weights))}
        receivers = {name: column for column, name in enumerate(transformer.receiver_names(self.weights))}
        keep = np.zeros((len(sources), len(receivers)), dtype=bool)
        for name, chosen in zip(self.model.graph.edge_names(), edges, strict=True):
            source, receiver = name.split("->")
            keep[sources[source], receivers[receiver]] = chosen
        return keep


def random_case(
    name: str, seed: int, *, n: int = 6, lengths: Sequence[int] = (7,), double: bool = True, n_answers: int = 1
) -> Case:
    """Examples read anywhere after their last difference. In float64 unless told otherwise."""
    family, shape = ADAPTED[name]
    module = random_model(family, seed, shape)
    weights = read_module(module)
    rng = np.random.default_rng(seed)
    examples = random_examples(rng, n, shape.vocabulary, lengths, n_answers, read_last=False)
    return Case(wrap(truly_double(module) if double else module), weights, examples, rng)


def largest(scores: np.ndarray) -> float:
    """The unit of tolerances on scores."""
    return float(np.abs(scores).max())

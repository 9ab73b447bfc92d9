"""The stored reference numbers of one tiny model: folder name in, model, examples and arrays out."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from tests.data_dir import shared
from tests.examples import IdExample
from tests.oracle.weights import Weights, read_folder

FAMILIES = {"gpt2-tiny": "gpt2", "llama-tiny": "llama", "neox-tiny": "gpt_neox"}
MODELS = tuple(FAMILIES)
MODES = ("signed", "absolute")
ABLATIONS = {"counterfactual": "", "zero": "_zero", "mean-positional": "_mean_positional"}  # suffixes of array names


@dataclass(frozen=True)
class Golden:
    folder: Path
    weights: Weights
    examples: tuple[IdExample, ...]
    reference: dict[str, np.ndarray]  # float32, from the public code
    independent: dict[str, np.ndarray]  # float64, from a second implementation
    notes: dict[str, Any]

    @property
    def edge_cells(self) -> list[tuple[int, int]]:
        """(source, receiver) of every edge, by the names that the reference gives them, in its order."""
        sources = {name: index for index, name in enumerate(self.notes["src_nodes"])}
        receivers = {name: index for index, name in enumerate(self.notes["dst_nodes"])}
        pairs = (name.split("->") for name in self.notes["edge_names"])
        return [(sources[source], receivers[receiver]) for source, receiver in pairs]

    def as_edges(self, dense: np.ndarray) -> np.ndarray:
        """[..., source, receiver] to [..., edge] in the order of the reference's edge names."""
        source, receiver = np.array(self.edge_cells).T
        return dense[..., source, receiver]


def golden(model: str) -> Golden:
    """Skips the calling test where the reference numbers are not there."""
    return _load(shared("golden", model))


@cache
def _load(folder: Path) -> Golden:
    arrays = load_file(folder / "examples.safetensors")
    rows = zip(arrays["clean"].tolist(), arrays["corrupted"].tolist(), arrays["answers"].tolist(), strict=True)
    examples = tuple(
        IdExample(tuple(clean), tuple(corrupted), (right,), (wrong,), len(clean) - 1)
        for clean, corrupted, (right, wrong) in rows
    )
    return Golden(
        folder,
        read_folder(folder),
        examples,
        load_file(folder / "reference.safetensors"),
        load_file(folder / "independent.safetensors"),
        json.loads((folder / "reference.json").read_text()),
    )

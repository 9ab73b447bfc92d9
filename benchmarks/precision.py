"""`python -m benchmarks.precision`: scores in bfloat16 and float16 against float32, on the shape of GPT-2 small.

The weights of all runs are the same, rounded to the format first, as a checkpoint in it would hold them: what is
compared is the arithmetic. Scores are contracted in float32 and summed in float64 in every run.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from benchmarks.subject import examples, parse, random_gpt2, wrapped
from mi.core.attribute import attribute
from mi.tasks.encode import Encoded

FORMATS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
METHODS = {"eap": {"method": "eap"}, "eap-ig": {"method": "eap-ig", "steps": 5}}


def ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values)).astype(np.float64)


def compared(scores: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Spearman's rank correlation, of scores and of magnitudes; the overlap of the largest 1 %; the largest error."""
    n = max(1, len(reference) // 100)
    first, second = (set(np.argsort(-np.abs(each))[:n].tolist()) for each in (scores, reference))
    return {
        "ranks": float(np.corrcoef(ranks(scores), ranks(reference))[0, 1]),
        "ranks_of_magnitudes": float(np.corrcoef(ranks(np.abs(scores)), ranks(np.abs(reference)))[0, 1]),
        "top_1_percent": len(first & second) / n,
        "error_of_largest": float(np.abs(scores - reference).max() / np.abs(reference).max()),
    }


def edges(pairs: list[Encoded], layers: int, weights: torch.dtype, arithmetic: torch.dtype, method: str) -> np.ndarray:
    module = random_gpt2(layers).to(weights).to(arithmetic)
    return attribute(wrapped(module), pairs, **METHODS[method]).edge  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--size", default="10x20", help="prompts x tokens")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    pairs = examples(parse(options.size))
    for name in options.formats:
        for method in METHODS:
            low = edges(pairs, options.layers, FORMATS[name], FORMATS[name], method)
            full = edges(pairs, options.layers, FORMATS[name], torch.float32, method)
            said = "  ".join(f"{key} {value:.4f}" for key, value in compared(low, full).items())
            print(f"{name:10}{method:8}{said}", flush=True)


if __name__ == "__main__":
    main()

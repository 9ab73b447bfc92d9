"""`python -m benchmarks.scaling`: what EAP, EAP-IG and a circuit's score take, against the number of examples, their
length and the size of the model; as a table on stdout and as JSON in a file.

Three series, each with all else held: examples of one length (the time of a token must stay), lengths at about the
same number of tokens (it may grow by what attention takes), and models (it must grow as forward and contraction do).
Models are of the Llama family with random weights. Seconds are processor time; bytes are counted (`allocated`), in the
run that also warms up.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.allocated import Allocated
from benchmarks.clock import seconds
from benchmarks.subject import Size
from mi.circuit.select import top
from mi.core.attribute import attribute
from mi.core.circuits import run_circuits
from mi.core.model import Model, wrap
from mi.tasks.encode import Encoded

KEPT = 20  # the circuit holds one edge in so many


@dataclass(frozen=True)
class Shape:
    name: str
    layers: int
    heads: int
    width: int
    mlp: int
    vocabulary: int
    key_values: int = 0  # as many as there are heads


SHAPES = (
    Shape("1 M", 4, 4, 128, 352, 2048),
    Shape("9 M", 6, 5, 320, 864, 4096),
    Shape("30 M", 8, 8, 512, 1376, 8192),
    Shape("110 M", 12, 12, 768, 2048, 32000),
    Shape("520 M", 24, 20, 1280, 3456, 32000),
)
LARGER = (
    Shape("8 B", 32, 32, 4096, 14336, 128256, 8),
    Shape("70 B", 80, 64, 8192, 28672, 128256, 8),
)
FIXED = SHAPES[2]  # of the series over examples and lengths
SERIES = {
    "examples": [(FIXED, Size(n, 20)) for n in (5, 10, 20, 40)],
    "length": [(FIXED, Size(320 // length, length)) for length in (10, 20, 40, 80, 160, 320)],
    "model": [(shape, Size(10, 20)) for shape in SHAPES],
}


def llama(shape: Shape, **more: Any) -> Any:
    """The config of a model of this shape."""
    from transformers import LlamaConfig

    return LlamaConfig(
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_values or shape.heads,
        hidden_size=shape.width,
        intermediate_size=shape.mlp,
        vocab_size=shape.vocabulary,
        **more,
    )


def random_model(shape: Shape) -> Model:
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    no_token = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    config = llama(shape, tie_word_embeddings=True, **no_token)
    return wrap(LlamaForCausalLM(config).eval(), name=shape.name)


def examples(shape: Shape, size: Size) -> list[Encoded]:
    """Pairs of random prompts that differ at their second token."""
    rng = np.random.default_rng(1)
    made = []
    for number in range(size.prompts):
        clean = rng.integers(shape.vocabulary, size=size.tokens).tolist()
        corrupted = [clean[0], (clean[1] + 1) % shape.vocabulary, *clean[2:]]
        answer, foil = rng.choice(shape.vocabulary, size=2, replace=False).tolist()
        made.append(Encoded(f"{number}", tuple(clean), tuple(corrupted), (answer,), (foil,), size.tokens - 1))
    return made


def flops(shape: Shape, length: int) -> tuple[float, float]:
    """Of a token: in a forward without the unembedding, and in the contraction of all edges (two a multiply-add)."""
    width, queries = shape.width, shape.width
    shared = queries * (shape.key_values or shape.heads) // shape.heads
    projections = width * (2 * queries + 2 * shared) + 3 * width * shape.mlp
    attention = queries * (length + 1)  # half the positions on average, for the pattern and for the values
    sources = 1 + shape.layers * (shape.heads + 1)
    receivers = 1 + shape.layers * (3 * shape.heads + 1)
    return 2.0 * shape.layers * (projections + attention), 1.0 * sources * receivers * width


def works(model: Model, pairs: list[Encoded]) -> dict[str, Callable[[], object]]:
    ids = torch.tensor([pair.clean for pair in pairs])

    def forward() -> object:
        with torch.no_grad():
            return model.module(ids, use_cache=False).logits

    scores = attribute(model, pairs[:2], method="eap").edge
    mask = top(model.graph, scores, model.graph.n_edges // KEPT)[None]
    return {
        "T": forward,
        "EAP": lambda: attribute(model, pairs, method="eap"),
        "EAP-IG(5)": lambda: attribute(model, pairs, method="eap-ig", steps=5),
        "circuit": lambda: run_circuits(model, pairs, mask),
    }


def measure(shape: Shape, size: Size, repeats: int) -> dict[str, Any]:
    model, pairs = random_model(shape), examples(shape, size)
    found: dict[str, Any] = {"model": shape.name, "prompts": size.prompts, "tokens": size.tokens}
    for name, work in works(model, pairs).items():
        with Allocated() as counted:
            work()
        spent = [seconds(work, time.process_time) for _ in range(repeats)]
        found[name] = {"seconds": min(spent), "bytes": counted.peak}
    found["flops"] = flops(shape, size.tokens)
    return found


def show(series: str, found: list[dict[str, Any]]) -> None:
    print(f"\n{series}: milliseconds of a token, in units of T, and MiB beyond the model", flush=True)
    head = "".join(f"{name:>12}{'T':>7}{'MiB':>7}" for name in ("EAP", "EAP-IG(5)", "circuit"))
    print(f"{'model':8}{'prompts':>8}{'tokens':>7}{'T':>9}{head}")
    for row in found:
        tokens, unit = row["prompts"] * row["tokens"], row["T"]["seconds"]
        cells = "".join(
            f"{1e3 * row[name]['seconds'] / tokens:12.3f}{row[name]['seconds'] / unit:7.2f}"
            f"{row[name]['bytes'] / 2**20:7.0f}"
            for name in ("EAP", "EAP-IG(5)", "circuit")
        )
        print(f"{row['model']:8}{row['prompts']:>8}{row['tokens']:>7}{1e3 * unit / tokens:9.3f}{cells}")


def fitted(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Seconds of a token = forwards x (operations of a forward) x s + contractions x (operations of all edges) x s,
    with s the seconds of an operation in T; by least squares of relative errors, no coefficient below 0.
    """
    found = {}
    speeds = [row["T"]["seconds"] / (row["prompts"] * row["tokens"] * row["flops"][0]) for row in rows]
    for name in ("EAP", "EAP-IG(5)", "circuit"):
        parts = np.array([[f * s, c * s] for row, s in zip(rows, speeds, strict=True) for f, c in [row["flops"]]])
        spent = np.array([row[name]["seconds"] / (row["prompts"] * row["tokens"]) for row in rows])
        of_two, *_ = np.linalg.lstsq(parts / spent[:, None], np.ones(len(rows)), rcond=None)
        if (of_two < 0).any():
            kept = int(np.argmax(of_two))
            alone = parts[:, kept] / spent
            of_two = np.zeros(2)
            of_two[kept] = float(alone.sum() / (alone**2).sum())
        error = np.abs(parts @ of_two / spent - 1).max()
        found[name] = {
            "forwards": float(of_two[0]),
            "contractions": float(of_two[1]),
            "largest_error": float(error),
        }
    return found


def extrapolated(model: dict[str, dict[str, float]], length: int) -> list[dict[str, Any]]:
    """In units of T, for models that were not run: the same operations at the same speed."""
    rows = []
    for shape in (*SHAPES[-1:], *LARGER):
        forward, contraction = flops(shape, length)
        units = {name: part["forwards"] + part["contractions"] * contraction / forward for name, part in model.items()}
        rows.append({"model": shape.name, "contraction_over_forward": contraction / forward, **units})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--series", nargs="+", choices=list(SERIES), default=list(SERIES))
    parser.add_argument("--largest", choices=[shape.name for shape in SHAPES], default="520 M", help="of the models")
    parser.add_argument("--repeats", type=int, default=2, help="the least of so many is taken")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/scaling.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = [shape.name for shape in SHAPES]
    allowed = names[: names.index(options.largest) + 1]
    document: dict[str, Any] = {"on": {"torch": version("torch"), "threads": 1}}
    for series in options.series:
        cases = [(shape, size) for shape, size in SERIES[series] if shape.name in allowed]
        # The largest is run once: it takes minutes, and start-up is nothing to it.
        document[series] = [
            measure(shape, size, 1 if shape is SHAPES[-1] else options.repeats) for shape, size in cases
        ]
        show(series, document[series])
    if "model" in document and len(document["model"]) > 2:
        document["fit"] = fitted(document["model"])
        document["extrapolated"] = extrapolated(document["fit"], 20)
        print("\nseconds of a token, in T: forwards x 1 + contractions x (operations of all edges / of a forward)")
        for name, part in document["fit"].items():
            print(f"{name:12}" + "".join(f"  {key} {value:.3f}" for key, value in part.items()))
        for row in document["extrapolated"]:
            print(f"{row['model']:8}" + "".join(f"  {key} {row[key]:.2f}" for key in list(row)[1:]))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(document, indent=1) + "\n")
    print(f"\nwritten: {options.output}")


if __name__ == "__main__":
    main()

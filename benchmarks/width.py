"""`python -m benchmarks.width`: real runs at the width of a Llama-3.1-8B shape, with few of its layers, on the CPU.

Weights are random, in bfloat16, and all there: d_model 4096, 32 heads over 8 keys and values, MLPs of 14336, a
vocabulary of 128,256. Beside the tensors that are counted (`allocated`) and what `--dry-run` says stands the growth of
the process, by the kernel's own high-water mark (Linux only); then the estimate for more layers, to all 32.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import torch

from benchmarks.allocated import Allocated
from benchmarks.memory import grown, reset
from benchmarks.scaling import KEPT, LARGER, examples, llama
from benchmarks.subject import parse
from mi.circuit.select import top
from mi.core import batches, methods
from mi.core.attribute import attribute
from mi.core.circuits import run_circuits
from mi.core.model import Model, wrap
from mi.tasks import footprint
from mi.tasks.encode import Encoded
from mi.tasks.footprint import Batch
from mi.tasks.plan import Footprint, cut_to_table, plan
from mi.tasks.shape import Shape

DEPTHS = (8, 16, 32)


def random_model(layers: int) -> Model:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = llama(replace(LARGER[0], layers=layers))
    module = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    return wrap(module.eval(), name=f"{LARGER[0].name}, {layers} layers")


def works(model: Model, pairs: list[Encoded]) -> dict[str, tuple[Callable[[], object], Footprint]]:
    """In an order in which the first scores choose the circuit."""
    scores = attribute(model, pairs[:1], method="eap").edge
    mask = top(model.graph, scores, model.graph.n_edges // KEPT)[None]
    return {
        "EAP": (lambda: attribute(model, pairs, method="eap"), methods.memory(methods.settle("eap"))),
        "EAP-IG(5)": (lambda: attribute(model, pairs, method="eap-ig"), methods.memory(methods.settle("eap-ig"))),
        "circuit": (lambda: run_circuits(model, pairs, mask), footprint.circuits),
    }


def estimate(name: str, shape: Shape, size: Batch, need: Footprint, model: Model) -> tuple[int, int]:
    """Bytes, and the examples of a batch."""
    lengths = [size.length] * size.examples
    steps = 1 if name == "EAP" else 5
    rows = plan(lengths, shape, 2, None, model.budget, steps)
    if name == "circuit":
        rows = cut_to_table(rows, lengths, shape, 2, model.budget.table)
    held = footprint.host(shape.n_edges, size.examples) // 2 if name != "circuit" else 0  # the sums; no copy is written
    return need(shape, 2, Batch(len(rows[0]), size.length), model.budget) + held, len(rows[0])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.width", description=__doc__)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--size", default="20x40", help="prompts x tokens")
    parser.add_argument("--only", nargs="+", choices=["EAP", "EAP-IG(5)", "circuit"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size, model = parse(options.size), random_model(options.layers)
    pairs, shape = examples(LARGER[0], size), batches.shape(model)
    weights = sum(p.numel() * p.element_size() for p in model.module.parameters())
    print(f"{options.layers} layers, {weights / 1e9:.2f} GB of weights, {size} tokens; MB beyond them", flush=True)
    of_size = Batch(size.prompts, size.tokens)
    chosen = works(model, pairs)
    for name in options.only or chosen:
        work, need = chosen[name]
        gc.collect()
        before, start = reset(), perf_counter()
        with Allocated() as counted:
            kept = work()
        resident, spent = grown(before), perf_counter() - start
        del kept
        said, batch = estimate(name, shape, of_size, need, model)
        print(
            f"{name:10} batches of {batch}: estimated {said / 1e6:6.0f}, counted {counted.peak / 1e6:6.0f}, "
            f"the process grew by {resident / 1e6:6.0f}, in {spent:.0f} s",
            flush=True,
        )
        for layers in DEPTHS:
            deeper = replace(shape, n_layers=layers)
            said, batch = estimate(name, deeper, of_size, need, model)
            print(f"{'':10} {layers} layers, batches of {batch}: estimated {said / 1e6:6.0f}", flush=True)


if __name__ == "__main__":
    main()

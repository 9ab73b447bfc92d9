"""`python -m benchmarks.counted "8 B" 20x40`: the memory of models that need not fit, counted on the meta device.

The code that runs is mi's own, on tensors that hold nothing (`allocated`); weights are in bfloat16. Beside what is
counted for one batch of the plan stands what `--dry-run` says.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.allocated import peak
from benchmarks.scaling import LARGER, SHAPES, examples, llama
from benchmarks.subject import parse
from mi.circuit.transformer import transformer_graph
from mi.core import attention, batches, methods
from mi.core.job import Job
from mi.core.masked import Patched, Table
from mi.core.metrics import metric_named
from mi.core.model import Model, prepare
from mi.core.replacement import Replacement
from mi.tasks import footprint
from mi.tasks.plan import Footprint, cut_to_table


def weightless(config: Any, dtype: torch.dtype = torch.bfloat16, on: str = "meta") -> Model:
    """A model on the meta device, or on another, whose identities are not checked: they cannot be on the first."""
    from transformers import AutoModelForCausalLM

    attention.register()
    with torch.device(on):
        module = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention.NAME)
    adapter = prepare(module)
    graph = transformer_graph(adapter.n_layers, adapter.n_heads, adapter.roles.parallel, adapter.d_model)
    return Model(module, adapter, graph, None, {})


def attribution(model: Model, config: methods.Config, batch: batches.Batch, ids: list[str]) -> Callable[[], object]:
    job = Job(model, model.executor(), config, metric_named("logit-diff"), Replacement("counterfactual"), ids)
    entry = methods.METHODS[config.method]
    return lambda: entry.run(job, batch)


def circuit(model: Model, batch: batches.Batch) -> Callable[[], object]:
    def work() -> object:
        instead = Replacement("counterfactual")
        patched = Patched(model, model.executor(), metric_named("logit-diff"), instead, batch)
        return patched.run(Table(model, np.ones(model.graph.n_edges, dtype=bool)))

    return work


def main() -> None:
    shapes = {shape.name: shape for shape in (*SHAPES, *LARGER)}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counted", description=__doc__)
    parser.add_argument("model", choices=list(shapes))
    parser.add_argument("size", help="prompts x tokens")
    options = parser.parse_args()
    shape, size = shapes[options.model], parse(options.size)
    model, pairs = weightless(llama(shape)), examples(shape, size)
    of_model, lengths = batches.shape(model), [size.tokens] * size.prompts
    names = [pair.id for pair in pairs]
    print(f"{shape.name}, {size}, bfloat16, of one batch: MB of tensors beyond the weights")

    def show(name: str, rows: list[list[int]], work: Callable[[batches.Batch], Callable[[], object]], of: Footprint):
        batch = batches.make_batch(pairs, rows[0], torch.device("meta"))
        estimate = of(of_model, 2, footprint.Batch(len(rows[0]), size.tokens), model.budget)
        print(
            f"{name:12}{len(rows):4} batches of {len(rows[0])}: counted {peak(work(batch)) / 1e6:8.0f}, "
            f"estimated {estimate / 1e6:8.0f}",
            flush=True,
        )

    for name in ("eap", "eap-ig"):
        config = methods.settle(name)
        rows = batches.plan_for(model, lengths, None, config.steps)
        show(name, rows, lambda batch, c=config: attribution(model, c, batch, names), methods.memory(config))
    rows = cut_to_table(batches.plan_for(model, lengths), lengths, of_model, 2, model.budget.table)
    show("circuit", rows, lambda batch: circuit(model, batch), footprint.circuits)


if __name__ == "__main__":
    main()

"""How many bytes of tensors a command has alive at once, beyond the model: estimated from shapes alone.

Sums over what the code keeps, term by term; what passes within one operation is left out. A test holds the estimates
against what is counted in real runs (`benchmarks/allocated.py`). ``item`` is the size of a number of the model,
``wide`` of one in which scores are contracted (float32 at least). No torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from mi.tasks.budget import Budget
from mi.tasks.shape import Shape

LOGIT_COPIES = 4
CELL = 8  # scores are float64
ROW_TOKENS = 4096  # copies x positions that run side by side at most: more save no time


@dataclass(frozen=True)
class Batch:
    """So many examples of one length, at once."""

    examples: int
    length: int

    @property
    def tokens(self) -> int:
        return self.examples * self.length


def _wide(item: int) -> int:
    return max(4, item)


def logits(shape: Shape, item: int) -> int:
    """Of one example: those of the runs that are kept, and their gradient."""
    return LOGIT_COPIES * _wide(item) * shape.vocab_size


def activations(shape: Shape, item: int) -> int:
    """What a forward keeps of a token in a layer for its backward, and for the gradients at every receiver."""
    stream = 2 * shape.d_model * item
    if not shape.layer_norm and item < 4:
        stream += 2 * shape.d_model * 4  # as the norms read it
    attention = (3 + 2 + (2 if shape.rotary else 0)) * shape.heads_width * item  # q, k, v; z as mixed, and side by side
    mlp = (3 if shape.gated else 1) * shape.d_mlp * item
    return stream + attention + mlp + 2 * shape.d_model * item  # what the MLP reads, and what it writes


def outputs(shape: Shape, size: int) -> int:
    """What the nodes write of a token in a layer: z and the MLP's output."""
    return (shape.heads_width + shape.d_model) * size


def sums(shape: Shape, item: int, steps: int) -> int:
    """Gradients at the receivers of a token in a layer, summed over steps: d_head wide, and the norm's directions."""
    wide = _wide(item)
    return wide * (3 * shape.heads_width + shape.d_model + steps * (shape.d_model + 3 * shape.n_heads))


def passing(shape: Shape, item: int) -> int:
    """What a forward without gradients holds of a token at its widest place."""
    mlp = (3 if shape.gated else 2) * shape.d_mlp
    return item * (max(mlp, 6 * shape.heads_width) + 2 * shape.d_model) + 2 * 4 * shape.d_model


def contraction(shape: Shape, item: int, batch: Batch, budget: Budget) -> int:
    """Of a chunk of wide differences, the gradients that meet it, and weights on their way."""
    token = shape.n_sources * shape.d_model * _wide(item)
    most = max(budget.least_chunk, min(budget.chunk, 32 * token))
    tokens = min(batch.tokens, max(1, most // token))
    gradients = tokens * 3 * shape.n_heads * shape.d_model * _wide(item)
    columns = tokens * shape.n_layers * (6 * shape.d_model + 6 * shape.n_sources) * _wide(item)
    weights = min(shape.heads_width * shape.d_model * _wide(item), max(budget.least_chunk, 1))
    return tokens * token + max(gradients + 2 * weights, columns)


def attribution(
    shape: Shape, item: int, batch: Batch, budget: Budget, level: str = "edge", steps: int = 5, own_runs: bool = False
) -> int:
    """Peak of a method that takes gradients at so many inputs. ``own_runs``: each source has runs of its own, beside
    those that all share.
    """
    layers, wide = shape.n_layers, _wide(item)

    def kept(steps: int) -> int:
        if steps == 0:
            return 0
        return sums(shape, item, steps) if level == "edge" else 2 * shape.d_model * wide

    runs = (1 if steps == 1 else 2) * outputs(shape, item)
    more = kept(1) + outputs(shape, wide) + 2 * shape.d_model * item if own_runs else 0
    while_running = layers * (activations(shape, item) + kept(steps - 1) + runs + more) + passing(shape, item)
    at_end = layers * (kept(steps) + 2 * outputs(shape, item) + outputs(shape, wide) + more)
    result = batch.examples * CELL * numbers(shape, level)
    if level == "edge":
        result += contraction(shape, item, batch, budget)
    elif level == "neuron":
        result += 2 * min(batch.tokens * shape.n_heads * shape.d_model * wide, budget.least_chunk)
    both = max(batch.tokens * while_running, batch.tokens * at_end + result)
    return batch.examples * logits(shape, item) + both


def numbers(shape: Shape, level: str) -> int:
    """How many scores of one example are held; of edges, in the table's cells and then in their own order."""
    edges = shape.n_sources * shape.n_receivers + shape.n_edges
    return {"edge": edges, "node": shape.n_sources, "neuron": shape.n_sources * shape.d_model}[level]


def flow(shape: Shape, item: int, batch: Batch, budget: Budget) -> int:
    """Peak of the method that looks at one run without gradients."""
    kept = shape.n_layers * (outputs(shape, item) + 2 * shape.d_model * item)
    position = batch.examples * shape.n_sources * shape.d_model * _wide(item)
    chunk = position * min(batch.length, max(1, budget.least_chunk // position))
    cells = batch.examples * CELL * numbers(shape, "edge")
    at_once = max(batch.tokens * passing(shape, item), 2 * chunk + cells)
    return batch.tokens * kept + batch.examples * logits(shape, item) + at_once


def drops(shape: Shape, item: int, batch: Batch, budget: Budget, level: str) -> int:
    """Peak of AtP*: `attribution` with one step, gradients at every z for every layer that is dropped, and heads that
    mix again."""
    at_z = shape.n_layers * (shape.n_layers + 1) // 2 * shape.heads_width * item
    rows = max(batch.tokens, min(side_by_side(shape, item, budget), shape.n_heads * batch.tokens))
    heads = rows * (5 * shape.heads_width * item + 2 * shape.d_model * item + shape.heads_width * _wide(item))
    cells = (2 if level == "edge" else shape.n_layers) * batch.examples * CELL * shape.n_sources * shape.n_receivers
    return attribution(shape, item, batch, budget, "edge", 1) + batch.tokens * at_z + heads + cells


def side_by_side(shape: Shape, item: int, budget: Budget) -> int:
    """How many tokens of copies of a batch run at once: in exact patching of any kind, and where AtP*'s heads mix
    again."""
    return min(ROW_TOKENS, max(1, budget.chunk // passing(shape, item)))


def patches(shape: Shape, item: int, batch: Batch, budget: Budget) -> int:
    """Peak of patches side by side, each a copy of some examples from some block on."""
    rows = max(side_by_side(shape, item, budget), batch.tokens)
    both = shape.n_layers * (2 * outputs(shape, item) + 3 * shape.d_model * item)
    return batch.tokens * both + rows * passing(shape, item) + (rows // batch.length) * logits(shape, item)


def sites(shape: Shape, item: int, batch: Batch, budget: Budget) -> int:
    """Peak of patches at one place of a layer at a time: both runs of it, the stream before each block, and copies."""
    rows = max(side_by_side(shape, item, budget), batch.tokens)
    kept = shape.n_layers * 3 * max(shape.heads_width, shape.d_model) * item
    width = (rows // batch.length) * logits(shape, item)
    return batch.tokens * kept + rows * passing(shape, item) + width


def host(units: int, examples: int) -> int:
    """Sums of scores over shards of the examples, which stay in the computer's own memory; and one copy to write."""
    shards = min(32, examples, max(2, (1 << 29) // (8 * units)))
    return 2 * shards * units * CELL


def table(shape: Shape, item: int, batch: Batch, budget: Budget) -> int:
    """Of the differences of a circuit's sources, and the inputs of receivers that are made of them."""
    source = batch.examples * shape.d_model * item
    receiver = batch.examples * shape.d_model * (2 * item + 3 * _wide(item))  # as `differences.room` has it
    truly = batch.examples * shape.d_model * (2 * item + (1 if shape.layer_norm else 2) * _wide(item))
    positions = batch.length
    if shape.n_sources * batch.length * source > budget.table:
        positions = max(1, budget.chunk // (shape.n_sources * source + 3 * shape.n_heads * receiver))
    positions = min(positions, batch.length)
    inputs = min(3 * shape.n_heads, max(1, budget.chunk // (positions * receiver)))
    return positions * (shape.n_sources * source + inputs * truly)


def circuits(shape: Shape, item: int, batch: Batch, budget: Budget) -> int:
    """Peak of circuits on one batch: both runs, where each receiver stands in the empty circuit, and one circuit."""
    empty = (2 * shape.d_model + 3 * shape.heads_width) * item
    token = shape.n_layers * (2 * outputs(shape, item) + empty) + passing(shape, item)
    narrow = 4 * 3 * shape.heads_width * item
    masks = shape.n_sources * shape.n_receivers
    whole = batch.tokens * (token + narrow) + batch.examples * logits(shape, item) + masks
    return whole + table(shape, item, batch, budget)


def gates(shape: Shape, item: int, batch: Batch, copies: int, backward: bool) -> int:
    """Peak of one run with a gate on every edge, of so many copies of the batch."""
    rows = batch.tokens * copies
    tables = (2 if backward else 1) * shape.n_sources * shape.d_model * item
    inputs = shape.layer_receivers * shape.d_model * _wide(item) * (3 if shape.layer_norm else 4) // 2
    kept = shape.n_layers * (inputs + activations(shape, item)) if backward else 2 * inputs
    ready = shape.n_layers * (2 * outputs(shape, item) + 2 * shape.d_model * item)
    return rows * (tables + kept) + batch.tokens * ready + batch.examples * copies * logits(shape, item)


def tries(shape: Shape, item: int, batch: Batch, budget: Budget) -> int:
    """Peak of circuits that are tried side by side, as many copies of the batch as there is room for."""
    row = shape.n_sources * batch.length * shape.d_model * item
    copies = min(64, shape.n_sources // 2, max(1, budget.gated // (row * batch.examples)))
    return gates(shape, item, batch, copies, backward=False)


def ablations(shape: Shape, item: int, batch: Batch, budget: Budget) -> int:
    """Peak of runs in which one node is a constant, for as many nodes side by side as there is room for."""
    one = batch.examples * attribution(shape, item, Batch(1, batch.length), Budget(0))
    copies = min(shape.n_sources, max(1, budget.batch // one))
    kept = batch.tokens * (shape.n_layers * activations(shape, item) + passing(shape, item))
    return copies * (kept + batch.examples * logits(shape, item))


def forward(shape: Shape, item: int, batch: Batch) -> int:
    """Peak of plain runs, clean and corrupted, with nothing kept but logits."""
    return batch.tokens * passing(shape, item) + batch.examples * logits(shape, item)

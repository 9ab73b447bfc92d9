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


def activations(shape: Shape, item: int, by_edge: bool = True) -> int:
    """What a forward keeps of a token in a layer for its backward, and for the gradients at every receiver.

    ``by_edge``: each query head is given keys and values of its own.
    """
    norms = 2 * shape.d_model * item
    if not shape.layer_norm and item < 4:
        norms += 2 * shape.d_model * 4  # as they read it
    if shape.post_norms:
        norms += shape.d_model * 4
    turned = 2 * shape.heads_width if shape.rotary and by_edge else 0
    attention = (5 * shape.heads_width + turned) * item  # q, k, v; z as mixed, and side by side
    mlp = (3 if shape.gated else 1) * shape.d_mlp * item
    return norms + attention + mlp + 2 * shape.d_model * item  # what the MLP reads, and what it writes


def patterns(shape: Shape, item: int, length: int) -> int:
    """What attention that bends its scores keeps of a token in a layer: no fused kernel does that."""
    return 2 * shape.n_heads * length * item if shape.soft_capped else 0


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


def folded(shape: Shape, item: int, budget: Budget, n_heads: int) -> int:
    """Of projections with a norm's gain in them, for as many heads at a time as fit."""
    head = max(1, shape.d_head * shape.d_model * _wide(item))
    heads = min(n_heads, max(1, budget.least_chunk // head))
    return heads * head * (2 if shape.layer_norm or item < 4 else 1)


def contraction(
    shape: Shape, item: int, batch: Batch, budget: Budget, steps: int = 5, sources: int = 0, receivers: int = 3
) -> int:
    """Of a chunk of wide differences, the gradients that meet it, and weights on their way. ``sources``: so many at a
    time, not all; ``receivers``: of each head."""
    n_sources, wide = sources or shape.n_sources, _wide(item)
    n_heads = shape.n_heads if receivers > 1 else shape.n_kv_heads or shape.n_heads
    token = max(n_sources, 3 * shape.n_heads) * shape.d_model * wide
    most = max(budget.least_chunk, min(budget.chunk, 32 * token))
    tokens = chunked(batch, most // token)
    gradients = tokens * receivers * shape.n_heads * shape.d_model * wide + folded(shape, item, budget, n_heads)
    columns = tokens * shape.n_layers * (steps + 1) * (shape.d_model + 2 * n_sources) * wide
    return tokens * n_sources * shape.d_model * wide + max(gradients, columns)


def chunked(batch: Batch, most: int) -> int:
    """Tokens of the largest of equal parts of a batch, of ``most`` at most: whole examples, or some of one's."""
    if most < batch.length:
        return max(1, most)
    parts = -(-batch.examples // (most // batch.length))
    return -(-batch.examples // parts) * batch.length


def attribution(
    shape: Shape, item: int, batch: Batch, budget: Budget, level: str = "edge", steps: int = 5, own_runs: bool = False
) -> int:
    """Peak of a method that takes gradients at so many inputs. ``own_runs``: each source has runs of its own, beside
    those that all share.
    """
    layers, wide, by_edge = shape.n_layers, _wide(item), level == "edge"

    def kept(steps: int) -> int:
        if steps == 0:
            return 0
        return sums(shape, item, steps) if by_edge else 2 * shape.d_model * wide

    runs = (1 if steps == 1 else 2) * outputs(shape, item)
    more = kept(1) + outputs(shape, wide) + 2 * shape.d_model * item if own_runs else 0
    forward = activations(shape, item, by_edge) + patterns(shape, item, batch.length)
    while_running = layers * (forward + kept(steps - 1) + runs + more) + passing(shape, item)
    read = (3 * shape.heads_width if by_edge else shape.d_model) + shape.d_model  # where gradients are taken, and they
    when_back = layers * (item * (2 * read + 2 * shape.d_model) + kept(steps) + 2 * outputs(shape, item) + more)
    passed = shape.d_model * wide if shape.post_norms else 0
    at_end = layers * (kept(steps) + 2 * outputs(shape, item) + outputs(shape, wide) + passed + more)
    result = batch.examples * CELL * numbers(shape, level)
    if by_edge:
        result += contraction(shape, item, batch, budget, steps, shape.n_heads if own_runs else 0)
    elif level == "node":
        result += min(shape.heads_width * shape.d_model * wide, budget.least_chunk) if item < 4 else 0
    else:
        result += 2 * min(batch.tokens * shape.n_heads * shape.d_model * wide, budget.least_chunk)
        result += shape.heads_width * shape.d_model * wide if item < 4 else 0
    both = max(batch.tokens * while_running, batch.tokens * when_back, batch.tokens * at_end + result)
    return batch.examples * logits(shape, item) + both


def numbers(shape: Shape, level: str) -> int:
    """How many scores of one example are held; of edges, in the table's cells and then in their own order."""
    edges = shape.n_sources * shape.n_receivers + shape.n_edges
    return {"edge": edges, "node": shape.n_sources, "neuron": shape.n_sources * shape.d_model}[level]


def flow(shape: Shape, item: int, batch: Batch, budget: Budget) -> int:
    """Peak of the method that looks at one run without gradients."""
    passed = shape.d_model * _wide(item) if shape.post_norms else 0
    kept = shape.n_layers * (outputs(shape, item) + 2 * shape.d_model * item + passed)
    position = batch.examples * shape.n_sources * shape.d_model * _wide(item)
    chunk = position * min(batch.length, max(1, budget.least_chunk // position))
    cells = batch.examples * CELL * numbers(shape, "edge")
    at_once = max(batch.tokens * passing(shape, item), 2 * chunk + cells)
    return batch.tokens * kept + batch.examples * logits(shape, item) + at_once


def drops(shape: Shape, item: int, batch: Batch, budget: Budget, level: str) -> int:
    """Peak of AtP*: a graph that lasts for a backward from each layer, what these find at every z (about half of
    L^2 d_model a token), a contraction of each, and heads that mix again."""
    layers, wide, length = shape.n_layers, _wide(item), batch.length
    at_z = layers * (layers + 1) // 2 * shape.heads_width * item
    graph = activations(shape, item) + patterns(shape, item, length)
    runs = outputs(shape, item) + outputs(shape, wide) + (shape.d_model * wide if shape.post_norms else 0)
    mixed = 4 * shape.heads_width * item  # q, k, v and z of every layer, as they are
    rows = min(max(1, side_by_side(shape, item, budget) // batch.tokens), shape.n_heads) * batch.tokens
    capped = 4 * shape.n_heads * length * item if shape.soft_capped else 0
    again = rows * (8 * shape.heads_width * item + 4 * shape.d_model * item + capped)
    products = (rows + (layers + 1) * batch.tokens) * shape.heads_width * (item + 2 * wide)
    linear = batch.tokens * layers * sums(shape, item, 1) + contraction(shape, item, batch, budget, 1, receivers=1)
    cells = (2 if level == "edge" else layers) * batch.examples * CELL * shape.n_sources * shape.n_receivers
    fixed = batch.tokens * layers * mixed + max(again, products)
    return (
        batch.tokens * (layers * (graph + runs) + at_z)
        + batch.examples * logits(shape, item)
        + cells
        + max(linear, fixed)
    )


def side_by_side(shape: Shape, item: int, budget: Budget) -> int:
    """How many tokens of copies of a batch run at once: in exact patching of any kind, and where AtP*'s heads mix
    again."""
    return min(ROW_TOKENS, max(1, budget.chunk // copied(shape, item)))


def copied(shape: Shape, item: int) -> int:
    """A token of a copy that goes on from a block: what its heads are given, what it changes, and the MLP's widths."""
    mlp = (3 if shape.gated else 2) * shape.d_mlp
    return item * (4 * shape.heads_width + 6 * shape.d_model + mlp)


def touched(shape: Shape, item: int) -> int:
    """Of one layer: the maps by which its MLP reads, with the norm folded in, and what they make of each head's z."""
    return (2 if shape.gated else 1) * shape.d_mlp * (shape.d_model + shape.heads_width) * item


def patches(shape: Shape, item: int, batch: Batch, budget: Budget) -> int:
    """Peak of patches side by side, each a copy of some examples from some block on."""
    rows = max(1, side_by_side(shape, item, budget) // batch.tokens) * batch.tokens
    seen = shape.n_layers * (4 * shape.d_model + 5 * shape.heads_width) * item
    short = 0 if shape.post_norms or touched(shape, item) > budget.chunk else touched(shape, item)
    copies = rows * (copied(shape, item) + 3 * patterns(shape, item, batch.length) // 4)
    return batch.tokens * seen + copies + batch.examples * logits(shape, item) // 2 + short


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
    norms = 2 if shape.post_norms else 1
    source = batch.examples * shape.d_model * item
    receiver = norms * batch.examples * shape.d_model * (2 * item + 3 * _wide(item))  # as `differences.room` has it
    passed = _wide(item) if shape.post_norms else 0
    truly = batch.examples * shape.d_model * (passed + (2 * item if shape.layer_norm else item + 2 * _wide(item)))
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

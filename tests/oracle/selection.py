"""Graphs, selection, pruning and curves by plain loops over names: slow, obvious, and sharing no code with `mi`.

An edge is a pair (source, receiver) of names; `nodes_of(receiver)` are the nodes that the receiver belongs to, which
stand in its name (`a0.h2+a0.h3<k>`): an edge is of use if it is to one of them. A circuit is a set of indices into the
list of edges. Ties go to the edge that is listed first.
"""

import itertools
import math


def transformer_edges(n_layers, n_heads, parallel=False, attention_only=False, n_kv_heads=None):
    """Edges in the order in which they come up when the model is walked through: writers so far -> reader."""
    size = n_heads // (n_kv_heads or n_heads)
    writers, edges = ["input"], []
    for layer in range(n_layers):
        heads = [f"a{layer}.h{head}" for head in range(n_heads)]
        mlp = [] if attention_only else [f"m{layer}"]
        for writer in writers:
            for first in range(0, n_heads, size):
                group = heads[first : first + size]
                for head in group:
                    edges.append((writer, f"{head}<q>"))
                for branch in "kv":
                    edges.append((writer, f"{'+'.join(group)}<{branch}>"))
            if parallel:
                for name in mlp:
                    edges.append((writer, name))
        if not parallel:
            for writer in writers + heads:
                for name in mlp:
                    edges.append((writer, name))
        writers = writers + heads + mlp
    for writer in writers:
        edges.append((writer, "logits"))
    return edges


def nodes_of(receiver):
    return set(receiver.split("<")[0].split("+"))


def value_of(score, absolute):
    return abs(score) if absolute else score


def top(scores, n, absolute):
    order = sorted(range(len(scores)), key=lambda edge: (-value_of(scores[edge], absolute), edge))
    return set(order[:n])


def threshold(scores, limit, absolute):
    return {edge for edge in range(len(scores)) if value_of(scores[edge], absolute) >= limit}


def greedy(edges, scores, n, absolute, sink="logits"):
    """Grow from the sink: n times the best edge into a node that is already in."""
    inside, kept = {sink}, set()
    for _ in range(n):
        frontier = [e for e in range(len(edges)) if e not in kept and nodes_of(edges[e][1]) & inside]
        if not frontier:
            break
        best = min(frontier, key=lambda edge: (-value_of(scores[edge], absolute), edge))
        kept.add(best)
        inside.add(edges[best][0])
    return kept


def prune(edges, kept, roots=("input",), sink="logits"):
    """The fixpoint: drop nodes without a kept edge in or without one out, then their edges, until nothing changes."""
    kept = set(kept)
    while True:
        has_outgoing = {edges[e][0] for e in kept} | {sink}
        has_incoming = {node for e in kept for node in nodes_of(edges[e][1])} | set(roots)
        present = has_outgoing & has_incoming
        left = {e for e in kept if edges[e][0] in present and nodes_of(edges[e][1]) & present}
        if left == kept:
            return kept
        kept = left


def prune_strictly(edges, kept, roots=("input",), sink="logits"):
    """The same fixpoint, where a node that can read with <v> needs a kept edge into its <v>."""
    kept = set(kept)
    with_values = {node for _, receiver in edges if receiver.endswith("<v>") for node in nodes_of(receiver)}
    while True:
        has_outgoing = {edges[e][0] for e in kept} | {sink}
        fed = {node for e in kept if edges[e][1].endswith("<v>") for node in nodes_of(edges[e][1])}
        fed |= {node for e in kept for node in nodes_of(edges[e][1]) if node not in with_values}
        present = has_outgoing & (fed | set(roots))
        left = {e for e in kept if edges[e][0] in present and nodes_of(edges[e][1]) & present}
        if left == kept:
            return kept
        kept = left


def edges_of_nodes(edges, nodes):
    """Keeping a node keeps every edge that leaves it."""
    return {e for e in range(len(edges)) if edges[e][0] in nodes}


def prune_nodes(edges, nodes, roots=("input",), sink="logits"):
    """The nodes of a set that still write something after pruning."""
    return {edges[e][0] for e in prune(edges, edges_of_nodes(edges, nodes), roots, sink)}


def greedy_nodes(edges, scores, n, absolute, sink="logits"):
    """Grow from the sink: n times the best node that writes into a node which is in; unscored ones are free."""
    inside, taken = {sink}, set()
    while True:
        leads_in = {source for source, receiver in edges if nodes_of(receiver) & inside} - inside
        free = {node for node in leads_in if scores[node] is None}
        if free:
            inside |= free
            continue
        names = list(scores)
        left = [node for node in names if node in leads_in]
        if not left or len(taken) == n:
            return taken
        best = min(left, key=lambda node: (-value_of(scores[node], absolute), names.index(node)))
        inside.add(best)
        taken.add(best)


def positive(scores, n, ratio):
    """The floor(ratio * n) best positive ones, and the largest magnitudes of all others. `ratio` is a Fraction."""
    order = sorted(range(len(scores)), key=lambda edge: (-abs(scores[edge]), edge))
    first = [edge for edge in order if scores[edge] > 0][: math.floor(ratio * n)]
    rest = [edge for edge in order if edge not in first]
    return set(first + rest[: n - len(first)])


def best_subset(worth, budget, is_connected, allowed=lambda subset: True):
    """The largest sum over all connected subsets of at most `budget` units: every subset is looked at."""
    best = 0.0
    for size in range(1, budget + 1):
        for subset in itertools.combinations(range(len(worth)), size):
            total = sum(worth[unit] for unit in subset)
            if total > best and allowed(subset) and is_connected(set(subset)):
                best = total
    return best


def on_a_path(edges, kept, roots=("input",), sink="logits"):
    """The kept edges that lie on a path from a root to the sink, found by walking every path's ends."""

    def reach(start, step):
        seen, todo = set(start), list(start)
        while todo:
            here = todo.pop()
            for there in step(here):
                if there not in seen:
                    seen.add(there)
                    todo.append(there)
        return seen

    ends = [(edges[e][0], node) for e in kept for node in nodes_of(edges[e][1])]
    after = reach(roots, lambda node: [target for source, target in ends if source == node])
    before = reach([sink], lambda node: [source for source, target in ends if target == node])
    return {e for e in kept if edges[e][0] in after and nodes_of(edges[e][1]) & before}


def exact_size(edges, select, budget, most, roots=("input",), sink="logits"):
    """Try every nominal size; the largest pruned size within the budget and the smallest nominal size that gives it."""
    best = (0, 0)
    for n in range(most + 1):
        size = len(prune(edges, select(n), roots, sink))
        if size <= budget and size > best[0]:
            best = (size, n)
    return best


PERCENTAGES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def areas(faithfulness, x=PERCENTAGES):
    """CPR, CMD, average, both areas over ln x, and CPR of the curve clipped to [0, 1]."""
    cpr = cmd = log_cpr = log_cmd = capped = 0.0
    for i in range(len(x) - 1):
        left, right = faithfulness[i], faithfulness[i + 1]
        width, log_width = x[i + 1] - x[i], math.log(x[i + 1]) - math.log(x[i])
        cpr += width * (left + right) / 2
        cmd += width * (abs(1 - left) + abs(1 - right)) / 2
        log_cpr += log_width * (left + right) / 2
        log_cmd += log_width * (abs(1 - left) + abs(1 - right)) / 2
        capped += width * (min(max(left, 0), 1) + min(max(right, 0), 1)) / 2
    average = sum(faithfulness) / len(faithfulness)
    return {"cpr": cpr, "cmd": cmd, "average": average, "cpr-log": log_cpr, "cmd-log": log_cmd, "cpr-capped": capped}


def faithfulness(circuit, clean, corrupted):
    """Ratio of means, not mean of ratios."""
    m_c, m_m, m_0 = (sum(values) / len(values) for values in (circuit, clean, corrupted))
    return (m_c - m_0) / (m_m - m_0)


def auroc(scores, truth, absolute):
    """The share of pairs of a true and a false edge in which the true one stands above; ties count half."""
    value = [value_of(score, absolute) for score in scores]
    pairs = [(value[i], value[j]) for i in range(len(value)) if truth[i] for j in range(len(value)) if not truth[j]]
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


def pessimistic(scores, truth, absolute):
    """Stairs through (0, 0) and the point of every threshold, each step taken at the right: first across, then up."""
    value = [value_of(score, absolute) for score in scores]
    points = [(0.0, 0.0)]
    for limit in sorted(set(value), reverse=True):
        inside = [i for i in range(len(value)) if value[i] >= limit]
        false = sum(not truth[i] for i in inside) / (len(truth) - sum(truth))
        points.append((false, sum(truth[i] for i in inside) / sum(truth)))
    return sum((1 - right[0]) * (right[1] - left[1]) for left, right in itertools.pairwise(sorted(points)))


def mib_auroc(edges, scores, truth, roots=("input",), sink="logits"):
    """Greedy circuits of ten sizes (n counts down from a float until it is not above zero), pruned; trapezoid."""
    false, hits = [], []
    for fraction in PERCENTAGES:
        n, steps = fraction * len(edges), 0
        while n > 0:
            n, steps = n - 1, steps + 1
        kept = prune(edges, greedy(edges, scores, steps, True, sink), roots, sink)
        false.append(sum(not truth[e] for e in kept))
        hits.append(sum(truth[e] for e in kept) / sum(truth))
    if not false[-1]:
        return math.nan
    x = [count / false[-1] for count in false]
    return sum((x[i + 1] - x[i]) * (hits[i] + hits[i + 1]) / 2 for i in range(len(x) - 1))
